"""All figures of the workflow in one table: what draws each, from which tables, where and how the report shows it.

A new figure is a function in a module of this folder, and an entry here; those of trade-offs are in
`tradeoffs_entries`. `table` draws them.
"""

from __future__ import annotations

from alignment_limits.report.figures import tradeoffs_entries
from alignment_limits.report.figures.entry import EXACT, LEARNING, LIMITS, POLICIES, PROXIES, REWARDS, Entry

_FRONTIER = ("limits/frontier.parquet", "estimates:FRONTIER")
_BEST_OF_N = ("limits/best_of_n.parquet", "estimates:BEST_OF_N")
_OVER_OPTIMISATION = ("limits/over_optimisation.parquet", "estimates:OVER_OPTIMISATION")
_POLICIES = ("policies/policies.parquet", "schemas.limits:POLICIES")
_TARGETS = ("policies/targets.parquet", "schemas.limits:TARGETS")
_EXACT_FRONTIER = ("exact/frontier.parquet", "schemas.limits:EXACT_FRONTIER")
_EXACT_BEST_OF_N = ("exact/best_of_n.parquet", "schemas.limits:EXACT_BEST_OF_N")
_EXACT_POLICIES = ("exact/policies.parquet", "schemas.limits:EXACT_OF_POLICIES")
_EXACT_TARGETS = ("exact/targets.parquet", "schemas.limits:EXACT_TARGETS")
_SUMMARY = ("learning/summary.parquet", "schemas.limits:LEARNING_SUMMARY")
_NAMES = ("proxies", "ensembles")

FIGURES = {
    "frontier": Entry(
        "frontier:frontier",
        LIMITS,
        "KL-reward frontier and best-of-n",
        {"table": _FRONTIER, "best_of_n": _BEST_OF_N},
        section="Frontier",
        description=(
            "**The limit of reward at each KL, and best-of-n.** Gold is ``{gold}``; {source}. Lines are the largest "
            "gain: black limits the average KL, blue the KL of every prompt. Points are best-of-n, open ones "
            "predictions for more draws. Grey dots are √(2 KL). Below is best-of-n's share of the limit. Bands and "
            "bars are 95% intervals. Shaded or dashed parts are not reliable; thin bars there are bounds."
        ),
    ),
    "tempered": Entry(
        "methods:tempered",
        LIMITS,
        "tempered sampling: the limit at large KLs, and its cost",
        {"table": ("limits/tempered.parquet", "estimates:TEMPERED"), "frontier": _FRONTIER, "best_of_n": _BEST_OF_N},
        section="Tempered sampling",
        description=(
            "**Tempered sampling.** Above: the limit of ``{tempered}`` from replies drawn from the tilt (black, with "
            "95% intervals; blue limits the KL of every prompt) and from base samples (grey); points are best-of-n and "
            "the levels of tempered sampling. Below: the gain of their replies against the new tokens drawn for one "
            "reply. Dashed or hollow means not reliable; thin bars there are bounds."
        ),
    ),
    "win_rate": Entry(
        "methods:win_rate",
        LIMITS,
        "win rate of best-of-n and its relatives",
        {"table": _BEST_OF_N},
        _NAMES,
        section="Win rate",
        description=(
            "**How often the chosen reply wins against a base reply.** The judge is gold, ``{gold}``. First panel: "
            "best-of-n selected by gold (black), by each proxy and by each ensemble; dotted is the upper bound of any "
            "policy at that KL. Second panel: how far ways of choosing by gold stay below that bound; paler means a "
            "higher temperature. Bars are 95% intervals. Hollow points with dashed lines are not reliable."
        ),
    ),
    "gold_under_proxies": Entry(
        "rewards:gold_under_proxies",
        PROXIES,
        "gold reward when a proxy is optimised",
        {"table": _FRONTIER},
        _NAMES,
        section="Gold under proxies",
        description=(
            "**Gold reward when a proxy is optimised.** Gold is ``{gold}``. Each curve tilts the base model by one "
            "proxy or one ensemble and shows the gain in gold. Black is the limit, where gold itself is optimised. The"
            " distance to black is the cost of the wrong reward. A falling curve is over-optimisation. Bands are 95% "
            "intervals; two curves may differ although their bands overlap. Dashed, pale parts are not reliable."
        ),
    ),
    "over_optimisation_tilt": Entry(
        "over_optimisation:tilted",
        PROXIES,
        "over-optimisation by tilting",
        {"fits": _OVER_OPTIMISATION, "frontier": _FRONTIER},
        _NAMES,
        section="Over-optimisation",
        description=(
            "**Over-optimisation along the tilt.** Gain in gold (``{gold}``) against KL when the base model is tilted "
            "by a proxy or an ensemble. Points have 95% intervals. Lines are fits of the form of Gao et al. (2022), "
            'dashed and hollow where not reliable. A triangle marks the KL where gold starts to fall. "No peak up to '
            '1.3 nats" means that no significant fall was found in the range that these samples cover.'
        ),
    ),
    "over_optimisation_best_of_n": Entry(
        "over_optimisation:selected",
        PROXIES,
        "over-optimisation by best-of-n",
        {"fits": _OVER_OPTIMISATION, "best_of_n": _BEST_OF_N},
        _NAMES,
        section="Over-optimisation",
        description=(
            "**Over-optimisation by best-of-n.** Gain in gold (``{gold}``) against KL when a proxy or an ensemble "
            "selects the best of n replies. Points have 95% intervals. Lines are fits of the form of Gao et al. "
            '(2022). Hollow or dashed parts are not reliable. A triangle marks the n where gold starts to fall. "No '
            'peak up to 64 draws" means that no significant fall was found in the range that these samples cover.'
        ),
    ),
    "ensemble_gap": Entry(
        "rewards:ensemble_gap",
        PROXIES,
        "cost of a wrong reward against ensemble size",
        {"table": ("limits/ensembles.parquet", "estimates:ENSEMBLES")},
        ("beta",),
        section="Ensemble gap",
        description=(
            "**The cost of a wrong reward against the number of proxies combined.** The cost is the loss in gain minus"
            " β·KL, compared with optimising gold (``{gold}``) itself. Dots are means over subsets of that size; thin "
            "lines span the subsets. Hollow dots are not reliable. Dash-dotted is the prediction from the members' "
            "errors, valid for small errors. Dotted is the floor that the correlation of these errors leaves."
        ),
    ),
    "proxy_quality": Entry(
        "rewards:proxy_quality",
        PROXIES,
        "proxies of every quality, ensembles of every size",
        {
            "proxies": ("limits/proxies.parquet", "schemas.limits:PROXIES"),
            "ensembles": ("limits/proxy_ensembles.parquet", "schemas.limits:PROXY_ENSEMBLES"),
        },
        ("beta",),
        section="Proxy quality",
        description=(
            "**Proxies of different quality.** Proxies are trained on scores of gold (``{gold}``) for other prompts. "
            "Top: a proxy's error variance against its number of labels. Middle: its cost against its error, by β; "
            "dashed is error/(2β), which holds for small errors. Bottom: the cost of the mean of K proxies, by what "
            "its members share; dashed is the prediction, dotted its floor. Bands are 95% intervals. Hollow points are"
            " not reliable."
        ),
    ),
    "reward_distributions": Entry(
        "rewards:of_scores",
        REWARDS,
        "distributions of the rewards",
        {"scores": ("ensembles/standardised.parquet", "schemas.samples:STANDARDISED")},
        ("rewards",),
        section="Reward distributions",
        description=(
            "**Rewards on the base model's own samples.** One row per reward: a histogram of scores, centred for each "
            "prompt and divided by the within-prompt spread. The height is the square root of the density, so that "
            "tails are visible. Dotted is a standard normal. Ticks mark the 1%, 50% and 99% quantiles. The number is "
            "the rank correlation with gold (``{gold}``) within prompts. A spike means equal scores: selection cannot "
            "choose."
        ),
    ),
    "policies": Entry(
        "policies:policies",
        POLICIES,
        "policies and the limit of {evaluated}",
        {"table": _POLICIES, "frontier": _FRONTIER, "best_of_n": _BEST_OF_N},
        ("evaluated",),
        section="Policies",
        description=(
            "**Policies and the limit of one reward.** Gold is ``{gold}``; each trained reward has its figure. Top: "
            "gain against KL from the base model. Black is the limit, orange best-of-n. Policies of one objective and "
            "reward are joined. Bottom: gain as a share of the limit at the policy's own KL. Bars and the band are 95%"
            " intervals. Pale, hollow or dashed parts are not reliable; thin bars bound the limit there."
        ),
    ),
    "gap": Entry(
        "gaps:gap",
        POLICIES,
        "what the distance from the optimum is made of",
        {"table": ("policies/gap.parquet", "schemas.limits:GAP")},
        section="What a gap is made of",
        page="training.md",
        description=(
            "**Distance of trained policies from the tilt at their β**, in gain − β·KL, and its parts: on new prompts, "
            "what the network cannot express, what the objective's own optimum costs, what longer training would gain. "
            "The rest contains every part that is unknown. The mark is the total with its 95% interval. Pale: not "
            "reliable. Parts may be negative."
        ),
    ),
    "training_curves": Entry(
        "policies:training_curves",
        POLICIES,
        "training: {curve}",
        {"curves": ("", "schemas.samples:CURVES")},
        section="Training curves",
        description=(
            "**How policies were trained** by one method on one reward, one colour per KL coefficient. Top: mean "
            "reward of each step's replies and their KL from the base model. Bottom: their length and entropy. Pale "
            "lines are seeds. Full lines are the mean over seeds and over the last twentieth of the run. Dot: the run "
            "converged. Cross: it was cut short. The figures of policies show where training ended, with intervals."
        ),
    ),
    "targets": Entry(
        "targets:of_tables",
        POLICIES,
        "distance to the preferences' target",
        {"estimated": _TARGETS},
        exact={"exact": _EXACT_TARGETS},
        section="Distance to the target",
        description=(
            "**Distance of policies from the target of the preferences.** The target is the base model tilted by the "
            "reward behind the preferences (gold, ``{gold}``, if not set otherwise). Left: policies learned from "
            "pairs; points are seeds, lines their means. Right: policies learned without pairs. Dashed grey is the "
            "base model. Bars are 95% intervals; exact values have none. Hollow points are not reliable. Arrows are "
            "estimates below the axis."
        ),
    ),
    "target_plane": Entry(
        "targets:plane_of_tables",
        POLICIES,
        "the target, what is learned of it, and the limit",
        {"estimated": _TARGETS, "policies": _POLICIES, "frontier": _FRONTIER, "best_of_n": _BEST_OF_N},
        exact={
            "exact": _EXACT_TARGETS,
            "exact_policies": _EXACT_POLICIES,
            "exact_frontier": _EXACT_FRONTIER,
            "exact_best_of_n": _EXACT_BEST_OF_N,
        },
        section="Target plane",
        description=(
            "**Learned policies, their target and the limit.** Black is the limit: the largest gain at that KL, with "
            "its 95% band. The star is the target of the preferences: the base model tilted by the reward behind them "
            "(gold, ``{gold}``, if not set otherwise). Colours are objectives; markers are numbers of preference "
            "pairs; a cross is a policy learned without pairs. Orange is best-of-n. Bars are 95% intervals; exact "
            "values have none."
        ),
    ),
    "exact": Entry(
        "policies:exact",
        EXACT,
        "estimates and exact values",
        {"frontier": _EXACT_FRONTIER, "best_of_n": _EXACT_BEST_OF_N, "policies": _EXACT_POLICIES},
        ("evaluated",),
        section="Exact values",
        description=(
            "**Estimates and exact values for gold** (``{gold}``). All replies of this study's model are listed, so "
            "exact values are sums over them. Black line: the limit. Filled orange points: best-of-n. Other filled "
            "points: policies. All of these are exact for the study's own prompts. Hollow points are the estimates "
            "from samples, with 95% intervals that refer to all prompts of the source."
        ),
    ),
    "learning_rates": Entry(
        "learning:learning_rates",
        LEARNING,
        "distance to the target against pairs",
        {"summary": _SUMMARY},
        ("objectives",),
        section="Learning rates",
        description=(
            "**Distance of learned policies from their target, against the number of preference pairs.** Means over "
            "seeds, with 95% intervals. Left: no regularisation; dotted is the predicted rate c/n; in the shaded range"
            " the pairs of some seed determine no policy. Right: the coefficient β is chosen for each n, by an oracle "
            "(solid) or on held-out pairs (dotted). Dashed grey is the base model. Infinite means are left out."
        ),
    ),
    "learning_floors": Entry(
        "learning:learning_floors",
        LEARNING,
        "floors at fixed coefficients",
        {"summary": _SUMMARY, "slopes": ("learning/slopes.parquet", "schemas.limits:SLOPES")},
        ("objectives",),
        section="Learning floors",
        description=(
            "**With a fixed coefficient β, more data lead to the population's minimiser.** Distance KL(target‖policy) "
            "against the number of pairs, one panel for each β; means over seeds with 95% intervals. Dotted: the exact"
            " distance of each objective's population minimiser. Dashed grey: the base model. The meaning of β differs"
            " between objectives, so compare each curve with its own dotted line. DPO is missing where no β keeps it "
            "finite."
        ),
    ),
    "learning_settings": Entry(
        "learning:learning_settings",
        LEARNING,
        "distance to the target setting by setting",
        {"summary": _SUMMARY},
        ("objectives",),
        section="Learning settings",
        description=(
            "**What departures from the preference model cost each objective.** Distance KL(target‖policy) at the "
            "largest n against the level of each departure; means over seeds with 95% intervals. Solid: β chosen on "
            "held-out pairs with the same departure. Dotted: β of an oracle that knows the target. Dashed grey: the "
            "base model. A point is missing where the distance of some seed's policy is infinite. Levels of different "
            "departures are not comparable."
        ),
    ),
    "gamma": Entry(
        "learning:gamma_estimates",
        LEARNING,
        "gamma estimated from preferences",
        {"table": ("learning/gamma.parquet", "schemas.limits:GAMMA")},
        ("truth",),
        section="Gamma",
        description=(
            "**γ estimated from preferences.** γ is the weight of the base model's log-probability ratio in the "
            "preference model. Left: medians over seeds of the estimate and its 95% interval; dotted is the true γ. "
            "Right: the share of intervals that contain it. Colours are numbers of reward features. Where a reward is "
            "free for every response, γ is not identified and nothing is drawn. Too few features bias γ without a "
            "warning."
        ),
    ),
    **tradeoffs_entries.FIGURES,
}
