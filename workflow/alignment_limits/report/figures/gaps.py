"""What the distance of each trained policy from its optimum is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from alignment_limits.report.figures.style import INK, Look, colours, label, outside_key

PARTS = {
    "generalisation": "generalisation to new prompts",
    "expressibility": "expressibility",
    "objective": "objective",
    "optimisation": "optimisation",
    "rest": "rest, with all that is unknown",
}
PALE = 0.45  # of a policy whose total is not reliable


def gap(table: pl.DataFrame, look: Look) -> Figure:
    """A bar for each policy: its parts, positive ones to the right and negative ones to the left.

    The gid of a part is `<part>:<policy>`, that of the total with its interval `total:<policy>`. Unknown parts are not
    drawn; they are within the rest.

    Args:
        table: `policies/gap.parquet`.
    """
    names = table["policy"].unique(maintain_order=True).to_list()
    shades = dict(zip(PARTS, colours(look.palette, len(PARTS)), strict=True))
    with look.applied():
        figure = look.figure(height=0.8 + 0.28 * len(names))
        ax = figure.subplots()
        for place, name in enumerate(names):
            rows = {row["part"]: row for row in table.filter(pl.col("policy") == name).iter_rows(named=True)}
            ends = {True: 0.0, False: 0.0}
            total = rows["total"]
            for part, shade in shades.items():
                value = rows[part]["value"]
                if not np.isfinite(value) or value == 0:
                    continue
                (bar,) = ax.barh(
                    place, value, left=ends[value > 0], height=0.6, color=shade, lw=0,
                    alpha=1.0 if total["reliable"] else PALE,
                )  # fmt: skip
                bar.set_gid(f"{part}:{name}")
                ends[value > 0] += value
            if np.isfinite(total["value"]):
                low, high = np.nan_to_num([total["value"] - total["low"], total["high"] - total["value"]])
                bars = ax.errorbar(
                    total["value"], place, xerr=[[max(low, 0)], [max(high, 0)]], fmt="|", color=INK, ms=8, mew=1.2,
                    elinewidth=0.8,
                )  # fmt: skip
                bars.lines[0].set_gid(f"total:{name}")
        ends_of = dict(table.select("policy", "ended").iter_rows())
        said = [label(name, 34) + (" (cut short)" if ends_of[name] == "cut short" else "") for name in names]
        ax.set_yticks(range(len(names)), said)
        ax.invert_yaxis()
        ax.axvline(0, color=INK, lw=0.6)
        # not the words of an axis that `units: raw` converts: policies may have different rewards
        ax.set_xlabel("gain − β·KL below the tilt\n(base-model s.d.)")
        handles: list[Any] = [Patch(color=shade, lw=0, label=PARTS[part]) for part, shade in shades.items()]
        handles.append(Line2D([], [], color=INK, marker="|", ms=8, mew=1.2, lw=0.8, label="total, 95%"))
        outside_key(figure, handles, look)
    return figure
