"""Linear heads on an encoder's features: fitted to labels or preferences, stored in files; they score any reply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from alignment_limits.errors import EstimateError, RewardError
from alignment_limits.files import reading
from alignment_limits.rewards.base import ItemReward, Scores, text_reward

if TYPE_CHECKING:
    from alignment_limits.rewards.embedding import Encoder

Array = NDArray[np.float64]

PENALTIES = tuple(10.0 ** np.arange(-4, 5))  # in units of the mean square length of a centred feature vector
FOLDS = 5


@dataclass(frozen=True)
class Head:
    """score = features @ weight + bias, in the units of the labels (Bradley-Terry: nats of preference).

    Attributes:
        weight: float64 [d], 0 for features that were not used.
        penalty: the chosen ridge penalty on ‖weight‖².
        held_out: mean squared error (regression) or log loss in nats (Bradley-Terry) on held-out labels.
    """

    weight: Array
    bias: float
    penalty: float
    held_out: float

    def __call__(self, features: Array) -> Array:
        """Scores [n] of feature vectors [n, d]."""
        return np.asarray(features @ self.weight + self.bias)


def ridge(features: Array, labels: Array) -> Head:
    """argmin Σ(y − w·x − b)² + λ‖w‖², with λ chosen by the exact leave-one-out error.

    Args:
        features: [n, d]. labels: [n], n ≥ 3.

    Raises:
        EstimateError: too few labels.
    """
    n = len(labels)
    if n < 3:
        raise EstimateError(f"{n} labels cannot train a head; give 3 or more")
    middle, mean = features.mean(axis=0), float(labels.mean())
    u, s, vt = np.linalg.svd(features - middle, full_matrices=False)
    keep = s > 1e-10 * max(float(s.max(initial=0.0)), 1e-300)
    u, s, vt = u[:, keep], s[keep], vt[keep]
    target = u.T @ (labels - mean)
    best: tuple[float, float] = (np.inf, np.inf)
    for penalty in _penalties(float(np.sum(s**2)) / n):
        shrink = s**2 / (s**2 + penalty)
        residual = labels - mean - u @ (shrink * target)
        leverage = 1 / n + (u**2) @ shrink
        best = min(best, (float(np.mean((residual / np.maximum(1 - leverage, 1e-12)) ** 2)), penalty))
    error, penalty = best
    weight = vt.T @ (s / (s**2 + penalty) * target)
    return Head(weight, mean - float(middle @ weight), penalty, error)


def bradley_terry(differences: Array, offset: Array | float = 0.0) -> Head:
    """argmin −Σ log σ(w·x + o) + λ/2 ‖w‖² over differences x = chosen − rejected, with λ by 5-fold cross-validation.

    Args:
        differences: [n, d], n ≥ 5. Preferences do not identify a bias: it is 0.
        offset: o [n], the known part of each pair's logit; not part of the head.

    Raises:
        EstimateError: too few preferences.
    """
    n = len(differences)
    if n < FOLDS:
        raise EstimateError(f"{n} preferences cannot train a head; give {FOLDS} or more")
    _, s, vt = np.linalg.svd(differences, full_matrices=False)
    vt = vt[s > 1e-10 * max(float(s.max(initial=0.0)), 1e-300)]
    reduced = differences @ vt.T  # the optimum is in the span of the differences
    known = np.broadcast_to(offset, n)
    fold = np.arange(n) % FOLDS
    best: tuple[float, float] = (np.inf, np.inf)
    for penalty in _penalties(float(np.mean(np.sum(reduced**2, axis=1)))):
        loss = 0.0
        for left in range(FOLDS):
            w = _newton(reduced[fold != left], known[fold != left], penalty)
            loss += float(np.logaddexp(0, -reduced[fold == left] @ w - known[fold == left]).sum())
        best = min(best, (loss / n, penalty))
    loss, penalty = best
    return Head(vt.T @ _newton(reduced, known, penalty), 0.0, penalty, loss)


def _penalties(scale: float) -> Array:
    return np.asarray(PENALTIES) * max(scale, 1e-12)


def _newton(x: Array, offset: Array, penalty: float, steps: int = 60) -> Array:
    """The unique minimiser; the objective is strictly convex, so Newton steps with halving always reach it."""

    def objective(w: Array) -> float:
        return float(np.logaddexp(0, -x @ w - offset).sum() + penalty / 2 * w @ w)

    w = np.zeros(x.shape[1])
    value = objective(w)
    for _ in range(steps):
        p = 1 / (1 + np.exp(np.clip(x @ w + offset, -500, 500)))  # probability of the other choice
        gradient = penalty * w - x.T @ p
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + penalty * np.eye(len(w)), gradient)
        size = 1.0
        while size > 1e-10 and objective(w - size * step) > value:
            size /= 2
        w = w - size * step
        value = objective(w)
        if float(gradient @ step) < 1e-12 * max(value, 1.0):
            break
    return w


def read_head(file: Path) -> dict[str, NDArray[np.float64]]:
    """A head's arrays: weight [d] and bias [1].

    Raises:
        RewardError: the file is damaged, or contains no head.
    """
    with reading(file, RewardError, "delete it and run again"):
        fitted = load_file(file)
        _ = fitted["weight"], fitted["bias"][0]
    return fitted


def load_head(encoder: Path, head: Path, *, device: str, text: str, sign: int) -> ItemReward:
    """The reward of a head that a study trained, from the encoder's folder and the head's file.

    Raises:
        RewardError: the folder is not a mean-pooled transformers encoder.
    """
    from alignment_limits.rewards.embedding import load_encoder  # imports torch; fitting does without

    fitted = read_head(head)
    encode = load_encoder(encoder, device, "left" if text == "prompt+reply" else "right")
    return trained_head(encode, fitted["weight"], float(fitted["bias"][0]), text=text, sign=sign)


def trained_head(
    encode: Encoder, weight: NDArray[np.float64], bias: float = 0.0, *, text: str, sign: int = 1
) -> ItemReward:
    """features · weight + bias; each distinct text is encoded once.

    Args:
        encode: texts → features [n, d]. weight: [d]. text: the text that the encoder reads, reply or prompt+reply.
    """
    known: dict[str, tuple[float, bool]] = {}

    def score_texts(texts: list[str]) -> Scores:
        new = [text for text in texts if text not in known]
        if new:
            features, truncated = encode(new)
            scores = (features @ weight + bias).tolist()
            known.update(zip(new, zip(scores, truncated.tolist(), strict=True), strict=True))
        score, cut = zip(*(known[text] for text in texts), strict=True)
        return Scores(np.array(score), np.array(cut))

    return text_reward(text, sign, score_texts)
