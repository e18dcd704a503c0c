"""What the report says of trade-offs, from rows of their tables."""

import polars as pl

from alignment_limits.report.tradeoffs import side_effects


def row(column, change, kl=1.0, half=0.1):
    return {
        "optimized": "human", "method": "tilt", "kind": "column", "column": column, "kl": kl, "base": 10.0,
        "change": change, "change_low": change - half, "change_high": change + half, "reliable": True, "reason": "",
    }  # fmt: skip


def said(*rows):
    return side_effects(pl.DataFrame(rows), "human")[1]


def test_length_that_does_not_change_is_said_of_the_length():
    assert said(row("tokens", 0.05)) == (
        "The length of replies does not change significantly up to 1 nat (at most 0.15 tokens)."
    )
    assert said(row("tokens", 2.0)).startswith("Replies get longer by 2.00 [1.90, 2.10] tokens at 1 nat")
    assert said(row("truncated", 0.0)).startswith("Replies cut at the token limit do not change significantly")


def test_columns_come_in_the_order_of_the_table():
    names = ["zeta", "harm", "bullets", "words"]
    sentences = said(*(row(name, 1.0) for name in names)).split(". ")
    assert [sentence.split()[3] for sentence in sentences] == names
