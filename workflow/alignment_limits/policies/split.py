"""Policies judged on the prompts they were trained on and on the others, and the gain and KL at each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import Array, prompt_means
from alignment_limits.policies.table import per_prompt, placements

TRAINED, HELD_OUT, ALL = "trained", "held-out", "all"
Rewards = Mapping[str, Array]


def by_prompt(
    prompt_ids: list[str],
    base: Rewards,
    policies: Mapping[str, Rewards],
    kl: Mapping[str, pl.DataFrame],
    trained: Mapping[str, NDArray[np.bool_]],
) -> pl.DataFrame:
    """The table `by_prompt`: each policy's gain and KL at each prompt.

    Args:
        prompt_ids: in sorted order [p].
        base, policies: rewards and ensembles on the base's scale [p, m].
        kl: table `policy_kl` of each policy.
        trained: the prompts that a policy of the study was trained on [p]; other policies are not in it.

    Returns:
        One row per policy, reward and prompt: gain in base standard deviations, KL in nats per reply, and whether the
        policy was trained on the prompt (null if that is not known).

    Example:
        >>> kl = pl.DataFrame({"prompt_id": ["a"], "sample_id": [0], "kl": [0.5]})
        >>> by_prompt(["a"], {"gold": np.zeros((1, 1))}, {"p": {"gold": np.ones((1, 1))}}, {"p": kl}, {})["gain"].item()
        1.0
    """
    rows = []
    for policy, rewards in policies.items():
        spent = per_prompt(kl[policy], "kl")
        for evaluated, scores in rewards.items():
            gain = prompt_means(scores) - prompt_means(base[evaluated])
            seen = trained.get(policy)
            columns = {"prompt_id": prompt_ids, "gain": gain, "kl": spent}
            one = pl.DataFrame(columns).with_columns(
                pl.Series("trained", [None] * len(gain) if seen is None else seen, dtype=pl.Boolean),
                policy=pl.lit(policy),
                evaluated=pl.lit(evaluated),
            )
            rows.append(one.select("policy", "evaluated", "prompt_id", "gain", "kl", "trained"))
    return pl.concat(rows)


def judged_apart(
    prompt_ids: list[str],
    base: Rewards,
    policies: Mapping[str, Rewards],
    kl: Mapping[str, pl.DataFrame],
    ratios: Mapping[str, tuple[Array, Array]],
    trained: Mapping[str, NDArray[np.bool_]],
    *,
    keys: np.ndarray,
    clusters: np.ndarray | None,
    **settings: Any,
) -> pl.DataFrame:
    """Where policies that were trained on a part of the prompts stand on that part, and on the others.

    Args:
        prompt_ids, base, policies, kl, trained: as for `by_prompt`.
        ratios: as for `placements`.
        keys, clusters: of all prompts [p].
        settings: further ones of `placements`.

    Returns:
        Rows of the table `policies` with `judged_on` ("trained" or "held-out") and their number of `prompts`; without
        rows if every policy was trained on all.
    """
    parts = []
    for policy, mask in trained.items():
        for name, part in ((TRAINED, mask), (HELD_OUT, ~mask)):
            if mask.all():
                continue
            ids = [prompt_ids[i] for i in np.flatnonzero(part)]
            table = placements(
                {reward: scores[part] for reward, scores in base.items()},
                {policy: {reward: scores[part] for reward, scores in policies[policy].items()}},
                {policy: kl[policy].filter(pl.col("prompt_id").is_in(ids))},
                {policy: (ratios[policy][0][part], ratios[policy][1][part])},
                keys=keys[part],
                clusters=None if clusters is None else np.asarray(clusters)[part],
                **settings,
            )
            parts.append(table.with_columns(judged_on=pl.lit(name), prompts=pl.lit(len(ids))))
    return pl.concat(parts) if parts else pl.DataFrame()
