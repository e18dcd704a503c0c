"""Newton's method on functions whose steps go wrong: monotone, and the same on every scale."""

import numpy as np
import pytest

from alignment_limits.preferences.fits import newton


def far_from_quadratic(scale: float, seen: list[float]):
    """scale · √(1 + x²), whose undamped steps from |x| > 1 lead away from 0."""

    def oracle(x, active):
        seen.append(float(x[0, 0]))
        root = np.sqrt(1 + x**2)
        return scale * root[:, 0], scale * x / root, (scale / root**3)[:, :, None]

    return oracle


@pytest.mark.parametrize("start", [1.05, 1.3, 3.0, 50.0])
def test_steps_that_lead_uphill_are_taken_back(start):
    found, converged = newton(far_from_quadratic(1.0, []), np.array([[start]]))
    assert converged.all()
    np.testing.assert_allclose(found, 0, atol=1e-10)


def test_a_functions_scale_changes_no_step():
    paths: list[list[float]] = []
    for scale in (1e-3, 1.0, 1e3):
        paths.append([])
        newton(far_from_quadratic(scale, paths[-1]), np.array([[2.2]]), tolerance=1e-9 * scale)
    for path in paths:
        np.testing.assert_allclose(path, paths[1], rtol=1e-4, atol=1e-9)


def test_a_problem_that_leaves_the_box_is_given_up():
    def falls_for_ever(x, active):
        return np.exp(-x[:, 0]), -np.exp(-x), np.exp(-x)[:, :, None]

    found, converged = newton(falls_for_ever, np.zeros((1, 1)), bound=8.0)
    assert not converged.any()
    assert found[0, 0] > 8
