"""Pages on texts: replies of the base model as they are, and how rewards judge experts' replies."""

from __future__ import annotations

import polars as pl

from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.page import Cell, box, page, table, tag

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


def gold_page(study: str, rewards: pl.DataFrame, gold: str, above_samples: float, above_other: float) -> str:
    """A self-contained HTML page.

    Args:
        rewards: `report/gold.parquet`.
        above_samples, above_other: shares a gold reward must reach.
    """
    own = rewards.row(by_predicate=pl.col("reward") == gold, named=True)
    verdict = "passes" if own["fit"] else "does not pass"
    if not own["documents"]:
        verdict = "cannot be judged: the only reference it could read is the expert's reply itself"
    rule = (
        f"A gold reward should put an expert's reply above a random reply of the base model in at least "
        f"{above_samples:.0%} of cases, and above an expert's reply to another document in at least {above_other:.0%}."
    )
    how = (
        "One reference of each document, in turn, is the expert's reply; rewards that read references read the others "
        "only. Intervals (95%) resample documents. The last column is the mean within-document rank correlation with "
        "gold on base samples. All of this is our choice."
    )
    head = ["reward", "reads", "above base replies", "above another document's", "fit", "rank correlation with gold"]
    rows: list[list[str | Cell]] = []
    for row in rewards.iter_rows(named=True):
        name = Cell(row["reward"], "gold" if row["reward"] == gold else "")
        shares = [_interval(row, share, percent=True) for share in ("above_samples", "above_other")]
        ranks = "1" if row["reward"] == gold else _interval(row, "spearman")
        rows.append([name, row["beside"], *shares, "yes" if row["fit"] else "no", ranks])
    body = [tag("p", f"The gold reward {gold} {verdict}."), tag("p", rule), table(head, rows), tag("p", how, "soft")]
    return page(f"Is {gold} fit to be gold?", body, f"study {study}, {own['documents']} documents")


def _interval(row: dict[str, float], name: str, *, percent: bool = False) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]), percent=percent)
