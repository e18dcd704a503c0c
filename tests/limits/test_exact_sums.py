"""Exact sums against rational arithmetic; the same integers whatever the order, the grouping and the kernel."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment_limits.errors import EstimateError
from alignment_limits.limits.streaming import terms

ADDERS = list(dict.fromkeys([terms.add, terms.adder(terms.compiled())]))
MANY = settings(max_examples=200, deadline=None, derandomize=True)
FLOATS = st.one_of(
    st.floats(-1e57, 1e57), st.floats(-10, 10), st.sampled_from([0.0, -0.0, 5e-324, -1e-58, 2.0**-192, 1.5 * 2.0**191])
)
LISTS = st.lists(FLOATS, min_size=1, max_size=30)


def summed(values: list[float], add: object = terms.add) -> np.ndarray:
    sums = terms.zeros(1, 1)
    add(np.array(values)[:, None], np.zeros(len(values), dtype=np.int64), sums)  # type: ignore[operator]
    return sums


def cut(value: float) -> Fraction:
    """A float without what it holds below 2^-192."""
    return Fraction(math.trunc(Fraction(value) * 2**192), 2**192)


@MANY
@given(LISTS)
def test_sums_are_those_of_rational_arithmetic(values: list[float]) -> None:
    exact = sum(map(cut, values), Fraction(0))
    sums = summed(values)
    held = sum(int(digit) << (32 * place) for place, digit in enumerate(sums[0, :, 0]))
    assert Fraction(held, 2**192) == exact
    assert terms.value(sums).item() == pytest.approx(float(exact), rel=5e-16, abs=0)


@MANY
@given(LISTS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_grouping_and_kernel_leave_no_trace(values: list[float], random: object, middle: int) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    whole = summed(values)
    for add in ADDERS:
        assert np.array_equal(summed(shuffled, add), whole)
        halves = [half for half in (shuffled[:middle], shuffled[middle:]) if half]
        assert np.array_equal(sum(summed(half, add) for half in halves), whole)


def test_what_floats_round_off_is_kept() -> None:
    for add in ADDERS:
        assert terms.value(summed([1e17, *[1.0] * 1000, -1e17], add)).item() == 1000.0
        assert terms.value(summed([-1e17, *[1.0] * 1024], add)).item() == -(10**17) + 1024


def test_groups_and_cells_are_apart() -> None:
    values = np.random.default_rng(0).standard_normal((50, 7))
    groups = np.random.default_rng(1).integers(0, 3, 50)
    for add in ADDERS:
        sums = terms.zeros(3, 7)
        add(values, groups, sums)
        expected = [[math.fsum(values[groups == g, i]) for i in range(7)] for g in range(3)]
        np.testing.assert_allclose(terms.value(sums), expected, rtol=5e-16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**192])
def test_terms_that_cannot_be_summed_are_refused(bad: float) -> None:
    for add in ADDERS:
        with pytest.raises(EstimateError, match="too large to be summed"):
            summed([1.0, bad], add)
