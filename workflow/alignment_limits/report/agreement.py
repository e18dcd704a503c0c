"""How far a proxy agrees with gold on which of a prompt's replies is better: within-prompt rank correlation.

Only differences within a prompt matter to a policy (a prompt's offset changes nothing), so the correlation
is taken prompt by prompt and then averaged; pooling all samples would mix in how prompts differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError


def within_prompt_spearman(
    scores: pl.DataFrame, gold: str, names: Sequence[str], *, replicates: int = 2000, seed: int = 0
) -> pl.DataFrame:
    """Mean over prompts of Spearman's correlation with gold, ties averaged.

    A prompt where gold or the proxy is constant has no correlation and is left out (`prompts` counts the
    rest). The 95% interval is a percentile bootstrap over prompts.

    Args:
        scores: prompt_id, sample_id and one column per reward.
        names: rewards and ensembles to compare with gold.

    Returns:
        reward, spearman, low, high (NaN where no prompt has a correlation), prompts.

    Raises:
        ArtifactError: a named column is not in the table.
    """
    missing = [n for n in (gold, *names) if n not in scores.columns]
    if missing:
        raise ArtifactError(f"the standardised scores have no column {', '.join(missing)}; make them again")
    ranks = scores.select("prompt_id", *(pl.col(n).rank("average").over("prompt_id") for n in (gold, *names)))
    each = ranks.group_by("prompt_id", maintain_order=True).agg(
        pl.corr(gold, pl.col(n)).alias(f"rho:{n}") for n in names
    )
    rows = []
    for name in names:
        values = each[f"rho:{name}"].fill_null(np.nan).to_numpy()
        values = values[np.isfinite(values)]
        low, high = _interval(values, replicates, seed)
        mean = float(values.mean()) if values.size else np.nan
        rows.append({"reward": name, "spearman": mean, "low": low, "high": high, "prompts": values.size})
    schema = {
        "reward": pl.String,
        "spearman": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "prompts": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema)


def _interval(values: np.ndarray, replicates: int, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap of the mean; NaN for fewer than two values."""
    if values.size < 2:
        return np.nan, np.nan
    counts = np.random.default_rng(seed).multinomial(values.size, np.full(values.size, 1 / values.size), replicates)
    low, high = np.quantile(counts @ values / values.size, [0.025, 0.975])
    return float(low), float(high)
