"""The estimator of verifiable rewards in the workflow: pass rates and KL. `tradeoffs` lists it with the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import EstimateError
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.estimators import Estimator, Scores
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.sample_columns import ANSWER
from alignment_limits.tables.schemas.limits import contract, with_interval
from alignment_limits.tradeoffs.binary import is_binary
from alignment_limits.tradeoffs.verifiable import LIMIT, VerifiableTable, verifiable

VERIFIABLE = contract(
    "verifiable",
    VerifiableTable,
    "reward method selecting budget k prompts no_success kl kl_low kl_high kl_bound pass_rate pass_rate_low "
    "pass_rate_high limit reliable reason",
    {"reliable": (*with_interval("kl"), *with_interval("pass_rate"))},
    reward=pl.String,
)
ROUNDING = 1e-6  # of scores that were standardised and are taken back to their own units
HEAD = 1000  # first rows of a table that are looked at to see whether gold is 0/1
_READERS: dict[str, Any] = {
    ".parquet": pl.scan_parquet, ".csv": pl.scan_csv, ".jsonl": pl.scan_ndjson, ".ndjson": pl.scan_ndjson,
    ".tsv": lambda file: pl.scan_csv(file, separator="\t"),
}  # fmt: skip


def correct_of(scores: Scores, reward: str) -> np.ndarray | None:
    """A reward's own scores (prompts, samples) if all are 0 or 1, and both occur; else None."""
    if reward not in scores.tables["scales"]["reward"]:  # an ensemble
        return None
    raw = scores.raw(reward)
    whole = np.round(raw)
    near = np.isnan(raw) | (np.abs(raw - whole) < ROUNDING)
    return whole if near.all() and is_binary(whole) else None


def _verifiable(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    correct = correct_of(scores, p["reward"])
    if correct is None:
        if p["wanted"]:
            raise EstimateError(
                f"tradeoffs.verifiable: '{p['reward']}' has other scores than 0 and 1, or only one of them. Name a "
                "reward that is 0 or 1 (`reward:`), or remove the section"
            )
        return
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    found = p["answer"] is not None and p["answer"] in scores.tables["columns"].columns
    answers = answers_of(scores, p["answer"]) if found else None
    others = {name: scores.of[name] for name in p["selecting"]}
    table = verifiable(
        correct, kls=[0.0, *p["kls"]], ks=p["k"], answers=answers, selecting=others, share=p["share"], **settings
    )
    yield table.to_polars().with_columns(reward=pl.lit(p["reward"])).select(*VERIFIABLE.columns)


def answers_of(scores: Scores, column: str) -> np.ndarray:
    """Answers of the samples (prompts, samples) as numbers, equal where the texts are equal; NaN without an answer."""
    keys = scores.standardised.select(*KEY)
    found = keys.join(scores.tables["columns"].select(*KEY, column), on=KEY, how="left", maintain_order="left")
    text = found[column].cast(pl.String).str.strip_chars()
    number = text.set(text == "", None).rank("dense").cast(pl.Float64)
    return Grid.of(keys).array(number)


def _said(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    if not table.height:
        yield f"'{p['reward']}' is not 0/1: no pass rates"
        return
    first = table.row(0, named=True)
    yield f"'{p['reward']}' is 0/1: {first['no_success']} of {first['prompts']} prompts have no success"
    for row in table.filter((pl.col("method") == LIMIT) & (pl.col("budget") == "average")).iter_rows(named=True):
        rate = " to ".join(f"{100 * row[f'pass_rate_{end}']:.1f}" for end in ("low", "high"))
        yield f"limit at {row['kl']:g} nats: a pass rate of {100 * row['pass_rate']:.1f} % ({rate})"


def _given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.verifiable
    reward = (own and own.reward) or study.gold
    others = [name for name in study.reward_names if name != reward]
    chosen = own.selecting if own and own.selecting is not None else others
    return {
        "reward": reward,
        "wanted": own is not None,
        "answer": _answer(study),
        "k": (own and own.k) or study.limits.best_of,
        "share": own.share if own else 0.5,
        "selecting": chosen,
        "evaluated": [reward, *chosen],
    }


def _reads(study: Any) -> Sequence[str]:
    return ("scales", "columns") if _answer(study) else ("scales",)


def _answer(study: Any) -> str | None:
    """The column with the answers of replies: as the study names it, or that of a verifier."""
    own = study.tradeoffs.verifiable
    return (own and own.answer) or (ANSWER if study.answered_by else None)


def _made(study: Any) -> bool:
    """With its section; without, where gold is a verifier, 0/1 in a table's first rows, or may be so in an import."""
    if study.tradeoffs.verifiable is not None:
        return True
    if study.scores is None:
        return bool(study.rewards and study.rewards[study.gold].kind == "verifier")
    return study.scores.imported is not None or _begins_with_0_and_1(str(study.scores.table), study.gold)


@lru_cache
def _begins_with_0_and_1(file: str, column: str) -> bool:
    path = Path(file).expanduser()
    read = _READERS.get(path.suffix.lower())
    if read is None or not path.is_file():
        return False
    try:
        head = read(path).select(pl.col(column)).head(HEAD).collect()[column].cast(pl.Float64)
    except (pl.exceptions.PolarsError, OSError):
        return False  # the reader of the table reports what is wrong with it
    return is_binary(head.to_numpy()[None])


ESTIMATORS = {
    "verifiable": Estimator(
        _verifiable,
        VERIFIABLE,
        "none",
        ("kls", "bootstrap"),
        "verifiable.parquet",
        folder="tradeoffs",
        reads=_reads,
        given=_given,
        made=_made,
        said=_said,
    ),
}
