"""What figures and pages read off the tables of distances to a target: exact values where there are any."""

from __future__ import annotations

import polars as pl

from alignment_limits.learning.names import NAMES
from alignment_limits.schemas.enumerable import VALUES

LABELS = ("policy", "objective", "optimized", "coefficient", "seed", "setting", "pairs", "quantity")


def distances(targets: pl.DataFrame, exact: pl.DataFrame | None) -> pl.DataFrame:
    """Labels, `value`, `low`, `high`, `reliable`, `reason`; of exact values the interval is the value itself.

    Policies without an objective have their name for one.

    Args:
        targets: `policies/targets.parquet`. exact: `exact/targets.parquet`, of an enumerable study.
    """
    if exact is None:
        rows = targets.select(*LABELS, "low", "high", "reliable", "reason", value="estimate")
    else:
        value = pl.col("exact")
        rows = exact.select(*LABELS, value=value, low=value, high=value, reliable=pl.lit(True), reason=pl.lit(""))
    return rows.with_columns(objective=pl.col("objective").fill_null(pl.col("policy")))


def with_exact(table: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """A table of estimates with KL and gain, and the ends of their intervals, replaced by their exact values.

    Args:
        exact: the table of `exact/` with this one's name; rows without an exact value stay as they are.
    """
    keys = [c for c in exact.columns if c not in VALUES and c in table.columns]
    for quantity in ("gain", "kl"):  # a KL may be a key of gains
        on = [key for key in keys if key != quantity]
        values = exact.filter((pl.col("quantity") == quantity) & pl.col("exact").is_finite()).select(
            *on, _exact="exact"
        )
        places = [c for c in (quantity, f"{quantity}_low", f"{quantity}_high") if c in table.columns]
        table = table.join(values.unique(on), on=on, how="left", nulls_equal=True, maintain_order="left")
        table = table.with_columns(pl.coalesce("_exact", place).alias(place) for place in places).drop("_exact")
    return table


def chosen(rows: pl.DataFrame) -> pl.DataFrame:
    """Of policies learned from pairs, one recipe and coefficient for each objective, setting and number of pairs.

    It is the one of least mean forward KL over the seeds, as by an oracle that knows the target. Policies without pairs
    are all kept.
    """
    own = ["objective", "setting", "pairs"]
    learned = rows.filter(pl.col("pairs").is_not_null()).with_columns(_run=pl.col("policy").str.replace(r"-s\d+$", ""))
    best = (
        learned.filter(pl.col("quantity") == "forward_kl")
        .group_by(*own, "_run", maintain_order=True)
        .agg(pl.col("value").mean())
        .sort("value")
        .unique(own, keep="first", maintain_order=True)
    )
    kept = learned.filter(pl.col("_run").is_in(best["_run"].to_list())).drop("_run")
    return pl.concat([rows.filter(pl.col("pairs").is_null()), kept])


def objectives_of(rows: pl.DataFrame) -> list[str]:
    """Objectives of all policies but the base, those of learning from preferences first, in their order."""
    found = rows.filter(pl.col("policy") != "base")["objective"].unique(maintain_order=True).to_list()
    return [o for o in NAMES if o in found] + [o for o in found if o not in NAMES]


def main_setting(rows: pl.DataFrame) -> pl.DataFrame:
    """Policies learned from pairs as modelled, or else of the first setting there is; and those without pairs."""
    settings = sorted(s for s in rows.filter(pl.col("pairs").is_not_null())["setting"].unique() if s is not None)
    first = next((s for s in settings if s.startswith("as-modelled")), settings[0] if settings else None)
    return rows.filter(pl.col("pairs").is_null() | pl.col("setting").eq_missing(pl.lit(first, pl.String)))
