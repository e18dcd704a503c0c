"""Whether a reward is fit to be gold: what it is asked to score, and the shares made of it."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import PromptError
from alignment_limits.report.agreement import shares, trials
from alignment_limits.report.pages.headline import gold_page

DOCUMENTS = pl.DataFrame(
    {
        "prompt_id": ["b", "a", "c"],
        "text": ["do b", "do a", "do c"],
        "document": ["doc b", "doc a", "doc c"],
        "reference": ["b0\nb1", "a0\na1", "c0\nc1"],
    }
)
SAMPLES = pl.DataFrame(
    {
        "prompt_id": [p for p in "cab" for _ in range(5)],
        "sample_id": [4, 3, 2, 1, 0] * 3,
        "text": [f"{p}-{s}" for p in "cab" for s in (4, 3, 2, 1, 0)],
    }
)


def test_the_expert_reply_is_never_among_what_the_reward_reads():
    rows = trials(DOCUMENTS, SAMPLES, "reference", 2)
    a = rows.filter(pl.col("prompt_id") == "a").select("role", "beside", "reply").rows()
    others = [("other", "a1", "b0"), ("other", "a1", "c0")]
    assert a == [("expert", "a1", "a0"), *others, ("sample", "a1", "a-0"), ("sample", "a1", "a-1")]
    b = rows.filter(pl.col("prompt_id") == "b").select("role", "beside", "reply").rows()
    assert b[:3] == [("expert", "b0", "b1"), ("other", "b0", "c1"), ("other", "b0", "a1")]  # references take turns
    expert = rows.filter(pl.col("role") == "expert")
    assert not any(reply in beside.split("\n") for beside, reply in expert.select("beside", "reply").iter_rows())


@pytest.mark.parametrize(("beside", "read"), [("document", "doc a"), ("prompt", "do a")])
def test_other_rewards_read_the_document_or_the_prompt(beside, read):
    rows = trials(DOCUMENTS, SAMPLES, beside, 1).filter(pl.col("prompt_id") == "a")
    assert set(rows["beside"]) == {read}


def test_with_one_reference_only_a_reward_that_reads_it_cannot_be_judged():
    single = DOCUMENTS.with_columns(reference=pl.col("reference").str.slice(0, 2))
    assert trials(single, SAMPLES, "reference", 2).height == 0
    assert trials(single, SAMPLES, "document", 2).height == 3 * 5
    assert trials(single, SAMPLES, "document", 4).height == 3 * (1 + 2 + 4)  # each has two others
    with pytest.raises(PromptError, match="equally many references"):
        trials(DOCUMENTS.with_columns(reference=pl.Series(["x", "x\ny", "x"])), SAMPLES, "document", 2)


def test_shares_count_ties_half_and_weigh_documents_alike():
    scores = pl.DataFrame(
        [
            *(("a", "expert", 1.0), ("a", "other", 0.0), ("a", "sample", 1.0), ("a", "sample", 2.0)),
            *(("b", "expert", 1.0), ("b", "other", 1.0), ("b", "sample", 0.0)),
        ],
        schema=["prompt_id", "role", "score"],
        orient="row",
    )
    found = shares(scores)
    assert found["above_samples"] == pytest.approx((0.25 + 1) / 2)
    assert found["above_other"] == pytest.approx((1 + 0.5) / 2)
    assert found["documents"] == 2


def test_a_coin_flipping_reward_has_a_share_of_half_within_its_interval():
    rng = np.random.default_rng(0)
    rows = [(f"{d}", role, rng.normal()) for d in range(400) for role in ("expert", "other", *["sample"] * 4)]
    found = shares(pl.DataFrame(rows, schema=["prompt_id", "role", "score"], orient="row"))
    for name in ("above_samples", "above_other"):
        assert found[f"{name}_low"] < 0.5 < found[f"{name}_high"]
        assert found[f"{name}_high"] - found[f"{name}_low"] < 0.11
    # one comparison a document: binomial, 2·1.96·√(0.25/400)
    assert found["above_other_high"] - found["above_other_low"] == pytest.approx(0.098, abs=0.01)


def test_the_page_says_whether_gold_passes():
    row = {"reward": "g", "beside": "reference", "documents": 9, "fit": False, "spearman": 1.0}
    row |= {f"{n}{s}": 0.5 for n in ("above_samples", "above_other") for s in ("", "_low", "_high")}
    row |= {"spearman_low": 1.0, "spearman_high": 1.0}
    page = gold_page("s", pl.DataFrame([row]), "g", 0.85, 0.95)
    assert "The gold reward g does not pass." in page
    unjudged = row | {"documents": 0} | {k: float("nan") for k in row if k.startswith("above")}
    assert "cannot be judged" in gold_page("s", pl.DataFrame([unjudged]), "g", 0.85, 0.95)
    assert "at least 85%" in page and "at least 95%" in page  # noqa: PT018
