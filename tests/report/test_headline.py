"""Headline numbers are the tables' numbers; what is not reliable is said."""

import math

import polars as pl
import pytest
import synthetic

from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.headline import further, headline
from alignment_limits.report.numbers import Estimate, peak, reference_kl
from alignment_limits.report.pages.headline import headline_page
from alignment_limits.tables.schemas.limits import HEADLINE

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
AGREEMENT = within_prompt_spearman(synthetic.standardised(), "gold", [*PROXIES, *ENSEMBLES], replicates=200)


def made(frontier=None, best=None, proxies=PROXIES, ensembles=ENSEMBLES, summary=None, tempered=None):
    frontier = synthetic.frontier() if frontier is None else frontier
    best = synthetic.best_of_n() if best is None else best
    return headline(
        frontier,
        best,
        synthetic.over_optimisation(),
        AGREEMENT,
        synthetic.scales(),
        synthetic.summary() if summary is None else summary,
        gold="gold",
        proxies=proxies,
        ensembles=ensembles,
        tempered=tempered,
    )


def pick(table, quantity, subject="gold"):
    return table.row(by_predicate=(pl.col("quantity") == quantity) & (pl.col("subject") == subject), named=True)


@pytest.fixture(scope="module")
def table():
    return made()


def test_it_has_the_declared_columns(table):
    assert dict(table.schema) == dict(HEADLINE.columns)


def test_the_limit_in_both_budgets(table):
    row = pick(table, "gain at KL 0.5, average budget")
    assert row["value"] == pytest.approx(1.0)
    assert row["low"] < 1 < row["high"]
    assert pick(table, "gain at KL 2, per-prompt budget")["value"] == pytest.approx(1.86)


def test_an_unreliable_share_of_the_limit_has_its_bounds():
    low = {"at_least": pl.col("limit"), "gain_at_least": 0.9 * pl.col("gain"), "at_most": 1.5 * pl.col("limit")}
    table = made(best=synthetic.best_of_n().with_columns(**low))
    row, sure = (pick(table, "share of the limit, average budget", f"best-of-{n}") for n in (16, 4))
    assert math.isnan(row["value"])
    assert 0 < row["at_least"] < row["at_most"] < 1
    assert math.isfinite(sure["value"])


def test_an_unreliable_limit_is_no_number():
    row = pick(made(synthetic.frontier(reach=1.0)), "gain at KL 2, average budget")
    assert math.isnan(row["value"])
    assert not row["reliable"]
    assert row["note"] == "ESS below 10"


def test_an_unreliable_limit_has_its_bounds_instead_of_a_dash():
    frontier = synthetic.frontier(reach=1.0).with_columns(at_least=1.4142, at_most=pl.lit(2.1))
    table = made(frontier)
    row = pick(table, "gain at KL 2, average budget")
    assert (row["at_least"], row["at_most"]) == (1.4142, 2.1)
    assert math.isnan(row["value"])
    assert "<td>at least 1.41, at most 2.1<small>ESS below 10" in headline_page("s", table, [], [])
    assert math.isnan(pick(made(), "gain at KL 2, average budget")["at_least"]), "a table without bounds"


def test_an_unreliable_limit_is_no_number_in_any_unit_nor_a_share_of_it():
    table = made(synthetic.frontier(reach=0))  # its reference KL is then one whose limit is not reliable
    gains = [r for r in table.iter_rows(named=True) if r["group"] in ("limit", "units") and "gain" in r["quantity"]]
    assert {r["unit"] for r in gains} == {"base s.d. of gold", "native units of gold"}
    for row in [*gains, pick(table, "share of the ideal at KL 1", "minilm")]:
        assert all(math.isnan(row[k]) for k in ("value", "low", "high")), row["quantity"]
        assert row["note"] == "ESS below 10" or row["note"].endswith("; ESS below 10")
    assert pick(table, "one base s.d.")["value"] == 2.5, "the scale itself is known"
    page = headline_page("s", table, [], [])
    for line in page.splitlines():
        if "average budget" in line and "gain" in line:
            assert "<td>–<small>" in line, line


def test_an_unreliable_share_of_the_limit_is_no_number(table):
    for budget in ("average", "per-prompt"):
        row = pick(table, f"share of the limit, {budget} budget", "best-of-16")
        assert math.isnan(row["value"])
        assert row["note"] == "n above M/8"


def tempered(reliable=True):
    return pl.DataFrame(
        [
            {
                "optimized": "gold", "evaluated": "gold", "at": "kl", "budget": budget, "kl": kl, "gain": 3.0,
                "gain_low": 2.9, "gain_high": 3.1, "at_least": 1.5, "at_most": 4.0, "reliable": reliable,
                "reason": "" if reliable else "use more moves",
            }
            for budget in ("average", "per-prompt")
            for kl in (2.0, 6.0)
        ]
    )  # fmt: skip


def test_tempered_sampling_has_the_limit_at_the_largest_kl():
    row = pick(made(tempered=tempered()), "gain at KL 6, average budget, tempered sampling")
    assert (row["value"], row["group"], row["reliable"]) == (3.0, "limit", True)
    assert pick(made(tempered=tempered()), "gain at KL 6, per-prompt budget, tempered sampling")["value"] == 3.0
    row = pick(made(tempered=tempered(reliable=False)), "gain at KL 6, average budget, tempered sampling")
    assert math.isnan(row["value"])
    assert (row["at_least"], row["at_most"], row["note"]) == (1.5, 4.0, "use more moves")
    assert further(tempered(), "gold").endswith("within 6 nats it gains 3.00 [2.90, 3.10].")
    assert "at least 1.5, at most 4" in further(tempered(reliable=False), "gold")
    assert further(tempered(), "other") == ""


def test_native_units(table):
    assert pick(table, "one base s.d.")["value"] == 2.5
    row = next(r for r in table.filter(pl.col("group") == "units").iter_rows(named=True) if "gain" in r["quantity"])
    assert row["value"] == pytest.approx(2.5 * math.sqrt(2))


def test_best_of_n(table):
    assert pick(table, "KL", "best-of-4")["value"] == pytest.approx(math.log(4) - 0.75)
    share = pick(table, "share of the limit, per-prompt budget", "best-of-4")
    assert share["value"] == pytest.approx(0.95 * synthetic.expected_max(4) / math.sqrt(2 * (math.log(4) - 0.75)))
    assert pick(table, "gain", "best-of-16")["reliable"]  # whatever becomes of the limit
    far = pick(table, "share of the limit, average budget", "best-of-16")
    assert (far["reliable"], far["note"]) == (False, "n above M/8")


def test_proxies_and_ensembles(table):
    row = pick(table, "share of the ideal at KL 1", "minilm")
    assert row["value"] == pytest.approx(0.5)
    assert row["low"] < 0.5 < row["high"]
    assert pick(table, "gold gain at KL 1", "mean-of-all")["value"] == pytest.approx(0.78 * math.sqrt(2))
    assert 0.4 < pick(table, "Spearman with gold", "minilm")["value"] < 0.6


def test_samples(table):
    assert pick(table, "truncation rate", "base model")["value"] == pytest.approx(0.75)
    assert pick(table, "duplicates", "base model")["value"] == pytest.approx(0.02)


def test_rates_of_samples_weigh_each_prompt_by_its_samples():
    """10 samples that are all cut and 90 of which none is: a tenth of all, half of the prompts."""
    unequal = pl.DataFrame(
        {
            "n_samples": [10, 90],
            "truncation_rate": [1.0, 0.0],
            "distinct_share": [0.5, 1.0],
            "mean_tokens": [20.0, 10.0],
        }
    )
    table = made(summary=unequal)
    shown = {q: pick(table, q, "base model")["value"] for q in ("truncation rate", "duplicates", "tokens per sample")}
    assert shown == pytest.approx({"truncation rate": 0.1, "duplicates": 0.05, "tokens per sample": 11.0})
    assert pick(table, "samples per prompt, fewest", "base model")["value"] == 10


def test_without_proxies_or_best_of_n():
    table = made(best=synthetic.best_of_n().clear(), proxies=[], ensembles=[])
    assert set(table["group"]) == {"limit", "units", "samples"}


def test_reference_kl_is_the_reliable_one_nearest_to_one():
    assert reference_kl(synthetic.frontier(), "gold") == 1.0
    assert reference_kl(synthetic.frontier(reach=0.6), "gold") == 0.5
    assert reference_kl(synthetic.frontier(reach=0), "gold") == 1.0  # nothing is: the values will be marked
    assert math.isnan(reference_kl(synthetic.frontier(unreachable=0), "gold"))


def test_nothing_reliable_still_gives_a_table():
    table = made(synthetic.frontier(reach=0))
    assert table.filter(pl.col("group") == "limit")["value"].is_nan().all()


def test_nothing_reached_still_gives_a_table():
    table = made(synthetic.frontier(unreachable=0))
    assert not table["quantity"].str.contains("nan").any()


def test_peaks_along_both_paths_with_their_intervals(table):
    row = pick(table, "hacking onset", "vader")
    assert (row["value"], row["unit"], row["reliable"]) == (0.5, "nats per sequence", True)
    assert (row["low"], row["high"]) == pytest.approx((0.35, 0.7))
    row = pick(table, "stopping point of best-of-n", "vader")
    assert (row["value"], row["unit"]) == (5.0, "draws")


def test_no_peak_is_no_number_and_says_how_far_was_looked(table):
    row = pick(table, "hacking onset", "minilm")
    assert math.isnan(row["value"])
    assert not row["reliable"]
    assert row["note"] == "gold still rises at the end of the path (2 nats)"


def test_a_peak_of_an_unknown_reward_or_path_is_not_tabulated():
    assert peak(synthetic.over_optimisation(), "nobody", "tilt").reason == "not tabulated"


def test_a_ratio_holds_all_ratios_of_its_parts():
    e = Estimate(1, 0.8, 1.2, True, "") / Estimate(2, 1.6, 2.5, True, "")
    assert (e.value, e.low, e.high) == pytest.approx((0.5, 0.32, 0.75))
    negative = Estimate(-1, -1.2, 0.1, True, "") / Estimate(2, 1.6, 2.5, True, "")
    assert (negative.low, negative.high) == pytest.approx((-0.75, 0.0625))


def test_a_ratio_to_what_may_be_zero_has_no_interval():
    assert not (Estimate(1, 0.8, 1.2, True, "") / Estimate(0.1, -0.1, 0.3, True, "")).bounded
    assert not (Estimate(1, 0.8, 1.2, True, "") / Estimate(0, 0, 0, True, "")).known


def test_a_ratio_is_reliable_only_if_both_parts_are():
    sure, other = Estimate(1, 0.8, 1.2, True, ""), Estimate(2, 1.6, 2.5, False, "few prompts")
    assert not (sure / other).known
    assert not (other / sure).known
    assert (sure / other).reason == "few prompts"
