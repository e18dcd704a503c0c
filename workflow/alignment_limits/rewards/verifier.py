"""Verifiers: 1 where a reply has the right answer of its prompt, else 0.

The answer is found in the reply (`extract`) and compared with the right one (`match`). A reply without an answer gets
0, and is counted. The answers are kept for majority votes: replies whose answers are equal have the same text there.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Prompt, Scores

Item = tuple[str, str, str | None]  # prompt ("" if it is not read), reply, what the column says


class Verdict(NamedTuple):
    """A reply: whether it is right, its answer (None if it has none), and how a program ended that gave no verdict."""

    right: bool
    answer: str | None
    ended: str = ""


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    match: str = "exact",
    answer: str | None = "reference",
    several: str | None = None,
    extract: str | None = None,
    ignore: Sequence[str] = ("space",),
    tolerance: float = 0.0,
    pattern: str | None = None,
    program: Mapping[str, Any] | None = None,
    most_failed: float = 1.0,
    columns: Sequence[str] = (),
) -> ItemReward:
    """A 0/1 reward; `text` is not used, `most_failed` by those who score. See `study.judges.Verifier` for the settings.

    Raises:
        RewardError: the program is not found, or the network cannot be taken from it; when scoring: a prompt has no
            right answer, or one that cannot be read; the program gives no verdict on any reply.
    """
    of_program = program is not None
    comparisons: dict[str, Callable[..., Verdict]] = {
        "exact": functools.partial(_exact, ignore=ignore),
        "number": functools.partial(_numbers, tolerance=tolerance),
        "math": functools.partial(_mathematics, extracted=extract is not None),
    }
    compare = comparisons.get(match, functools.partial(_search, pattern=pattern or ""))
    found = _extractor(extract)
    ask = Checker(folder, **program) if program is not None else None

    def check(item: Item) -> Verdict:
        if ask is not None:
            return ask(item)
        return compare(found(item[1]), _right(item[2], several) if columns else [])

    # a slow check is made once: while a policy is trained, replies come again in other calls
    remembered = functools.cache(check) if match in ("math", "program") else check

    def score_items(items: list[Item]) -> Scores:
        verdicts = [remembered(item) for item in items]
        if ask is not None and len(items) > 1 and all(v.ended == ENDED for v in verdicts):
            raise RewardError(ask.explain(items[0]))
        right = np.array([v.right for v in verdicts], dtype=np.float64)
        whole = np.zeros(len(items), dtype=bool)
        if match == "pattern" and extract is None:
            return Scores(right, whole)
        answers = np.array([v.answer for v in verdicts], dtype=object)
        failed = [bool(v.ended) if of_program else v.answer is None for v in verdicts]
        return Scores(right, whole, np.array(failed), answers)

    def items(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
        return [
            (str(prompt) if of_program else "", reply, _column(prompt, columns))
            for prompt, reply in zip(prompts, replies, strict=True)
        ]

    def readable(item: Item, _: int) -> None:
        if columns and not of_program:
            compare(None, _right(item[2], several))

    return ItemReward(items, score_items, sign, flat=True, readable=readable)


def _column(prompt: str, columns: Sequence[str]) -> str | None:
    if not columns:
        return None
    own = prompt.columns if isinstance(prompt, Prompt) else {}
    if own.get(columns[0]) is None:
        raise RewardError(
            f"the column '{columns[0]}' has no right answer for the prompt that starts {str(prompt)[:40]!r}; add it to "
            "the prompt file, or name another column (`answer`)"
        )
    return own[columns[0]]


def _right(given: str | None, several: str | None) -> list[str]:
    """The right answers in a cell."""
    if several is None:
        return [str(given)]
    if several == "lines":
        found = [line.strip() for line in str(given).splitlines() if line.strip()]
    else:
        try:
            found = json.loads(str(given))
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise RewardError(f"the right answers {given!r} are not a list; write one, or leave out `several: list`")
        found = [each if isinstance(each, str) else json.dumps(each) for each in found]
    if not found:
        raise RewardError("the list of right answers is empty; add one, or remove the prompt")
    return found


# What of a reply is its answer


def _extractor(extract: str | None) -> Callable[[str], str | None]:
    """Reply → its answer; None if there is none."""
    if extract is None:
        return lambda reply: reply
    if extract == "boxed":
        return boxed
    if extract == "last-line":
        return lambda reply: next((line for line in reversed(reply.splitlines()) if line.strip()), None)
    compiled = re.compile(extract)

    def last(reply: str) -> str | None:
        found = None
        for found in compiled.finditer(reply):  # noqa: B007 (the last one is wanted)
            pass
        return None if found is None else found[1 if compiled.groups else 0]

    return last


def boxed(reply: str) -> str | None:
    r"""The content of the last complete `\boxed{…}`; braces inside it are matched.

    Example:
        >>> boxed(r"So \boxed{1}, no, \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
    """
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", reply)]):
        depth = 1
        for end in range(start, len(reply)):
            depth += {"{": 1, "}": -1}.get(reply[end], 0)
            if not depth:
                return reply[start:end]
    return None


# Comparisons: the reply's answer and the right ones → a verdict. They refuse a right answer that cannot be read.


def _exact(found: str | None, right: Sequence[str], *, ignore: Sequence[str]) -> Verdict:
    def plain(given: str) -> str:
        text = unicodedata.normalize("NFC", given)
        if "case" in ignore:
            text = text.casefold()
        if "punctuation" in ignore:
            text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
        return " ".join(text.split()) if "space" in ignore else text

    own = plain(found) if found is not None else ""
    known = [plain(each) for each in right]
    if "" in known:
        raise RewardError(f"the right answer {right[known.index('')]!r} is empty (after `ignore`); correct it")
    return Verdict(own in known, own or None)


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|(?<!\.)\.\d+"
_NUMBER = re.compile(rf"(?<!\w)(?<!\d\.)(?:(?<![)\]])[-+−])?(?:{_DIGITS})(?:[eE][-+−]?\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
MOST_DIGITS = 400  # also the largest exponent: 1e999999999 would fill the memory


def number(text: str) -> Fraction | None:
    r"""The last number in a text, exactly; None if there is none, or one of more than 400 digits.

    Signs, decimals, thousands separated by commas, exponents, a/b and `\frac{a}{b}` are read. Units, the sign % and
    decimal commas are not.

    Example:
        >>> number("3 of 4, so 0.75 or 1,000 / 4"), number("none")
        (Fraction(250, 1), None)
    """
    found = _NUMBER.findall(_FRACTION.sub(r"\1/\2", text))
    return _value(found[-1]) if found else None


def _value(written: str) -> Fraction | None:
    plain = re.sub(r"[\s,]", "", written).replace("−", "-")
    over, _, under = plain.partition("/")
    exponent = re.split("[eE]", over)[1:]
    if len(plain) > MOST_DIGITS or (exponent and abs(int(exponent[0])) > MOST_DIGITS):
        return None
    below = Fraction(under or 1)
    return Fraction(over) / below if below else None


def _numbers(found: str | None, right: Sequence[str], *, tolerance: float) -> Verdict:
    known = [number(each) for each in right]
    for each, value in zip(right, known, strict=True):
        if value is None:
            raise RewardError(f"the right answer {each!r} contains no number; correct it, or use another `match`")
    own = None if found is None else number(found)
    if own is None:
        return Verdict(False, None)
    for value in known:
        assert value is not None
        if abs(own - value) <= Fraction(repr(tolerance)) * (abs(value) or 1):
            return Verdict(True, str(value))
    return Verdict(False, str(own))


def _mathematics(found: str | None, right: Sequence[str], *, extracted: bool) -> Verdict:
    known = [parsed(each, True) for each in right]
    for each, value in zip(right, known, strict=True):
        if not value:
            raise RewardError(
                f"the right answer {each!r} cannot be read as mathematics; correct it, or use another match"
            )
    own = None if found is None else parsed(found, extracted)
    if not own:
        return Verdict(False, None)
    for each, value in zip(right, known, strict=True):
        if _equal(value, own):
            return Verdict(True, each)
    return Verdict(False, str(own[0]))


def _timed() -> bool:
    """Whether math-verify can end a comparison after its 5 seconds: it uses a signal, which is for the main thread."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")


@functools.lru_cache(maxsize=4096)
def _parsed(text: str, timed: bool) -> tuple[Any, ...]:
    from math_verify import parse

    found = parse(text, parsing_timeout=5 if timed else None)
    return tuple(found) if found and not isinstance(found[0], str) else ()  # a lone text is what could not be read


def parsed(text: str, whole: bool) -> tuple[Any, ...]:
    """What math-verify reads in a text; () if nothing.

    Args:
        text: of a reply, or a right answer.
        whole: whether all of it is one expression, also without `$`.
    """
    marked = "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text
    if whole and not marked and (found := _parsed(f"${text}$", _timed())):
        return found
    return _parsed(text, _timed())


def _equal(right: tuple[Any, ...], own: tuple[Any, ...]) -> bool:
    from math_verify import verify

    return bool(verify(list(right), list(own), timeout_seconds=5 if _timed() else None))


def _search(found: str | None, right: Sequence[str], *, pattern: str) -> Verdict:
    wanted = [pattern.replace("{answer}", re.escape(each)) for each in right] or [pattern]
    return Verdict(found is not None and any(re.search(each, found) for each in wanted), found)


# Programs

ENDED, LIMIT = "no verdict", "out of limits"
APART = ("--pid", "--fork", "--kill-child", "--ipc")  # whatever a program starts ends with it
WAIT = 4  # times its seconds of a processor, by the clock: other processes may use the processor, too


@functools.cache
def _apart(network: bool) -> list[str] | None:
    """The beginning of a command that runs in namespaces of its own; None if the system does not allow it."""
    unshare = shutil.which("unshare")
    for user in ((), ("--user", "--map-root-user")):
        command = [str(unshare), *APART, *(() if network else ("--net",)), *user]
        if unshare and not subprocess.run([*command, "true"], capture_output=True).returncode:
            return command
    return None


class Checker:
    """Asks a program about one reply at a time, each time in a new process and an empty folder.

    The program gets a JSON object with `prompt`, `reply` and `answer` on its standard input. The last line of its
    output is 1 or 0, perhaps followed by a space and the reply's answer.

    Raises:
        RewardError: the program is not found, or the network cannot be taken from it.
    """

    def __init__(
        self,
        folder: Path | None,
        command: Sequence[str],
        seconds: float = 10.0,
        memory_mb: int = 2048,
        output_kb: int = 64,
        network: bool = False,
    ) -> None:
        self.seconds, self.output = seconds, output_kb * 1024
        limit, apart = shutil.which("prlimit"), _apart(network)
        if limit is None:
            raise RewardError("a verifier's program needs `prlimit` (util-linux, on every Linux), which is not found")
        if apart is None and not network:
            raise RewardError(
                "this system lets no program run without the network (`unshare --net` is refused, as in many "
                "containers); allow user namespaces, or accept the network: program: {network: true}"
            )
        words = [self._path(folder, word) for word in command]
        first = sys.executable if words[0] in ("python", "python3") else shutil.which(words[0])
        if first is None:
            held = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) if folder else "there is no `source`"
            raise RewardError(f"the program '{command[0]}' is not found, or is not executable; its source: {held}")
        limits = [f"--as={memory_mb * 2**20}", f"--cpu={max(1, round(seconds))}", f"--fsize={self.output}", "--core=0"]
        self.name, self.command = command[0], [limit, *limits, *(apart or []), first, *words[1:]]

    @staticmethod
    def _path(folder: Path | None, word: str) -> str:
        file = os.path.join(folder, word) if folder else ""
        return os.path.abspath(file) if os.path.isfile(file) else word

    def __call__(self, item: Item) -> Verdict:
        """The program's verdict on one reply."""
        status, last, _ = self._run(item)
        passed, _, answer = last.partition(" ")
        if status == 0 and passed in ("0", "1"):
            return Verdict(passed == "1", answer.strip() or None)
        return Verdict(False, None, LIMIT if status is None or status < 0 else ENDED)

    def explain(self, item: Item) -> str:
        """How the program ends on one reply, as a message."""
        status, last, errors = self._run(item)
        return (
            f"the program '{self.name}' gives no verdict on any reply. The last line of its output must be 1 or 0, "
            "perhaps followed by a space and the reply's answer, and its exit status 0. On the first reply its status "
            f"was {status}, its last line {last[:80]!r}, its last error {errors.rpartition(chr(10))[2][:300]!r}"
        )

    def _run(self, item: Item) -> tuple[int | None, str, str]:
        """Exit status (None: out of time), last line of the output, end of the errors."""
        asked = json.dumps({"prompt": item[0], "reply": item[1], "answer": item[2]}, ensure_ascii=False)
        with tempfile.TemporaryDirectory(prefix="verifier-", ignore_cleanup_errors=True) as place:
            work, out, errors = (Path(place, name) for name in ("work", "out", "errors"))
            work.mkdir()
            # nothing of this process's environment, which may contain keys
            own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(work), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
            with out.open("wb") as said, errors.open("wb") as complained:
                process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=said, stderr=complained, cwd=work, env=own,
                    start_new_session=True,
                )  # fmt: skip
                status: int | None
                try:
                    process.communicate(asked.encode("utf-8", "replace"), timeout=WAIT * self.seconds)
                    status = process.returncode
                except subprocess.TimeoutExpired:
                    status = None
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            lines = out.read_bytes()[: self.output].decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            return status, last, errors.read_bytes()[-2000:].decode("utf-8", "replace").strip()
