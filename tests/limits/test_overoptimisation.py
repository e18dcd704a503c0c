"""Both paths of over-optimisation at once: peaks where the algebra puts them, and Gao's coefficients."""

import numpy as np
import pytest

from alignment_limits.limits import PromptBootstrap, hacking_onset, over_optimisation, stopping_point
from alignment_limits.limits.onset import interior_maximum
from alignment_limits.limits.over_optimisation import fit_places


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
    assert "6 prompts" in str(draws["reason"])
    assert (draws["finding"], draws["found"]) == ("not judged", False)
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


GOLD = {
    "hits of 2 %": lambda rng, shape: (rng.random(shape) < 0.02) * 1.0,
    "exponential": lambda rng, shape: rng.standard_exponential(shape),
}


@pytest.mark.parametrize("gold", GOLD)
def test_a_proxy_that_knows_nothing_of_gold_is_seldom_said_to_take_it_down(gold: str) -> None:
    """64 x 64, 30 studies of each: at n = M a prompt shows one pick, and a fall there is a lack of hits."""
    falls = 0
    for seed in range(30):
        rng = np.random.default_rng((seed, 1))
        truth, proxy = GOLD[gold](rng, (64, 64)), rng.standard_normal((64, 64))
        stop = stopping_point(proxy, truth, replicates=200, seed=seed)
        falls += stop.finding in ("over-optimisation", "opposed to gold")
        assert stop.end <= 64 / 5
    assert falls <= 3  # 1.5 of 30 by a rule of 5 %


GOLD_OF = {  # of a proxy z and noise e
    "knows nothing of gold": lambda z, e: e,
    "levels off: its mean falls at the end of half of the paths": lambda z, e: np.minimum(z, 0.5) + e,
    "falls without a rise": lambda z, e: -np.maximum(z - 1, 0) + e,
}


@pytest.mark.parametrize("judge", [hacking_onset, stopping_point], ids=["tilt", "best-of-n"])
@pytest.mark.parametrize("gold", GOLD_OF.values(), ids=GOLD_OF)
def test_noise_is_seldom_over_optimisation_where_samples_and_prompts_are_enough(gold, judge) -> None:
    """20 studies: a rise and a fall of the mean alone would be found in half of them, or in all."""
    found = []
    for seed in range(20):
        proxy, noise = np.random.default_rng(seed).standard_normal((2, 32, 288))
        onset = judge(proxy, gold(proxy, noise), replicates=200, seed=seed)
        assert onset.finding != "not judged"
        found.append(onset.finding == "over-optimisation")
    assert np.mean(found) <= 0.05


@pytest.mark.parametrize("judge", [hacking_onset, stopping_point], ids=["tilt", "best-of-n"])
def test_a_bend_is_found_in_studies_of_that_size(judge) -> None:
    for seed in range(3):
        proxy, noise = np.random.default_rng(seed).standard_normal((2, 32, 288))
        onset = judge(proxy, proxy - 0.5 * (proxy**2 - 1) + 0.3 * noise, replicates=200, seed=seed)
        assert (onset.finding, onset.found) == ("over-optimisation", True)


def test_four_prompts_are_no_ground_for_a_fall_of_gold() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        for row in over_optimisation(*rng.standard_normal((2, 4, 64)), replicates=200):
            assert (row["finding"], row["found"]) == ("not judged", False)
            assert "4 prompts" in str(row["reason"])


def test_a_path_of_draws_is_judged_at_the_numbers_given() -> None:
    proxy, gold = world(bend=0.0, prompts=64, samples=128)
    assert stopping_point(proxy, gold, ns=[8, 1, 3], replicates=200).end == 8
    few = stopping_point(proxy[:6], gold[:6], ns=[1, 3, 8], replicates=200)
    assert np.isnan(few.end)
    assert "6 prompts" in few.reason


def test_a_proxy_opposed_to_gold_from_the_start_is_not_over_optimisation() -> None:
    rng = np.random.default_rng(7)
    gold = rng.standard_normal((100, 256))
    for row in over_optimisation(-0.3 * gold + rng.standard_normal(gold.shape), gold, replicates=300):
        assert row["finding"] == "opposed to gold"
        assert not row["found"]
        assert np.isnan(row["peak"])
        assert row["change_high"] < 0
        assert "falls from the start" in str(row["reason"])
    for row in over_optimisation(*world(bend=1.0), replicates=300):
        assert row["finding"] == "over-optimisation"
        assert row["gain_low"] > 0


def test_a_fall_without_a_rise_before_it_is_neither() -> None:
    """Gold wavers around 0, falls significantly from its best point, and ends where it began."""
    rng = np.random.default_rng(8)
    path = np.arange(1.0, 7.0)
    shape = np.array([0.0, 0.02, 0.05, 0.0, -0.02, -0.03])
    values = shape + 0.5 * rng.standard_normal((64, 1)) + 0.02 * rng.standard_normal((64, 6))
    values -= values.mean(axis=0) - shape
    onset = interior_maximum(path, values, PromptBootstrap(64, replicates=300))
    assert onset.drop_low > 0
    assert (onset.finding, onset.found) == ("neither", False)
    assert "its rise before that is not significant" in onset.reason


def test_two_replies_to_a_prompt_do_not_stop_it_and_a_prompt_with_few_takes_no_part() -> None:
    proxy, gold = world(bend=1.0, prompts=120)
    short = proxy.copy()
    short[:3, 2:] = np.nan
    _, draws = over_optimisation(short, np.where(np.isnan(short), np.nan, gold), replicates=300)
    assert draws["prompts"] == 117
    assert draws["found"]
    _, alone = over_optimisation(proxy[3:], gold[3:], replicates=300)
    for name in ("peak", "gain", "drop", "alpha", "beta"):
        assert draws[name] == pytest.approx(alone[name], rel=1e-9)


def test_permuting_prompts_with_their_keys_and_clusters_changes_nothing() -> None:
    rng = np.random.default_rng(9)
    proxy, gold = world(bend=1.0, prompts=40, samples=64)
    proxy = np.round(proxy, 1)
    keys, template, turned = np.arange(40) * 3 + 1, np.arange(40) // 2, rng.permutation(40)
    one = over_optimisation(proxy, gold, keys=keys, clusters=template, replicates=200)
    two = over_optimisation(proxy[turned], gold[turned], keys=keys[turned], clusters=template[turned], replicates=200)
    for before, after in zip(one, two, strict=True):
        for name, value in before.items():
            assert after[name] == (pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value)


def test_the_stopping_point_lies_where_the_slope_per_log_draw_is_zero() -> None:
    """A path 1 - (log n - 1)^2 that turns at n = e, on a grid that has no such point."""
    path = np.array([1.0, 2.0, 4.0, 8.0])
    values = np.repeat([1 - (np.log(path) - 1) ** 2], 30, axis=0)
    values += 1e-6 * np.random.default_rng(0).standard_normal((30, 1))
    onset = interior_maximum(path, values, PromptBootstrap(30, replicates=300), unit="draws")
    assert onset.at == pytest.approx(np.e, rel=1e-4)
    nats = interior_maximum(path, values, PromptBootstrap(30, replicates=300), unit="nats")
    assert abs(nats.at - np.e) > 0.02


def test_the_interval_of_a_peak_is_of_the_level_asked_for_and_lies_inside_the_path() -> None:
    narrow, wide = (hacking_onset(*world(bend=1.0), replicates=300, level=level) for level in (0.5, 0.95))
    assert narrow.found
    assert wide.found
    assert narrow.at == wide.at
    assert wide.low < narrow.low < narrow.at < narrow.high < wide.high
    assert wide.low > 0.2, "gold is seen to rise until there"
    assert wide.high < wide.end / 2, "and to fall from there on"


def test_what_is_not_judged_has_no_number_but_the_end_of_the_path() -> None:
    proxy, gold = world(bend=1.0, prompts=1)
    onset = hacking_onset(proxy, gold, replicates=100)
    assert onset.finding == "not judged"
    numbers = {name: value for name, value in vars(onset).items() if isinstance(value, float) or value is None}
    assert set(numbers) == {
        *("at", "low", "high", "gain", "gain_low", "gain_high", "drop", "drop_low", "drop_high"),
        *("change", "change_low", "change_high", "end"),
    }
    assert all(np.isnan(value) for name, value in numbers.items() if name != "end")


def test_rounding_is_no_rise_before_a_fall() -> None:
    """Gold is 0 at best-of-1 but for the last bits, alike in every prompt, and falls from there on."""
    path = np.array([1.0, 2.0, 4.0, 8.0])
    values = -np.log(path) + 0.1 * np.log(path) * np.random.default_rng(0).standard_normal((30, 1))
    for bits in (0.0, 1e-16, -1e-16):
        values[:, 0] = bits
        onset = interior_maximum(path, values, PromptBootstrap(30, replicates=300), unit="draws")
        assert onset.finding == "opposed to gold", bits
