"""What an entry of the table of figures is, and the sections of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# the report's sections; the fourth is of generated text
LIMITS, PROXIES, REWARDS = "1 Limits", "2 Proxies and ensembles", "3 Rewards on base samples"
POLICIES, EXACT, LEARNING = "5 Policies", "6 Exact values", "1 Learning from preferences"
TRADEOFFS = "7 Trade-offs"


@dataclass(frozen=True)
class Entry:
    """A figure.

    Attributes:
        draw: the function that draws it, `module:function` of this folder; it is called with the tables and settings
            below and a `Look`, all by name.
        category, label: where and how the report lists it.
        tables: the function's argument → table below results/<study>/ and its contract below `tables/`.
        settings: the function's arguments that come from the study file.
        exact: further tables, where the study's replies can all be listed; else the arguments are None.
        section: of the documentation, which explains the figure.
        description: its caption in the report, without that link (`report.pages.page.caption`). A change of it
            creates this figure again, and no other.
        page: of the documentation, which has the section.
        of: the estimator whose table it draws, for figures of trade-offs: it is drawn where a study has that table.
    """

    draw: str
    category: str
    label: str
    tables: Mapping[str, tuple[str, str]]
    settings: tuple[str, ...] = ()
    exact: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    section: str = field(kw_only=True)
    description: str = field(kw_only=True)
    page: str = field(default="results.md", kw_only=True)
    of: str = field(default="", kw_only=True)

    @property
    def details(self) -> str:
        """The page that explains the figure, and its section."""
        return f"docs/{self.page}, section {self.section}"

    @property
    def module(self) -> str:
        """Dotted name of the module that draws it, for code fingerprints."""
        return f"alignment_limits.report.figures.{self.draw.partition(':')[0]}"
