"""Markov worlds: replies too many to list, whose tilt is exact all the same, by recursion over their tokens.

A reply is a chain of tokens, and its reward a sum over neighbouring tokens. The tilt of such a law is a chain too, so
log Z, KL and gain at any temperature, samples of the tilt, and their log-ratios to the base are exact at KLs of many
nats, where no sample of the base helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.sequential import counters

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class MarkovWorld:
    """Chains of `length` tokens, of another law for each prompt.

    Attributes:
        first: probabilities of the first token [p, v].
        step: probabilities of the next token after each [p, v, v].
        length: tokens of a reply.
    """

    first: Array
    step: Array
    length: int

    @classmethod
    def random(cls, prompts: int, *, tokens: int = 20, length: int = 20, seed: int = 0) -> MarkovWorld:
        """A world whose logits are standard normal."""
        rng = np.random.default_rng(seed)
        first, step = np.exp(rng.normal(size=(prompts, tokens))), np.exp(rng.normal(size=(prompts, tokens, tokens)))
        return cls(first / first.sum(-1, keepdims=True), step / step.sum(-1, keepdims=True), length)

    def reward(self, pairs: Array, replies: Tokens) -> Array:
        """Rewards [p, m] of replies [p, m, length], from what each pair of neighbours is worth [p, v, v]."""
        prompt = np.arange(len(pairs))[:, None, None]
        return np.asarray(pairs[prompt, replies[:, :, :-1], replies[:, :, 1:]].sum(axis=2))

    def _backward(self, pairs: Array, inverse: float) -> tuple[Array, Array, Array, Array]:
        """Messages [length, p, v], their log scales [p], log Z [p] and E_λ r [p] of the tilt at λ."""
        weight = self.step * np.exp(inverse * pairs)
        ahead = np.ones_like(self.first)
        worth, scale = np.zeros_like(self.first), np.zeros(len(self.first))
        messages = [ahead]
        for _ in range(self.length - 1):
            worth = np.einsum("pvw,pw->pv", weight * pairs, ahead) + np.einsum("pvw,pw->pv", weight, worth)
            ahead = np.einsum("pvw,pw->pv", weight, ahead)
            top = ahead.max(axis=1, keepdims=True)
            ahead, worth, scale = ahead / top, worth / top, scale + np.log(top[:, 0])
            messages.append(ahead)
        total = (self.first * ahead).sum(axis=1)
        return np.stack(messages[::-1]), scale, scale + np.log(total), (self.first * worth).sum(axis=1) / total

    def tilt(self, pairs: Array, inverse: float) -> tuple[Array, Array, Array]:
        """Log Z, KL(π_β‖π₀) and gain of each prompt [p] at λ = 1/β."""
        _, _, log_z, mean = self._backward(pairs, inverse)
        _, _, _, start = self._backward(pairs, 0.0)
        return log_z, inverse * mean - log_z, mean - start

    def limit(self, pairs: Array, kl: float) -> tuple[float, float]:
        """Largest mean gain at a mean KL, and the λ of the tilt that reaches it."""
        high = 1.0
        while self.tilt(pairs, high)[1].mean() < kl:
            high *= 2
        inverse = float(brentq(lambda x: self.tilt(pairs, x)[1].mean() - kl, 0.0, high, xtol=1e-12))
        return float(self.tilt(pairs, inverse)[2].mean()), inverse

    def sample(self, pairs: Array, inverse: float, samples: int, rng: np.random.Generator) -> Tokens:
        """Replies [p, m, length] of the tilt at λ (the base at 0)."""
        messages = self._backward(pairs, inverse)[0]
        weight = self.step * np.exp(inverse * pairs)
        prompt = np.arange(len(self.first))[:, None]
        out = np.empty((len(self.first), samples, self.length), dtype=np.int64)
        law = np.broadcast_to((self.first * messages[0])[:, None], (*out.shape[:2], self.first.shape[1]))
        for t in range(self.length):
            if t:
                law = weight[prompt, out[:, :, t - 1]] * messages[t][:, None]
            below = law.cumsum(axis=2)
            out[:, :, t] = (below < rng.random(out.shape[:2])[:, :, None] * below[:, :, -1:]).sum(axis=2)
        return out

    def log_ratio(self, pairs: Array, inverse: float, replies: Tokens) -> Array:
        """Log-density [p, m] of replies under the tilt at λ relative to the base, in nats."""
        return inverse * self.reward(pairs, replies) - self.tilt(pairs, inverse)[0][:, None]


@dataclass(frozen=True)
class MarkovReplies:
    """A Markov world for tempered sampling: it completes replies and rewards them (`limits.temper`).

    Attributes:
        world: the chains.
        pairs: what each pair of neighbouring tokens is worth [p, v, v].
    """

    world: MarkovWorld
    pairs: Array

    def extend(
        self, prompts: Sequence[int], kept: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> list[tuple[int, ...]]:
        """Draw the rest of replies to numbered prompts; each depends on its own seed alone."""
        prompt, begun = np.asarray(prompts), np.array([len(tokens) for tokens in kept])
        out = np.zeros((len(prompt), self.world.length), dtype=np.int64)
        for row, tokens in zip(out, kept, strict=True):
            row[: len(tokens)] = tokens
        noise = counters(0, np.asarray(seeds, dtype=np.int64), (), self.world.length)[1]
        for t in range(self.world.length):
            rows = np.flatnonzero(begun <= t)
            law = self.world.first[prompt[rows]] if t == 0 else self.world.step[prompt[rows], out[rows, t - 1]]
            below = law.cumsum(axis=1)
            out[rows, t] = (below < noise[rows, t, None] * below[:, -1:]).sum(axis=1)
        return [tuple(reply) for reply in out.tolist()]

    def reward(self, prompts: Sequence[int], replies: Sequence[Sequence[int]]) -> Array:
        """Rewards of replies to numbered prompts."""
        prompt, tokens = np.asarray(prompts)[:, None], np.asarray(replies)
        return np.asarray(self.pairs[prompt, tokens[:, :-1], tokens[:, 1:]].sum(axis=1))
