"""Tables and figure of the coverage study, from the files that benchmarks/limits_coverage.py keeps.

    python benchmarks/limits_coverage_report.py

writes coverage.md next to those files and the figure to docs/figures/coverage.png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

LEAST, MOST = 0.93, 0.97  # what 95 % intervals have to cover
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
FEWEST = 100  # reliable intervals below which no coverage is told
WORLDS = ("gaussian", "uniform", "bernoulli", "exponential")
SIZES = ("64 x 64", "512 x 64", "128 x 256", "256 x 256", "64 x 1024", "512 x 1024")
ROWS = ("limit", "limit, per prompt", "gain at beta", "KL at beta", "best-of-n", "best-of-n / limit", "gap",
        "gold under proxy")  # fmt: skip
CELL = ("world", "row", "size")
REASONS = {
    "effective sample size (ESS)": r"effective sample size # \(",
    "quarters cannot show this KL": "too near the ceiling|beyond the largest KL|of quarters",
    "heavy upper tail": "heavy upper tail",
    "Pareto k": "^(gold: )?Pareto k",
    "decrements (ratio)": r"too few to correct",
    "at beta: ESS of quarters": "quarters are too few at",
    "at beta: correction beside interval": "too uncertain",
}


def read(folder: Path) -> pl.DataFrame:
    """Every row of every study, with `hit`: does its interval hold the truth?"""
    tables = []
    for path in sorted(folder.glob("*/*.parquet")):
        world, size = path.stem.split("-")
        named = pl.read_parquet(path).with_columns(world=pl.lit(world), size=pl.lit(size.replace("x", " x ")))
        tables.append(named)
    hit = (pl.col("low") <= pl.col("truth")) & (pl.col("truth") <= pl.col("high"))
    table = pl.concat(tables, how="diagonal_relaxed").with_columns(hit=hit)
    orders = (("world", WORLDS), ("size", SIZES), ("row", ROWS))
    return table.with_columns(pl.col(name).cast(pl.Enum(order)) for name, order in orders)


def coverage(table: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Per group: reliable intervals, their coverage with its standard error, share refused; a study is one cluster."""
    counts = table.group_by(*by, "study", *(["world", "size"] if "world" not in by else [])).agg(
        rows=pl.len(), told=pl.col("reliable").sum(), hits=(pl.col("hit") & pl.col("reliable")).sum()
    )
    told, hits = pl.col("told"), pl.col("hits")
    share = hits.sum() / told.sum()
    return (
        counts.group_by(*by)
        .agg(
            told=told.sum(),
            coverage=share,
            error=((hits - share * told) ** 2).sum().sqrt() / told.sum(),
            refused=1 - told.sum() / pl.col("rows").sum(),
        )
        .sort(*by)
    )


def markdown(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    ruled = [header, ["---", *(["--:"] * (len(header) - 1))], *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in ruled) + "\n"


def coverage_table(table: pl.DataFrame) -> str:
    """Coverage (%) of the reliable intervals of each world, row and size, +- its standard error; (share refused)."""
    told = {(r["world"], r["row"], r["size"]): r for r in coverage(table, "world", "row", "size").to_dicts()}
    lines = []
    for world in WORLDS:
        for row in ROWS:
            cells = []
            for size in SIZES:
                r = told.get((world, row, size))
                if r is None:
                    cells.append("")
                    continue
                shown = f"{100 * r['coverage']:.1f} ± {100 * r['error']:.1f}" if r["told"] >= FEWEST else "–"
                cells.append(f"{shown} ({100 * r['refused']:.0f})")
            lines.append([world, row, *cells])
    return markdown(["world", "row", *SIZES], lines)


def biases(table: pl.DataFrame) -> pl.DataFrame:
    """Bias (% of the truth) of each limit and of the alternatives to its correction, with the standard error."""
    names = ("estimate", "plugin", "two_level", "jackknife")
    means = [(100 * (pl.col(name).drop_nans().mean() / pl.col("truth").first() - 1)).alias(name) for name in names]
    error = 100 * pl.col("estimate").drop_nans().std() / pl.col("truth").first() / pl.len().sqrt()
    limits = table.filter(pl.col("row").is_in(ROWS[:2]))
    told = pl.col("reliable").mean().alias("told")
    return limits.group_by("world", "row", "size", "point").agg(*means, error.alias("error"), told).sort(*CELL, "point")


def bias_table(bias: pl.DataFrame) -> str:
    """Bias (%) at the largest KL of each size, corrected / plug-in."""
    last = bias.group_by(CELL, maintain_order=True).last()
    cells = {(r["world"], r["row"], r["size"]): f"{r['estimate']:.2f} / {r['plugin']:.1f}" for r in last.to_dicts()}
    lines = [[w, row, *(cells.get((w, row, size), "") for size in SIZES)] for w in WORLDS for row in ROWS[:2]]
    return markdown(["world", "row", *SIZES], lines)


def alternatives_table(bias: pl.DataFrame) -> str:
    """Bias (%) at the largest KL by every correction tried, one beta for all prompts."""
    last = bias.filter(pl.col("row") == "limit").group_by(CELL, maintain_order=True).last()
    few = last.filter(pl.col("size").is_in(["64 x 64", "64 x 1024"])).sort("world", "size")
    names = ("estimate", "plugin", "two_level", "jackknife")
    lines = [[r["world"], r["size"], *(f"{r[name]:.2f}" for name in names)] for r in few.to_dicts()]
    return markdown(["world", "size", "corrected", "plug-in", "2F − H", "jackknife"], lines)


def bias_verdict(bias: pl.DataFrame) -> str:
    """In words: the corrected bias beside the plug-in's, noise (two standard errors) apart."""
    sure = (pl.col("estimate").abs() - 2 * pl.col("error")).clip(0.0) / pl.col("plugin").abs()
    seen = bias.with_columns(ratio=(pl.col("estimate") / pl.col("plugin")).abs(), sure=sure)
    lines = []
    for (world,), part in seen.group_by("world", maintain_order=True):
        worst = part.sort("sure").row(-1, named=True)
        lines.append(
            f"- {world}: corrected over plug-in bias: median {part['ratio'].median():.3f}, largest "
            f"{part['ratio'].max():.2f}; largest beyond noise {worst['sure']:.2f} ({worst['row']}, {worst['size']}, point "
            f"{worst['point']}: {worst['estimate']:.3f} ± {worst['error']:.3f} for {worst['plugin']:.3f} %, told in "
            f"{100 * worst['told']:.0f} %)"
        )
    return "\n".join(lines) + "\n"


def refusal_table(table: pl.DataFrame) -> str:
    """Share (%) of all rows refused for each first reason, and how often the refused intervals held the truth."""
    patterns = (pl.when(pl.col("reason").str.contains(p)).then(pl.lit(name)) for name, p in REASONS.items())
    named = table.filter(~pl.col("reliable")).with_columns(why=pl.coalesce(*patterns))
    assert named["why"].null_count() == 0, named.filter(pl.col("why").is_null())["reason"].unique().to_list()
    rows = table.group_by("world", "row").agg(rows=pl.len())
    told = (
        named.group_by("world", "row", "why").agg(n=pl.len(), hit=pl.col("hit").mean()).join(rows, on=["world", "row"])
    )
    cells = {
        (r["world"], r["row"], r["why"]): f"{100 * r['n'] / r['rows']:.0f} ({100 * r['hit']:.0f})"
        for r in told.to_dicts()
    }
    lines = [[w, row, *(cells.get((w, row, why), "") for why in REASONS)] for w in WORLDS for row in ROWS]
    return markdown(["world", "row", *REASONS], lines)


def verdict(table: pl.DataFrame) -> str:
    """In words: how many rows and cells lie outside the band, and how many would by chance."""
    points = coverage(table, "world", "row", "size", "point", "x").filter(pl.col("told") >= FEWEST)
    outside = points.filter(~pl.col("coverage").is_between(LEAST, MOST))
    told = points["told"].to_numpy()[:, None]
    chance = np.random.default_rng(0).binomial(told, 0.95, (len(points), 2000)) / told
    expected = ((chance < LEAST) | (chance > MOST)).mean(axis=1).sum()
    cells = coverage(table, "world", "row", "size").filter(pl.col("told") >= FEWEST)
    off = cells.filter(~pl.col("coverage").is_between(LEAST, MOST))
    every = table.filter("reliable")["hit"].mean()
    few = coverage(table, "world", "row", "size", "point").filter((pl.col("told") < FEWEST) & (pl.col("told") > 0))
    lines = [
        f"{int(table['reliable'].sum()):,} reliable intervals of {len(table):,}: {100 * every:.2f} % cover.",
        f"Cells (world, row, size): {len(cells)}, {len(off)} outside {100 * LEAST:.0f}-{100 * MOST:.0f} %.",
        f"Single rows told at least {FEWEST} times: {len(points)}, {len(outside)} outside (by chance at 95 %: "
        f"{expected:.0f}); least {100 * points['coverage'].min():.1f} %, most {100 * points['coverage'].max():.1f} %.",
        f"Rows told less often: {len(few)} with {int(few['told'].sum())} intervals, "
        f"{100 * (few['coverage'] * few['told']).sum() / max(few['told'].sum(), 1):.1f} % cover.",
    ]
    for r in [*off.sort("coverage").to_dicts(), *outside.sort("coverage").to_dicts()]:
        at = f", x {r['x']:.2f}" if "x" in r else " (cell)"
        error = f" ± {100 * r['error']:.1f}"
        lines.append(f"- {r['world']} {r['size']} {r['row']}{at}: {100 * r['coverage']:.1f}{error} % of {r['told']}")
    above = table.filter((pl.col("row") == "best-of-n / limit") & pl.col("reliable"))
    share = above.group_by("world", "size", "x").agg(
        low=(pl.col("low") > 1).mean(), mean=pl.col("estimate").mean(), told=pl.len()
    ).sort("low")  # fmt: skip
    top = share.filter(pl.col("told") >= FEWEST).tail(3).to_dicts()
    lines.append(
        f"Best-of-n above the limit by more than its interval: {100 * (above['low'] > 1).mean():.2f} % of "
        f"{len(above):,}; most often " + "; ".join(
            f"{r['world']} {r['size']} n = {r['x']:.0f}: {100 * r['low']:.1f} % (mean efficiency {r['mean']:.4f})"
            for r in reversed(top))
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def figure(table: pl.DataFrame, bias: pl.DataFrame, path: Path) -> None:
    """Coverage of each kind of row (top), share refused (middle) and bias at a fixed KL (bottom), world by world."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", font_scale=0.75)
    sizes = [size for size in SIZES if size in table["size"]]
    colour = dict(zip(SIZES, sns.color_palette("colorblind", len(SIZES)), strict=True))
    cells = coverage(table, *CELL).filter(pl.col("told") >= FEWEST)
    refused = coverage(table, *CELL, "point", "x").with_columns(refused=100 * pl.col("refused"))
    limits = bias.filter(pl.col("row") == "limit")
    plot, axes = plt.subplots(
        3,
        len(WORLDS),
        figsize=(7.6, 6.4),
        sharex="row",
        sharey="row",
        height_ratios=(2, 1.2, 1.2),
        layout="constrained",
    )
    for (top, middle, bottom), world in zip(axes.T, WORLDS, strict=True):
        top.set_title(world)
        top.axvspan(100 * LEAST, 100 * MOST, color="0.9", zorder=0)
        for place, size in enumerate(sizes):
            part = cells.filter(world=world, size=size)
            y = [ROWS.index(row) + 0.12 * (place - (len(sizes) - 1) / 2) for row in part["row"]]
            top.errorbar(
                100 * part["coverage"], y, xerr=100 * part["error"], fmt="o", ms=2.5, lw=0.8, color=colour[size]
            )
            for row, style in (("limit", "-"), ("gain at beta", ":")):
                part = refused.filter(world=world, size=size, row=row)
                middle.plot(FRACTIONS, part["refused"], style, color=colour[size], lw=1.2)
            part = limits.filter(world=world, size=size)
            bottom.plot(FRACTIONS, part["plugin"], "--", color=colour[size], lw=1.0)
            bottom.plot(FRACTIONS, part["estimate"], "-", color=colour[size], lw=1.2)
        bottom.set_yscale("symlog", linthresh=1.0)
        bottom.set_xlabel("KL / log M")
    axes[2, WORLDS.index("bernoulli")].set_xlabel("KL / log 10")
    axes[0, 0].set(yticks=range(len(ROWS)), yticklabels=ROWS, xlim=(88, 100), ylim=(len(ROWS) - 0.5, -0.5))
    for axis in axes[0]:
        axis.set_xlabel("coverage (%)")
    axes[1, 0].set_ylabel("refused (%)\n— KL, ··· β fixed")
    axes[2, 0].set_ylabel("bias (%)\n— corrected, -- plug-in")
    handles = [mpl.lines.Line2D([], [], color=colour[size], marker="o", ms=3, label=size) for size in sizes]
    plot.legend(handles=handles, title="prompts × samples", loc="outside lower center", ncols=len(sizes), frameon=False)
    plot.savefig(path, dpi=160, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", type=Path, default=Path("results/benchmarks/coverage"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    table = read(options.read)
    bias = biases(table)
    parts = [
        coverage_table(table),
        verdict(table),
        bias_table(bias),
        alternatives_table(bias),
        bias_verdict(bias),
        refusal_table(table),
    ]
    (options.read / "coverage.md").write_text("\n".join(parts))
    figure(table, bias, options.out / "coverage.png")


if __name__ == "__main__":
    main()
