"""The day on which all chat templates live.

Templates may print today's date. Prompts of two days would then differ under one name, so the date is frozen: a
template that asks for it gets the study's own (`prompts.date`), in prompts and in rewards alike. `DATE` is its default:
the day that Llama's templates fall back on, our choice for all.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

DATE = "2024-07-26"


def frozen(date: str) -> dict[str, Any]:
    """What templates read of a clock: both names in use, `date_string` and the function `strftime_now`."""
    now = datetime.datetime.fromisoformat(date)
    strftime: Callable[[str], str] = now.strftime
    return {"date_string": now.strftime("%d %b %Y"), "strftime_now": strftime}
