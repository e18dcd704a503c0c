"""The formats that can be imported, in one table: how each is recognised, and what reads it.

A new format is a reader (from sources to samples), an entry here, and a line in docs/import.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from alignment_limits.errors import TableError
from alignment_limits.importers import batches, best_of_k, evaluations, generic, inspect_logs, training_logs
from alignment_limits.importers.rows import Reader
from alignment_limits.importers.sources import Source


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        says: what it is, for the list of formats.
        recognise: whether a file has it. read: its reader.
        facts: findings that are true of every such file.
    """

    says: str
    recognise: Callable[[Source], bool]
    read: Reader
    facts: Mapping[str, str] = field(default_factory=dict)


def with_fields(*names: str) -> Callable[[Source], bool]:
    """Recognise a file by fields of its first record."""
    return lambda source: set(names) <= source.first.values.keys()


def _is_monkeys(source: Source) -> bool:
    keys = source.first.values.keys()
    return "samples" in keys and bool({"is_corrects", "is_correct", "gt_answer"} & keys)


def _is_ensembles(source: Source) -> bool:
    keys = source.first.values.keys()
    return {"instruction", "answers"} <= keys and bool({"gold_scores", "proxy_scores"} & keys)


def _is_ultrafeedback(source: Source) -> bool:
    completions = source.first.values.get("completions")
    first = completions[0] if isinstance(completions, list) and completions else None
    return source.first.has("instruction") and isinstance(first, Mapping) and "response" in first


def _is_alpaca(source: Source) -> bool:
    keys = source.first.values.keys()
    return "instruction" in keys and ({"output_1", "output_2"} <= keys or {"output", "generator"} <= keys)


_EQUAL = "the trainer can leave out prompts whose replies all score the same (verl: filter_groups)"

FORMATS: dict[str, Format] = {  # the first that recognises a file
    "inspect": Format("inspect_ai logs, .eval and .json", inspect_logs.is_inspect, inspect_logs.read_inspect),
    "lm-eval": Format(
        "lm-evaluation-harness, --log_samples",
        with_fields("doc_id", "resps", "filtered_resps"),
        evaluations.read_lm_eval,
    ),
    "openai-batch": Format(
        "batch output of OpenAI, vLLM or LiteLLM; give the requests too", batches.is_batch, batches.read_batches
    ),
    "open-instruct-traces": Format(
        "open-instruct's RL traces (save_traces)",
        with_fields("prompt_tokens", "response_tokens", "reward"),
        training_logs.read_traces,
        {"dropped-prompts": "traces are written after prompts with equal rewards are removed (zero-std filter)"},
    ),
    "open-instruct-rejection": Format(
        "open-instruct's completions for rejection sampling",
        with_fields("messages", "model_completion", "reference_completion"),
        training_logs.read_rejection,
        {"may-drop-prompts": "prompts whose replies are all the same text are left out"},
    ),
    "verl": Format(
        "verl's rollout and validation dumps",
        with_fields("input", "output", "score", "gts"),
        training_logs.read_verl,
        {"may-drop-prompts": _EQUAL, "no-end-of-text": "texts are decoded without special tokens"},
    ),
    "trl": Format(
        "TRL's completions (log_completions), Parquet",
        with_fields("step", "prompt", "completion", "advantage"),
        training_logs.read_trl,
    ),
    "rewardbench-2": Format(
        "RewardBench 2: its replies, or a reward model's scores of them",
        best_of_k.is_rewardbench,
        best_of_k.read_rewardbench,
        {"selected-replies": "correct and wrong replies of several models were selected for each prompt"},
    ),
    "ppe": Format(
        "PPE's best-of-k sets", with_fields("prompt", "response_1", "response_2", "scores"), best_of_k.read_ppe
    ),
    "monkeys": Format("samples and is_corrects, as of Large Language Monkeys", _is_monkeys, best_of_k.read_monkeys),
    "rm-ensembles": Format(
        "answers with gold_scores, as of Coste et al. (2023)", _is_ensembles, best_of_k.read_ensembles
    ),
    "ultrafeedback": Format("UltraFeedback", _is_ultrafeedback, best_of_k.read_ultrafeedback),
    "distilabel": Format(
        "distilabel's generations with ratings", with_fields("instruction", "generations"), best_of_k.read_distilabel
    ),
    "alpaca-eval": Format("AlpacaEval's outputs and annotations", _is_alpaca, evaluations.read_alpaca_eval),
    "generic": Format(
        "any table: a line a sample, a line a prompt with lists, or response_1…k", lambda _: True, generic.read_generic
    ),
}


def format_of(sources: Sequence[Source], wanted: str | None) -> str:
    """The name of the format of some files.

    Raises:
        TableError: there is no such format, or the files have different ones.
    """
    if wanted is not None:
        if wanted not in FORMATS:
            raise TableError(f"there is no format '{wanted}'; there are: {', '.join(FORMATS)}")
        return wanted
    names = {s.name: next(name for name, entry in FORMATS.items() if entry.recognise(s)) for s in sources}
    if len(set(names.values())) > 1:
        shown = "; ".join(f"{file}: {name}" for file, name in list(names.items())[:4])
        raise TableError(f"the files have different formats ({shown}); import them separately, or name the format")
    return next(iter(names.values()))
