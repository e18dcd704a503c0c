"""Verdicts on trained proxies follow their printed rules."""

import re

import polars as pl
import pytest

from alignment_limits.report.claims import trained as claims
from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, UNKNOWN
from alignment_limits.report.pages.learning import proxies_page
from alignment_limits.report.pages.table import PAGES


def _proxies(few=0.5, many=0.1, half=0.02, reliable=True):
    """Gap = error/(2β), two members; `few` and `many` are the errors with 20 and 500 labels."""
    rows = [
        {"labels": n, "member": m, "beta": b, "error_variance": e, "gap": e / (2 * b), "reliable": reliable}
        | {"gap_low": e / (2 * b) - half, "gap_high": e / (2 * b) + half, "spearman": 0.5, "gold_gain_at_kl": 1.0}
        | {"gold_gain_at_kl_reliable": reliable}
        for n, e in ((20, few), (500, many))
        for m in (0, 1)
        for b in (1.0, 2.0)
    ]
    return pl.DataFrame(rows)


def _ensembles(last=0.2, half=0.02, predicted=0.2, reliable=True):
    rows = [
        {"shared": s, "aggregator": "mean", "k": k, "beta": 1.0, "gap": g, "gap_low": g - half, "gap_high": g + half}
        | {"gap_predicted": predicted, "gap_floor": 0.15, "rho": 0.4, "rho_low": 0.3, "rho_high": 0.5}
        | {"saved": 0.4 - g, "saved_low": 0.4 - g - half, "saved_high": 0.4 - g + half, "reliable": reliable}
        for s in ("labels", "neither")
        for k, g in ((1, 0.4), (4, 0.3), (16, last))
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize(
    ("proxies", "verdict"),
    [
        (_proxies(), HOLDS),
        (_proxies(few=0.1, many=0.5), FAILS),
        (_proxies(few=0.3, many=0.2, half=0.04), UNKNOWN),
        (_proxies(few=0.3, many=0.2, half=0.02), PARTLY),  # at β = 1 apart, at 2 not
        (_proxies(reliable=False), UNKNOWN),
    ],
)
def test_cost_against_error(proxies, verdict):
    assert claims.error_costs(proxies).verdict == verdict


def test_cost_against_beta_needs_two_reliable_temperatures():
    assert claims.small_beta_costs(_proxies()).verdict == PARTLY  # 0.05 and 0.025 ± 0.02 are not apart
    assert claims.small_beta_costs(_proxies(half=0.01)).verdict == HOLDS
    one = _proxies().with_columns(reliable=pl.col("beta") == 2)
    assert claims.small_beta_costs(one).verdict == UNKNOWN


@pytest.mark.parametrize(("last", "verdict"), [(0.2, HOLDS), (0.39, UNKNOWN), (0.5, FAILS)])
def test_cost_against_size(last, verdict):
    assert claims.size_helps(_ensembles(last)).verdict == verdict


def test_cost_against_size_is_told_from_differences_on_the_same_prompts():
    overlapping = _ensembles(last=0.35, half=0.04)
    one, most = (overlapping.filter(pl.col("k") == k).row(0, named=True) for k in (1, 16))
    assert one["gap_low"] < most["gap_high"]
    assert claims.size_helps(overlapping).verdict == HOLDS


@pytest.mark.parametrize(("predicted", "verdict"), [(0.21, HOLDS), (0.3, FAILS)])
def test_the_floor(predicted, verdict):
    assert claims.floor_is_predicted(_ensembles(predicted=predicted)).verdict == verdict


def test_what_is_not_reliable_supports_no_verdict():
    table = _ensembles(reliable=False)
    assert claims.size_helps(table).verdict == claims.floor_is_predicted(table).verdict == UNKNOWN


def _onsets():
    """Two proxies with 20 labels, one of which surely takes gold down; one with 500 that does not."""
    nan = float("nan")
    rows = [
        (20, 0, "tilt", nan, 0.1, 1.5),
        (20, 0, "best-of-n", 6.0, 0.1, 64.0),
        (20, 1, "tilt", nan, nan, 1.25),
        (20, 1, "best-of-n", 9.0, -0.1, 64.0),
        (500, 0, "tilt", nan, nan, 1.0),
        (500, 0, "best-of-n", nan, nan, 64.0),
    ]
    return pl.DataFrame(rows, schema=["labels", "member", "path", "peak", "drop_low", "end"], orient="row")


def test_the_page_shows_verdicts_and_numbers():
    proxies, ensembles = _proxies(), _ensembles()
    page = proxies_page("s", "gold", proxies, _onsets(), ensembles, claims.proxy_claims(proxies, ensembles))
    falls = [re.findall("<td>(.*?)</td>", line) for line in page.splitlines() if " of " in line and "<td>" in line]
    assert [cells[1::2] for cells in falls] == [["1 of 2", "1 of 2"], ["0 of 1", "0 of 1"]]
    assert [cells[2][:4] for cells in falls] == ["1.38", "1.00"]
    assert [cells[4][:4] for cells in falls] == ["6.00", "–"]
    assert "Holds." in page
    assert page.count("†") == 1, "in the line that says what it means"
    assert "0.40 [0.30, 0.50]" in page
    assert "β = 1: 0.250 [0.230, 0.270] with 20 labels, 0.050 [0.030, 0.070] with 500" in page


def test_the_page_in_golds_own_units_has_the_same_verdicts():
    tables = {"proxies": _proxies(), "onsets": _onsets(), "ensembles": _ensembles()}
    scales = pl.DataFrame({"reward": ["gold"], "prompt_id": ["a"], "centre": [0.0], "scale": [10.0]})
    plain, verdicts = PAGES["proxies_page"].make("s", tables, {"gold": "gold"})
    page, own = PAGES["proxies_page"].make("s", tables | {"scales": scales}, {"gold": "gold"})
    assert "standard deviations of gold" in " ".join(plain.split())
    assert "gold's own units" in " ".join(page.replace("&#39;", "'").split())
    assert "β = 10: 2.50 [2.30, 2.70] with 20 labels, 0.50 [0.30, 0.70] with 500" in page
    assert [v.verdict for v in own] == [v.verdict for v in verdicts]


def test_what_is_not_reliable_is_marked_in_every_row_of_the_page():
    half = _proxies().with_columns(gold_gain_at_kl_reliable=(pl.col("labels") == 20) | (pl.col("member") == 0))
    page = proxies_page("s", "gold", half, _onsets(), _ensembles().with_columns(reliable=pl.col("k") < 16), [])
    lines = [re.findall("<td>(.*?)</td>", line) for line in page.splitlines() if "<td>" in line]
    marked = [cells for cells in lines if any("†" in cell for cell in cells)]
    assert [cells[:2] for cells in marked] == [["500", "0.10 (0.10 to 0.10)"], ["labels", "16"], ["neither", "16"]]
    assert [[i for i, cell in enumerate(cells) if "†" in cell] for cells in marked] == [[3], [5], [5]]


def test_a_cost_within_intervals_is_neither_larger_nor_smaller():
    """Estimates go the wrong way, their intervals meet."""
    assert claims.error_costs(_proxies(few=0.2, many=0.21, half=0.05)).verdict == UNKNOWN
    worse = _ensembles(last=0.41, half=0.02)
    assert claims.size_helps(worse).verdict == UNKNOWN


def test_the_floor_is_judged_by_the_interval_of_the_gap():
    assert claims.floor_is_predicted(_ensembles(predicted=0.22, half=0.01)).verdict == FAILS
    assert claims.floor_is_predicted(_ensembles(predicted=0.3, half=0.15)).verdict == HOLDS


def test_both_sides_of_a_comparison_must_be_reliable():
    for lost in (20, 500):
        table = _proxies().with_columns(reliable=pl.col("labels") != lost)
        assert claims.error_costs(table).verdict == UNKNOWN
    for lost in (1, 16):
        table = _ensembles().with_columns(reliable=pl.col("k") != lost)
        assert claims.size_helps(table).verdict == UNKNOWN


def test_the_proxy_of_median_error_speaks_for_its_number_of_labels():
    """Of three with 20 labels the one of least error costs as little as those with 500."""
    rows = [
        {"labels": n, "member": m, "beta": 1.0, "error_variance": e, "gap": e / 2, "gap_low": e / 2 - 0.01,
         "gap_high": e / 2 + 0.01, "reliable": True}
        for n, errors in ((20, (0.1, 0.5, 0.9)), (500, (0.1, 0.1, 0.1)))
        for m, e in enumerate(errors)
    ]  # fmt: skip
    verdict = claims.error_costs(pl.DataFrame(rows))
    assert verdict.verdict == HOLDS
    assert "0.250" in verdict.text
