"""The compiled kernel and NumPy give the same sums."""

import sys

import numpy as np
import pytest

from alignment_limits.limits.samples import quarter
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


def test_the_kernel_serves_whatever_was_computed_before() -> None:
    """Otherwise a first call would differ from later ones in the last digits."""
    from alignment_limits.limits.streaming.kernels import fused_sums

    assert compiled_sums() is fused_sums


def test_without_numba_the_plain_sums_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alignment_limits.limits.streaming.kernels", None)
    assert compiled_sums() is None
