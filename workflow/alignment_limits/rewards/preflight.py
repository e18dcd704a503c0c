"""Score a few texts before the study does: a broken reward fails here, within seconds.

The texts are prompts of the study with replies of ours, and with the further columns of the prompt file. A function
that looks up its prompt, or checks a reply against its prompt's answer, gets what it gets in the study. For every
prompt the preflight checks that the reward can read it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.errors import AlignmentLimitsError, RewardError
from alignment_limits.models.memory import checkpoint, free_memory
from alignment_limits.rewards.base import ItemReward, Prompt, RewardModel, turns_of
from alignment_limits.rewards.load import load_reward

Prompts = Sequence[str] | Mapping[str, str]  # by prompt_id, if errors should name the prompt
OWN_REPLIES = 4  # references and other columns of prompts, scored as if they were replies

# Civil, rude (for word lists: their words must occur), long, empty, not English; no slurs.
PROBES: tuple[tuple[str, str], ...] = (
    ("How was the concert?", " It was lovely, thank you so much for the tickets."),
    ("How was the concert?", " It was bullshit, and you are a stupid idiot for liking that crap."),
    ("The committee met on Tuesday", " to discuss the budget for the coming year."),
    ("What do you think of him?", " He is a lazy bastard who should shut the hell up, damn it."),
    ("Please help me with my homework.", " Of course. Start by reading the question twice."),
    ("Write something long.", " The river runs past the mill, under the old bridge and on to the sea." * 12),
    ("Say nothing.", ""),
    ("Grüße aus Köln!", " Schöne Grüße zurück — bis morgen! 😀 你好"),
    ("I am sad today.", " I am sorry to hear that; I hope tomorrow is better."),
    ("Is this product any good?", " No. It sucks, it broke at once, and the damn thing was ugly."),
)


@dataclass(frozen=True)
class Probe:
    """A prompt and a reply to test a reward with; `prompt_id` is "" if a prompt has no name."""

    prompt_id: str
    prompt: str
    reply: str


def probes(prompts: Prompts, own: Sequence[tuple[str, str]] = (), reward: RewardModel | None = None) -> list[Probe]:
    """The texts to test a reward with.

    Args:
        prompts: those of the study; none: prompts of ours. The first ten are used, and those that differ from all
            others (`_unlike`).
        own: prompts with replies from the study, such as references; a few are used, as are columns of prompts.
        reward: replies are truncated to what it can read, if it states that.
    """
    if not prompts:
        return [_cut(Probe("", *pair), reward) for pair in PROBES]
    names, texts = _named_prompts(prompts)
    of = {id(prompt): name for name, prompt in zip(names, texts, strict=True)}
    asked = [Probe(names[i % len(texts)], texts[i % len(texts)], r) for i, (_, r) in enumerate(PROBES)]
    asked += [Probe(names[i], texts[i], PROBES[0][1]) for i in _unlike(texts) if i >= len(PROBES)]
    columns = [(p, value) for p in texts if isinstance(p, Prompt) for value in p.columns.values() if value]
    asked += [Probe(of.get(id(p), ""), p, r) for p, r in (*list(own)[:OWN_REPLIES], *columns[:OWN_REPLIES])]
    return [_cut(probe, reward) for probe in asked]


def _unlike(prompts: Sequence[str]) -> list[int]:
    """Positions of unusual prompts, on which a reward may fail although it reads most others.

    The longest and the shortest prompt. One conversation of each kind (with or without a system message, one turn or
    more), and the one with most turns. The longest value of each column and the shortest, or the first missing one.
    """
    turns = [turns_of(prompt) for prompt in prompts]
    kinds = {(t[0][0], len(t) > 2): i for i, t in reversed(list(enumerate(turns)))}
    sizes = [list(map(len, prompts)), list(map(len, turns))]
    columns = [prompt.columns if isinstance(prompt, Prompt) else {} for prompt in prompts]
    for name in columns[0]:
        values = [each.get(name) for each in columns]
        sizes.append([-1 if value is None else len(value) for value in values])
    ends = [sized.index(end(sized)) for sized in sizes for end in (min, max)]
    return sorted({*kinds.values(), *ends})


def _cut(probe: Probe, reward: RewardModel | None) -> Probe:
    """A probe whose reply is short enough for the reward: no study has longer ones."""
    while (why := _unreadable(probe, reward)) and len(probe.reply) > 1:
        probe = replace(probe, reply=probe.reply[: len(probe.reply) // 2])
    if why:
        raise why
    return probe


def _unreadable(probe: Probe, reward: RewardModel | None, reply_tokens: int = 0) -> RewardError | None:
    """Why a reward cannot read a prompt and a reply; None if it can, or if only running its model would show it."""
    if not (isinstance(reward, ItemReward) and reward.readable):
        return None
    try:
        reward.readable(reward.items([probe.prompt], [probe.reply])[0], reply_tokens)
    except AlignmentLimitsError as error:
        return RewardError(at(probe) + str(error))
    return None


def check_readable(reward: RewardModel, name: str, prompts: Prompts, reply_tokens: int) -> None:
    """Refuse a reward that cannot read one of the prompts; its model does not run."""
    for prompt_id, prompt in zip(*_named_prompts(prompts), strict=True):
        if why := _unreadable(Probe(prompt_id, prompt, ""), reward, reply_tokens):
            raise RewardError(f"reward '{name}': {why}") from why


def _named_prompts(prompts: Prompts) -> tuple[list[str], list[str]]:
    if isinstance(prompts, Mapping):
        return list(prompts), list(prompts.values())
    return [""] * len(prompts), list(prompts)


def at(probe: Probe) -> str:
    return f"prompt '{probe.prompt_id}': " if probe.prompt_id else ""


TOLERANCE = 1e-4  # allowed change of a score with its batch, in units of the spread of the probes' scores


def preflight(
    reward: RewardModel,
    name: str,
    prompts: Prompts = (),
    own: Sequence[tuple[str, str]] = (),
    reply_tokens: int = 0,
) -> dict[str, Any]:
    """Check that a reward's scores are fit for a study.

    Args:
        reward: the loaded model.
        name: its name in the study, for messages.
        prompts: all prompts of the study by name, as the reward reads them; none: prompts of ours. A few are scored
            (see `probes`). All are checked for readability, if the reward can state that without running its model.
        own: prompts with replies from the study; see `probes`.
        reply_tokens: maximum number of tokens of a reply, for which a reward with a bounded context needs room.

    Returns:
        Figures: `reward`, `probes`, `ms_per_text`, `lowest`, `highest`, `spread` (standard deviation),
        `max_batch_deviation` (in units of highest − lowest), `truncated` (how many probes), `constant`.

    Raises:
        RewardError: it fails, or cannot read a prompt (the message names it); scores are NaN or infinite, depend on
            the batch, or are constant although the kind of reward cannot be.
    """
    check_readable(reward, name, prompts, reply_tokens)
    asked = _named(name, lambda: probes(prompts, own, reward))
    together, truncated = _scored(reward, name, asked)
    start = time.perf_counter()
    backwards = _scored(reward, name, asked[::-1])[0][::-1]
    seconds = time.perf_counter() - start
    alone = np.concatenate([_scored(reward, name, [probe])[0] for probe in asked])

    extent = float(np.ptp(together))
    constant = extent <= 1e-9 * max(1.0, float(np.abs(together).max()))
    if constant and not getattr(reward, "flat", False):
        raise RewardError(
            f"reward '{name}' gives the same score ({together[0]:.6g}) to all {len(asked)} probe texts, "
            "civil and rude; check its label and its files"
        )
    moved = float(max(np.abs(alone - together).max(), np.abs(backwards - together).max()))
    moved = moved / extent if not constant else float(moved > extent)
    allowed = getattr(reward, "tolerance", None) or TOLERANCE
    if not moved <= allowed:
        raise RewardError(
            f"reward '{name}': a text's score depends on the texts scored with it (it changes by {moved:.2g} "
            f"of the scores' range, {allowed:.2g} is allowed); look for padding that is read as text, "
            "batch statistics, state kept between calls or randomness, or set dtype: float32"
        )
    return {
        "reward": name,
        "probes": len(asked),
        "ms_per_text": round(1000 * seconds / len(asked), 3),
        "lowest": float(together.min()),
        "highest": float(together.max()),
        "spread": float(together.std()),
        "max_batch_deviation": moved,
        "truncated": int(truncated.sum()),
        "constant": constant,
    }


def load_and_preflight(
    spec: Any,
    folder: Path | None,
    name: str,
    *,
    device: str = "cpu",
    prompts: Prompts = (),
    own: Sequence[tuple[str, str]] = (),
    reply_tokens: int = 0,
) -> dict[str, Any]:
    """`load_reward`, then `preflight`; all messages have the reward's name.

    Returns:
        `preflight`'s figures; for a body below float32 also `dtype`, `dtype_deviation` and `dtype_deviation_rms`:
        the maximum and the root mean square of the change of the probes' scores against float32, in units of their
        spread in float32. The two are null if the float32 body does not fit into memory.

    Raises:
        RewardError: as `load_reward` and `preflight`.
    """
    settings = dict(spec) if isinstance(spec, dict) else dict(spec.model_dump())
    settings.pop("reply", None)  # the probes are what the reward reads of a reply
    reward = _named(name, lambda: load_reward(settings, folder, device=device))
    figures = preflight(reward, name, prompts, own, reply_tokens)
    if (dtype := settings.get("dtype", "float32")) == "float32":
        return figures
    asked = probes(prompts, own, reward)
    rounded = _scored(reward, name, asked)[0]
    del reward
    gc.collect()  # never both bodies in memory at once
    figures |= {"dtype": dtype, "dtype_deviation": None, "dtype_deviation_rms": None}
    if folder is None or 1.2 * checkpoint(folder).size() < free_memory():
        full = _named(name, lambda: load_reward(settings | {"dtype": "float32"}, folder, device=device))
        exact = _scored(full, name, asked)[0]
        moved = np.abs(rounded - exact) / exact.std()
        figures |= {"dtype_deviation": float(moved.max()), "dtype_deviation_rms": float(np.sqrt((moved**2).mean()))}
    return figures


def warnings_of(figures: dict[str, Any]) -> list[str]:
    """Warnings about a reward that passed."""
    name, out = figures["reward"], []
    if figures["constant"]:
        out.append(
            f"reward '{name}' gives {figures['lowest']:.6g} to all {figures['probes']} probe texts: right for a "
            "verifier that none of them passes; otherwise check its function, its columns or its word list"
        )
    if "dtype" in figures:
        if figures["dtype_deviation"] is None:
            moved = "was not measured, as memory does not hold it in float32"
        else:
            moved = (
                f"moves scores by up to {figures['dtype_deviation']:.1%} of their spread against float32 "
                f"(root mean square {figures['dtype_deviation_rms']:.1%})"
            )
        out.append(f"reward '{name}': its {figures['dtype']} body {moved}")
    return out


def _scored(reward: RewardModel, name: str, asked: list[Probe]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    try:
        where = at(asked[0]) if len(asked) == 1 else ""
        scores = _named(name, lambda: reward.score([p.prompt for p in asked], [p.reply for p in asked]), where)
    except RewardError:
        for probe in asked if len(asked) > 1 else ():  # one probe alone shows which prompt fails
            _scored(reward, name, [probe])
        raise
    score = np.asarray(scores.score)
    if score.shape != (len(asked),) or score.dtype != np.float64 or scores.truncated.shape != score.shape:
        raise RewardError(
            f"reward '{name}' must give {len(asked)} float64 scores and flags for {len(asked)} replies, "
            f"not {score.dtype} of shape {score.shape}"
        )
    if not np.isfinite(score).all():
        raise RewardError(f"reward '{name}' gives NaN or infinite scores to probe texts; fix it before a study")
    return score, scores.truncated


def _named(name: str, call: Callable[[], Any], where: str = "") -> Any:
    try:
        return call()
    except AlignmentLimitsError as error:
        raise RewardError(f"reward '{name}': {where}{error}") from error
    except Exception as error:
        raise RewardError(f"reward '{name}' failed: {where}{type(error).__name__}: {error}") from error
