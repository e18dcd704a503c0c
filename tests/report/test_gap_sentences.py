"""What the page of policies says about the parts of a distance."""

import numpy as np
import polars as pl

from alignment_limits.report.gap import sentences


def table(**changes):
    parts = {
        "total": (0.5, "estimated"),
        "generalisation": (0.2, "estimated"),
        "expressibility": (np.nan, "unknown"),
        "objective": (0.0, "theory"),
        "optimisation": (0.1, "estimated"),
        "rest": (0.2, "estimated"),
    }
    rows = [
        {"policy": "p", "part": part, "value": value, "low": value - 0.1, "high": value + 0.1, "basis": basis}
        | {"reliable": basis != "unknown", "reason": ""}
        for part, (value, basis) in parts.items()
    ]
    return pl.DataFrame(rows).with_columns(**{k: pl.lit(v) for k, v in changes.items()})


def test_known_and_unknown_parts_are_told_apart():
    (line,) = sentences(table())
    assert line.startswith("p: 0.50 [0.40, 0.60] below the tilt at its β. Of this: generalisation 0.20 [0.10, 0.30], ")
    assert "objective 0.00 (by theory)" in line
    assert line.endswith("rest 0.20 [0.10, 0.30]. Unknown, and within the rest: expressibility.")


def test_a_total_that_is_not_reliable_is_not_taken_apart():
    assert sentences(table(reliable=False, reason="few samples")) == [
        "p: its distance from the tilt is not reliable (few samples)."
    ]
