"""What the study says about over-optimisation, a claim of Gao et al. (2210.10760) and of HedgeTune (2506.19248)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from alignment_limits.limits.findings import OPPOSED, OVER
from alignment_limits.report.claims import Verdict, judge
from alignment_limits.report.lookup import peak
from alignment_limits.report.text import interval

PATHS = {"tilt": ("tilted ever harder", "nats"), "best-of-n": ("along best-of-n", "draws")}


def turns_down(over_optimisation: pl.DataFrame, proxies: Sequence[str]) -> Verdict:
    """Does gold first rise and then fall significantly, on either path, as each proxy is optimised harder?

    That it does not cannot be shown: the samples reach only so far, and a fall may lie beyond. A proxy under which
    gold falls from the start is opposed to gold: that is another finding, and counted by itself.

    Args:
        over_optimisation: `limits/over_optimisation.parquet`.
    """
    rows = over_optimisation.filter(pl.col("optimized").is_in(list(proxies)))
    turned = set(_with(OVER, rows)["optimized"])
    opposed = sorted(set(_with(OPPOSED, rows)["optimized"]) - turned)
    first = (
        f"Of {len(proxies)} proxies, {len(turned)} significantly raise gold and then take it down, on one path or both."
    )
    are = "is" if len(opposed) == 1 else "are"
    against = f"{', '.join(opposed)} {are} opposed to gold: it falls from the start, which is no over-optimisation."
    paths = [_say(path, rows.filter(pl.col("path") == path)) for path in PATHS]
    return Verdict(
        "Optimised hard enough, a proxy takes gold down again (Gao et al., arXiv 2210.10760)",
        judge(len(turned), 0, len(proxies)),
        " ".join(part for part in (first, against if opposed else "", *paths, _forms(rows)) if part),
        "gold turns when the intervals of its rise to the peak and of its fall from there to the path's reliable end "
        "both exclude 0; where it ends significantly below the base without such a rise, the proxy is opposed to "
        "gold, which does not count. All proxies turn: holds; some: partly; none: cannot be told, for gold may turn "
        "where these samples do not reach. Gao et al. saw it for trained policies and one family of reward models; "
        "that is not repeated here",
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
        return f"{words.capitalize()}, no path could be judged."
    low, high = f"{min(ends):.2g}", f"{max(ends):.2g}"
    reach = f"to {low} {unit}" if low == high else f"to between {low} and {high} {unit}"
    return f"{words.capitalize()} ({reach}), gold falls for {listed or 'none'}."


def _forms(rows: pl.DataFrame) -> str:
    """How many paths along best-of-n the form d(alpha - beta d) describes, and bends downwards."""
    rows = rows.filter(pl.col("path") == "best-of-n")
    fits = rows.filter("fit_reliable")
    if not rows.height:
        return ""
    bent = fits.filter(pl.col("beta_low") > 0).height
    return (
        f"Their form d(α − β·d), d = √KL, describes best-of-n by {fits.height} of {rows.height} proxies (misfit at "
        f"most 5% of the largest gain), with β significantly positive for {bent}: gains that flatten, which alone is "
        "no turn."
    )
