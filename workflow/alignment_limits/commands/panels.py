"""`alignment-limits panels RESULTS… OUT`: finished studies side by side as OUT.pdf and OUT.png.

For the main figure: `alignment-limits panels results/safety results/summarisation main`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.files import refuse_to_overwrite
from alignment_limits.report.figures.panels import Panel, panels
from alignment_limits.report.figures.style import Look, is_own_figure, save
from alignment_limits.tables.artifacts import read_provenance, read_table
from alignment_limits.tables.schemas.limits import BEST_OF_N, FRONTIER


def read_panel(study: Path) -> Panel:
    """What a finished study's folder holds for its panel.

    Raises:
        ArtifactError: a table is missing or damaged.
    """
    tables = {name: study / f"limits/{name}.parquet" for name in ("frontier", "best_of_n")}
    made = read_provenance(tables["best_of_n"])
    gold, rewards = made["config"]["gold"], made["config"]["relatives_of"]
    frontier, best_of_n = read_table(tables["frontier"], FRONTIER), read_table(tables["best_of_n"], BEST_OF_N)
    return Panel(f"{made['study']}: {gold}", frontier, best_of_n, gold, tuple(r for r in rewards if r != gold))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("studies", type=Path, nargs="+", metavar="RESULTS", help="folders of finished studies")
    parser.add_argument("out", type=Path, metavar="OUT", help="the figure, without its ending")


def run(arguments: argparse.Namespace) -> str | None:
    """Draw the panels; a message if there is nothing to draw."""
    look = Look(width=6.8)
    files = [arguments.out.with_suffix(suffix) for suffix in (".pdf", ".png")]
    try:
        for file in files:
            refuse_to_overwrite(file, [], unless=is_own_figure)
        figure = panels([read_panel(study) for study in arguments.studies], look)
    except AlignmentLimitsError as error:
        return str(error)
    save(figure, look, *files)
    print(f"drawn: {files[1]}")
    return None
