"""Many small minimisations at once: Newton with damping, every problem with its own, finished ones left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# (points (b, D), their numbers (b,)) → value (b,), gradient (b, D), Hessian (b, D, D)
Oracle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
_LONGEST = 4.0  # of a step's largest component


def newton(
    oracle: Oracle, start: np.ndarray, *, tolerance: float = 1e-11, steps: int = 80, bound: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Minimisers of B functions of D variables, from `start` (B, D) downhill.

    A step that does not lower the value is taken back and the damping raised, so a function need not be convex:
    what is found is the minimum in whose basin the start lies.

    Args:
        tolerance: of the gradient's largest component.
        bound: a problem whose point leaves the box ±bound is given up.

    Returns:
        points (B, D); converged (B,), False for those given up or not finished after `steps`.
    """
    x = np.array(start, dtype=float)
    done = np.zeros(len(x), bool)
    active = np.arange(len(x))
    value, gradient, hessian = oracle(x, active)
    damping = np.zeros(len(x))
    eye = np.eye(x.shape[1])
    for _ in range(steps):
        flat = np.abs(gradient).max(-1) <= tolerance
        done[active[flat]] = True
        keep = ~flat & (np.abs(x[active]).max(-1) <= bound)
        active, value, gradient, hessian = (a[keep] for a in (active, value, gradient, hessian))
        if not active.size:
            break
        scale = np.trace(hessian, axis1=-2, axis2=-1) / x.shape[1]
        shift = np.maximum(damping[active], 1e-13) * np.abs(scale) + 1e-300
        step = -np.linalg.solve(hessian + shift[:, None, None] * eye, gradient[..., None])[..., 0]
        step *= np.minimum(1, _LONGEST / np.maximum(np.abs(step).max(-1), 1e-300))[:, None]
        slope = np.einsum("bd,bd->b", step, gradient)
        trial = x[active] + step
        new = oracle(trial, active)
        rounding = 1e-14 * (1 + np.abs(value))
        good = (slope < 0) & (new[0] <= value + 1e-4 * slope + rounding)
        x[active[good]] = trial[good]
        value, gradient, hessian = (
            np.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            for a, b in zip(new, (value, gradient, hessian), strict=True)
        )
        d = damping[active]
        damping[active] = np.where(good, np.where(d < 1e-6, 0, d / 8), np.maximum(8 * d, 1e-4))
    return x, done
