"""Verdicts on claims of a paper: each holds, holds partly, does not hold, or cannot be decided.

The paper is "Theoretical Limits of Language Model Alignment" (arXiv 2605.07105); the thresholds are our choice.

Every rule compares 95% intervals, never point estimates, and uses reliable rows only; it is printed with its verdict.
Differences and ratios get the widest interval that their parts allow, so a verdict errs towards "cannot be decided".

The last claim, over-optimisation, is from Gao et al. (arXiv 2210.10760) and HedgeTune (arXiv 2506.19248).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from alignment_limits.limits.onset import OPPOSED, OVER
from alignment_limits.report import tradeoffs
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.headline import answers, headline, labelled, spearman
from alignment_limits.report.numbers import (
    Estimate,
    at_kl,
    best_of,
    estimate,
    fixed_beta,
    interval,
    number,
    peak,
    reference_kl,
    say_kl,
)
from alignment_limits.report.own_units import in_raw_units
from alignment_limits.tables.standardised import scales_of

HOLDS, PARTLY, FAILS, UNKNOWN = "holds", "holds partly", "does not hold", "cannot be decided"
NEAR = 0.85  # share of the limit called "near": Gaussian rewards give 0.91–0.94, exponential 0.66–0.78
PAIRS = 3  # fewest pairs of proxies that must differ significantly before a trend in error is claimed
EXACT = 1e-9  # relative error of an identity that holds exactly in float64
CLOSE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """A claim, one of the four verdicts, what the study found, the rule that led to the verdict.

    Attributes:
        cases: numbers of single cases, one text each.
    """

    claim: str
    verdict: str
    sentence: str
    rule: str
    cases: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence and the cases."""
        return " ".join([self.sentence, *(f"{case}." for case in self.cases)])


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        numbers: the table `headline`.
        answers: the report's questions, and the sentences that answer them.
        verdicts: on the claims.
    """

    numbers: pl.DataFrame
    answers: list[tuple[str, str]]
    verdicts: list[Verdict]


def findings(
    tables: Mapping[str, pl.DataFrame],
    summary: pl.DataFrame | None,
    *,
    gold: str,
    proxies: Sequence[str],
    members: Mapping[str, Sequence[str]],
    raw: bool = False,
) -> Findings:
    """Headline numbers, answers and verdicts.

    Args:
        tables: `frontier`, `best_of_n`, `over_optimisation`, `scales`, `standardised`; where made, `tempered` and
            those of trade-offs.
        summary: per prompt what the samples look like; None if only their scores are known.
        members: of the ensembles, by name.
        raw: whether numbers and answers are in the rewards' own units. Verdicts do not depend on units.
    """
    curves, turns, scales = (tables["frontier"], tables["best_of_n"]), tables["over_optimisation"], tables["scales"]
    agreement = within_prompt_spearman(tables["standardised"], gold, [*proxies, *members])
    more: dict[str, Any] = {"gold": gold, "proxies": proxies, "tempered": tables.get("tempered")}
    numbers = headline(*curves, turns, agreement, scales, summary, ensembles=list(members), **more)
    numbers = pl.concat([numbers, labelled(tables["standardised"], [gold, *proxies])])
    own = scales_of(scales) if raw else None
    numbers = numbers if own is None else in_raw_units(numbers, own, gold)
    scale = scales.filter(pl.col("reward") == gold)["scale"]
    answered = answers(*curves, float(scale[0]) if len(scale) else math.nan, raw=raw, **more)
    answered += tradeoffs.answers(tables, gold, own)
    verdicts = claims(*curves, agreement, gold=gold, proxies=proxies, members=members)
    return Findings(numbers, answered, [*verdicts, turns_down(turns, proxies)])


def judge(for_it: int, against: int, cases: int) -> str:
    """Verdict on "in every case": all significantly for it; some; none, and one against; or nothing significant."""
    if cases and for_it == cases:
        return HOLDS
    if for_it:
        return PARTLY
    return FAILS if against else UNKNOWN


def claims(
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    agreement: pl.DataFrame,
    *,
    gold: str,
    proxies: Sequence[str],
    members: Mapping[str, Sequence[str]],
) -> list[Verdict]:
    """All verdicts, in the paper's order.

    Args:
        agreement: from `within_prompt_spearman`.
        members: rewards of each ensemble.
    """
    return [
        identity(frontier),
        near_the_limit(best_of_n, gold),
        grows_with_error(frontier, agreement, gold, proxies),
        grows_with_inverse_beta(frontier, gold, proxies),
        ensembles_shrink(frontier, gold, members),
    ]


def identity(frontier: pl.DataFrame) -> Verdict:
    """gain = β·(KL + reverse KL) on every row at fixed β of a reward evaluated on itself, average budget."""
    rows = frontier.filter(
        (pl.col("at") == "beta") & (pl.col("budget") == "average") & (pl.col("optimized") == pl.col("evaluated"))
    ).filter(pl.all_horizontal(pl.col("gain", "beta", "kl", "kl_reverse").is_finite()))
    error = (pl.col("gain") - pl.col("beta") * (pl.col("kl") + pl.col("kl_reverse"))).abs()
    worst = rows.select((error / pl.max_horizontal(pl.col("gain").abs(), 1e-3)).max()).item()
    verdict = UNKNOWN if worst is None else HOLDS if worst <= EXACT else PARTLY if worst <= CLOSE else FAILS
    sentence = (
        "The table has no tilt."
        if worst is None
        else f"Over {rows.height} tilts of {rows['optimized'].n_unique()} rewards, the gain differs from β times the "
        f"Jeffreys divergence by at most {worst:.1e} of the gain. This is an identity of the weighted sample. It "
        "checks the program, not the model."
    )
    return Verdict(
        "The gain is β times the Jeffreys divergence, exactly in sample",
        verdict,
        sentence,
        f"The claim holds if the largest relative error is at most {EXACT:g}, and partly if it is at most {CLOSE:g}. "
        "The gain and both KLs have one common correction factor, which cancels",
    )


def near_the_limit(best_of_n: pl.DataFrame, gold: str) -> Verdict:
    """Best-of-n's share of the limit at its own KL against `NEAR`, over all reliable n ≥ 2."""
    found = {b: _shares(best_of_n, gold, b) for b in ("average", "per-prompt")}
    verdicts = {b: _near(s) for b, s in found.items()}
    verdict = _both(verdicts["average"], verdicts["per-prompt"], known=bool(found["per-prompt"]))
    sentence = " ".join(filter(None, (_open_shares(b, s) for b, s in found.items())))
    undecided = [b for b, each in verdicts.items() if each == UNKNOWN]
    if verdict == PARTLY and undecided:
        sentence += f" The claim could not be decided for the {undecided[0]} budget, only for the other."
    first = f"Best-of-n is near the limit if it reaches at least {NEAR:.0%} of it."
    return Verdict(
        "Best-of-n comes near the limit",
        verdict,
        f"{first} {sentence}".strip(),
        f"Best-of-n is near at an n if the interval of its share is at or above {NEAR:g}, and far if the interval is "
        "below. The claim holds if all n are near on the average budget. It holds partly if some n is near on either "
        "budget; best-of-n spends the same KL on every prompt, so the per-prompt limit is the closer comparison. It "
        "does not hold if, on both budgets, no n is near and some n is far",
        tuple(_say_shares(b, s) for b, s in found.items() if s),
    )


def _shares(table: pl.DataFrame, gold: str, budget: str) -> dict[int, Estimate]:
    rows = best_of(table, gold, gold, budget).iter_rows(named=True)
    found = {int(r["n"]): estimate(r, "efficiency") for r in rows}
    return {n: e for n, e in found.items() if e.bounded}


def _both(average: str, per_prompt: str, *, known: bool) -> str:
    """The verdict over both budgets; `known` is whether the per-prompt budget has any share at all."""
    if average == HOLDS:
        return HOLDS
    if average == PARTLY or per_prompt in (HOLDS, PARTLY):
        return PARTLY
    return FAILS if average == FAILS and (per_prompt == FAILS or not known) else UNKNOWN


def _near(shares: Mapping[int, Estimate]) -> str:
    near = sum(e.low >= NEAR for e in shares.values())
    return judge(near, sum(e.high < NEAR for e in shares.values()), len(shares))


def _open_shares(budget: str, shares: Mapping[int, Estimate]) -> str:
    """What is not known of a budget's shares, as sentences."""
    if not shares:
        return f"No n has a reliable share of the limit of the {budget} budget."
    open_at = ", ".join(str(n) for n, e in shares.items() if e.low < NEAR <= e.high)
    return f"On the {budget} budget, near or far could not be decided at n = {open_at}." if open_at else ""


def _say_shares(budget: str, shares: Mapping[int, Estimate]) -> str:
    parts = ", ".join(f"{interval(e)} at n = {n}" for n, e in shares.items())
    return f"Share of the limit of the {budget} budget: {parts}"


def grows_with_error(frontier: pl.DataFrame, agreement: pl.DataFrame, gold: str, proxies: Sequence[str]) -> Verdict:
    """Over pairs of proxies that differ significantly in error: does the worse one lose significantly more gold?"""
    kl = reference_kl(frontier, gold)
    known = {p: (spearman(agreement, p), at_kl(frontier, p, gold, kl)) for p in proxies}
    known = {p: (rho, gain) for p, (rho, gain) in known.items() if rho.bounded and gain.bounded}
    signs = [_concordant(known[a], known[b]) for a, b in itertools.combinations(known, 2)]
    more, less = signs.count(1), signs.count(-1)
    known_verdict = HOLDS if not less else PARTLY if more > less else FAILS
    verdict = known_verdict if more + less >= PAIRS else UNKNOWN
    ranked = sorted(known, key=lambda p: -known[p][0].value)
    at = say_kl(kl)
    sentence = (
        f"{more + less} of {math.comb(len(proxies), 2)} pairs of proxies {_verb('differ', more + less)} significantly "
        f"both in error and in gold at {at}. The worse proxy loses more in {more} of these pairs, and less in {less}."
    )
    return Verdict(
        "What a proxy loses grows with its error",
        verdict,
        sentence,
        "The error of a proxy is 1 minus its within-prompt rank correlation with gold (Spearman). Its loss is the gold "
        f"that it lacks at {at}, compared with optimising gold. A pair counts if the intervals of both are disjoint. "
        f"The claim needs at least {PAIRS} such pairs, else it cannot be decided. It holds if the worse proxy loses "
        "more in all of them, partly if in most of them, and otherwise does not hold",
        tuple(f"{p}: correlation {number(known[p][0].value)}, gain in gold {interval(known[p][1])}" for p in ranked),
    )


def _concordant(a: tuple[Estimate, Estimate], b: tuple[Estimate, Estimate]) -> int:
    """1: the proxy that agrees significantly less with gold gains significantly less; −1: more; 0: not significant."""
    return _apart(a[0], b[0]) * _apart(a[1], b[1])


def _apart(a: Estimate, b: Estimate) -> int:
    return (a.low > b.high) - (a.high < b.low)


def grows_with_inverse_beta(frontier: pl.DataFrame, gold: str, proxies: Sequence[str]) -> Verdict:
    """Loss in gain − β·KL under a proxy's tilt: larger at the strongest tilt than at the weakest?"""
    losses = {p: loss_by_beta(frontier, gold, p) for p in proxies}
    ends = {p: (x[0], x[-1]) for p, x in losses.items() if len(x) > 1}
    more = sum(_apart(last[1], first[1]) == 1 for first, last in ends.values())
    less = sum(_apart(last[1], first[1]) == -1 for first, last in ends.values())
    return Verdict(
        "What a proxy loses grows with 1/β",
        verdict=judge(more, less, len(proxies)),
        sentence=f"The loss grows significantly as β falls for {more} of {len(proxies)} proxies.",
        rule="The loss is the ideal's gain − β·KL minus that of the proxy's tilt, both in gold. The loss grows if the "
        "intervals at the weakest and at the strongest reliable tilt are disjoint and the second is higher. The claim "
        "holds if this is so for all proxies, and partly if for some. It does not hold if the loss grows for none and "
        "falls for one",
        cases=tuple(
            f"{p}: {interval(first[1])} at β = {first[0]:g}, {interval(last[1])} at β = {last[0]:g}"
            for p, (first, last) in ends.items()
        ),
    )


def loss_by_beta(frontier: pl.DataFrame, gold: str, proxy: str) -> list[tuple[float, Estimate]]:
    """(β, regularised loss in base s.d. of gold) from the weakest reliable tilt to the strongest."""
    ideal = {r["beta"]: r for r in fixed_beta(frontier, gold, gold).iter_rows(named=True)}
    out = []
    for row in fixed_beta(frontier, proxy, gold).iter_rows(named=True):
        beta = row["beta"]
        if beta in ideal:
            loss = _objective(ideal[beta], beta) - _objective(row, beta)
            if loss.bounded:
                out.append((float(beta), loss))
    return out


def _objective(row: dict[str, object], beta: float) -> Estimate:
    return estimate(row, "gain") - estimate(row, "kl").times(beta)


def ensembles_shrink(frontier: pl.DataFrame, gold: str, members: Mapping[str, Sequence[str]]) -> Verdict:
    """Gold at the reference KL under each ensemble against its members' mean, and against its best member."""
    kl = reference_kl(frontier, gold)
    at = say_kl(kl)
    better = worse = best = 0
    parts = []
    for name, rewards in members.items():
        gain = at_kl(frontier, name, gold, kl)
        each = [at_kl(frontier, r, gold, kl) for r in rewards]
        if not gain.bounded or not each or not all(e.bounded for e in each):
            continue
        low, mid, high = (math.fsum(getattr(e, k) for e in each) / len(each) for k in ("low", "value", "high"))
        better += gain.low > high
        worse += gain.high < low
        best += gain.low > max(e.high for e in each)
        parts.append(f"{name}: {interval(gain)}, members' mean {interval(Estimate(mid, low, high, True, ''))}")
    sentence = (
        f"{better} of {len(members)} ensembles {_verb('keep', better)} significantly more gold at {at} than the mean "
        f"of the members, and {worse} {_verb('keep', worse)} significantly less. {best} significantly "
        f"{_verb('beat', best)} the best member."
    )
    return Verdict(
        "Ensembles shrink the loss",
        judge(better, worse, len(members)),
        sentence,
        f"An ensemble's gold at {at} is compared with the mean of its members' gold; the intervals must be disjoint. "
        "The claim holds if all ensembles are better, and partly if some are. It does not hold if none is better and "
        "one is worse",
        tuple(parts),
    )


def _verb(verb: str, subjects: int) -> str:
    """The verb for so many subjects."""
    return f"{verb}s" if subjects == 1 else verb


PATHS = {"tilt": ("the tilt", "nats"), "best-of-n": ("best-of-n", "draws")}


def turns_down(over_optimisation: pl.DataFrame, proxies: Sequence[str]) -> Verdict:
    """Does gold first rise and then fall significantly, on either path, as each proxy is optimised harder?

    That it does not cannot be shown: the samples reach only so far, and gold may fall beyond. A proxy under which
    gold falls from the start is opposed to gold, which is another finding.

    Args:
        over_optimisation: `limits/over_optimisation.parquet`.
    """
    rows = over_optimisation.filter(pl.col("optimized").is_in(list(proxies)))
    turned = set(_with(OVER, rows)["optimized"])
    opposed = sorted(set(_with(OPPOSED, rows)["optimized"]) - turned)
    first = f"For {len(turned)} of {len(proxies)} proxies, gold rises significantly and then falls significantly."
    are = "is" if len(opposed) == 1 else "are"
    against = (
        f"{', '.join(opposed)} {are} opposed to gold: gold falls from the start, which does not count as "
        "over-optimisation."
    )
    beyond = "Beyond that range of optimisation these samples show nothing."
    return Verdict(
        "Optimised strongly enough, a proxy takes gold down again (Gao et al., arXiv 2210.10760)",
        judge(len(turned), 0, len(proxies)),
        " ".join(part for part in (first, against if opposed else "", beyond) if part),
        "Gold turns if it rises significantly to a peak and then falls significantly to the end of the reliable range: "
        "both intervals exclude 0. If gold ends significantly below the base without such a rise, the proxy is opposed "
        "to gold, which does not count. The claim holds if all proxies turn, and partly if some do. If none does, it "
        "cannot be decided, because gold may turn where these samples do not reach. Gao et al. found the effect for "
        "trained policies and one family of reward models, which is not repeated here",
        tuple(filter(None, [*(_say(path, rows.filter(pl.col("path") == path)) for path in PATHS), _forms(rows)])),
    )


def _with(finding: str, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("finding") == finding)


def _say(path: str, rows: pl.DataFrame) -> str:
    words, unit = PATHS[path]
    names = _with(OVER, rows)["optimized"].to_list()
    peaks = {name: peak(rows, name, path) for name in names}
    listed = "; ".join(f"{n} from {interval(e)} {unit}" if e.known else f"{n} ({e.reason})" for n, e in peaks.items())
    ends = rows.filter(pl.col("end").is_finite())["end"].to_list()
    if not ends:
        return f"Along {words}, no proxy has a reliable range"
    low, high = f"{min(ends):.2g}", f"{max(ends):.2g}"
    reach = f"up to {low} {unit}" if low == high else f"up to {low} to {high} {unit}"
    return f"Along {words}, reliable {reach}, gold falls for {listed or 'no proxy'}"


def _forms(rows: pl.DataFrame) -> str:
    """How many paths along best-of-n the form d(alpha - beta d) describes, and bends downwards."""
    rows = rows.filter(pl.col("path") == "best-of-n")
    fits = rows.filter("fit_reliable")
    if not rows.height:
        return ""
    bent = fits.filter(pl.col("beta_low") > 0).height
    return (
        f"The form of Gao et al., d(α − β·d) with d = √KL, fits best-of-n for {fits.height} of {rows.height} proxies "
        f"(misfit at most 5% of the largest gain); β is significantly positive for {bent} of these. A positive β means "
        "that gains flatten, which alone is no turn"
    )
