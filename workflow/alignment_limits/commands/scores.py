"""A command that answers from a table of scores alone, in one process: tables, figures and a page."""

from __future__ import annotations

import argparse
import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from alignment_limits.commands.processes import second_process
from alignment_limits.errors import EstimateError, TableError
from alignment_limits.files import atomic, file_sha256, sweep
from alignment_limits.importers.metadata import verdict_of
from alignment_limits.importers.rows import number_of
from alignment_limits.report.claims.limits import findings
from alignment_limits.report.figures import table as drawn
from alignment_limits.report.pages.headline import headline_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.study.estimates import Limits
from alignment_limits.study.load import load_study
from alignment_limits.study.study import Study
from alignment_limits.tables import units
from alignment_limits.tables.arrays import reward_columns
from alignment_limits.tables.artifacts import KEY, Schema, versions, write_table
from alignment_limits.tables.estimates import ESTIMATORS, estimate, settings_of
from alignment_limits.tables.labels import partial_tables, read_partial_table
from alignment_limits.tables.sample_columns import table_columns
from alignment_limits.tables.schemas.limits import HEADLINE
from alignment_limits.tables.schemas.samples import SCALES, STANDARDISED
from alignment_limits.tables.schemas.tradeoffs import COLUMNS
from alignment_limits.tables.scores import cluster_column, read_clusters
from alignment_limits.tables.standardised import scales_of, standardised_tables
from alignment_limits.tables.units import BASE_SD, RAW
from alignment_limits.tables.user_table import read_user_table, stem_of

MARK = "# Written by `alignment-limits frontier`, which may write this folder again.\n"  # first line of study.yaml
SHOWN = ("frontier", "gold_under_proxies", "win_rate", "reward_distributions")  # figures
WITH_COLUMNS = ("side_effects", "length_control")  # estimators, and figures


def frontier_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "table", type=Path, help="Parquet, CSV, TSV, JSONL or JSON: prompt_id, sample_id, a column each"
    )
    parser.add_argument("--gold", required=True, help="the column that is taken as the truth")
    parser.add_argument("--proxies", nargs="*", metavar="COLUMN", help="other rewards; default: all columns of numbers")
    parser.add_argument(
        "--partial", nargs="+", default=[], metavar="COLUMN", help="rewards that only some samples have, such as labels"
    )
    parser.add_argument("--cluster", metavar="COLUMN", help="marks prompts that are not independent; default: cluster")
    parser.add_argument(
        "--units", choices=["base-sd", "raw"], default="base-sd", help="raw: the rewards' own units, such as points"
    )
    parser.add_argument("--n", type=int, nargs="+", metavar="N", help="of best-of-n")
    parser.add_argument("--kls", type=float, nargs="+", metavar="NATS", help="budgets of KL")
    parser.add_argument(
        "--columns",
        nargs="*",
        metavar="COLUMN",
        help="also what else changes: length, cuts and refusals (of n_tokens, text, finish_reason), and these columns",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="where everything is written")


def run_frontier(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits frontier scores.parquet --gold judge -o out`: limits, best-of-n and gold under proxies.

    Writes tables, figures and a page, report.html. A study of the same table gives the same numbers:
    `make study STUDY=out/study.yaml`."""
    out, start = arguments.out, time.monotonic()
    if not _may_write(out):
        return f"error: {out} exists and was not written by this command; choose another folder"
    sweep([str(out)])
    given = read_user_table(arguments.table)
    partial = list(arguments.partial)
    known = [arguments.gold, arguments.cluster or "cluster", *partial, *(arguments.columns or ())]
    proxies = arguments.proxies
    if proxies is None:
        proxies = [*reward_columns(given, known, print), *(name for name in partial if name != arguments.gold)]
    if unused := [name for name in partial if name not in (arguments.gold, *proxies)]:
        return f"error: --partial names {unused[0]}, which is neither gold nor a proxy"
    scores = read_partial_table(arguments.table, [arguments.gold, *proxies], partial)
    study = _study(arguments, proxies, scores)
    samples = scores.group_by("prompt_id").len()["len"]
    counts = f"{number_of(len(samples), 'prompt')}, {number_of(scores.height, 'sample')}"
    print(f"{arguments.table}: {counts}; gold: {study.gold}")
    verdict = verdict_of(arguments.table)
    if verdict is not None and not verdict["one law"]:
        print(f"imported, and not a sample of one law; accepted: {', '.join(verdict['accepted'])}")
    if proxies:
        print(f"proxies: {', '.join(proxies)}" + ("" if arguments.proxies else " (choose some with --proxies)"))
    try:
        for line in _answers(study, arguments, scores):
            print(line)
    except EstimateError as error:
        raise EstimateError(f"{arguments.table}: {error}") from error
    print(f"{time.monotonic() - start:.0f} s; page: {out / 'report.html'}, figures: {out / 'figures'}, tables: {out}")
    return None


def _may_write(out: Path) -> bool:
    """Whether a folder is new, empty, or an earlier output of this command."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    study = out / "study.yaml"
    return study.is_file() and study.read_bytes().startswith(MARK.encode())


def _study(arguments: argparse.Namespace, proxies: Sequence[str], scores: pl.DataFrame) -> Study:
    """The study of this table, as a study file describes it."""
    most = max(scores.group_by("prompt_id").len()["len"].to_list())
    if arguments.n and max(arguments.n) > most:
        raise TableError(f"{arguments.table}: best-of-{max(arguments.n)} needs as many samples; a prompt has {most}")
    limits = Limits.model_validate({}).model_dump(mode="json")
    limits["best_of"] = arguments.n or [n for n in limits["best_of"] if n <= most]
    limits |= {"kls": arguments.kls} if arguments.kls else {}
    table = {"table": str(arguments.table.absolute()), "gold": arguments.gold, "proxies": list(proxies)}
    table |= {"cluster": arguments.cluster} if arguments.cluster else {}
    table |= {"partial": list(arguments.partial)} if arguments.partial else {}
    given = {"study": study_name(stem_of(arguments.table)), "scores": table, "limits": limits}
    given |= {"units": arguments.units} if arguments.units != "base-sd" else {}
    given |= {"tradeoffs": {"side_effects": {"columns": arguments.columns}}} if arguments.columns else {}
    return load_study(given, "the command line")


def study_name(text: str) -> str:
    """A text as the name of a study.

    Example:
        >>> study_name("My scores, Größe 2"), study_name("評価")
        ('my-scores-grosse-2', 'scores')
    """
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._") or "scores"


def _answers(study: Study, arguments: argparse.Namespace, scores: pl.DataFrame) -> Iterator[str]:
    """Write everything, and say what was found."""
    out: Path = arguments.out
    source = {"table": arguments.table.name, "sha256": file_sha256(arguments.table)}
    packages = versions(["alignment-limits", "polars", "numpy", "numba"])
    made = {"study": study.study, "stage": "frontier", "source": source, "versions": packages, "units": BASE_SD}

    def write(table: pl.DataFrame, file: str, schema: Schema) -> pl.DataFrame:
        write_table(table, out / file, schema, made)
        return table

    each = {r: scores.select(*KEY, score=pl.col(r)) for r in study.reward_names}
    column = cluster_column(arguments.table, arguments.cluster, study.reward_names)
    clusters = None if column is None else read_clusters(arguments.table, column)
    standardised, scales = (partial_tables if study.partial else standardised_tables)(each, clusters)
    with atomic(out / "study.yaml") as part:
        part.write_text(MARK + yaml.safe_dump(_written(study), sort_keys=False, allow_unicode=True), "utf-8")
    tables = {"standardised": write(standardised, "ensembles/standardised.parquet", STANDARDISED)}
    tables["scales"] = write(scales, "ensembles/scales.parquet", SCALES)

    def keep(name: str, found: pl.DataFrame) -> None:
        entry = ESTIMATORS[name]
        tables[name] = write(found, entry.path, entry.contract)

    with second_process(standardised.height * len(each)) as start:  # best-of-n takes as long as all else
        best_of_n = start(estimate, "best_of_n", standardised, settings_of("best_of_n", study))
        for name in ("frontier", "over_optimisation", *(["labels"] if study.partial else [])):
            keep(name, estimate(name, standardised, settings_of(name, study)))
        if study.partial:
            yield from ESTIMATORS["labels"].said(tables["labels"], {})
        if arguments.columns is not None:
            of = study.tradeoffs
            columns = table_columns(arguments.table, of.refusals, of.numbers, of.texts)
            write(columns, "tradeoffs/columns.parquet", COLUMNS)
            for name in WITH_COLUMNS:
                keep(name, estimate(name, standardised, settings_of(name, study), columns=columns))
        shown = [name for name in SHOWN if study.proxies or name != "gold_under_proxies"]
        shown += [name for name in WITH_COLUMNS if name in tables]
        last = ESTIMATORS["best_of_n"].path
        early = [name for name in shown if last not in drawn.tables_of(drawn.FIGURES[name], study).values()]
        for name in early:
            _picture(name, study, out)
        keep("best_of_n", best_of_n.result())
        late = [name for name in shown if name not in early]
        drawing = [start(_picture, name, study, out) for name in late[1:]]  # each process draws one
        _picture(late[0], study, out)
        for picture in drawing:
            picture.result()
    figures = {drawn.FIGURES[name].label: (out / f"figures/{name}.png").read_bytes() for name in shown}
    raw = study.units == RAW
    for file in (file for file in units.raw_tables(study) if raw and Path(file).stem in tables):
        own = units.in_raw_units(file, tables[Path(file).stem], scales_of(scales), study.gold)
        schema = Schema(Path(file).stem, dict(own.schema))
        write_table(own, out / units.raw_path(file), schema, made | {"units": RAW})
    said = findings(tables, None, gold=study.gold, proxies=study.proxies, members={}, raw=raw)
    write(said.numbers, "report/headline.parquet", HEADLINE)
    page = headline_page(study.study, said.numbers, said.answers, said.verdicts, figures=figures)
    write_page(page, out / "report.html")
    yield from (f"{question} {answer}" for question, answer in said.answers)


def _picture(name: str, study: Study, out: Path) -> None:
    """Draw a figure from the tables that are written."""
    from alignment_limits.report.figures.style import save  # imports Matplotlib, while the other process computes

    figure = drawn.FIGURES[name]
    files = {argument: str(out / file) for argument, file in drawn.tables_of(figure, study).items()}
    made, look = drawn.draw(name, files, drawn.settings_of(figure, study))
    save(made, look, out / f"figures/{name}.png", out / f"figures/{name}.pdf")


def _written(study: Study) -> dict[str, Any]:
    """The study file: the table and all settings of the estimates."""
    assert study.scores is not None
    scores = study.scores.model_dump(exclude_defaults=True, mode="json")
    limits, more = study.limits.model_dump(mode="json"), study.tradeoffs.model_dump(exclude_defaults=True, mode="json")
    written = {"study": study.study, "scores": scores, "limits": limits, "seed": study.seed}
    written |= {"units": study.units} if study.units == RAW else {}
    return written | ({"tradeoffs": more} if more else {})
