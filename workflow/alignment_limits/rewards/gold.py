"""Test whether a reward can be gold: it should score an expert's reply above the base model's and another document's.

One reference of each document, in turn, is the expert's reply. It is held out: rewards that read references read only
the others. It is compared with replies of the base model, and with references of other documents at the same position.
Ties count half.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from alignment_limits.errors import PromptError

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
