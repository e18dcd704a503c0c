"""The KL between two next-token laws, position by position, under the study's sampling law.

    KL(π(·|s) ‖ π₀(·|s)) = Σ_v π(v|s) (log π(v|s) − log π₀(v|s)),

both laws being softmax(logits / temperature), cut to their own top-p nucleus and renormalised. Summed along
prefixes sampled from π it is the Rao-Blackwellised estimator of the sequence KL (theory §6, arXiv 2504.10637).
Where π allows a token that π₀ does not, the KL is infinite, and so is the result: nothing is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper


@dataclass(frozen=True)
class SamplingLaw:
    """How a reply's next token is drawn from logits; the same for every model of a study."""

    temperature: float = 1.0
    top_p: float = 1.0

    def log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [n, v] in the logits' own type; −inf outside the nucleus.

        Temperature first, then top-p, as transformers and vLLM do; the nucleus is transformers' own.
        """
        nobody = torch.empty(0)  # the warpers ask for the tokens so far and do not read them
        if self.temperature != 1:
            logits = TemperatureLogitsWarper(self.temperature)(nobody, logits)
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(nobody, logits)
        return torch.log_softmax(logits, dim=-1)


@dataclass(frozen=True)
class NextToken:
    """Per position [n], nats: the exact next-token KL, and both models' log-probability of the token drawn."""

    kl: torch.Tensor
    logprob: torch.Tensor
    logprob_base: torch.Tensor


def next_token_kl(
    policy_logits: torch.Tensor, base_logits: torch.Tensor, drawn: torch.Tensor, law: SamplingLaw
) -> NextToken:
    """Compare two models at n positions.

    Args:
        policy_logits, base_logits: [n, v]; the base may have further rows behind the policy's, which then has no
            probability there: each model's law is over its own rows, and the KL a sum over the policy's.
        drawn: tokens the policy drew there, int64 [n].

    Returns:
        float64 [n] each; `kl` is +inf where the policy's nucleus leaves the base's.
    """
    p, q = law.log_probs(policy_logits), law.log_probs(base_logits)[:, : policy_logits.shape[-1]]
    logprob, logprob_base = (x.gather(-1, drawn[:, None]).squeeze(-1).double() for x in (p, q))
    terms = p.sub(q).mul_(p.exp())
    if law.top_p < 1:
        terms.masked_fill_(p.isneginf(), 0.0)  # 0 · log 0 = 0
    return NextToken(terms.sum(-1).double(), logprob, logprob_base)
