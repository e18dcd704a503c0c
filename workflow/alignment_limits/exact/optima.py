"""Where an objective with another optimum than the tilt ends, if all replies can be listed.

GRPO's KL is a sum of per-token losses. Its gradient at a token leaves out the effect of the token on the KL of later
tokens (docs/training.md, "What TRL does not allow to change"). With the later tokens' laws as they are, the best law of
the next token after a beginning s is therefore

    π(a|s) ∝ π₀(a|s) e^{Q(s,a)/β},   Q(s,a) = E_π[r | s, a],

while the tilt has log Σ π₀ e^{r/β}, the reward minus its KL, in place of Q/β. The last token's law is the tilt's given
its beginning, and then every earlier one follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignment_limits.ensembles.scores import Array


def per_token_optimum(logp: Array, reward: Array, beta: float, tokens: Sequence[Sequence[int]]) -> Array:
    """The law at which GRPO's expected gradient is 0, for a model that can represent every law.

    Args:
        logp: log π₀ of every reply [p, R].
        reward: [p, R].
        beta: KL coefficient, in units of the reward.
        tokens: token ids of every reply [R]; no reply is the beginning of another.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> one = per_token_optimum(np.log([[0.5, 0.5]]), np.log([[1.0, 3.0]]), 1.0, [[0], [1]])  # the tilt
        >>> np.exp(one).round(3)
        array([[0.25, 0.75]])

    References:
        docs/enumerable.md, "Trained to convergence".
    """
    place = {tuple(reply): i for i, reply in enumerate(tokens)}
    longest = max(map(len, place))
    # beginnings from the longest to the empty one: log π₀ and E_π r of everything that follows
    base = {reply: logp[:, i] for reply, i in place.items()}
    value = {reply: reward[:, i].astype(np.float64) for reply, i in place.items()}
    chosen: dict[tuple[int, ...], Array] = {}  # log π of a beginning's last token
    for length in range(longest, 0, -1):
        families: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for node in [n for n in base if len(n) == length]:
            families.setdefault(node[:-1], []).append(node)
        for parent, children in families.items():
            before = np.stack([base[child] for child in children])
            worth = np.stack([value[child] for child in children])
            law = before + worth / beta
            law = law - np.logaddexp.reduce(law, axis=0)
            chosen |= dict(zip(children, law, strict=True))
            base[parent] = np.logaddexp.reduce(before, axis=0)
            value[parent] = (np.exp(law) * worth).sum(axis=0)
    out = np.empty(logp.shape)
    for reply, i in place.items():
        out[:, i] = sum(chosen[reply[: t + 1]] for t in range(len(reply)))
    return out
