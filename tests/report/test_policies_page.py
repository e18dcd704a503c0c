"""The page of policies: every number of the table, what is not known marked, names escaped."""

import polars as pl
import synthetic
from test_pages import HOSTILE, harmless

from alignment_limits.report.numbers import number
from alignment_limits.report.pages.learning import policies_page
from alignment_limits.report.pages.table import PAGES, tables_of
from alignment_limits.study.load import load_study

LEAST = {
    "model": {"name": "m", "source": {"path": "m"}},
    "prompts": {"source": {"path": "p.txt"}, "count": 16},
    "sampling": {"samples_per_prompt": 64, "max_new_tokens": 8},
    "gold": "gold",
    "rewards": {"gold": {"kind": "length"}},
    "policies": [{"name": "ppo-a", "path": "a"}],
}


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


def test_a_study_in_raw_units_has_a_page_in_raw_units():
    study = load_study({"study": "s", "units": "raw"} | LEAST, "s.yaml")
    assert tables_of("policies_page", study)["scales"] == "ensembles/scales.parquet"
    plain, scales = synthetic.policies(("gold",)), synthetic.scales()
    scale = scales.filter(pl.col("reward") == "gold")["scale"][0]
    assert scale != 1
    text, _ = PAGES["policies_page"].make("mine", {"policies": plain, "scales": scales}, {"gold": "gold", "top_p": 1.0})
    assert "the rewards' own units" in " ".join(text.split())
    first = next(row for row in rows_of(text)[5:] if "<td>ppo-a" in row)
    assert number(plain["limit"][0] * scale) in first


def test_hostile_notes_are_text():
    table = synthetic.policies().with_columns(note=pl.lit(HOSTILE))
    harmless(policies_page(HOSTILE, table, gold="gold"))
