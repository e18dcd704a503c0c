"""Enumerated worlds: a target and a base whose every probability is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alignment_limits.learning.tabular import log_softmax


@dataclass(frozen=True)
class World:
    """log π* and log π₀ (X, Y), and features (X, Y, D) of which the first ones span log π* (D = 0: none known)."""

    log_target: np.ndarray
    log_base: np.ndarray
    features: np.ndarray

    @property
    def reward(self) -> np.ndarray:
        """The reward whose tilt of the base at β = 1 is the target: log π*/π₀ (X, Y), in nats."""
        return self.log_target - self.log_base


def draw_world(p: Mapping[str, Any], rng: np.random.Generator, *, tilt: bool = False) -> World:
    """The toy of [B]: logits of target and base i.i.d. normal. With `target_dimension`, the target's are linear.

    Args:
        p: the study file's `learning.world`.
        tilt: the target's logits are added to the base's, so that it is a tilt of the base.
    """
    shape = p["contexts"], p["responses"]
    own = p["target_dimension"] or 0
    features = rng.standard_normal((*shape, max(own, shape[0] * (shape[1] - 1)) if own else 0))
    weights = rng.standard_normal(own) / np.sqrt(max(own, 1))
    logits = features[..., :own] @ weights if own else rng.standard_normal(shape)
    log_base = log_softmax(p["base_sd"] * rng.standard_normal(shape))
    log_target = log_softmax(p["target_sd"] * logits + (log_base if tilt else 0.0))
    return World(log_target, log_base, features)
