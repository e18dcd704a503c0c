"""Results as people use them: in a session, as tables, as figures."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from matplotlib.text import Text

from alignment_limits.errors import EstimateError, SourceError
from alignment_limits.limits import best_of_n, frontier, over_optimisation, plan, proxy_gap, study_ensembles
from alignment_limits.tables import estimates as contracts

RNG = np.random.default_rng(0)
GOLD = RNG.standard_normal((100, 64))
PROXY = 0.7 * GOLD + 0.7 * RNG.standard_normal(GOLD.shape)
BIASED = {"gold": GOLD}


@pytest.fixture(scope="module")
def results():
    members = [PROXY, 0.7 * GOLD + 0.7 * RNG.standard_normal(GOLD.shape)]
    return {
        "FRONTIER": frontier(PROXY, BIASED, kls=[0.1, 0.5], replicates=200)["gold"],
        "BEST_OF_N": best_of_n(PROXY, BIASED, ns=[2, 4, 8], replicates=200)["gold"],
        "PROXY_GAP": proxy_gap(PROXY, GOLD, betas=[1.0, 2.0], replicates=200),
        "ENSEMBLES": study_ensembles(members, GOLD, betas=[2.0], at_kl=0.5, replicates=200),
        "OVER_OPTIMISATION": over_optimisation(PROXY, GOLD, replicates=200),
        "PLAN": plan(GOLD, [0.1, 0.5]),
    }


def test_a_result_describes_itself_in_two_lines(results):
    assert repr(results["FRONTIER"]).startswith("FrontierTable: 2 rows, 2 reliable\n  kl 0.1 to 0.5, gain 0.")
    assert all(len(repr(result).split("\n")) <= 2 for result in results.values())
    assert all(len(line) < 100 for result in results.values() for line in repr(result).split("\n"))


def test_a_search_says_how_often_it_found_what_it_looks_for(results):
    assert repr(results["OVER_OPTIMISATION"]).startswith("OverOptimisationTable: 2 rows, 0 found")


def test_a_result_has_rows(results):
    table = results["BEST_OF_N"]
    assert len(table) == 3
    assert [row["n"] for row in table] == [2, 4, 8]
    assert [row["gain"] for row in table] == table.gain.tolist()


@pytest.mark.parametrize("name", ["FRONTIER", "BEST_OF_N", "PROXY_GAP", "ENSEMBLES", "OVER_OPTIMISATION", "PLAN"])
def test_a_table_has_the_columns_and_types_of_the_contract(results, name):
    table, contract = results[name].to_polars(), getattr(contracts, name)
    assert len(table.columns) > 6
    assert set(table.columns) <= set(contract.columns)
    assert dict(table.schema) == {column: contract.columns[column] for column in table.columns}
    for column, values in results[name].columns().items():
        assert table[column].to_list() == pytest.approx(values.tolist(), nan_ok=True)


def test_a_missing_whole_number_is_null_in_the_table():
    from alignment_limits.limits import chi2_pessimism

    table = chi2_pessimism(GOLD, BIASED, betas=[2.0], replicates=200)["gold"]
    assert np.isnan(table.n).all()
    assert table.to_polars()["n"].to_list() == [None]


def test_every_result_has_a_figure(results):
    for name, result in results.items():
        figures = [result.plot()]
        if name == "OVER_OPTIMISATION":
            figures = [result.plot(frontier=results["FRONTIER"]), result.plot(best_of_n=results["BEST_OF_N"])]
        for figure in figures:
            assert figure.axes[0].lines, name


def labels(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def test_a_limit_is_drawn_as_one_and_the_frontier_under_a_proxy_is_not(results):
    limit = frontier(GOLD, kls=[0.1, 0.5], replicates=200)
    own = limit.plot(best_of_n=best_of_n(GOLD, ns=[2, 4], replicates=200))
    assert len(own.axes) == 2, "the share of the limit below"
    assert "limit, KL bounded on average" in labels(own)
    alone, below = results["FRONTIER"].plot(), results["FRONTIER"].plot(limit=limit)
    assert not any("limit" in label for label in labels(alone))
    assert "proxy" in labels(below)
    assert [bool(table.own) for table in (limit, results["FRONTIER"])] == [True, False]
    assert "own" not in limit.to_polars().columns


def test_what_no_figure_is_about_is_said():
    from alignment_limits.policies.placement import place

    with pytest.raises(EstimateError, match="No figure draws a Placement; draw its columns: gain"):
        place(GOLD, [GOLD], np.full((100, 1), 0.1), replicates=200).plot()


def test_without_the_libraries_of_figures_the_extra_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "alignment_limits.report.figures.table", None)
    with pytest.raises(SourceError, match=r"pip install 'alignment-limits\[figures\]'"):
        results["PLAN"].plot()


def test_estimators_load_no_library_for_tables_or_figures():
    code = (
        "import sys, alignment_limits.limits; print({'polars', 'matplotlib', 'torch', 'snakemake'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_tables_of_results_keep_nan_apart_from_null(results):
    assert results["OVER_OPTIMISATION"].to_polars().select(pl.col("peak").is_null().any()).item() is False
