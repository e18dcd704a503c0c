"""How far rewards agree: a proxy with gold, and a reward with experts.

A proxy and gold are compared on which of a prompt's replies is better, by within-prompt rank correlation.

Only differences within a prompt matter to a policy (a prompt's offset changes nothing), so the correlation
is taken prompt by prompt and then averaged; pooling all samples would mix in how prompts differ.

A reward can be gold if it scores an expert's reply above the base model's and above another document's. One reference
of each document, in turn, is the expert's reply. It is held out: rewards that read references read only the others.
It is compared with replies of the base model, and with references of other documents at the same position. Ties count
half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError, PromptError


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
    scores = scores.drop_nulls(gold)
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


EXPERT, OTHER, SAMPLE = "expert", "other", "sample"


def trials(documents: pl.DataFrame, samples: pl.DataFrame, beside: str, per_document: int) -> pl.DataFrame:
    """The texts that a reward scores for this test.

    Args:
        documents: prompt_id, text, document, reference (one per line).
        samples: prompt_id, sample_id, text: replies of the base model; the first ones of each document are used.
        beside: the text that the reward reads with the reply: 'prompt', 'document' or 'reference'.
        per_document: number of base replies, and of next documents' references, to compare each expert's reply with;
            at most as many as there are.

    Returns:
        prompt_id, role ('expert', 'other', 'sample'), beside, reply; no rows for a reward that reads references
        where each document has only one, as that is the expert's reply itself.

    Raises:
        PromptError: fewer than two documents, or they differ in the number of references.
    """
    documents = documents.sort("prompt_id")
    experts = [r.split("\n") for r in documents["reference"]]
    if len(experts) < 2 or len({len(e) for e in experts}) != 1:
        raise PromptError("judging a gold reward needs at least two documents with equally many references each")
    lines = len(experts[0])
    if beside == "reference" and lines == 1:
        return pl.DataFrame(schema=dict.fromkeys(("prompt_id", "role", "beside", "reply"), pl.String))
    column = {"prompt": "text", "document": "document", "reference": "reference"}[beside]
    first = samples.sort("prompt_id", "sample_id").group_by("prompt_id", maintain_order=True).head(per_document)
    replies = dict(first.group_by("prompt_id").agg("text").iter_rows())
    rows = []
    for i, (prompt, context) in enumerate(zip(documents["prompt_id"], documents[column], strict=True)):
        turn = i % lines
        if beside == "reference":
            context = "\n".join(e for j, e in enumerate(experts[i]) if j != turn)
        following = ((i + step) % len(experts) for step in range(1, min(per_document, len(experts) - 1) + 1))
        others = [(OTHER, experts[j][turn]) for j in following]
        held = [(EXPERT, experts[i][turn]), *others, *((SAMPLE, s) for s in replies[prompt])]
        rows += [(prompt, role, context, reply) for role, reply in held]
    return pl.DataFrame(rows, schema=["prompt_id", "role", "beside", "reply"], orient="row")


def shares(scores: pl.DataFrame, *, replicates: int = 2000, seed: int = 0) -> dict[str, float]:
    """Share of comparisons where the expert's reply scores above base replies, and above another document's.

    Args:
        scores: prompt_id, role, score.

    Returns:
        documents, and `above_samples`, `above_other` (shares in [0, 1]) with `_low` and `_high`: 95% percentile
        bootstrap over documents; NaN without rows.
    """
    own = scores.filter(pl.col("role") == EXPERT).select("prompt_id", expert="score")
    beaten = scores.filter(pl.col("role") != EXPERT).join(own, on="prompt_id")
    wins = pl.col("expert").gt(pl.col("score")).cast(pl.Float64) + 0.5 * pl.col("expert").eq(pl.col("score"))
    each = beaten.with_columns(win=wins).group_by("prompt_id", "role").agg(pl.col("win").mean()).sort("prompt_id")
    out: dict[str, float] = {"documents": own.height}
    for name, role in (("above_samples", SAMPLE), ("above_other", OTHER)):
        values = each.filter(pl.col("role") == role)["win"].to_numpy()
        out |= dict(zip((name, f"{name}_low", f"{name}_high"), _mean(values, replicates, seed), strict=True))
    return out


def _mean(values: np.ndarray, replicates: int, seed: int) -> tuple[float, float, float]:
    if not len(values):
        return np.nan, np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(0, len(values), (replicates, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)
