"""What every estimator hands on to the bootstrap: its level and number of replicates; labels of rows."""

from collections.abc import Callable

import numpy as np
import pytest

from alignment_limits.limits import (
    best_of_n,
    best_of_poisson,
    chi2_pessimism,
    frontier,
    limit_at,
    proxy_gap,
    soft_best_of_n,
    study_ensembles,
)
from alignment_limits.policies.placement import place

RNG = np.random.default_rng(0)
GOLD = RNG.standard_normal((40, 64))
PROXY = 0.8 * GOLD + 0.6 * RNG.standard_normal(GOLD.shape)
POLICY = RNG.standard_normal((40, 16)) + 0.5
ESTIMATORS: dict[str, tuple[str, Callable[..., object]]] = {
    "frontier at beta": ("gain", lambda **d: frontier(PROXY, {"g": GOLD}, betas=[2.0], **d)["g"]),
    "frontier at kl": ("gain", lambda **d: frontier(PROXY, {"g": GOLD}, kls=[0.3], **d)["g"]),
    "limit_at": ("gain", lambda **d: limit_at(PROXY, [0.3], **d)),
    "best_of_n": ("gain", lambda **d: best_of_n(PROXY, {"g": GOLD}, ns=[4], **d)["g"]),
    "soft_best_of_n": ("gain", lambda **d: soft_best_of_n(PROXY, {"g": GOLD}, ns=[4], temperatures=[0.5], **d)["g"]),
    "best_of_poisson": ("gain", lambda **d: best_of_poisson(PROXY, {"g": GOLD}, mus=[2.0], **d)["g"]),
    "chi2_pessimism": ("gain", lambda **d: chi2_pessimism(PROXY, {"g": GOLD}, betas=[2.0], **d)["g"]),
    "proxy_gap": ("gap", lambda **d: proxy_gap(PROXY, GOLD, betas=[2.0], **d)),
    "study_ensembles": ("gap", lambda **d: study_ensembles([PROXY, GOLD + PROXY], GOLD, betas=[2.0], at_kl=0.3, **d)),
    "place": ("gain", lambda **d: place(GOLD, [POLICY], np.full((40, 1), 0.4), **d)),
}


def ends(name: str, **draws: float) -> tuple[float, float]:
    column, estimate = ESTIMATORS[name]
    table = estimate(**draws)
    return tuple(float(getattr(table, f"{column}_{end}")[0]) for end in ("low", "high"))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_interval_of_level_one_half_is_as_narrow_as_that_says(name: str) -> None:
    """0.674 standard errors to each side for 1.96."""
    wide, narrow = ends(name), ends(name, level=0.5)
    assert (narrow[1] - narrow[0]) / (wide[1] - wide[0]) == pytest.approx(0.6745 / 1.96, rel=0.15)


WIDE = np.exp(RNG.standard_normal((40, 1)))  # prompts of differing spread; of equal spread Student's interval is longer
SPREAD, BADLY = WIDE * RNG.standard_normal((40, 64)), WIDE * RNG.standard_normal((40, 64))
SKEWED: dict[str, tuple[str, Callable[..., object]]] = {
    "proxy_gap": ("gap", lambda **d: proxy_gap(SPREAD + BADLY, SPREAD, betas=[4.0], **d)),
    "study_ensembles": (
        "gap",
        lambda **d: study_ensembles([SPREAD + BADLY, SPREAD - BADLY], SPREAD, betas=[4.0], at_kl=0.3, **d),
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_replicates_are_as_many_as_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ESTIMATORS", ESTIMATORS | SKEWED)
    assert ends(name, replicates=100) != ends(name, replicates=120)
    assert ends(name, replicates=100) == ends(name, replicates=100)


def test_rows_say_what_they_are_at() -> None:
    table = frontier(PROXY, {"g": GOLD}, betas=[2.0, 1.0], kls=[0.3])["g"]
    assert list(table.at) == ["beta", "beta", "kl"]
    assert list(table.budget) == ["average"] * 3
    assert list(table.beta[:2]) == [2.0, 1.0]
    assert table.kl[2] == 0.3
