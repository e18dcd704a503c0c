"""The figures of several golds and of other divergences. `tradeoffs_entries` lists them with the others."""

from __future__ import annotations

from alignment_limits.report.figures.entry import TRADEOFFS, Entry

PAGE = "tradeoffs.md"

FIGURES = {
    "pareto_front": Entry(
        "golds:pareto_front",
        TRADEOFFS,
        "several golds: Pareto front",
        {"table": ("tradeoffs/golds.parquet", "golds:GOLDS")},
        section="Several golds",
        description=(
            "**Largest gains in two golds at once.** Each line is the Pareto front within one KL: a policy that gains "
            "more in one gold gains less in the other. Its points are tilts by weighted sums of the two golds. Circles "
            "are best-of-n by the same weighted sums. Bars are 95% intervals of each gain. Dashed means not reliable. "
            "With three golds or more, each panel has weights on its two golds only."
        ),
        page=PAGE,
        of="golds",
    ),
    "compromises": Entry(
        "golds:compromises",
        TRADEOFFS,
        "several golds: constraint and worst case",
        {"table": ("tradeoffs/compromises.parquet", "golds:COMPROMISES")},
        section="A constraint, and the worst of several golds",
        description=(
            "**What a compromise leaves.** The largest gain at each KL if another reward may change by a given amount "
            "at most (in base-model s.d.), next to the limit without this constraint. Also: the largest gain that one "
            "policy can have in every gold, next to each gold's limit. A line ends where no policy within the KL keeps "
            "the constraint. Bands are 95% intervals. Dashed means not reliable."
        ),
        page=PAGE,
        of="compromises",
    ),
    "divergences": Entry(
        "divergences:divergences",
        TRADEOFFS,
        "other divergences than KL",
        {"table": ("tradeoffs/divergences.parquet", "golds:DIVERGENCES")},
        section="Other divergences",
        description=(
            "**The limit in other divergences than KL.** Lines are the largest gain in gold (``{gold}``) within a "
            "budget of each divergence, on average over prompts (black) or for every prompt (blue). Circles are "
            "best-of-n at what it spends without ties. Bands and bars are 95% intervals. Dashed means not reliable; a "
            "short bar then marks what the limit is at least."
        ),
        page=PAGE,
        of="divergences",
    ),
}
