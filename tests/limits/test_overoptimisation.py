"""Both paths of over-optimisation at once: peaks where the algebra puts them, and Gao's coefficients."""

import numpy as np
import pytest

from alignment_limits.limits import over_optimisation
from alignment_limits.limits.overoptimisation import fit_places


def world(bend: float, prompts: int = 300, samples: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Proxy N(0,1), gold = proxy - bend/2 (proxy^2 - 1): gold is s - bend s^2/2 under the tilt at s = sqrt(2 KL)."""
    proxy = np.random.default_rng(0).standard_normal((prompts, samples))
    return proxy, proxy - bend / 2 * (proxy**2 - 1)


def test_both_paths_of_a_bent_gold_reward() -> None:
    tilt, draws = over_optimisation(*world(bend=1.0), replicates=500)
    assert (tilt["path"], tilt["unit"], draws["path"], draws["unit"]) == ("tilt", "nats", "best-of-n", "draws")
    assert tilt["found"]
    assert tilt["peak_low"] <= 0.5 <= tilt["peak_high"]
    assert draws["found"]
    assert draws["peak"] == pytest.approx(5, abs=0.7)  # E[z - (z^2 - 1)/2] of the best of 4, 5, 6: .754, .763, .756


def test_gaos_form_for_best_of_n_is_exact_for_a_tilt_of_this_world() -> None:
    """sqrt(2) d - bend d^2 in d = sqrt(KL): alpha = sqrt 2, beta = bend; best-of-n comes near it."""
    _, draws = over_optimisation(*world(bend=0.5), replicates=500)
    assert draws["fit_reliable"]
    assert draws["alpha"] == pytest.approx(np.sqrt(2), rel=0.1)
    assert draws["beta"] == pytest.approx(0.5, rel=0.2)
    assert draws["alpha_low"] < draws["alpha"] < draws["alpha_high"]
    assert draws["fit_from"] <= draws["peak_kl"] <= draws["fit_to"]


def test_a_path_that_only_rises_has_neither_peak() -> None:
    rng = np.random.default_rng(1)
    gold = rng.standard_normal((100, 128))
    for row in over_optimisation(0.8 * gold + 0.6 * rng.standard_normal(gold.shape), gold, replicates=500):
        assert not row["found"]
        assert np.isnan(row["peak_kl"])
        assert row["alpha_low"] < 0.8 * np.sqrt(2) * 1.02


def test_few_samples_or_prompts_say_why() -> None:
    tilt, draws = over_optimisation(*world(bend=1.0, prompts=6, samples=8), replicates=500)
    assert not tilt["found"]
    assert "6 prompts" in str(tilt["reason"])
    assert "reliable points to fit" in str(tilt["fit_reason"])
    assert np.isnan(tilt["alpha"])
    assert not draws["fit_reliable"]


def test_the_fit_uses_n_from_two_to_half_of_the_samples() -> None:
    n = np.unique(np.round(np.geomspace(1, 64, 40)))
    used = n[fit_places(n)]
    assert used[0] == 2
    assert used[-1] == pytest.approx(32, abs=2)
    assert len(used) <= 8


def test_where_gold_bends_is_not_told_from_few_samples_though_it_is_seen_to_fall() -> None:
    tilt, draws = over_optimisation(*world(bend=1.0, samples=128), replicates=500)
    assert not tilt["found"]
    assert np.isnan(tilt["peak"])
    assert tilt["drop_low"] > 0
    assert str(tilt["reason"]).startswith("gold falls, but only 128 samples per prompt")
    assert not tilt["fit_reliable"]
    assert draws["found"]
