"""The page of policies: every number of the table, what is not known marked, names escaped."""

import polars as pl
import synthetic
from test_pages import HOSTILE, harmless

from alignment_limits.report.pages.learning import policies_page


def rows_of(text):
    return [part.split("</tr>")[0] for part in text.split("<tr>")[1:]]


def test_every_policy_is_in_every_table_gold_first():
    text = policies_page("mine", synthetic.policies(("vader", "gold")), gold="gold")
    assert text.index("By gold (gold)") < text.index("By vader")
    for policy in ("ppo-a", "ppo-b", "still", "cut"):
        assert sum(f"<td>{policy}" in row for row in rows_of(text)) == 3, "KL, gold, vader"
    assert "objective ppo; optimized gold; coefficient 0.1; LORA adapter" in text
    first = next(row for row in rows_of(text) if "<td>ppo-a" in row)
    for shown in ("0.50 [0.45, 0.55]", "0.48 [0.43, 0.53]", "12.5", "50%", "3e-05"):
        assert shown in first.replace("0.500", "0.50"), first


def test_what_is_not_reliable_is_marked_with_its_reason():
    text = policies_page("mine", synthetic.policies(), gold="gold")
    few = synthetic.policies().with_columns(pl.lit(False).alias(f"{n}_reliable") for n in ("gain", "win_rate", "kl"))
    first, other, *_ = (row for row in rows_of(policies_page("mine", few, gold="gold")) if "<td>ppo-a" in row)
    assert (first.count("†"), other.count("†")) == (1, 2), "KL; gain and win rate, though the limit is reliable"
    still = [row for row in rows_of(text) if "<td>still" in row]
    assert all("†" in row and "no KL to speak of" in row for row in still[1:])
    assert not any("†" in row for row in rows_of(text) if "<td>ppo-a" in row)


def test_a_limit_that_is_not_reliable_has_its_bounds_instead_of_a_dash():
    table = synthetic.policies().with_columns(reliable=False, reason=pl.lit("why"), at_least=1.2, at_most=pl.lit(1.9))
    first = next(row for row in rows_of(policies_page("mine", table, gold="gold"))[6:] if "<td>ppo-a" in row)
    assert "at least 1.2, at most 1.9<small>why" in first


def test_an_infinite_kl_is_said_and_explained_under_top_p():
    text = policies_page("mine", synthetic.policies(), gold="gold", top_p=0.9)
    cut = next(row for row in rows_of(text) if "<td>cut" in row)
    assert "∞" in cut
    assert "infinite for 25% of its replies" in cut
    assert "Sample with top_p: 1" in text
    assert "Sample with top_p: 1" not in policies_page("mine", synthetic.policies(), gold="gold")


def test_hostile_notes_are_text():
    table = synthetic.policies().with_columns(note=pl.lit(HOSTILE))
    harmless(policies_page(HOSTILE, table, gold="gold"))
