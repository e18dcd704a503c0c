"""The figures of trade-offs: what else changes, what it costs, several goals at once. `entries` lists them with all."""

from __future__ import annotations

from alignment_limits.report.figures import golds_entries
from alignment_limits.report.figures.entry import TRADEOFFS, Entry

PAGE = "tradeoffs.md"

FIGURES = {
    "side_effects": Entry(
        "tradeoffs:side_effects",
        TRADEOFFS,
        "side effects: what else changes",
        {"table": ("tradeoffs/side_effects.parquet", "tradeoffs:SIDE_EFFECTS")},
        ("proxies",),
        section="Side effects",
        description=(
            "**What else changes as a reward is optimised.** Each panel shows how the mean of one column differs from "
            "the base model. Lines are tilts by gold (``{gold}``, black) and by each proxy. Circles are best-of-n by "
            "gold; squares are policies, if there are any. Without length and the like, panels show the other rewards "
            "as gold is optimised. Bands and bars are 95% intervals. Dashed or pale means not reliable."
        ),
        page=PAGE,
        of="side_effects",
    ),
    "closed_policies": Entry(
        "costs:closed_policies",
        TRADEOFFS,
        "policies without log-probabilities",
        {
            "table": ("tradeoffs/closed_policies.parquet", "tradeoffs:CLOSED_POLICIES"),
            "frontier": ("limits/frontier.parquet", "estimates:FRONTIER"),
        },
        section="Policies without log-probabilities",
        description=(
            "**Policies without log-probabilities.** Black: the limit of gold (``{gold}``) with its 95% interval. "
            "Squares: the gain of each policy, at the lower confidence bound (97.5%) of its KL. The bound is from "
            "scores of its replies and of the base's. The KL may be larger, so an arrow points to the right. Pale "
            "means not reliable."
        ),
        page=PAGE,
        of="closed_policies",
    ),
    "label_noise": Entry(
        "costs:label_noise",
        TRADEOFFS,
        "label noise: what repeated judgements show",
        {"table": ("tradeoffs/label_noise.parquet", "tradeoffs:LABEL_NOISE")},
        section="A noisy gold reward",
        description=(
            "**A noisy gold reward.** The same replies were judged repeatedly. Open circles: the gain of best-of-n as "
            "the judgements that chose the reply see it. Filled circles: the gain without noise, seen by a judgement "
            "that did not choose. Black: the limit of the reward without noise, with its 95% interval; dashed where it "
            "is not reliable. Grey: its bounds."
        ),
        page=PAGE,
        of="label_noise",
    ),
    "cost": Entry(
        "costs:cost",
        TRADEOFFS,
        "cost: reward for draws and tokens",
        {"table": ("tradeoffs/cost.parquet", "tradeoffs:COST")},
        section="What a reward costs",
        description=(
            "**What a reward costs.** Top: gain in gold (``{gold}``) against the mean cost of a reply, for three rules "
            "that choose by gold. Two are learned from one half of the samples and judged on the other. Bottom: "
            "best-of-n's share of the limit, and its losses: it is not the tilt, and n is the same for all prompts. "
            "Hollow or hatched means not reliable."
        ),
        page=PAGE,
        of="cost",
    ),
    "length_control": Entry(
        "tradeoffs_length:length_control",
        TRADEOFFS,
        "the limit with length held fixed",
        {"table": ("tradeoffs/length_control.parquet", "tradeoffs:LENGTH_CONTROL")},
        ("proxies",),
        section="Length held fixed",
        description=(
            "**How much of the gain comes with length.** Top: the largest gain in gold (``{gold}``) at each KL (black),"
            " and the largest gain of policies whose mean length is that of the base model (grey). Bottom: the share of"
            " each reward's own gain that its regression on length, within prompts, predicts from the change of "
            "length. Bands are 95% intervals. Dashed, pale parts are not reliable."
        ),
        page=PAGE,
        of="length_control",
    ),
    "verifiable": Entry(
        "verifiable:verifiable",
        TRADEOFFS,
        "verifiable rewards: pass rate and KL",
        {"table": ("tradeoffs/verifiable.parquet", "tradeoffs:VERIFIABLE")},
        ("proxies",),
        section="Verifiable rewards",
        description=(
            "**How many replies pass, for how much KL.** Lines: the largest pass rate, with one temperature for all "
            "prompts (black) or the same KL for each (blue); dashed where prompts without a success leave it open. "
            "Band: 95% interval. Points: one of k = 2, 4, … replies is chosen by the reward itself (pass@k), by vote "
            "or by another reward. Pale: not reliable, or at most this KL."
        ),
        page=PAGE,
        of="verifiable",
    ),
    **golds_entries.FIGURES,
}
