"""How figures and the report look; never touches a number."""

from __future__ import annotations

from pydantic import Field

from alignment_limits.config.base import Strict


class Figures(Strict):
    """How figures look; never touches a number."""

    width_inches: float = Field(3.4, gt=1, le=12, description="3.4: a column; 7: a page")
    font_size: float = Field(8, gt=3, le=20)
    palette: str = Field("colorblind", description="a seaborn palette")


class Report(Strict):
    show_samples: bool = Field(
        False,
        description="put generated text (it can be offensive) into the report, escaped, behind a warning",
    )
