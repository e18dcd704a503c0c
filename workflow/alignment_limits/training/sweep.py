"""Choose a learning rate: the one with the largest reward − β·KL at the end of its run.

Runs of a sweep differ in their rate only, and have a seed of their own. They are compared by the curves of their last
windows, so on the prompts that are trained on, never on those that judge. Which rate optimises best is a question about
those prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.training.convergence import GROWTH, objective


def compared(curves: Sequence[pl.DataFrame], settings: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Compare runs with several learning rates.

    Args:
        curves: table `curves` of each run, in the order of learning rates.
        settings: of each run: `learning_rate`, `objective`, `coefficient`, `seed`, and `stop` if there is one.

    Returns:
        One row for each rate: learning_rate, objective, coefficient, seed, steps, ended; `value`, the mean of
        reward − β·KL over the last quarter of the run (at least `patience` steps), in base standard deviations, and its
        standard `error`; `chosen` for the largest value (the smallest rate among equal ones, no run without a value);
        `at_end`, whether the chosen rate is the first or last of the list, so that a better one may lie beyond.

    Example:
        >>> rest = {"step": range(8), "kl": 8 * [0.0], "ended": 8 * ["fixed"]}
        >>> run = lambda worth: pl.DataFrame(rest | {"reward": 8 * [worth]})
        >>> common = {"objective": "rloo", "coefficient": 1.0, "seed": 2}
        >>> settings = [common | {"learning_rate": rate} for rate in (0.1, 0.2, 0.3)]
        >>> compared([run(0.5), run(0.7), run(0.6)], settings)["chosen"].to_list()
        [False, True, False]
    """
    rows = []
    for table, run in zip(curves, settings, strict=True):
        steps, values = objective(table.to_dicts(), float(run["coefficient"]))
        patience = int((run.get("stop") or {}).get("patience", 1))
        last = values[steps >= table.height - max(patience, table.height // GROWTH)]
        last = last[np.isfinite(last)]
        noise = float(np.sqrt((np.diff(last) ** 2).mean() / 2 / len(last))) if len(last) > 1 else np.nan
        rows.append(
            {
                **{key: run[key] for key in ("learning_rate", "objective", "coefficient", "seed")},
                "steps": table.height,
                "ended": table["ended"][-1],
                "value": float(last.mean()) if len(last) else np.nan,
                "error": noise,
            }
        )
    best = int(np.nanargmax([row["value"] for row in rows]))
    made = pl.DataFrame(rows).with_row_index("place").with_columns(chosen=pl.col("place") == best)
    end = best in (0, len(rows) - 1)
    return made.with_columns(at_end=pl.col("chosen") & end).drop("place")
