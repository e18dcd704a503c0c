"""The compiled kernels and NumPy give the same numbers."""

import sys

import numpy as np
import pytest

from alignment_limits.limits.relatives import compiled_picks, plain_picks, soft_weights
from alignment_limits.limits.samples import Pool, deal, quarter
from alignment_limits.limits.tilt import compiled_sums, plain_sums

pytest.importorskip("numba")


def test_compiled_sums_equal_numpy_on_ragged_blocks_over_all_temperatures() -> None:
    from alignment_limits.limits.streaming.kernels import fused_sums

    rng = np.random.default_rng(0)
    r = 5 * rng.standard_normal((7, 37))
    r[2, 20:] = r[3, 1:] = np.nan
    parts = quarter(r, [np.where(np.isnan(r), np.nan, np.sin(r)), r])
    inverse = np.broadcast_to(np.geomspace(1e-4, 1e4, 30), (7, 30))
    plain = plain_sums(parts, inverse)
    fused = fused_sums(parts.rewards, parts.tops, parts.features, parts.sizes, inverse)
    for one, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def test_compiled_sums_of_pooled_samples_equal_numpy() -> None:
    """Padding is between the laws, not at the end, and one law has no sample of some quarters."""
    from alignment_limits.limits.streaming.kernels import fused_sums

    rng = np.random.default_rng(0)
    r = 5 * rng.standard_normal((7, 40))
    r[2, 20:30] = r[3, 31:] = r[4, 3:28] = np.nan
    pool = Pool.of(np.repeat(["base", "policy"], [30, 10]), {"policy": np.where(np.isnan(r), np.nan, r / 5 - 0.5)})
    other = np.where(np.isnan(r), np.nan, np.sin(r))
    (parts,) = deal(r, [other, r], pool=pool).quarters(r, [other, r])
    inverse = np.broadcast_to(np.geomspace(1e-4, 1e4, 30), (7, 30))
    fused = fused_sums(parts.rewards, parts.tops, parts.features, parts.sizes, inverse, parts.weights)
    for one, same in zip(plain_sums(parts, inverse), fused, strict=True):
        np.testing.assert_allclose(same, one, rtol=1e-12, atol=1e-12)


def test_the_kernel_serves_whatever_was_computed_before() -> None:
    """Otherwise a first call would differ from later ones in the last digits."""
    from alignment_limits.limits.streaming.kernels import fused_sums

    assert compiled_sums() is fused_sums


@pytest.mark.parametrize("ns", [[2], [1, 3, 4, 16], [2, 64]])
def test_compiled_picks_of_soft_best_of_n_equal_numpy(ns: list[int]) -> None:
    r = 5 * np.random.default_rng(0).standard_normal((6, 40))
    r[2, 20:30] = r[3, 1:] = np.nan
    r[4] = 1.0
    r[5, :10] = r[5].max()
    assert compiled_picks() is not None
    np.testing.assert_allclose(soft_weights(r, np.array(ns)), plain_picks(r, np.array(ns)), rtol=1e-11, atol=1e-300)


def test_without_numba_the_plain_sums_and_picks_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alignment_limits.limits.streaming.kernels", None)
    monkeypatch.setitem(sys.modules, "alignment_limits.limits.picks", None)
    assert compiled_sums() is None
    assert compiled_picks() is None
