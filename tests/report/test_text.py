"""Numbers for people: rounded by their uncertainty, three significant digits at most, signs and counts kept."""

import math
import re

import numpy as np
import pytest

from alignment_limits.report.numbers import Estimate, interval, number

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234, "1.23"),
        (12.34, "12.3"),
        (-0.5, "−0.50"),
        (0.01234, "0.012"),
        (9.999, "10.0"),
        (64, "64"),
        (12345, "12,345"),  # a count
        (12345.6, "12,300"),
        (2.5e7 + 0.5, "2.50×10⁷"),
        (1.5e-7, "1.5×10⁻⁷"),
        (NAN, "–"),
        (INF, "–"),
        (0, "0.00"),
        (-0.0, "0.00"),
    ],
)
def test_a_number_alone(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((1.3, 1.21, 1.39), "1.30 [1.21, 1.39]"),
        ((-0.1, -0.4, 0.2), "−0.10 [−0.40, 0.20]"),
        ((181.17, 48.96, 444.84), "180 [50, 440]"),
        ((12345.6, 12000, 12700), "12,300 [12,000, 12,700]"),
        # never more than three digits, however narrow
        ((1.835081, 1.835064, 1.835089), "1.84 [1.84, 1.84]"),
        ((0.9978, 0.9947, 1.0007), "0.998 [0.995, 1.00]"),
        # no more digits than the interval calls for
        ((12.3456, 2.1, 23.9), "12 [2, 24]"),
        # lopsided: by the shorter side
        ((0.5, 0.4, 40), "0.50 [0.40, 40.0]"),
        ((1.84, 1.84, 1.95), "1.84 [1.84, 1.95]"),
        # tiny and huge
        ((3.2e-6, 1e-6, 5.4e-6), "3.2×10⁻⁶ [1.0×10⁻⁶, 5.4×10⁻⁶]"),
        ((1.5e9, 1.2e9, 1.8e9), "1.50×10⁹ [1.20×10⁹, 1.80×10⁹]"),
        # no width, no interval, no value
        ((0.636294, 0.636294, 0.636294), "0.64"),
        ((2.0, NAN, NAN), "2.00"),
        ((2.0, 1.0, INF), "2.00"),
        ((64, 64, 64), "64"),
        ((NAN, 1.0, 2.0), "–"),
        # zero has no sign; an end that is not zero is not written as zero
        ((-0.0004, -0.3, 0.3), "0.00 [−0.30, 0.30]"),
        ((-0.0, -0.0, 0.0), "0.00"),
        ((0.3, 0.0004, 0.6), "0.30 [0.0004, 0.60]"),
        ((-0.3, -0.6, -0.0004), "−0.30 [−0.60, −0.0004]"),
        ((409.0, 403.0, 9.4e7), "409 [403, 9.40×10⁷]"),
        ((409.0, 409.0, 9.4e7), "400 [400, 9.4×10⁷]"),
        ((0.3, 1e-18, 0.6), "0.30 [0.00, 0.60]"),
    ],
)
def test_an_estimate_is_rounded_by_its_uncertainty(estimate, text):
    assert interval(Estimate(*estimate)) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((0.8349, 0.81, 0.86), "83.5% [81.0%, 86.0%]"),
        ((0.00123, 0.001, 0.0015), "0.123% [0.100%, 0.150%]"),
        ((0.834, NAN, NAN), "83.4%"),
        ((1.0, 1.0, 1.0), "100%"),
    ],
)
def test_shares_as_percentages(estimate, text):
    assert interval(Estimate(*estimate), percent=True) == text


def test_any_estimate_keeps_its_signs_its_order_and_three_digits():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        size = rng.integers(-8, 9)
        value = rng.normal() * 10.0**size
        below, above = np.abs(rng.normal(size=2)) * 10.0 ** (size + rng.integers(-4, 4, 2))
        low, high = value - below, value + above
        text = interval(Estimate(value, low, high))
        shown = [_read(x) for x in re.findall(r"[−\d.,]*\d(?:×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?", text)]
        for word in re.findall(r"\d[\d,.]*", re.sub("×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", "", text)):
            digits = word.replace(",", "").rstrip(".").lstrip("0.").replace(".", "")
            assert len(digits.rstrip("0") if "." not in word else digits) <= 3, text
        assert len(shown) == 3, text
        assert np.all(np.diff([shown[1], shown[0], shown[2]]) >= 0), text
        assert (np.sign(shown[1]), np.sign(shown[2])) == (np.sign(low), np.sign(high)), text
        assert low <= 0 <= high or np.sign(shown[0]) == np.sign(value), text
        np.testing.assert_allclose(shown, [value, low, high], atol=0.51 * max(high - low, 0.01 * abs(value)))


def _read(text):
    digits, _, power = text.partition("×10")
    scale = 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    return float(digits.strip(",").replace("−", "-").replace(",", "")) * scale
