"""Tables and figure of the coverage study, from the files that benchmarks/limits_coverage.py writes.

    python benchmarks/limits_coverage_report.py

writes docs/figures/coverage.png and the tables between the marks of docs/coverage.md, for each group of worlds whose
files exist.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.limits.worlds import MIXTURES, WORLDS

LEAST, MOST = 0.93, 0.97  # the coverage that we ask of 95 % intervals
FEWEST = 100  # reliable intervals below which no coverage is given
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
SIZES = ("64 x 64", "512 x 64", "128 x 256", "256 x 256", "64 x 1024", "512 x 1024")
LIMITS = ("limit", "limit, per prompt")
ROWS = (*LIMITS, "gain at beta", "KL at beta", "best-of-n", "best-of-n / limit", "gap", "gold under proxy")
CELL = ("world", "row", "size")
CORRECTIONS = {"estimate": "corrected", "plugin": "plug-in", "two_level": "2F − H", "jackknife": "jackknife"}
REASONS = {
    "ESS": r"effective sample size [#\s]+\(",
    "quarters cannot show this KL": "too near the ceiling|beyond the largest KL|of quarters",
    "heavy tail": "heavy upper tail",
    "few prompts": "only # prompts|only # of|independent clusters",
    "Pareto k": "Pareto k",
    "M < 16 n": "samples per prompt for",
    "few prompts carry it": "prompts carry this",
    "ratio of the decrements": "too few to correct",
    "fixed β: ESS of quarters": "quarters are too few at",
    "correction too uncertain": "too uncertain",
}
MARKS = ("<!-- coverage: begin -->", "<!-- coverage: end -->")
MIXED_MARKS = ("<!-- mixtures: begin -->", "<!-- mixtures: end -->")
MIXED_SIZES = ("64 x 64", "256 x 64")
MIXED_ROWS = (*LIMITS, "gain at beta", "KL at beta", "best-of-n", "best-of-n / limit", "best-of-n / limit, per prompt")


def read(
    folder: Path,
    worlds: Sequence[str] = tuple(WORLDS),
    sizes: Sequence[str] = SIZES,
    kinds: Sequence[str] = ROWS,
) -> pl.DataFrame:
    """Every row of every study, with `hit`: whether its interval contains the truth."""
    tables = []
    for path in sorted(folder.glob("*/*.parquet")):
        world, size = path.stem.split("-")
        named = pl.read_parquet(path).with_columns(world=pl.lit(world), size=pl.lit(size.replace("x", " x ")))
        tables.append(named)
    hit = (pl.col("low") <= pl.col("truth")) & (pl.col("truth") <= pl.col("high"))
    table = pl.concat(tables, how="diagonal_relaxed").with_columns(hit=hit)
    orders = (("world", worlds), ("size", sizes), ("row", kinds))
    return table.with_columns(pl.col(name).cast(pl.Enum(order)) for name, order in orders)


def coverage(table: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Per group: number of reliable intervals, their coverage with its standard error, share refused.

    Intervals of one study share its samples, so the error treats studies as clusters.
    """
    good = pl.col("reliable")
    counts = table.group_by(*by, "study").agg(rows=pl.len(), given=good.sum(), hits=(pl.col("hit") & good).sum())
    given, hits = pl.col("given"), pl.col("hits")
    share = hits.sum() / given.sum()
    error = ((hits - share * given) ** 2).sum().sqrt() / given.sum()
    refused = 1 - given.sum() / pl.col("rows").sum()
    return counts.group_by(*by).agg(given=given.sum(), coverage=share, error=error, refused=refused).sort(*by)


def biases(table: pl.DataFrame) -> pl.DataFrame:
    """Bias (% of the truth) of each limit and of the alternatives to its correction, with the standard error."""
    truth = pl.col("truth").first()
    means = [(100 * (pl.col(name).drop_nans().mean() / truth - 1)).alias(name) for name in CORRECTIONS]
    error = (100 * pl.col("estimate").drop_nans().std() / truth / pl.len().sqrt()).alias("error")
    given = pl.col("reliable").mean().alias("given")
    limits = table.filter(pl.col("row").is_in(LIMITS))
    return limits.group_by(*CELL, "point").agg(*means, error, given).sort(*CELL, "point")


def markdown(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    ruled = [header, ["---", *(["--:"] * (len(header) - 1))], *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in ruled)


def coverage_table(table: pl.DataFrame) -> str:
    """Coverage (%) of the reliable intervals of each world, row and size, with its standard error (share refused)."""
    cells = {}
    for r in coverage(table, *CELL).to_dicts():
        covered = f"{100 * r['coverage']:.1f} ± {100 * r['error']:.1f}" if r["given"] >= FEWEST else "–"
        cells[r["world"], r["row"], r["size"]] = f"{covered} ({100 * r['refused']:.0f})"
    lines = [[world, row, *(cells.get((world, row, size), "") for size in SIZES)] for world in WORLDS for row in ROWS]
    return markdown(["world", "row", *SIZES], lines)


def mixtures_table(table: pl.DataFrame) -> str:
    """Coverage (%) of the reliable intervals of worlds whose prompts differ, and of all intervals, refused ones too."""
    every = coverage(table.with_columns(reliable=pl.col("low").is_not_nan()), *CELL)
    reliable, shown = coverage(table, *CELL), {}
    for r, e in zip(reliable.to_dicts(), every.to_dicts(), strict=True):
        covered = f"{100 * r['coverage']:.1f} ± {100 * r['error']:.1f}" if r["given"] >= FEWEST else "–"
        shown[r["world"], r["row"], r["size"]] = f"{covered} ({100 * r['refused']:.0f}; {100 * e['coverage']:.1f})"
    sizes = [size for size in MIXED_SIZES if size in table["size"]]
    lines = [
        [world, row, *(shown.get((world, row, size), "") for size in sizes)]
        for world in table["world"].unique().sort()
        for row in MIXED_ROWS
        if any((world, row, size) in shown for size in sizes)
    ]
    return markdown(["world", "row", *sizes], lines)


def mixtures_verdict(table: pl.DataFrame) -> str:
    """Cells below the band, and what single rows cover."""
    cells = coverage(table, *CELL).filter(pl.col("given") >= FEWEST).filter(pl.col("coverage") < LEAST)
    seldom = coverage(table, *CELL).filter(pl.col("given") < FEWEST)
    few = int((seldom["coverage"].fill_nan(0) * seldom["given"]).sum().__round__())
    good = table.filter("reliable")
    lines = [
        f"- {len(good):,} of {len(table):,} intervals are reliable; {100 * good['hit'].mean():.1f} % of them cover.",
        f"- Cells with fewer than {FEWEST} reliable intervals (a dash in the table) contain "
        f"{int(seldom['given'].sum())} of them together; {few} of these cover.",
    ]
    for r in cells.sort("coverage").to_dicts():
        covered = f"{100 * r['coverage']:.1f} ± {100 * r['error']:.1f} % of {r['given']}"
        lines.append(f"  - below {100 * LEAST:.0f} %: {r['world']} {r['size']}, {r['row']}: {covered}")
    return "\n".join(lines)


def verdict(table: pl.DataFrame) -> str:
    """How many rows and cells are outside the band, which ones, and how many would be by chance."""
    points = coverage(table, *CELL, "point", "x")
    often, seldom = points.filter(pl.col("given") >= FEWEST), points.filter(pl.col("given") < FEWEST)
    given = often["given"].to_numpy()[:, None]
    chance = np.random.default_rng(0).binomial(given, 0.95, (len(often), 2000)) / given
    expected = ((chance < LEAST) | (chance > MOST)).mean(axis=1).sum()
    cells = coverage(table, *CELL).filter(pl.col("given") >= FEWEST)
    off, outside = (t.filter(~pl.col("coverage").is_between(LEAST, MOST)).sort("coverage") for t in (cells, often))
    band, good = f"{100 * LEAST:.0f}–{100 * MOST:.0f} %", table.filter("reliable")
    few = (seldom["coverage"].fill_nan(0) * seldom["given"]).sum() / max(seldom["given"].sum(), 1)
    lines = [
        f"- {len(good):,} of {len(table):,} intervals are reliable; {100 * good['hit'].mean():.2f} % of them cover.",
        f"- The table has {len(cells)} cells; {len(off)} of them are outside {band}.",
        f"- Single rows (one KL or n) with {FEWEST} or more reliable intervals: {len(often)}. Their coverage is from "
        f"{100 * often['coverage'].min():.1f} to {100 * often['coverage'].max():.1f} %; {len(outside)} are outside "
        f"{band}. If all were at 95 %, {expected:.0f} would be by chance.",
        f"- Rows with fewer reliable intervals: {int(seldom['given'].sum())} intervals together, {100 * few:.0f} % of "
        "which cover.",
    ]
    for r in [*off.to_dicts(), *outside.to_dicts()]:
        at = f", x = {r['x']:.2f}" if "x" in r else ", whole cell"
        covered = f"{100 * r['coverage']:.1f} ± {100 * r['error']:.1f} % of {r['given']}"
        lines.append(f"  - outside: {r['world']} {r['size']}, {r['row']}{at}: {covered}")
    return "\n".join(lines)


def above_the_limit(table: pl.DataFrame) -> str:
    """How often best-of-n is above the limit by more than its interval."""
    rows = table.filter((pl.col("row") == "best-of-n / limit") & pl.col("reliable"))
    parts = rows.group_by("world").agg(above=(pl.col("low") > 1).mean(), most=pl.col("truth").max()).sort("world")
    shares = "; ".join(
        f"{r['world']} {100 * r['above']:.1f} % (true share up to {r['most']:.4f})" for r in parts.to_dicts()
    )
    return f"- Share of studies in which best-of-n is above the limit by more than its 95 % interval: {shares}."


def bias_table(bias: pl.DataFrame) -> str:
    """Bias (%) of the limit at the largest KL of each size, corrected / plug-in."""
    last = bias.group_by(CELL, maintain_order=True).last()
    cells = {(r["world"], r["row"], r["size"]): f"{r['estimate']:.2f} / {r['plugin']:.2f}" for r in last.to_dicts()}
    lines = [[world, row, *(cells.get((world, row, size), "") for size in SIZES)] for world in WORLDS for row in LIMITS]
    return markdown(["world", "row", *SIZES], lines)


def alternatives_table(bias: pl.DataFrame) -> str:
    """Bias (%) at the largest KL with each correction, under the average budget."""
    last = bias.filter(row="limit").group_by(CELL, maintain_order=True).last()
    lines = [[r["world"], r["size"], *(f"{r[name]:.2f}" for name in CORRECTIONS)] for r in last.to_dicts()]
    return markdown(["world", "size", *CORRECTIONS.values()], lines)


def bias_verdict(bias: pl.DataFrame) -> str:
    """The corrected bias against the plug-in bias, and what remains of it beyond noise (two standard errors)."""
    sure = (pl.col("estimate").abs() - 2 * pl.col("error")).clip(0.0) / pl.col("plugin").abs()
    seen = bias.with_columns(ratio=(pl.col("estimate") / pl.col("plugin")).abs(), sure=sure)
    lines = []
    for (world,), part in seen.group_by("world", maintain_order=True):
        worst = part.sort("ratio").row(-1, named=True)
        lines.append(
            f"- {world}: the corrected bias is {100 * part['ratio'].median():.0f} % of the plug-in bias in the median "
            f"row and at most {worst['ratio']:.2f} of it ({worst['row']}, {worst['size']}, KL "
            f"{FRACTIONS[worst['point']]:g} of the ceiling: {worst['estimate']:.3f} ± {worst['error']:.3f} % instead "
            f"of {worst['plugin']:.3f} %). Beyond noise (two standard errors) it is at most "
            f"{part['sure'].max():.2f} of it."
        )
    return "\n".join(lines)


def refusal_table(table: pl.DataFrame) -> str:
    """Share (%) of all rows refused for each first reason, and the share (%) of those that would have covered."""
    patterns = (pl.when(pl.col("reason").str.contains(p)).then(pl.lit(name)) for name, p in REASONS.items())
    named = table.filter(~pl.col("reliable")).with_columns(why=pl.coalesce(*patterns))
    unknown = named.filter(pl.col("why").is_null())["reason"].unique().to_list()
    assert not unknown, f"reasons without a column: {unknown}"
    rows = table.group_by("world", "row").agg(rows=pl.len())
    given = (
        named.group_by("world", "row", "why").agg(n=pl.len(), hit=pl.col("hit").mean()).join(rows, on=["world", "row"])
    )
    cells = {
        (r["world"], r["row"], r["why"]): f"{100 * r['n'] / r['rows']:.1f} ({100 * r['hit']:.0f})"
        for r in given.to_dicts()
    }
    used = [why for why in REASONS if why in set(named["why"])]
    lines = [[world, row, *(cells.get((world, row, why), "") for why in used)] for world in WORLDS for row in ROWS]
    return markdown(["world", "row", *used], lines)


def figure(table: pl.DataFrame, bias: pl.DataFrame, path: Path) -> None:
    """Coverage of each kind of row (top), share refused (middle) and bias at a fixed KL (bottom), world by world."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", font_scale=0.75)
    sizes = [size for size in SIZES if size in table["size"]]
    colour = dict(zip(SIZES, sns.color_palette("colorblind", len(SIZES)), strict=True))
    cells = coverage(table, *CELL).filter(pl.col("given") >= FEWEST)
    refused = coverage(table, *CELL, "point")
    shape = {"figsize": (7.6, 6.4), "sharex": "row", "sharey": "row", "height_ratios": (2, 1.2, 1.2)}
    plot, axes = plt.subplots(3, len(WORLDS), layout="constrained", **shape)
    for (top, middle, bottom), world in zip(axes.T, WORLDS, strict=True):
        top.set_title(world)
        top.axvspan(100 * LEAST, 100 * MOST, color="0.9", zorder=0)
        for place, size in enumerate(sizes):
            style = {"color": colour[size], "lw": 1.2}
            part = cells.filter(world=world, size=size)
            y = [ROWS.index(row) + 0.13 * (place - (len(sizes) - 1) / 2) for row in part["row"]]
            top.errorbar(
                100 * part["coverage"], y, xerr=100 * part["error"], fmt="o", ms=2.5, color=style["color"], lw=0.8
            )
            for row, dash in (("limit", "-"), ("gain at beta", ":")):
                part = refused.filter(world=world, size=size, row=row)
                middle.plot(FRACTIONS[: len(part)], 100 * part["refused"], dash, **style)
            part = bias.filter(world=world, size=size, row="limit")
            for name, dash in (("plugin", "--"), ("estimate", "-")):
                bottom.plot(FRACTIONS[: len(part)], part[name], dash, **style)
        bottom.set_yscale("symlog", linthresh=1.0)
        bottom.set_yticks([0, -0.5, -1, -2, -5, -10, -20], ["0", "−½", "−1", "−2", "−5", "−10", "−20"], minor=False)
        bottom.set_xlabel("KL / log 10" if world == "bernoulli" else "KL / log M")
        top.set_xlabel("coverage (%)")
    axes[0, 0].set(yticks=range(len(ROWS)), yticklabels=ROWS, xlim=(88, 100), ylim=(len(ROWS) - 0.5, -0.5))
    axes[1, 0].set_ylabel("refused (%)\n— fixed KL, ··· fixed β")
    axes[2, 0].set_ylabel("bias (%)\n— corrected, -- plug-in")
    handles = [
        mpl.lines.Line2D([], [], color=colour[size], marker="o", ms=3, label=size.replace("x", "×")) for size in sizes
    ]
    plot.legend(handles=handles, title="prompts × samples", loc="outside lower center", ncols=len(sizes), frameon=False)
    plot.savefig(path, dpi=160, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", type=Path, default=Path("results/benchmarks/coverage"))
    parser.add_argument("--page", type=Path, default=Path("docs/coverage.md"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/coverage.png"))
    parser.add_argument("--mixtures", type=Path, default=Path("results/benchmarks/coverage_mixtures"))
    options = parser.parse_args()
    if any(options.mixtures.glob("*/*.parquet")):
        table = read(options.mixtures, ["gaussian", *MIXTURES], MIXED_SIZES, MIXED_ROWS)
        write(options.page, MIXED_MARKS, [mixtures_table(table), mixtures_verdict(table)])
    if not any(options.read.glob("*/*.parquet")):
        return
    table = read(options.read)
    bias = biases(table)
    parts = [
        "Coverage (%) of the reliable intervals ± its standard error; in brackets, the share (%) of rows that were "
        "refused:",
        coverage_table(table),
        verdict(table) + "\n" + above_the_limit(table),
        "Bias (%) of the gain at the largest KL (half of log M), corrected / plug-in:",
        bias_table(bias),
        bias_verdict(bias),
        "Bias (%) with other corrections, at the largest KL, average budget:",
        alternatives_table(bias),
        "Why rows are refused: the share (%) of all rows, by the first reason that applies; in brackets, the share (%) "
        "of these rows that would have covered:",
        refusal_table(table),
    ]
    write(options.page, MARKS, parts)
    figure(table, bias, options.figure)


def write(page: Path, marks: tuple[str, str], parts: Sequence[str]) -> None:
    """Write the parts between the marks of a page."""
    before, rest = page.read_text().split(marks[0])
    page.write_text(before + "\n\n".join([marks[0], *parts, marks[1]]) + rest.split(marks[1])[1])


if __name__ == "__main__":
    main()
