"""Samples that another program drew: are they of the model that the study names?"""

from __future__ import annotations

from alignment_limits.errors import SamplingError
from alignment_limits.sampling.checks import BOUND, OUTSIDE, Deviation


def check_drawn_by(found: Deviation, dtype: str, model: str) -> None:
    """Refuse log-probabilities that the named model does not give to the replies.

    Args:
        found: between the log-probabilities of the table and those of a plain forward pass.
        dtype: the precision in which the samples were drawn.
        model: its name, for the message.

    Raises:
        SamplingError: they differ by more than rounding, so KLs would be to another law than the one that drew them.

    Example:
        >>> check_drawn_by(Deviation(8, 1e-4, 1e-5, 0.0, 0.0), "float32", "mine")
    """
    if found.largest_per_root_token <= BOUND[dtype] and found.outside <= OUTSIDE[dtype]:
        return
    raise SamplingError(
        f"the log-probabilities in the table of samples are not those of {model} with the sampling of this study: "
        f"they differ by up to {found.largest:.2g} nats on a reply, and {found.outside:.0%} of the replies are "
        "impossible. Give the model and revision, sampling.temperature, sampling.top_p, samples.template and "
        "model.dtype that drew the samples; or leave the column logprob out, if it has another meaning"
    )
