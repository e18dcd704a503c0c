"""Tables of samples in no particular format: a line a sample, a line a prompt with lists, or columns `response_1…k`.

The columns are guessed by their names, and every guess is shown. Options name them where the guess is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from alignment_limits.errors import TableError
from alignment_limits.importers.rows import Choices, Row, Sample, content, settings
from alignment_limits.importers.sources import Source
from alignment_limits.tables.user_table import other_separator

PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", "user_prompt", "messages", "conversation")
REPLIES: tuple[str, ...] = (
    "reply",
    "response",
    "completion",
    "output",
    "answer",
    "generation",
    "model_completion",
    "generated_text",
)
REPLIES += ("responses", "replies", "completions", "outputs", "answers", "generations", "samples", "text", "texts")
KEYS = ("prompt_id", "question_id", "problem_id", "task_id", "doc_id")
LAWS = {"model": ("model", "model_name", "generator", "policy", "checkpoint", "law"), "step": ("step", "global_step")}
LAWS |= {"filter": ("filter",), "origin": ("origin",)}
NOT_SCORES = {"id", "index", "idx", "row", "sample_id", "seed", "epoch", "length", "n_tokens", "num_tokens", "tokens"}
NOT_SCORES |= {"logprob", "logprobs", "cumulative_logprob", "advantage", "token_ids", "timestamp", "created", "cluster"}
NOT_SCORES |= {"temperature", "top_p", "top_k", "min_p", "max_tokens", "target", "ground_truth", "label_id"}
LEFT_OUT = "not scores, as there are not as many as replies"
_TRUTH = {"true": 1.0, "false": 0.0}  # as CSV files have it
_NUMBERED = re.compile(r"(.*?)_?(\d+)")


def read_generic(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Samples of a table.

    Raises:
        TableError: no column of replies or prompts is named or found, or a field has another type.
    """
    for source in sources:
        layout = Layout.of(source, choices)
        for row in source.rows:
            yield from layout.samples(row)


class Layout:
    """Which columns are what, in one file.

    Attributes:
        prompt, key: columns of the prompt and of its id; at least one is given.
        replies: one column with a reply or a list of them, or several columns with one each.
        scores: by name, one column (with a number or a list), or one for each reply.
        law: the columns that decide the law, by the name of what they state.
    """

    def __init__(self, source: Source, choices: Choices) -> None:
        self.columns: list[str] = list(dict.fromkeys(name for row in source.rows for name in row.values))
        self.source, self.choices = source, choices
        self.prompt: str | None = None
        self.key: str | None = None
        self.replies: list[str] = []
        self.scores: dict[str, list[str]] = {}
        self.law: dict[str, str] = {}

    @classmethod
    def of(cls, source: Source, choices: Choices) -> Layout:
        """The layout of a file: what was chosen, and guesses for the rest."""
        source.first  # noqa: B018  refuses an empty file
        layout = cls(source, choices)
        layout.prompt = layout._named("prompt", choices.prompt, PROMPTS)
        layout.key = layout._named("id", choices.key, KEYS)
        if layout.prompt is None and layout.key is None:
            lost = f"{source.name}: no column of prompts is found among {layout._shown()}; name it: --prompt"
            raise TableError(lost + other_separator(layout.columns))
        layout._find_replies()
        for what, names in LAWS.items():
            if (column := layout._named(what, None, names)) is not None:
                layout.law[what] = column
        if choices.law is not None:
            layout.law["law"] = layout._chosen("law", choices.law)
        layout._find_scores()
        return layout

    def samples(self, row: Row) -> Iterator[Sample]:
        """The replies of a row, and their scores."""
        prompt = row.prompt(self.prompt) if self.prompt and row.has(self.prompt) else None
        law = {what: value for what, column in self.law.items() if (value := row.word(column)) is not None}
        common: dict[str, Any] = {"key": row.word(self.key) if self.key else None, "law": law | settings(row)}
        if not self.replies:
            turns = row.items(self.prompt or "")
            if len(turns) < 2 or not isinstance(turns[-1], dict) or turns[-1].get("role") != "assistant":
                raise row.refuse(self.prompt or "", "does not end with the assistant's reply")
            common["prompt"] = row.conversation(self.prompt or "", turns[:-1])
            yield self._sample(row, content(turns[-1].get("content")), common)
            return
        common["prompt"] = prompt
        if len(self.replies) > 1:
            for names in self.scores.values():
                given = row.values.get(names[0])
                if isinstance(given, list) and len(given) != len(self.replies):
                    raise row.refuse(names[0], f"has {len(given)} values for {len(self.replies)} columns of replies")
            for i, column in enumerate(self.replies):
                if row.has(column):
                    yield self._sample(row, row.text(column), common, i)
            return
        column = self.replies[0]
        if isinstance(row.values.get(column), list):
            row.same_length([column, *(names[0] for names in self.scores.values() if row.has(names[0]))])
            for i, reply in enumerate(row.texts(column)):
                yield self._sample(row, reply, common, i)
        else:
            yield self._sample(row, row.optional_text(column), common)

    def _sample(self, row: Row, reply: str | None, common: dict[str, Any], i: int = 0) -> Sample:
        scores = {}
        for name, columns in self.scores.items():
            column = columns[i] if len(columns) > 1 else columns[0]
            several = isinstance(row.values.get(column), list)
            scores[name] = row.numbers(column)[i] if several else self._number(row, column)
        finish = row.values.get("finish_reason")
        seed = row.values.get("seed")
        return Sample(
            row.file,
            row.number,
            reply=reply,
            scores=scores,
            finish=finish if isinstance(finish, str) else None,
            seed=seed if type(seed) is int else None,
            logprob=row.number_or_none("logprob") if isinstance(row.values.get("logprob"), float) else None,
            error=None if reply is not None else "no reply",
            **common,
        )

    def _number(self, row: Row, column: str) -> float | None:
        given = row.values.get(column)
        if given == "":
            return None
        if isinstance(given, str) and given.lower() in _TRUTH:
            return _TRUTH[given.lower()]
        return row.number_or_none(column, texts=True)

    def _named(self, role: str, chosen: str | None, names: Sequence[str]) -> str | None:
        """The chosen column, or the first of some names that the file has."""
        if chosen is not None:
            return self._chosen(role, chosen)
        found = next((name for name in names if name in self.columns), None)
        if found is not None:
            self.choices.guessed[role] = found
        return found

    def _chosen(self, role: str, column: str) -> str:
        if column not in self.columns:
            raise TableError(f"{self.source.name} has no column '{column}' (--{role}); it has {self._shown()}")
        return column

    def _find_replies(self) -> None:
        chosen = self.choices.reply
        if chosen is not None and chosen in self.columns:
            self.replies = [chosen]
            return
        wide = _numbered(self.columns)
        for name in [chosen] if chosen is not None else REPLIES:
            if len(wide.get(name, [])) > 1:
                self.replies = [column for _, column in wide[name]]
                self.choices.guessed["replies"] = f"{self.replies[0]} … {self.replies[-1]}"
                return
            if name in self.columns and name != self.prompt:
                self.replies = [name]
                self.choices.guessed["reply"] = name
                return
        if chosen is not None:
            self._chosen("reply", chosen)
        ends = self.prompt and isinstance(turns := self.source.first.values.get(self.prompt), list) and turns
        if ends and isinstance(ends[-1], dict) and ends[-1].get("role") == "assistant":
            self.choices.guessed["reply"] = f"the last message of {self.prompt}"
            return
        raise TableError(f"{self.source.name}: no column of replies is found among {self._shown()}; name it: --reply")

    def _find_scores(self) -> None:
        wide = {name: [c for _, c in found] for name, found in _numbered(self.columns).items()}
        known = {self.prompt, self.key, *self.replies, *self.law.values()}
        if self.choices.scores:
            for name in self.choices.scores:
                several = wide.get(name, [])
                fits = len(self.replies) > 1 and len(several) == len(self.replies) and name not in self.columns
                self.scores[name] = several if fits else [self._chosen("score", name)]
            return
        for name, several in wide.items():
            fits = len(several) == len(self.replies)
            several_replies = len(self.replies) > 1 and len(several) > 1 and not known & set(several)
            if name.lower() in NOT_SCORES or not several_replies or not all(map(self._is_number, several)):
                continue
            if fits:
                self.scores[name] = several
                known |= set(several)
            else:
                self._leave_out(f"{several[0]} … {several[-1]}")
        lists = len(self.replies) > 1 or isinstance(self.source.first.values.get(next(iter(self.replies), "")), list)
        for column in self.columns:
            holds = self._is_list if lists else self._is_number
            if column not in known and column.lower() not in NOT_SCORES and holds(column):
                self.scores[column] = [column]
        self.choices.guessed["scores"] = ", ".join(self.scores) or "none"

    def _is_number(self, column: str) -> bool:
        """Whether most values are numbers. The others are errors, not a reason to leave the column out."""
        values = [row.values.get(column) for row in self.source.rows]
        given = [value for value in values if value is not None and value != ""]
        texts = self.source.suffix in (".csv", ".tsv")
        numbers = sum(_numeric(value) and (texts or not isinstance(value, str)) for value in given)
        return 2 * numbers > len(given)

    def _is_list(self, column: str) -> bool:
        """Whether most rows have a list of numbers for each reply. The others are errors, as in `_is_number`.

        Lists of numbers that never have this length are left out, and shown with the guesses.
        """
        lists, fit, given = 0, 0, 0
        for row in self.source.rows:
            value, replies = row.values.get(column), row.values.get(self.replies[0])
            if value is None:
                continue
            given += 1
            many = len(self.replies) if len(self.replies) > 1 else len(replies) if isinstance(replies, list) else -1
            if isinstance(value, list) and 2 * sum(_is_plain_number(each) for each in value) > len(value):
                lists += 1
                fit += len(value) == many
        if 2 * lists > given and 2 * fit <= given:
            self._leave_out(column)
        return 2 * fit > given

    def _leave_out(self, column: str) -> None:
        """Show that a column that looks like scores is none."""
        out = self.choices.guessed.get(LEFT_OUT)
        self.choices.guessed[LEFT_OUT] = f"{out}, {column}" if out else column

    def _shown(self) -> str:
        return ", ".join(map(repr, self.columns[:30]))


def _numbered(columns: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Columns that differ in a number at their end, by the name before it, in the order of the numbers."""
    found: dict[str, list[tuple[int, str]]] = {}
    for column in columns:
        if match := _NUMBERED.fullmatch(column):
            found.setdefault(match[1], []).append((int(match[2]), column))
    return {name: sorted(several) for name, several in found.items()}


def _is_plain_number(value: Any) -> bool:
    """Whether it is missing or a number that is not text."""
    return value is None or (_numeric(value) and not isinstance(value, str))


def _numeric(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return value.lower() in _TRUTH
        return True
    return isinstance(value, (bool, int, float))
