"""What figures and pages read off the tables of distances to a target: exact values where there are any."""

from __future__ import annotations

import polars as pl

from alignment_limits.learning.names import NAMES

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


def chosen(rows: pl.DataFrame) -> pl.DataFrame:
    """Of policies learned from pairs, those of one coefficient for each objective, setting and number of pairs.

    It is the one of least mean forward KL over the seeds, as by an oracle that knows the target. The others are kept.
    """
    own = ["objective", "setting", "pairs"]
    learned = rows.filter(pl.col("pairs").is_not_null())
    best = (
        learned.filter(pl.col("quantity") == "forward_kl")
        .group_by(*own, "coefficient", maintain_order=True)
        .agg(pl.col("value").mean())
        .sort("value")
        .unique(own, keep="first", maintain_order=True)
        .drop("value")
    )
    kept = learned.join(best, on=[*own, "coefficient"], nulls_equal=True, maintain_order="left")
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
