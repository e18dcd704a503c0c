"""Score a handful of texts before a study does: a reward that is broken fails here, within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import RewardModel
from alignment_limits.rewards.load import load_reward

TOLERANCE = 1e-4  # how far a score may move with its batch, in units of the spread of the probes' scores

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


def preflight(reward: RewardModel, name: str) -> dict[str, Any]:
    """Check that a reward's scores are fit for a study.

    Args:
        reward: the loaded model.
        name: its name in the study, for messages.

    Returns:
        Figures: `reward`, `probes`, `ms_per_text`, `lowest`, `highest`, `spread` (standard deviation),
        `max_batch_deviation` (in units of highest − lowest), `truncated` (how many probes).

    Raises:
        RewardError: it fails, scores are NaN, infinite or constant, or depend on the batch.
    """
    prompts, replies = [p for p, _ in PROBES], [r for _, r in PROBES]
    together, truncated = _scored(reward, name, prompts, replies)
    start = time.perf_counter()
    backwards = _scored(reward, name, prompts[::-1], replies[::-1])[0][::-1]
    seconds = time.perf_counter() - start
    alone = np.concatenate([_scored(reward, name, [p], [r])[0] for p, r in PROBES])

    extent = float(np.ptp(together))
    if extent <= 1e-9 * max(1.0, float(np.abs(together).max())):
        raise RewardError(
            f"reward '{name}' gives the same score ({together[0]:.6g}) to all {len(PROBES)} probe texts, "
            "civil and rude; check its label, its files and, for a word list, that it has one word a line"
        )
    moved = float(max(np.abs(alone - together).max(), np.abs(backwards - together).max())) / extent
    allowed = getattr(reward, "tolerance", None) or TOLERANCE
    if not moved <= allowed:
        raise RewardError(
            f"reward '{name}': a text's score depends on the texts scored with it (it moves by {moved:.2g} "
            f"of the scores' range, {allowed:.2g} is allowed); look for padding that is read as text, "
            "for batch statistics, for state kept between calls or randomness, or set dtype: float32"
        )
    return {
        "reward": name,
        "probes": len(PROBES),
        "ms_per_text": round(1000 * seconds / len(PROBES), 3),
        "lowest": float(together.min()),
        "highest": float(together.max()),
        "spread": float(together.std()),
        "max_batch_deviation": moved,
        "truncated": int(truncated.sum()),
    }


def load_and_preflight(spec: Any, folder: Path | None, name: str, *, device: str = "cpu") -> dict[str, Any]:
    """`load_reward`, then `preflight`; all messages carry the reward's name.

    Raises:
        RewardError: as the two do.
    """
    return preflight(_named(name, lambda: load_reward(spec, folder, device=device)), name)


def _scored(
    reward: RewardModel, name: str, prompts: list[str], replies: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = _named(name, lambda: reward.score(prompts, replies))
    score = np.asarray(scores.score)
    if score.shape != (len(replies),) or score.dtype != np.float64 or scores.truncated.shape != score.shape:
        raise RewardError(
            f"reward '{name}' must give {len(replies)} float64 scores and flags for {len(replies)} replies, "
            f"not {score.dtype} of shape {score.shape}"
        )
    if not np.isfinite(score).all():
        raise RewardError(f"reward '{name}' gives NaN or infinite scores to probe texts; mend it before a study")
    return score, scores.truncated


def _named(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RewardError as error:
        raise RewardError(f"reward '{name}': {error}") from error
    except Exception as error:
        raise RewardError(f"reward '{name}' failed: {type(error).__name__}: {error}") from error
