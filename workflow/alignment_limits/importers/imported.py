"""From files of other projects to one table of samples, with the provenance verdict in its metadata."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from alignment_limits.errors import TableError
from alignment_limits.files import file_sha256
from alignment_limits.importers.findings import KINDS, Finding, found
from alignment_limits.importers.formats import FORMATS, format_of
from alignment_limits.importers.provenance import LAW, SCORE, unusable_logprobs, verdict
from alignment_limits.importers.rows import Choices, Sample, clean, number_of
from alignment_limits.importers.sources import open_sources
from alignment_limits.tables.arrays import SAMPLE_COLUMNS
from alignment_limits.tables.artifacts import Schema

IMPORTED = Schema("imported", {"prompt_id": pl.String, "sample_id": pl.Int32})
FINDINGS = Schema(  # of the provenance verdict; severity: refused, accepted or noted
    "findings",
    {
        "name": pl.String,
        "severity": pl.String,
        "what": pl.String,
        "effect": pl.String,
        "remedy": pl.String,
        "count": pl.Int64,
        "of": pl.Int64,
        "examples": pl.List(pl.String),
    },
)
SOURCES = Schema("sources", {"file": pl.String, "sha256": pl.String, "format": pl.String})
_FIXED = {
    "prompt_id": pl.String,
    "prompt": pl.String,
    "text": pl.String,
    "error": pl.String,
    "file": pl.String,
    "row": pl.Int64,
    "failed": pl.List(pl.String),
    "shared": pl.List(pl.String),
    "finish_reason": pl.String,
    "seed": pl.Int64,
    "answer": pl.String,
    "token_ids": pl.List(pl.Int32),
    "logprobs": pl.List(pl.Float64),
    "logprob": pl.Float64,
}


@dataclass(frozen=True)
class Imported:
    """Samples from elsewhere.

    Attributes:
        table: prompt_id, sample_id, a column per score, and what else is known of each sample.
        findings: of the provenance verdict.
        provenance: for the table's metadata.
    """

    table: pl.DataFrame
    findings: Sequence[Finding]
    provenance: dict[str, Any]

    @property
    def refused(self) -> list[Finding]:
        """Findings that make limits wrong and were not accepted."""
        accepted = self.provenance["accepted"]
        return [f for f in self.findings if f.severity == "refused" and f.name not in accepted]

    @property
    def findings_table(self) -> pl.DataFrame:
        """A row per finding."""
        return pl.DataFrame(self.provenance["findings"], schema=FINDINGS.columns)

    @property
    def sources_table(self) -> pl.DataFrame:
        """A row per file."""
        files = pl.DataFrame(self.provenance["files"], schema={"file": pl.String, "sha256": pl.String})
        return files.with_columns(format=pl.lit(self.provenance["format"]))

    def check(self) -> None:
        """Refuse samples with a finding that was not accepted.

        Raises:
            TableError: names the findings and what to do.
        """
        if refused := self.refused:
            lines = [f"  {f.name}: {f.what}. {f.kind.effect} Remedy: {f.kind.remedy}." for f in refused]
            names = " ".join(dict.fromkeys(f.name for f in refused))
            raise TableError(
                "these samples are not a sample of one law:\n" + "\n".join(lines) + f"\nOr accept: --accept {names}"
            )


def import_files(
    paths: Sequence[Path],
    format: str | None = None,
    choices: Choices | None = None,
    *,
    keep: Sequence[str] = (),
    accept: Sequence[str] = (),
    complete: Sequence[str] = (),
    most: int | None = None,
) -> Imported:
    """Read files of another project.

    Args:
        paths: files and folders.
        format: its name; None: recognised from the files.
        choices: columns and scores that the user named.
        keep: FIELD=VALUE: of all samples those of one model, step, filter, ….
        accept: names of findings that do not refuse the samples.
        complete: scores; samples without one of them are left out.
        most: samples of each prompt and law, from the first. This also bounds the memory.

    Raises:
        TableError: a file cannot be read, with its row and field; nothing is left; an unknown name.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "mine.csv")
        >>> rows = [f"question {i},answer {j},{(i + j) % 3}" for i in range(2) for j in range(16)]
        >>> _ = file.write_text("\\n".join(["prompt,reply,judge", *rows]))
        >>> imported = import_files([file])
        >>> imported.table.columns
        ['prompt_id', 'sample_id', 'judge', 'prompt', 'text', 'place']
        >>> [finding.name for finding in imported.findings]
        ['unknown-settings', 'unknown-model', 'retokenised']
    """
    if unknown := [name for name in accept if name not in KINDS]:
        raise TableError(f"there is no finding '{unknown[0]}'; there are: {', '.join(KINDS)}")
    choices = choices or Choices()
    sources = open_sources(paths)
    name = format_of(sources, format)
    frame = frame_of(list(_first(FORMATS[name].read(sources, choices), most)), choices)
    frame, kept = _keep(frame, keep)
    facts = {**FORMATS[name].facts, **choices.learned}
    facts |= {finding: f"{count} times" for finding, count in choices.counts.items() if count}
    frame, left_out = _complete(frame, complete)
    findings = [*verdict(frame, facts, first=most is not None), *left_out]
    if not frame["error"].is_null().any():
        reason = frame["error"].value_counts(sort=True)["error"][0]
        raise TableError(f"{sources[0].name}: all {frame.height} requests failed, most often with: {reason[:200]}")
    table = _table(frame, findings)
    scores = {c.removeprefix(SCORE): frame[c] for c in frame.columns if c.startswith(SCORE)}
    provenance = {
        "format": name,
        "files": [{"file": clean(s.path.name), "sha256": file_sha256(s.path)} for s in sources],
        "guessed": choices.guessed,
        "kept": kept,
        "most": most,
        "accepted": sorted(set(accept)),
        "prompts": table["prompt_id"].n_unique(),
        "samples": table.height,
        "scores": {score: _summary(values) for score, values in scores.items()},
        "law": {c.removeprefix(LAW): _values(frame[c]) for c in frame.columns if c.startswith(LAW)},
        "one_law": not any(f.severity == "refused" for f in findings),
        "findings": [f.as_dict(f.severity == "refused" and f.name in accept) for f in findings],
    }
    return Imported(table, findings, provenance)


def frame_of(samples: Sequence[Sample], choices: Choices) -> pl.DataFrame:
    """Samples as columns, with the prompts' ids: the file's own, or a digest of the prompt.

    Raises:
        TableError: no samples, a sample without prompt and id, a score that does not exist or has a reserved name.
    """
    if not samples:
        raise TableError("the files have no samples")
    scores = list(dict.fromkeys(name for sample in samples for name in sample.scores))
    if choices.scores and (lost := [name for name in choices.scores if name not in scores]):
        raise TableError(f"{samples[0].file}: there is no score '{lost[0]}'; there are: {', '.join(scores) or 'none'}")
    scores = [name for name in scores if choices.wants(name)]
    if taken := [name for name in scores if name in (*_FIXED, *SAMPLE_COLUMNS, "sample_id")]:
        raise TableError(
            f"{samples[0].file}: a score is named '{taken[0]}', which another column of the table is named"
        )
    laws = dict.fromkeys(name for sample in samples for name in sample.law)
    columns: dict[str, list[Any]] = {
        "prompt_id": [_prompt_id(sample) for sample in samples],
        "prompt": [sample.prompt for sample in samples],
        "text": [sample.reply for sample in samples],
        "error": [sample.error for sample in samples],
        "file": [sample.file for sample in samples],
        "row": [sample.row for sample in samples],
        "failed": [list(sample.failed) for sample in samples],
        "shared": [list(sample.shared) for sample in samples],
        "finish_reason": [sample.finish for sample in samples],
        "seed": [sample.seed for sample in samples],
        "answer": [sample.answer for sample in samples],
        "token_ids": [sample.tokens for sample in samples],
        "logprobs": [sample.logprobs for sample in samples],
        "logprob": [sample.logprob for sample in samples],
    }
    columns |= {SCORE + name: [sample.scores.get(name) for sample in samples] for name in scores}
    columns |= {LAW + name: [sample.law.get(name) for sample in samples] for name in laws}
    types: dict[str, Any] = _FIXED | {SCORE + name: pl.Float64 for name in scores} | {LAW + n: pl.String for n in laws}
    return pl.DataFrame(columns, schema=types)


def _prompt_id(sample: Sample) -> str:
    if sample.key is not None:
        return sample.key
    if sample.prompt is None:
        raise TableError(f"{sample.file}: row {sample.row}: has neither a prompt nor its id")
    return _digest(sample.prompt)


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:16]


def _first(samples: Iterable[Sample], most: int | None) -> Iterator[Sample]:
    """The first samples of each prompt and law."""
    seen: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        if most is not None:
            of = _prompt_id(sample), repr(sorted(sample.law.items()))
            seen[of] += 1
            if seen[of] > most:
                continue
        yield sample


def _keep(frame: pl.DataFrame, keep: Sequence[str]) -> tuple[pl.DataFrame, dict[str, Any]]:
    kept: dict[str, Any] = {}
    for choice in keep:
        field, _, value = choice.partition("=")
        if LAW + field not in frame.columns:
            fields = ", ".join(c.removeprefix(LAW) for c in frame.columns if c.startswith(LAW))
            raise TableError(f"--keep {choice}: the samples have no '{field}'; they have: {fields or 'none'}")
        chosen = frame.filter(pl.col(LAW + field) == value)
        if not chosen.height:
            raise TableError(f"--keep {choice}: no sample; '{field}' is {', '.join(_values(frame[LAW + field]))}")
        kept[choice] = {"samples": chosen.height, "of": frame.height}
        frame = chosen
    return frame, kept


def _complete(frame: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, list[Finding]]:
    findings = []
    for name in names:
        if SCORE + name not in frame.columns:
            raise TableError(f"--complete {name}: there is no such score")
        scored = frame.filter(pl.col(SCORE + name).is_not_null() | pl.col("error").is_not_null())
        if lost := frame.height - scored.height:
            what = f"{lost} of {frame.height} replies without '{name}'"
            findings.append(found("left-out", what, lost, frame.height))
        frame = scored
    return frame, findings


def _table(frame: pl.DataFrame, findings: Sequence[Finding]) -> pl.DataFrame:
    """The table that is written: columns without any value are left out."""
    drawn = frame.filter(pl.col("error").is_null())
    bad = pl.any_horizontal(unusable_logprobs(drawn))
    total = pl.coalesce(pl.col("logprobs").list.sum(), pl.col("logprob"))
    laws = [c for c in drawn.columns if c.startswith(LAW)]
    mixed = [c for c in laws if drawn[c].n_unique() > 1]
    law = pl.concat_str([pl.col(c).fill_null("?") for c in mixed], separator=", ") if mixed else pl.lit(None, pl.String)
    table = drawn.select(
        pl.col("prompt_id"),
        pl.int_range(pl.len()).over("prompt_id").cast(pl.Int32).alias("sample_id"),
        *(pl.col(c).alias(c.removeprefix(SCORE)) for c in drawn.columns if c.startswith(SCORE)),
        pl.col("prompt"),
        pl.col("text"),
        pl.col("token_ids"),
        pl.col("token_ids").list.len().cast(pl.Int32).alias("n_tokens"),
        pl.when(bad).then(None).otherwise(total).alias("logprob"),
        pl.col("finish_reason"),
        pl.col("seed"),
        pl.col("answer"),
        law.alias("law"),
        pl.format("{}: row {}", "file", "row").alias("place"),
    )
    if any(finding.name == "repeated-prompts" for finding in findings):
        prompts = table["prompt"].unique().drop_nulls()
        table = table.with_columns(cluster=pl.col("prompt").replace_strict(prompts, prompts.map_elements(_digest)))
    empty = [c for c in SAMPLE_COLUMNS if c in table.columns and not table[c].count()]
    return table.drop(empty).sort("prompt_id", "sample_id", maintain_order=True)


def _summary(values: pl.Series) -> dict[str, Any]:
    return {"scored": values.count(), "missing": values.null_count(), "lowest": values.min(), "highest": values.max()}


def _values(values: pl.Series) -> list[str]:
    """The most frequent values, 20 at most."""
    return [str(value) for value in values.fill_null("(not stated)").value_counts(sort=True).to_series(0).head(20)]


def describe(imported: Imported) -> list[str]:
    """What was read and found, a line each."""
    made = imported.provenance
    lines = [f"format: {made['format']}", *(f"{role}: {column}" for role, column in made["guessed"].items())]
    lines.append(f"{number_of(made['prompts'], 'prompt')}, {number_of(made['samples'], 'sample')}")
    for name, s in made["scores"].items():
        spread = "" if s["lowest"] is None else f", from {s['lowest']:g} to {s['highest']:g}"
        lines.append(f"score {name}: {s['scored']} scored, {s['missing']} missing{spread}")
    lines += [str(finding) for finding in imported.findings]
    lines.append(f"one law: {'nothing speaks against it' if made['one_law'] else 'no'}")
    return lines
