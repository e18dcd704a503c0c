"""The objectives of preference learning on log-probabilities and rewards, each defined once.

Every function takes NumPy arrays or torch tensors of one shape. It gives the loss and its derivative, element by
element. The learners of enumerated worlds use both; a trainer differentiates `value` itself. Names:

- `margin` = log π(a⁺|x) − log π(a⁻|x), and the same of the base or of an earlier policy; a⁺ is the preferred reply;
- `reward_margin` = R(a⁺) − R(a⁻) of a fitted reward;
- preferences follow P(a ≻ b) = σ(γ log π*(a)/π*(b)).

PMLE, distillation and reverse KL are those of "Beyond RLHF: A Unified Theoretical Framework of Alignment" (arXiv
2506.01523). The caller adds β KL(π‖π₀) to the first two. DPO is arXiv 2305.18290, IPO 2310.12036, REBEL 2404.16767.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import polars as pl


class Loss(NamedTuple):
    """A loss.

    Attributes:
        value: the loss of each element.
        slope: its derivative in the policy's margin (in the logits, where a function says so).
    """

    value: Any
    slope: Any


def softplus(u: Any) -> Any:
    """log(1 + eᵘ), element by element and without overflow.

    Args:
        u: of any shape.

    Returns:
        The same shape.

    Example:
        >>> softplus(np.array([0.0, 1000.0])).round(3).tolist()
        [0.693, 1000.0]
    """
    library = _library(u)
    return library.logaddexp(u, library.zeros_like(u))


def sigmoid(u: Any) -> Any:
    """σ(u) = 1 / (1 + e⁻ᵘ), element by element and without overflow.

    Args:
        u: of any shape.

    Returns:
        Probabilities of the same shape.

    Example:
        >>> sigmoid(np.array([0.0, -1000.0])).tolist()
        [0.5, 0.0]
    """
    return _library(u).exp(-softplus(-u))


def cross_entropy(logit: Any, target: Any) -> Any:
    """−t log σ(u) − (1 − t) log(1 − σ(u)). Its derivative in u is σ(u) − t.

    Args:
        logit: u, of any shape.
        target: t, probabilities.

    Returns:
        Nats, of the same shape.

    Example:
        >>> cross_entropy(np.array([0.0]), 0.25).round(3).tolist()
        [0.693]
    """
    return softplus(logit) - target * logit


def pmle(margin: Any, *, gamma: float) -> Loss:
    """Preference maximum likelihood: −log σ(γ m).

    Args:
        margin: m of the policy, nats.
        gamma: inverse temperature of the preferences.

    Returns:
        Loss and slope of each element.

    Example:
        >>> pmle(np.array([0.0]), gamma=2.0).slope.tolist()
        [-1.0]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    u = gamma * margin
    return Loss(cross_entropy(u, 1.0), gamma * (sigmoid(u) - 1))


def distillation(margin: Any, reward_margin: Any, *, gamma: float) -> Loss:
    """Preference distillation: KL(Bern(σ(ΔR)) ‖ Bern(σ(γ m))), for responses of any sampler.

    Args:
        margin: m of the policy, nats.
        reward_margin: ΔR of the fitted reward.
        gamma: inverse temperature of the preferences.

    Returns:
        Loss and slope of each element.

    Example:
        >>> distillation(np.array([1.0]), np.array([2.0]), gamma=2.0).value.round(6).tolist()
        [0.0]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    u, target = gamma * margin, sigmoid(reward_margin)
    entropy = cross_entropy(reward_margin, target)
    return Loss(cross_entropy(u, target) - entropy, gamma * (sigmoid(u) - target))


def dpo(margin: Any, base_margin: Any, *, beta: float) -> Loss:
    """Direct preference optimisation: −log σ(β (m − m₀)).

    It is PMLE of π/π₀: the base is inside σ, and there is no KL term.

    Args:
        margin, base_margin: m of the policy and m₀ of the base, nats.
        beta: factor of the log-ratio.

    Returns:
        Loss and slope of each element.

    Example:
        >>> dpo(np.array([1.0]), np.array([1.0]), beta=0.1).value.round(3).tolist()  # log 2
        [0.693]

    References:
        arXiv 2305.18290; docs/theory.md, "Three ways to learn it".
    """
    return pmle(margin - base_margin, gamma=beta)


def ipo(margin: Any, base_margin: Any, *, tau: float) -> Loss:
    """Identity preference optimisation: (m − m₀ − 1/(2τ))².

    Args:
        margin, base_margin: m of the policy and m₀ of the base, nats.
        tau: positive.

    Returns:
        Loss and slope of each element.

    Example:
        >>> ipo(np.array([1.0]), np.array([0.0]), tau=0.5).value.tolist()
        [0.0]

    References:
        arXiv 2310.12036; docs/theory.md, "Three ways to learn it".
    """
    error = margin - base_margin - 1 / (2 * tau)
    return Loss(error**2, 2 * error)


def rebel(margin: Any, previous_margin: Any, reward_margin: Any, *, eta: float) -> Loss:
    """REBEL: (m − m_t − η ΔR)² against the previous policy π_t, for responses of π_t.

    Args:
        margin, previous_margin: m of the policy and m_t of the previous policy, nats.
        reward_margin: ΔR of the fitted reward.
        eta: step size, per unit of reward.

    Returns:
        Loss and slope of each element.

    Example:
        >>> rebel(np.array([1.0]), np.array([0.0]), np.array([2.0]), eta=0.5).value.tolist()
        [0.0]

    References:
        arXiv 2404.16767; docs/theory.md, "Three ways to learn it".
    """
    error = margin - previous_margin - eta * reward_margin
    return Loss(error**2, 2 * error)


def reverse_kl_reward(log_policy: Any, log_base: Any, reward: Any, *, gamma: float, beta: float) -> Any:
    """The quantity that a policy gradient maximises for each response: R − γ log π − β log π/π₀. γ = 0 is RLHF's.

    Its mean under π is −(the reverse-KL objective). A policy gradient uses it as the signal of a sampled response and
    keeps it fixed, since the derivative of the log π inside has mean 0.

    Args:
        log_policy, log_base, reward: of one shape.
        gamma, beta: coefficients of entropy and KL, in the reward's units.

    Returns:
        The signal, in the reward's units.

    Example:
        >>> reverse_kl_reward(np.array([-1.0]), np.array([-2.0]), np.array([3.0]), gamma=0.0, beta=0.5).tolist()
        [2.5]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    return reward - gamma * log_policy - beta * (log_policy - log_base)


def reverse_kl(log_policy: Any, log_base: Any, reward: Any, *, gamma: float, beta: float) -> Loss:
    """Reverse KL over enumerated responses: −E_π R − γ H(π) + β KL(π‖π₀).

    Args:
        log_policy, log_base, reward: (..., Y).
        gamma, beta: coefficients of entropy and KL, in the reward's units.

    Returns:
        Value (...), and slope (..., Y) in the policy's logits.

    Example:
        >>> half = np.log(np.array([0.5, 0.5]))
        >>> reverse_kl(half, half, np.array([0.0, 1.0]), gamma=0.0, beta=1.0).slope.tolist()
        [0.25, -0.25]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    policy = _library(log_policy).exp(log_policy)
    signal = reverse_kl_reward(log_policy, log_base, reward, gamma=gamma, beta=beta)
    mean = (policy * signal).sum(-1)
    return Loss(-mean, -policy * (signal - mean[..., None]))


def rlhf(log_policy: Any, log_base: Any, reward: Any, *, beta: float) -> Loss:
    """RLHF over enumerated responses: reverse KL without the entropy, −E_π R + β KL(π‖π₀).

    Args:
        log_policy, log_base, reward: (..., Y).
        beta: coefficient of the KL, in the reward's units.

    Returns:
        As `reverse_kl`.

    Example:
        >>> half = np.log(np.array([0.5, 0.5]))
        >>> float(rlhf(half, half, np.array([0.0, 1.0]), beta=1.0).value)
        -0.5

    References:
        docs/theory.md, "Three ways to learn it".
    """
    return reverse_kl(log_policy, log_base, reward, gamma=0.0, beta=beta)


def _library(x: Any) -> Any:
    """numpy or torch, whichever created x; torch is never imported here."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def first_setting(table: pl.DataFrame) -> tuple[str, float]:
    """The setting without departures from the model, otherwise the first setting, each at its lowest level.

    Args:
        table: with columns `setting` and `level`.

    Returns:
        Setting and level.

    Example:
        >>> first_setting(pl.DataFrame({"setting": ["label-noise", "as-modelled"], "level": [0.1, 0.0]}))
        ('as-modelled', 0.0)
    """
    settings = table["setting"].unique().sort().to_list()
    setting = "as-modelled" if "as-modelled" in settings else settings[0]
    return setting, float(table.filter(pl.col("setting") == setting)["level"].to_numpy().min())
