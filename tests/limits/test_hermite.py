"""Reading curves between their nodes, on laws whose limit is known."""

import numpy as np

from alignment_limits.limits.correction import interpolate, solve

SD = np.array([1e-6, 1.0, 1e6])  # Gaussian rewards: KL = (sd lambda)^2 / 2, gain = sd^2 lambda = sd sqrt(2 KL)
KAPPA = np.array([0.0, 0.03, 0.7, 1.9])


def nodes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lambda, KL, their slope and the gain, (3, L)."""
    inverse = np.geomspace(0.01, 2.0, 12) / SD[:, None]
    return inverse, (SD[:, None] * inverse) ** 2 / 2, SD[:, None] ** 2 * inverse, SD[:, None] ** 2 * inverse


def test_gains_are_read_exactly_whatever_other_prompts_spread() -> None:
    _, kl, rate, gain = nodes()
    slope = np.broadcast_to(SD[:, None] ** 2, gain.shape)
    read = interpolate(kl[:, None], rate[:, None], gain[:, None, None], slope[:, None, None], np.tile(KAPPA, (3, 1)))
    np.testing.assert_allclose(read[:, 0, 0], SD[:, None] * np.sqrt(2 * KAPPA), rtol=1e-9)
    beyond = interpolate(kl[:, None], rate[:, None], gain[:, None, None], slope[:, None, None], np.full((3, 1), 9.0))
    np.testing.assert_allclose(beyond[:, 0, 0, 0], gain[:, -1], rtol=1e-12)


def test_lambda_is_found_at_each_kl_and_nowhere_beyond_the_last_node() -> None:
    for sd, inverse, kl, rate in zip(SD, *nodes()[:3], strict=True):
        found = solve(inverse, kl, rate, np.array([*KAPPA[1:], 2.1]), start=sd**2)
        np.testing.assert_allclose(found[:-1], np.sqrt(2 * KAPPA[1:]) / sd, rtol=1e-9)
        assert np.isnan(found[-1])
    flat = solve(inverse, 0 * kl, 0 * rate, KAPPA, start=0.0)
    np.testing.assert_array_equal(np.isnan(flat), KAPPA > 0)
    assert flat[0] == 0
