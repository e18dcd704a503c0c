"""What figures and pages call the objectives, the order they show them in, and which setting they show first."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

NAMES = {
    "reverse-kl": "reverse KL",
    "pmle": "PMLE",
    "distillation": "distillation",
    "distillation-on-policy": "distillation, on-policy",
    "rlhf": "RLHF",
    "dpo": "DPO",
    "rebel": "REBEL",
    "ipo": "IPO",
}


def named(objective: str) -> str:
    """An objective as it is written."""
    return NAMES.get(objective, objective)


def in_order(objectives: Iterable[str]) -> list[str]:
    """Those of them that have a name, in the order they are shown."""
    return [o for o in NAMES if o in set(objectives)]


def first_setting(table: pl.DataFrame) -> tuple[str, float]:
    """The setting without departures, or the first there is, at its lowest level."""
    settings = table["setting"].unique().sort().to_list()
    setting = "as-modelled" if "as-modelled" in settings else settings[0]
    return setting, float(table.filter(pl.col("setting") == setting)["level"].to_numpy().min())
