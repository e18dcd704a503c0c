"""Draw the figures that `entries` lists, for a study or for a result of `limits`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from alignment_limits.report.figures.entries import FIGURES, Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alignment_limits.report.figures.style import Look
    from alignment_limits.tables.artifacts import Schema


def figures_of(study: Any, made: Collection[str]) -> dict[str, Entry]:
    """The figures that a `Study` has once each; those of single rewards and recipes have rules of their own.

    Args:
        study: a `Study`.
        made: its estimators (`tables.estimates.made_for`, which is not imported: no figure depends on their code).
    """
    if study.learning is not None:
        learning = study.learning
        wanted = ["learning_rates", "learning_floors"] if len(learning.n) > 2 else []
        wanted += ["learning_settings"] if any(len(levels) > 1 for levels in learning.settings.values()) else []
        wanted += ["gamma"] if learning.estimate_gamma else []
    else:
        wanted = ["frontier", "win_rate"]
        if study.proxies:
            wanted += ["gold_under_proxies", "over_optimisation_tilt", "over_optimisation_best_of_n"]
        wanted += ["reward_distributions"]
        wanted += ["tempered"] if study.tempered else []
        wanted += ["ensemble_gap"] if len(study.proxies) > 1 else []
        wanted += ["proxy_quality"] if study.gold_labels and study.gold_labels.sweep else []
        wanted += ["targets", "target_plane"] if study.preferences and study.all_policies else []
        wanted += ["exact"] if study.enumerable else []
        wanted += ["gap"] if any(run.has_beta for run in study.runs) else []
        wanted += [name for name, entry in FIGURES.items() if entry.of in made]
    return {name: FIGURES[name] for name in wanted}


def tables_of(entry: Entry, study: Any) -> dict[str, str]:
    """The function's argument → table below results/<study>/, for the tables that a study has."""
    tables = {**entry.tables, **(entry.exact if study.enumerable else {})}
    if not study.all_policies:
        tables.pop("policies", None)
    scales = {"scales": "ensembles/scales.parquet"} if study.units == "raw" and not study.learning else {}
    return {name: path for name, (path, _) in tables.items()} | scales


def settings_of(entry: Entry, study: Any) -> dict[str, Any]:
    """What a figure's rule knows of the study file: the function's settings, and what its looks depend on."""
    known: dict[str, Any] = {
        "proxies": study.proxies,
        "ensembles": list(study.ensembles),
        "rewards": study.reward_names,
        "evaluated": study.gold,
        # the weakest tilt has the most reliable estimate
        "beta": max(study.limits.ensemble_betas),
    }
    if study.learning is not None:
        known |= {"objectives": study.learning.objectives, "truth": study.learning.world.gamma}
    units = {} if study.units == "base-sd" else {"units": study.units}
    own = {name: known[name] for name in entry.settings}
    return {"figures": study.figures.model_dump(), "gold": study.gold} | units | own


def draw(name: str, files: Mapping[str, Any], p: Mapping[str, Any]) -> tuple[Figure, Look]:
    """Read a figure's tables and draw it.

    Args:
        files: argument → path, or paths of tables that are one behind the other.
        p: as `settings_of`.
    """
    import polars as pl

    from alignment_limits.report.figures.style import Look
    from alignment_limits.tables.artifacts import read_table

    entry, look = FIGURES[name], Look.of(p)
    tables: dict[str, Any] = {}
    for argument, (_, contract) in {**entry.tables, **entry.exact}.items():
        given = files.get(argument) or []
        of = _contract(contract)
        read = [read_table(path, of) for path in ([given] if isinstance(given, str) else given)]
        tables[argument] = pl.concat(read) if read else None
    figure = _figure(entry, **tables, look=look, **{setting: p[setting] for setting in entry.settings})
    if "units" in p:
        from alignment_limits.report.figures.units import in_raw_units
        from alignment_limits.tables.schemas.samples import SCALES
        from alignment_limits.tables.standardised import scales_of

        in_raw_units(figure, scales_of(read_table(files["scales"], SCALES)), p.get("evaluated", p["gold"]))
    return figure, look


def _contract(named: str) -> Schema:
    module, _, name = named.partition(":")
    found: Schema = getattr(import_module(f"alignment_limits.tables.{module}"), name)
    return found


def _figure(entry: Entry, **arguments: Any) -> Figure:
    figure: Figure = getattr(import_module(entry.module), entry.draw.partition(":")[2])(**arguments)
    return figure


# results of `limits` that a figure of the workflow draws, as its first table
_OF_RESULT = {
    "FrontierTable": "frontier",
    "BestOfNTable": "win_rate",
    "EnsembleTable": "ensemble_gap",
    "OverOptimisationTable": "over_optimisation_tilt",
    "SideEffectsTable": "side_effects",
    "LengthControlTable": "length_control",
    "VerifiableTable": "verifiable",
    "CostTable": "cost",
    "LabelNoiseTable": "label_noise",
    "FrontTable": "pareto_front",
    "CompromiseTable": "compromises",
    "DivergenceTable": "divergences",
}
# and those that no figure of the workflow is about: horizontal and vertical column, with their labels
_PLAIN = {
    "ProxyGapTable": (("beta", "temperature β"), ("gap", "cost in gain − β·KL (reward units)")),
    "Plan": (("kl", "KL from the base model (nats per reply)"), ("prompts", "prompts needed")),
}


def plot(result: Any, look: Look | None = None, **more: Any) -> Figure:
    """Draw a result of `limits` as the workflow draws the table that it fills.

    Args:
        result: one of `limits`.
        look: size and colours.
        more: further results that the figure draws (`best_of_n` next to a limit; gold's `limit` above its frontier
            under a proxy; `frontier` or `best_of_n`, the method whose over-optimisation is drawn), and its settings.

    Raises:
        EstimateError: no figure draws such a result.
    """
    import polars as pl

    from alignment_limits.errors import EstimateError
    from alignment_limits.report.figures.style import Look

    kind, look = type(result).__name__, look or Look(names=("proxy",))
    if kind == "FrontierTable" and not result.own:
        return _under_a_proxy(result, look, **more)
    if kind in _PLAIN:
        from alignment_limits.report.figures.curves import quantity

        x, y = _PLAIN[kind]
        return quantity(result.to_polars(), look, **{"x": x, "y": y} | more)
    if kind not in _OF_RESULT:
        raise EstimateError(f"No figure draws a {kind}; draw its columns: {', '.join(result.columns())}.")
    proxy = kind == "OverOptimisationTable"
    entry = FIGURES["over_optimisation_best_of_n" if proxy and "best_of_n" in more else _OF_RESULT[kind]]
    labels = {"optimized": pl.lit("proxy" if proxy else look.gold), "evaluated": pl.lit(look.gold)}
    labels |= {"samples_from": pl.lit("base"), "log_m": pl.lit(float("inf"))}  # unknown here
    if kind == "VerifiableTable":
        labels |= {"reward": pl.lit(look.gold)}
        more.setdefault("proxies", [name for name in dict.fromkeys(result.selecting) if name])
    if kind in ("SideEffectsTable", "LengthControlTable"):
        labels |= {"kind": pl.lit("column"), "policy": pl.lit(None, pl.String)}
        labels |= {} if "column" in result.names() else {"column": pl.lit("length")}
    labels |= {"reward": pl.lit("judgements")} if kind == "LabelNoiseTable" else {}
    if kind == "CostTable":  # without best-of-n's shortfall, which is another result
        labels |= {"limit": pl.lit(None, pl.Float64)}
    if kind in ("FrontTable", "CompromiseTable", "DivergenceTable"):
        labels = {"optimized": pl.lit(result.evaluated[0] if kind == "CompromiseTable" else look.gold)}
    first = next(iter(entry.tables))
    tables: dict[str, Any] = {}
    for argument, (_, contract) in entry.tables.items():
        given = result if argument == first else more.pop(argument, None)
        table = (
            pl.DataFrame(schema=_contract(contract).columns)
            if given is None
            else given.to_polars().with_columns(**labels)
        )
        tables[argument] = table
    if "beta" in entry.settings:
        more = {"beta": float(result.beta.max())} | more
    if proxy:
        more = {"proxies": ["proxy"]} | more
    return _figure(entry, **tables, look=look, **more)


def _under_a_proxy(result: Any, look: Look, *, limit: Any = None) -> Figure:
    """The frontier of one reward as another is optimized: no limit, so it is drawn below the limit, or alone."""
    import polars as pl

    from alignment_limits.report.figures.curves import quantity
    from alignment_limits.report.figures.rewards import gold_under_proxies

    if limit is None:
        x = "kl", "KL from the base model (nats per reply)"
        return quantity(result.to_polars(), look, x=x, y=("gain", f"gain in {look.gold}"))
    named = {look.gold: limit, "proxy": result}
    labels = {name: {"optimized": pl.lit(name), "evaluated": pl.lit(look.gold)} for name in named}
    tables = [table.to_polars().with_columns(**labels[name]) for name, table in named.items()]
    return gold_under_proxies(pl.concat(tables), look, proxies=["proxy"])
