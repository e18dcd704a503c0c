"""A page of generated text, only when `report.show_samples` is true: escaped, closed, behind a warning."""

from __future__ import annotations

import polars as pl

from alignment_limits.report.page import box, page, tag
from alignment_limits.report.text import number

PROMPTS = 4
EACH = 3  # highest and lowest samples per prompt
LONGEST = 2000  # characters of a text shown
WARNING = (
    "The texts below are unedited samples of a language model and prompts chosen to provoke it. They can be "
    "offensive, false or disturbing. Nobody endorses them; they are shown to let you judge the rewards."
)


def sample_page(
    study: str, prompts: pl.DataFrame, samples: pl.DataFrame, gold: pl.DataFrame, *, count: int = PROMPTS
) -> str:
    """HTML with the samples gold likes most and least, for `count` prompts spread evenly over the study's.

    Args:
        prompts: prompt_id, text.
        samples: prompt_id, sample_id, text, finish_reason.
        gold: prompt_id, sample_id, score of the gold reward (base standard deviations, prompt mean 0).
    """
    scored = samples.join(gold.select("prompt_id", "sample_id", "score"), on=["prompt_id", "sample_id"], how="inner")
    ids = sorted(scored["prompt_id"].unique().to_list())
    chosen = ids[:: max(len(ids) // max(count, 1), 1)][:count]
    texts = dict(prompts.select("prompt_id", "text").iter_rows())
    body = [
        tag("p", WARNING),
        *(_prompt(i, texts.get(i, ""), scored.filter(pl.col("prompt_id") == i)) for i in chosen),
    ]
    return page(f"Samples: {study}", body, "Highest and lowest gold reward among the base model's own samples.")


def _prompt(prompt_id: str, text: str, rows: pl.DataFrame) -> str:
    ranked = rows.sort(["score", "sample_id"], descending=[True, False])
    each = min(EACH, ranked.height // 2)
    inner = [
        tag("summary", f"Prompt {prompt_id} (can be offensive; open to read)"),
        tag("blockquote", text[:LONGEST]),
        *_texts("Highest gold", ranked.head(each)),
        *_texts("Lowest gold", ranked.tail(each)),
    ]
    return box("details", inner)


def _texts(title: str, rows: pl.DataFrame) -> list[str]:
    out = [tag("h3", title)]
    for r in rows.iter_rows(named=True):
        cut = ", cut at the token limit" if r["finish_reason"] == "length" else ""
        out += [
            tag("small", f"gold {number(r['score'])} base s.d., sample {r['sample_id']}{cut}"),
            tag("blockquote", (r["text"] or "")[:LONGEST]),
        ]
    return out
