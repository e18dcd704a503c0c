"""Exact values beside estimates: rows keep their keys, intervals are judged, the report and the figure tell it."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.exact import laws
from alignment_limits.exact.estimands import Everything, beside, every_reply, on_study_scale
from alignment_limits.exact.laws import gain, kl, limit, mean
from alignment_limits.report.figures.policies import exact
from alignment_limits.report.figures.style import Look
from alignment_limits.report.pages.learning import exact_page, verdicts
from alignment_limits.report.pages.table import PAGES
from alignment_limits.tables.units import in_raw_units

RNG = np.random.default_rng(1)
BASE = np.log(RNG.dirichlet(np.ones(8), 5))
REWARD = RNG.standard_normal((5, 8))
POLICY = laws.tilt(BASE, REWARD, 0.8)
EVERYTHING = Everything(BASE, {"gold": REWARD}, {"p": POLICY})
OWN = Everything(BASE[:3], {"gold": REWARD[:3]}, {"p": POLICY[:3]})
PAIR = {"optimized": "gold", "evaluated": "gold", "reliable": True}
FRONTIER = pl.DataFrame(
    [
        PAIR | {"at": "beta", "budget": "average", "beta": 1.0, "kl": 0.3, "gain": 0.5, "gain_low": -9, "gain_high": 9},
        PAIR | {"at": "kl", "budget": "average", "beta": 1.0, "kl": 0.4, "gain": 0.5, "gain_low": 7, "gain_high": 9},
        PAIR
        | {"at": "kl", "budget": "average", "beta": 1.0, "kl": 0.8, "gain": None, "gain_low": None, "gain_high": 9},
    ],
    infer_schema_length=None,
).with_columns(samples_from=pl.lit("base"))
PICKS = pl.DataFrame(
    [
        PAIR | {"method": "best-of-n", "budget": "average", "n": n, "temperature": None, "kl": 0.1 * n, "gain": 0.1 * n}
        for n in (1, 2, 4)
    ],
    schema_overrides={"temperature": pl.Float64},
)
POLICIES = pl.DataFrame(
    [
        {"policy": "p", "objective": "exact", "optimized": "gold", "coefficient": 0.8, "seed": 0, "evaluated": "gold",
         "reliable": True, "kl": 0.4, "kl_low": 0.0, "kl_high": 5.0, "gain": 0.7, "gain_low": 0.0, "gain_high": 5.0}
    ]
)  # fmt: skip
KEYS = {
    "frontier": ["optimized", "evaluated", "samples_from", "at", "budget", "beta", "kl", "reliable"],
    "best_of_n": ["method", "optimized", "evaluated", "budget", "n", "temperature", "reliable"],
    "policies": ["policy", "objective", "optimized", "coefficient", "seed", "evaluated", "reliable"],
}


@pytest.fixture(scope="module")
def tables():
    return {
        "frontier": beside(FRONTIER, KEYS["frontier"], lambda e: e.frontier, OWN, EVERYTHING),
        "best_of_n": beside(PICKS, KEYS["best_of_n"], lambda e: e.best_of_n, OWN, EVERYTHING),
        "policies": beside(POLICIES, KEYS["policies"], lambda e: e.policy, OWN, EVERYTHING),
    }


def one(table, **where):
    return table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)


def test_a_row_has_the_exact_values_of_its_own_law(tables):
    at_beta = one(tables["frontier"], at="beta", quantity="gain")
    tilted = laws.tilt(BASE, REWARD, 1.0)
    assert at_beta["population"] == pytest.approx(gain(tilted, BASE, REWARD).mean())
    assert at_beta["exact"] == pytest.approx(gain(tilted, BASE, REWARD)[:3].mean())
    at_kl = one(tables["frontier"], at="kl", quantity="gain", kl=0.4)
    assert at_kl["exact"] == pytest.approx(gain(limit(BASE[:3], REWARD[:3], 0.4).law, BASE[:3], REWARD[:3]).mean())
    four = one(tables["best_of_n"], n=4, quantity="kl")
    assert four["population"] == pytest.approx(kl(laws.best_of_n(BASE, REWARD, 4), BASE).mean())
    assert one(tables["policies"], quantity="regret")["exact"] == pytest.approx(0, abs=1e-12)


def test_an_interval_holds_a_value_or_not_or_is_not_there(tables):
    gains = tables["frontier"].filter(pl.col("quantity") == "gain")
    assert gains["holds_exact"].to_list() == [True, False, None]
    assert gains["holds_population"].to_list() == [True, False, None]
    assert tables["best_of_n"]["holds_exact"].null_count() == tables["best_of_n"].height


def test_ensembles_are_made_of_exactly_centred_members():
    scores = {"a": REWARD + 5, "b": 2 * REWARD[::-1]}
    e = {"members": ["a", "b"], "aggregator": "minimum", "penalty": 0.5}
    got = on_study_scale(BASE, scores, {"a": 2.0, "b": 3.0, "e": 0.5}, {"e": e})
    for name, array in got.items():
        np.testing.assert_allclose(mean(BASE, array), 0, atol=1e-12, err_msg=name)
    least = np.minimum(got["a"], got["b"])
    np.testing.assert_allclose(got["e"], (least - mean(BASE, least)[:, None]) / 0.5)
    np.testing.assert_allclose(got["a"], (scores["a"] - mean(BASE, scores["a"])[:, None]) / 2)


def test_a_missing_reply_or_prompt_is_named():
    table = pl.DataFrame({"prompt_id": ["a", "a", "b", "b"], "sample_id": [0, 1, 0, 1], "v": [1.0, 2.0, 3.0, 4.0]})
    np.testing.assert_array_equal(every_reply(table, "v", ["b", "a"]), [[3, 4], [1, 2]])
    with pytest.raises(ArtifactError, match="prompts missing: \\['c'\\]"):
        every_reply(table, "v", ["a", "c"])
    with pytest.raises(ArtifactError, match="not every reply"):
        every_reply(table[:3], "v", ["a", "b"])


def test_the_page_tells_which_policies_are_below_the_limit(tables):
    page = exact_page("s", tables, gold="gold")
    assert "<td>yes</td>" in page
    assert "<td>1 (50%)</td>" in page, "one interval of two holds the gain"
    raised = tables["policies"].with_columns(
        exact=pl.when(pl.col("quantity") == "gain").then(pl.lit(99.0)).otherwise("exact")
    )
    assert verdicts(raised)["below"].to_list() == [False]
    assert "<td>no</td>" in exact_page("s", tables | {"policies": raised}, gold="gold")


def test_the_figure_draws_a_pooled_row_only_where_the_bases_is_not_reliable():
    """At 0.4 the base's row is reliable; at 0.8 only the pool's is."""
    base = FRONTIER.with_columns(reliable=pl.col("kl") < 0.5, gain=pl.lit(0.5), gain_low=pl.lit(0.4))
    pool = base.with_columns(samples_from=pl.lit("pool"), reliable=pl.lit(True), gain=pl.lit(0.9))
    both = pl.concat([base, pool])
    table = beside(both, KEYS["frontier"], lambda of: of.frontier, OWN, EVERYTHING)
    picks = beside(PICKS, KEYS["best_of_n"], lambda of: of.best_of_n, OWN, EVERYTHING)
    figure = exact(table, picks, None, Look(), evaluated="gold")
    (drawn,) = [line for line in figure.axes[0].lines if line.get_gid() == "limit:estimates"]
    np.testing.assert_allclose([list(drawn.get_xdata()), list(drawn.get_ydata())], [[0.4, 0.8], [0.5, 0.9]])


def test_the_figure_draws_exact_points_and_estimates_apart(tables):
    figure = exact(*(tables[name] for name in KEYS), Look(gold="gold"), evaluated="gold")
    drawn = {line.get_gid(): line for line in figure.axes[0].lines}
    assert {
        "limit",
        "limit:estimates",
        "best-of-n",
        "best-of-n:estimates",
        "exact on gold",
        "exact on gold:estimates",
    } <= set(drawn)
    policy = {q: one(tables["policies"], quantity=q) for q in ("kl", "gain")}
    assert drawn["exact on gold"].get_xdata()[0] == policy["kl"]["exact"]
    assert drawn["exact on gold"].get_ydata()[0] == policy["gain"]["exact"]
    assert drawn["exact on gold:estimates"].get_xdata()[0] == 0.4
    assert drawn["exact on gold:estimates"].get_ydata()[0] == 0.7


def test_exact_values_in_own_units_have_the_unit_of_their_quantity(tables):
    plain = tables["frontier"]
    own = in_raw_units("exact/frontier.parquet", plain, {"gold": 50.0}, "gold")
    factor = {"gain": 50.0, "beta": 50.0, "kl": 1.0, "kl_reverse": 1.0}
    for quantity, ratio in factor.items():
        rows = pl.col("quantity") == quantity
        np.testing.assert_allclose(own.filter(rows)["exact"], ratio * plain.filter(rows)["exact"].to_numpy())
        np.testing.assert_allclose(own.filter(rows)["population"], ratio * plain.filter(rows)["population"].to_numpy())
    assert own["beta"][0] == 50.0
    assert set(own["reward_unit"]) == {"gold"}


def test_the_page_in_own_units_has_gains_in_these_and_the_same_verdicts(tables):
    scales = pl.DataFrame({"reward": ["gold"], "prompt_id": ["a"], "centre": [0.0], "scale": [50.0]})
    page, _ = PAGES["exact_page"].make("s", tables | {"scales": scales}, {"gold": "gold"})
    assert "the rewards' own units" in " ".join(page.replace("&#39;", "'").split())
    gained = one(tables["policies"], quantity="gain")["exact"]
    assert f"<td>{50 * gained:.1f}" in page
    assert "<td>yes</td>" in page, "the tilt is on its own limit"
