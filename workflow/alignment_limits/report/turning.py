"""What the study says about over-optimisation, a claim of Gao et al. (2210.10760) and of HedgeTune (2506.19248)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from alignment_limits.report.claims import Verdict, judge
from alignment_limits.report.lookup import peak
from alignment_limits.report.text import interval

PATHS = {"tilt": ("tilted ever harder", "nats"), "best-of-n": ("along best-of-n", "draws")}


def turns_down(over_optimisation: pl.DataFrame, proxies: Sequence[str]) -> Verdict:
    """Does gold surely fall again, on either path, as each proxy is optimised harder?

    That it does not cannot be shown: the samples reach only so far, and a fall may lie beyond.

    Args:
        over_optimisation: `limits/over_optimisation.parquet`.
    """
    rows = over_optimisation.filter(pl.col("optimized").is_in(list(proxies)))
    turned = rows.filter(pl.col("drop_low") > 0)["optimized"].n_unique()
    first = f"Of {len(proxies)} proxies, {turned} surely take gold down on one path or both."
    paths = [_say(path, rows.filter(pl.col("path") == path)) for path in PATHS]
    return Verdict(
        "Optimised hard enough, a proxy takes gold down again (Gao et al., arXiv 2210.10760)",
        judge(turned, 0, len(proxies)),
        " ".join([first, *paths, _forms(rows)]).strip(),
        "gold turns when the interval of its fall from the peak to the path's reliable end excludes 0. All "
        "proxies turn: holds; some: partly; none: cannot be told, for gold may turn where these samples do not "
        "reach. Gao et al. saw it for trained policies and one family of reward models; that is not repeated here",
    )


def _say(path: str, rows: pl.DataFrame) -> str:
    words, unit = PATHS[path]
    names = rows.filter(pl.col("drop_low") > 0)["optimized"].to_list()
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
        f"most 5% of the largest gain), with β surely positive for {bent}: gains that flatten, which alone is no turn."
    )
