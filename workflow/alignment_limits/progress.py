"""Progress bars: for work that turns out long, redrawn in a terminal, a line every half minute in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def intervals() -> dict[str, float]:
    """How often a bar of tqdm's is drawn, for where standard error goes."""
    seconds = 0.5 if sys.stderr.isatty() else 30
    return {"mininterval": seconds, "maxinterval": seconds}


def progress_bar(total: int, unit: str, label: str) -> Any:
    """A bar of tqdm's that shows after ten seconds; to be closed, or used as a context."""
    return tqdm(total=total, unit=unit, desc=label, delay=10, **intervals())
