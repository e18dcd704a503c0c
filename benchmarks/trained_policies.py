"""Keep the result of a study that trained policies: small tables with their provenance, figures, and a table of text.

    make study STUDY=config/studies/safety_policies.yaml
    python benchmarks/trained_policies.py results/safety-policies docs/real

copies the tables of policies, frontier and best-of-n and their figures, joins the training curves of all runs in one
table, and prints a Markdown table: the KL and gain of each policy by the reward it was trained on, and the 𝒥 of the
tilt at the same KL coefficient.
"""

import shutil
import sys
from pathlib import Path

import polars as pl

from alignment_limits.tables.artifacts import read_provenance, write_table
from alignment_limits.tables.schemas.samples import CURVES

HEAD = """\
| objective | trained on | β | seed | KL [95 %] | gain [95 %] | limit at that KL | share [95 %] | 𝒥 | the tilt's 𝒥 |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def curves(study: Path, out: Path) -> None:
    files = sorted(study.glob("training/*/curves.parquet"))
    made = [read_provenance(file) for file in files]
    runs = {file.parent.name: {key: p[key] for key in ("config", "config_digest", "code", "run")}
            for file, p in zip(files, made, strict=True)}  # fmt: skip
    whole = {"study": made[0]["study"], "stage": made[0]["stage"], "versions": made[0]["versions"], "runs": runs}
    table = pl.concat([pl.read_parquet(file) for file in files])
    write_table(table, (out / "curves.parquet").resolve(), CURVES, whole)


def table(policies: pl.DataFrame, frontier: pl.DataFrame, evaluated: pl.Expr) -> str:
    """Rows of Markdown; 𝒥 = gain − β·KL in base standard deviations."""
    at_beta = frontier.filter((pl.col("at") == "beta") & (pl.col("budget") == "average"))
    lines = []
    for r in policies.filter(evaluated).sort("evaluated", "objective", "coefficient", "policy").iter_rows(named=True):
        same = (pl.col("optimized") == r["evaluated"]) & (pl.col("evaluated") == r["evaluated"])
        tilt = at_beta.filter(same & ((pl.col("beta") - r["coefficient"]).abs() < 1e-9)).to_dicts()
        own = f"{r['gain'] - r['coefficient'] * r['kl']:.2f}"
        best = f"{tilt[0]['gain'] - r['coefficient'] * tilt[0]['kl']:.2f}" if tilt else ""
        name = r["objective"] + (" (long)" if "-long-" in r["policy"] else "")
        lines.append(
            f"| {name} | {r['optimized']} | {r['coefficient']:g} | {r['seed']} "
            f"| {r['kl']:.3f} [{r['kl_low']:.3f}, {r['kl_high']:.3f}] "
            f"| {r['gain']:.2f} [{r['gain_low']:.2f}, {r['gain_high']:.2f}] | {r['limit']:.2f} "
            f"| {r['efficiency']:.0%} [{r['efficiency_low']:.0%}, {r['efficiency_high']:.0%}] | {own} | {best} |"
        )
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    study, out = map(Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for name in ("policies/policies.parquet", "limits/frontier.parquet", "limits/best_of_n.parquet"):
        shutil.copy(study / name, out)
    for file in [*study.glob("figures/policies-*.png"), *study.glob("figures/training-*.png")]:
        shutil.copy(file, out)
    curves(study, out)
    policies, frontier = (pl.read_parquet(out / f"{name}.parquet") for name in ("policies", "frontier"))
    print(table(policies, frontier, pl.col("evaluated") == pl.col("optimized")))
