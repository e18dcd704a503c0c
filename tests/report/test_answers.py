"""The first page answers three questions with the tables' numbers, or says why there is none."""

import math

import polars as pl
import pytest
import synthetic
from docutils.core import publish_string

from alignment_limits.report.headline import CLOSE, GAIN, QUESTIONS, WRONG, answers, policies
from alignment_limits.report.pages.headline import escaped, first_page

PROXIES = list(synthetic.RHO)


def answered(frontier=None, best=None, scale=2.5, proxies=PROXIES):
    frontier = synthetic.frontier() if frontier is None else frontier
    best = synthetic.best_of_n() if best is None else best
    return dict(answers(frontier, best, scale, gold="gold", proxies=proxies))


def test_three_questions_have_one_sentence_each():
    found = answered()
    assert tuple(found) == QUESTIONS
    assert found[GAIN] == (
        "Within 1 nat of KL from the base model, the best possible policy gains 1.41 [1.31, 1.52] standard deviations "
        "of gold, which is 3.54 in gold's own units."
    )
    assert found[CLOSE].startswith("Best-of-4 spends 0.64 nats of KL and reaches ")
    assert found[WRONG].startswith("Optimising a proxy up to 1 nat keeps 93% [")
    assert "with toxic-comment-classifier and 15.9% [" in found[WRONG]
    assert found[WRONG].endswith("with vader, the best and the worst of 4 proxies.")


def test_a_gold_of_unknown_scale_or_of_its_own_units_has_one_number():
    for scale in (math.nan, 1):
        assert answered(scale=scale)[GAIN].endswith("standard deviations of gold.")


def test_the_per_prompt_limit_answers_where_the_average_one_is_not_reliable():
    table = synthetic.best_of_n().with_columns(
        efficiency_reliable=pl.col("efficiency_reliable") & (pl.col("budget") == "per-prompt")
    )
    assert answered(best=table)[CLOSE].endswith("of the limit of policies that spend that KL on every prompt.")


def test_what_is_not_reliable_is_not_given_and_the_reason_is():
    nothing = answered(synthetic.frontier(reach=0), synthetic.best_of_n().with_columns(efficiency_reliable=False))
    assert nothing[GAIN].startswith("These samples give no reliable limit at any KL. Reason: ESS below 10.")
    assert "make plan" in nothing[GAIN]
    assert nothing[CLOSE].startswith("The share of the limit that best-of-n reaches is not reliable at any n. Reason: ")
    assert (
        nothing[WRONG]
        == "The share of the gain that survives is not reliable for any of the 4 proxies. Reason: ESS below 10."
    )
    assert not any(c.isdigit() and c not in "104" for text in nothing.values() for c in text.partition("Reason")[0])


def test_without_a_reliable_limit_the_lower_bound_is_given():
    table = synthetic.frontier(reach=0).with_columns(at_least=0.9 * (2 * pl.col("kl")).sqrt())
    assert (
        "Within 1 nat of KL the best possible policy gains at least 1.27 standard deviations of gold (a lower bound "
        "that holds for any tail). The command make plan"
    ) in answered(table)[GAIN]
    assert "at least" not in answered(synthetic.frontier().with_columns(at_least=1.0))[GAIN]


def test_an_upper_bound_is_given_with_the_lower_one():
    table = synthetic.frontier(reach=0).with_columns(at_least=(2 * pl.col("kl")).sqrt(), at_most=pl.lit(2.2))
    assert (
        "gains at least 1.41, at most 2.2 standard deviations of gold (bounds that hold for any tail)."
    ) in answered(table)[GAIN]


def test_proxies_without_a_reliable_share_are_counted():
    lost = pl.col("optimized").is_in(["minilm"])
    table = synthetic.frontier().with_columns(reliable=pl.col("reliable") & ~lost)
    assert answered(table)[WRONG].endswith("; for one other proxy (minilm) the share is not reliable.")
    one = answered(table, proxies=["vader", "minilm"])[WRONG]
    assert one.count(" of that gain with ") == 1
    assert "the best and the worst" not in one


def test_studies_without_proxies_or_best_of_n():
    found = answered(best=synthetic.best_of_n().clear(), proxies=[])
    assert found[CLOSE] == "The study has no best-of-n."
    assert "no proxies" in found[WRONG]


def test_policies_are_named_from_the_least_share_to_the_largest():
    table = synthetic.policies(("gold",))
    text = policies(table, "gold")
    assert "policies reach between" in text or "reaches" in text
    few = table.with_columns(pl.lit(False).alias(c) for c in table.columns if c in ("reliable", "efficiency_reliable"))
    assert policies(few, "gold").startswith("No policy's share of the limit is reliable")
    assert policies(table.clear(), "gold") == ""
    ends = ["cut short", *["converged"] * (table.height - 1)]
    said = policies(table.with_columns(ended=pl.Series(ends)), "gold")
    assert said == f"{text} Training was cut short before it converged for 1 of {table.height} policies."
    assert policies(table.with_columns(ended=pl.lit("fixed")), "gold") == text


HOSTILE = "a_ `b`_ *c* |d| <e>\n.. raw:: html\n\n   <script>alert(1)</script>\n\n1. x"


@pytest.mark.parametrize("text", [HOSTILE, "score_*", "- item", "50% [1, 2] – ok"])
def test_names_are_text_in_the_first_page(text):
    found = {"answers": [(q, text) for q in QUESTIONS], "verdicts": [{"claim": text, "verdict": "holds"}]}
    page = first_page(found, b"\x89PNG" * 3000, None, "gold")
    assert max(map(len, page.splitlines())) < 5000
    strict = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    html = publish_string(page + "\n\n.. _0 Summary: x\n", writer="html5", settings_overrides=strict)
    body = html.partition("<main")[2]
    assert "<script" not in body
    assert "data:image/png;base64," in body
    assert escaped(text).replace("\\", "") == " ".join(text.split())
