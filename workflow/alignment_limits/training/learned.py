"""From a study's files to what a run learns from: its pairs, the reward fitted to them, and what is maximised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.artifacts import KEY, read_table, read_tables
from alignment_limits.errors import ArtifactError
from alignment_limits.grid import Grid
from alignment_limits.rewards.embedding import load_encoder
from alignment_limits.rewards.trained_head import trained_head
from alignment_limits.schemas.features import FEATURES
from alignment_limits.schemas.preferences import PREFERENCES
from alignment_limits.scripting import say
from alignment_limits.training.fitted_reward import Signal, fit_reward
from alignment_limits.training.pair_data import PairData, dealt, placed


def learned(
    run: Mapping[str, Any],
    made: Mapping[str, Any],
    samples: pl.DataFrame,
    *,
    table: str,
    features: Sequence[str] = (),
    encoder: str | None = None,
    device: str = "cpu",
) -> tuple[PairData, Signal | None]:
    """A run's pairs, with R̂ where it is fitted, and the signal where replies are scored by it.

    Args:
        run: its settings. made: how the pairs were made: reward, gamma, level, and what an encoder reads, text.
        samples: the base's, in key order. table: file of the pairs. features: shards of the samples' features; none:
            no reward is fitted. encoder: folder; none: no reply is scored.

    Raises:
        ArtifactError: there are too few pairs, or features are of other samples. EstimateError: too few for a fit.
    """
    grid = Grid.of(samples)
    own = dealt(read_table(table, PREFERENCES), made["level"], run["pairs"], run["seed"])
    pairs = placed(own, grid, np.unique(samples["sample_id"].to_numpy()), made["gamma"])
    if not features:
        return pairs, None
    seen = read_tables(features, FEATURES)
    if not seen.select(KEY).equals(samples.select(KEY)):
        raise ArtifactError("features are not those of the base's samples; delete them and run again")
    vectors = np.array(seen["features"].to_list(), dtype=np.float64)
    of_samples = np.full((*grid.shape, vectors.shape[1]), np.nan)
    of_samples[grid.row, grid.column] = vectors
    log_base = grid.array(samples["logprob"])
    # pairs that a reward judged, and not the target, say nothing of the base
    weight = 0.0 if made["reward"] else made["gamma"]
    reward = fit_reward(of_samples, log_base, pairs.row, pairs.chosen, pairs.rejected, base_weight=weight)
    say(
        f"the reward fitted to {run['pairs']} pairs: log loss {reward.held_out:.3f} nats on pairs left out "
        f"(by the model {-np.log(own['probability'].to_numpy()).mean():.3f})"
    )
    pairs = replace(pairs, fitted=reward(of_samples, log_base))
    if encoder is None:
        return pairs, None
    encode = load_encoder(Path(encoder), device, "left" if made["text"] == "prompt+reply" else "right")
    model = trained_head(encode, reward.weight, text=made["text"])
    return pairs, Signal(model, reward.base_weight, run["objective"], made["gamma"], float(run["coefficient"]))
