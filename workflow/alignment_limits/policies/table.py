"""From score and KL shards of several policies to the table `policies`: one row per policy and evaluated reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, apply_standardisation, standardise
from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.brackets import Bounds
from alignment_limits.limits.means import judge_draws
from alignment_limits.limits.samples import Pool
from alignment_limits.policies.placement import mean_over_prompts, place
from alignment_limits.sampling.checks import deviation
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.grid import Grid

ESTIMATOR = "rao-blackwell"


def on_base_scale(
    scores: Mapping[str, pl.DataFrame],
    scales: pl.DataFrame,
    base: Mapping[str, Array],
    ensembles: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """A policy's rewards and ensembles, centred and scaled as the base samples were.

    Args:
        scores: table `scores` of each reward, all of the same keys.
        scales: table `scales`: centre per prompt and scale of each reward on base samples.
        base: the rewards of the base samples [p, m], standardised, prompts in sorted order.
        ensembles: members, aggregator and penalty of each.

    Returns:
        Rewards and ensembles [p, m'] by name, in base standard deviations.

    Raises:
        ArtifactError: the policy was sampled on other prompts than the base.
    """
    out: dict[str, Array] = {}
    for name, table in scores.items():
        grid, scale = Grid.of(table), scales.filter(pl.col("reward") == name).sort("prompt_id")
        if grid.prompt_ids != scale["prompt_id"].to_list():
            raise ArtifactError(f"reward {name}: a policy has other prompts than the base; delete its shards")
        out[name] = apply_standardisation(
            grid.array(table["score"]), scale["centre"].to_numpy(), float(scale["scale"][0]), name=name
        )
    for name, e in ensembles.items():
        combined = standardise(_combine(base, e), name=name)
        out[name] = apply_standardisation(_combine(out, e), combined.centre, combined.scale, name=name)
    return out


def _combine(rewards: Mapping[str, Array], ensemble: Mapping[str, Any]) -> Array:
    members = np.stack([rewards[member] for member in ensemble["members"]])
    return aggregate(members, ensemble["aggregator"], coefficient=ensemble["penalty"])


def per_prompt(kl: pl.DataFrame, column: str) -> Array:
    """Mean of a column over each prompt's replies.

    Args:
        kl: table `policy_kl`.
        column: such as "kl".

    Returns:
        Means [p], prompts in sorted order, in units of the column.

    Example:
        >>> table = pl.DataFrame({"prompt_id": ["a", "a"], "sample_id": [0, 1], "kl": [0.2, 0.4]})
        >>> per_prompt(table, "kl").round(3)
        array([0.3])
    """
    with np.errstate(invalid="ignore"):
        return np.nanmean(Grid.of(kl).array(kl[column]), axis=1)


def placements(
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
    kl: Mapping[str, pl.DataFrame],
    ratios: Mapping[str, tuple[Array, Array]] | None = None,
    *,
    pool: Pool | None = None,
    replicates: int,
    seed: int,
    keys: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    bounds: Mapping[str, Bounds] | None = None,
) -> pl.DataFrame:
    """Where each policy stands: one row per policy and reward or ensemble.

    Args:
        base: every reward and ensemble of the base samples [p, m], standardised.
        policies: the same of each policy's samples, from `on_base_scale`.
        kl: table `policy_kl` of each policy.
        ratios: log-ratios of each policy (`log_ratios`), to see the limit where base samples alone do not show it.
        pool: of all samples (`pool_of`), for the same.
        replicates, seed, keys, clusters: as for `place`.
        bounds: of standardised rewards that have bounds.

    Returns:
        Rows of the table `policies`, without the labels of `labelled`.
    """
    names = list(policies)
    spent, ratio = (np.stack([per_prompt(kl[p], c) for p in names], axis=1) for c in ("kl", "log_ratio"))
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(spent), **draws)
    common: dict[str, Any] = {"policy": names}
    for column, values in (("kl", spent), ("kl_log_ratio", ratio)):
        common |= dict(zip((column, f"{column}_low", f"{column}_high"), mean_over_prompts(values, boot), strict=True))
        reason = judge_draws("KL", values, boot)
        common |= {f"{column}_reliable": reason == "", f"{column}_reason": reason.astype(str)}
    common["kl_infinite"] = [float(kl[p]["kl"].is_infinite().mean()) for p in names]  # type: ignore[arg-type]
    pools = None if ratios is None else [ratios[p] for p in names]
    rows = []
    for evaluated, scores in base.items():
        theirs = [policies[p][evaluated] for p in names]
        more: dict[str, Any] = {"log_ratios": pools, "pool": pool, "bounds": (bounds or {}).get(evaluated)}
        placed = place(scores, theirs, spent, **more, **draws)
        rows.append(pl.DataFrame(common).hstack(placed.to_polars()).with_columns(evaluated=pl.lit(evaluated)))
    return pl.concat(rows).with_columns(kl_estimator=pl.lit(ESTIMATOR))


def log_ratios(
    kl: Mapping[str, pl.DataFrame], on_base: Mapping[str, pl.DataFrame], standardised: pl.DataFrame
) -> dict[str, tuple[Array, Array]]:
    """Log π/π₀ of the base's samples [p, m] and of each policy's own [p, m'], nats.

    Args:
        kl: table `policy_kl` of each policy's samples.
        on_base: the same of the base's samples, with the base and the policy in each other's place.
        standardised: rewards of the base's samples.

    Raises:
        ArtifactError: a policy was read on other samples than the base's.
    """
    keys = standardised.select(*KEY).sort(*KEY)
    out = {}
    for policy, table in on_base.items():
        if not table.select(*KEY).equals(keys):
            raise ArtifactError(
                f"policy {policy} has log-probabilities of other samples than the base; delete its shards in on_base"
            )
        own = kl[policy]
        out[policy] = (-Grid.of(table).array(table["log_ratio"]), Grid.of(own).array(own["log_ratio"]))
    return out


def pool_of(
    ratios: Mapping[str, tuple[Array, Array]],
    read: Mapping[str, Mapping[str, pl.DataFrame]],
    kl: Mapping[str, pl.DataFrame],
) -> Pool:
    """The laws of the base's samples and then of each policy's, with the log-ratios of all.

    Args:
        ratios: of `log_ratios`.
        read: for each policy, table `logprobs` of every other policy's samples.
        kl: table `policy_kl` of each policy, which has the base's log-probabilities.

    Raises:
        ArtifactError: a policy was read on other samples than the other policy's.
    """
    every = {}
    for policy, (on_base, own) in ratios.items():
        parts = [on_base]
        for other in ratios:
            if other == policy:
                parts.append(own)
                continue
            table = read[policy][other]
            if not table.select(*KEY).equals(kl[other].select(*KEY)):
                raise ArtifactError(
                    f"policy {policy} has log-probabilities of other samples than those of {other}; delete its shards "
                    "in on/"
                )
            grid = Grid.of(table)
            theirs, base = grid.array(table["logprob"]), grid.array(kl[other]["logprob_base"])
            # A reply that the base cannot draw has no weight, whatever other policies make of it.
            impossible = np.isneginf(base)
            parts.append(np.where(impossible, -np.inf, theirs - np.where(impossible, 0.0, base)))
        every[policy] = np.concatenate(parts, axis=1)
    laws = np.repeat(["base", *ratios], [part.shape[1] for part in parts])
    return Pool.of(laws, every)


def pool_table(
    pool: Pool,
    standardised: pl.DataFrame,
    samples: Mapping[str, pl.DataFrame],
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
) -> pl.DataFrame:
    """The table `pool`: one row per sample of any law, with its rewards, and its log-ratio under every policy.

    Args:
        pool: of `pool_of`.
        standardised, samples: the base's samples and each policy's; only their keys are used. Sample ids of one law
            follow those of the law before.
        base, policies: rewards and ensembles on the base's scale, of the same samples.

    Returns:
        The table. A sample without a log-ratio is left out.
    """
    column, laws = 0, {}
    for name, table in [("base", standardised), *samples.items()]:
        own = slice(column, column + Grid.of(table).shape[1])
        ratios = {law: pool.log_ratios[k][:, own] for k, law in enumerate(pool.names) if k > 0}
        laws[name] = (ratios, pool.law[:, own] >= 0)
        column = own.stop
    return _rows_of_laws(laws, standardised, samples, base, policies)


MOST_OWN = 12  # policies whose own samples extend the frontier


def own_pools_table(
    ratios: Mapping[str, tuple[Array, Array]],
    standardised: pl.DataFrame,
    samples: Mapping[str, pl.DataFrame],
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
) -> pl.DataFrame:
    """The same where no policy read the replies of the others: these log-ratios are null.

    Of more than 12 policies, 12 are in it, spread evenly over the order of their KLs.

    Args:
        ratios: of `log_ratios`.
        standardised, samples, base, policies: as for `pool_table`.
    """
    order = sorted(ratios, key=lambda name: float(np.nan_to_num(ratios[name][1].mean(), nan=np.inf)))
    places = np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_OWN)).round().astype(int))
    kept = {order[i] for i in places}
    own = {name: pair for name, pair in ratios.items() if name in kept}
    on_base = {name: pair[0] for name, pair in own.items()}
    laws = {"base": (on_base, np.isfinite(next(iter(base.values()))))}
    laws |= {name: ({name: pair[1]}, ~np.isnan(pair[1])) for name, pair in own.items()}
    return _rows_of_laws(laws, standardised, {name: samples[name] for name in own}, base, policies)


def _rows_of_laws(
    laws: Mapping[str, tuple[Mapping[str, Array], np.ndarray]],
    standardised: pl.DataFrame,
    samples: Mapping[str, pl.DataFrame],
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
) -> pl.DataFrame:
    """Of each law its log-ratios under policies [p, m], and which samples are in the table."""
    parts, first = [], 0
    for name, (ratios, kept) in laws.items():
        table, scores = (standardised, base) if name == "base" else (samples[name], policies[name])
        grid = Grid.of(table)
        columns = {f"log_ratio/{law}": grid.values(values) for law, values in ratios.items()}
        columns |= {reward: grid.values(values) for reward, values in scores.items()}
        part = table.select("prompt_id", pl.col("sample_id") + first).with_columns(law=pl.lit(name))
        part = part.with_columns(pl.Series(key, values) for key, values in columns.items())
        parts.append(part.filter(pl.Series(grid.values(kept))))
        first += int(table["sample_id"].max()) + 1  # type: ignore[arg-type]
    return pl.concat(parts, how="diagonal").sort(*KEY)


def of_training(curves: pl.DataFrame) -> dict[str, Any]:
    """Labels of a trained policy: how its training `ended` (converged, cut short, fixed), its `steps`, `learning_rate`.

    Args:
        curves: table `curves` of its run.
    """
    steps = int(curves["step"][-1]) + (curves["objective"][0] != "exact")
    return {"ended": curves["ended"][-1], "steps": steps, "learning_rate": float(curves["learning_rate"][0])}


def labelled(
    table: pl.DataFrame,
    labels: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, pl.DataFrame],
    notes: Mapping[str, Sequence[str]],
    kl: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Add the labels of the study file and facts about the replies: training, lengths, truncation, notes.

    Args:
        table: from `placements`.
        labels: of each policy: objective, optimized, coefficient, seed; for trained ones also `of_training`.
        samples: table `samples` of each policy.
        notes: remarks on each policy.
        kl: table `policy_kl` of each policy.

    Returns:
        The table with these columns. `logprob_deviation` is the largest difference, over the policy's replies, between
        the log-probability of the sampling engine and the one that the KL was read with, in nats per reply.
    """
    rows = [
        {
            "policy": policy,
            "ended": None,
            "steps": None,
            "learning_rate": None,
            **labels[policy],
            "truncation_rate": (s["finish_reason"] == "length").mean(),
            "mean_tokens": s["n_tokens"].mean(),
            "logprob_deviation": _apart(s, kl[policy]),
            "note": "; ".join(notes[policy]),
        }
        for policy, s in samples.items()
    ]
    types = {"objective": pl.String, "optimized": pl.String, "coefficient": pl.Float64, "seed": pl.Int64}
    types |= {"ended": pl.String, "steps": pl.Int64, "learning_rate": pl.Float64}
    return table.join(pl.DataFrame(rows, schema_overrides=types), on="policy", how="left", maintain_order="left")


def _apart(samples: pl.DataFrame, kl: pl.DataFrame) -> float:
    both = samples.select(*KEY, "n_tokens", drawn="logprob").join(kl.select(*KEY, "logprob"), on=KEY, validate="1:1")
    return deviation(both["drawn"], both["logprob"], both["n_tokens"]).largest
