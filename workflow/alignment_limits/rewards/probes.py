"""What a reward is tried on before a study: some of the study's own prompts, with replies of ours; and whether it could
read each prompt there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alignment_limits.errors import AlignmentLimitsError, RewardError
from alignment_limits.rewards.base import ItemReward, Prompt, RewardModel, turns_of

Prompts = Sequence[str] | Mapping[str, str]  # by prompt_id, where errors are to name one
OWN_REPLIES = 4  # references and other columns of prompts that are scored as if they were replies

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
    """A prompt and a reply that a reward is tried on; `prompt_id` is "" where a prompt has no name."""

    prompt_id: str
    prompt: str
    reply: str


def probes(prompts: Prompts, own: Sequence[tuple[str, str]] = (), reward: RewardModel | None = None) -> list[Probe]:
    """What a reward is tried on.

    Args:
        prompts: the study's; none: prompts of ours. The first ten are taken, and those that differ from all others:
            see `_unlike`.
        own: prompts with replies of the study's own, such as references; a few are taken, as are columns of prompts.
        reward: replies are cut to what it can read of them, if it says so.
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
    """Places of prompts that a reward may trip over though it reads most others.

    The longest and the shortest; of conversations one of each kind (with a system message or not, one turn or more) and
    the one of most turns; of each column the longest value and the shortest, or the first that is missing.
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
    """With a reply that a reward can read: no study has longer ones than fit."""
    while (why := _unreadable(probe, reward)) and len(probe.reply) > 1:
        probe = replace(probe, reply=probe.reply[: len(probe.reply) // 2])
    if why:
        raise why
    return probe


def _unreadable(probe: Probe, reward: RewardModel | None, reply_tokens: int = 0) -> RewardError | None:
    """Why a reward could not read a prompt and a reply; None if it can, or cannot say so without running its model."""
    if not (isinstance(reward, ItemReward) and reward.readable):
        return None
    try:
        reward.readable(reward.items([probe.prompt], [probe.reply])[0], reply_tokens)
    except AlignmentLimitsError as error:
        return RewardError(at(probe) + str(error))
    return None


def check_readable(reward: RewardModel, name: str, prompts: Prompts, reply_tokens: int) -> None:
    """Refuse a reward that could not read one of the prompts; its model does not run."""
    for prompt_id, prompt in zip(*_named_prompts(prompts), strict=True):
        if why := _unreadable(Probe(prompt_id, prompt, ""), reward, reply_tokens):
            raise RewardError(f"reward '{name}': {why}") from why


def _named_prompts(prompts: Prompts) -> tuple[list[str], list[str]]:
    if isinstance(prompts, Mapping):
        return list(prompts), list(prompts.values())
    return [""] * len(prompts), list(prompts)


def at(probe: Probe) -> str:
    return f"prompt '{probe.prompt_id}': " if probe.prompt_id else ""
