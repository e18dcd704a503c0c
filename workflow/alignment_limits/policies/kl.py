"""KL(π‖π₀) of replies drawn from π, reply by reply, in nats: two estimates from one pass of both models.

Both laws are softmax(logits / temperature), cut to their own top-p nucleus and renormalised. A reply y₁…y_T to a prompt
x includes its stop token, or is cut at the study's longest reply. Its two estimates are

    Rao-Blackwellised   Σ_t KL(π(·|x,y_<t) ‖ π₀(·|x,y_<t))          never negative,
    log-ratio           Σ_t log π(y_t|x,y_<t) − log π₀(y_t|x,y_<t)  of either sign, a cross-check.

Both are unbiased for the KL of the truncated laws (arXiv 2504.10637; docs/theory.md, "KL of a trained policy"). The
first has the lower variance. Where π allows a token that π₀ does not allow, the KL is infinite, and so is the result:
nothing is clipped. Both models are read with one set of batches, in one precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from alignment_limits.errors import SamplingError
from alignment_limits.jobs.leases import device_of_job
from alignment_limits.models.load import SplitModel, batches, load_split, token_budget
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.rewards.base import distinct_items
from alignment_limits.sampling.shard import encode


@dataclass(frozen=True)
class SamplingLaw:
    """How the next token of a reply is drawn from logits; the same for every model of a study.

    Attributes:
        temperature: divides the logits, before top-p.
        top_p: probability of the nucleus that is kept; 1 keeps all tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities in the logits' own type; −inf outside the nucleus.

        Temperature comes first, then top-p, as in transformers and vLLM. The nucleus is that of transformers.

        Args:
            logits: [n, v].

        Returns:
            Nats [n, v].

        Example:
            >>> SamplingLaw(top_p=0.5).log_probs(torch.tensor([[0.0, 4.0]])).tolist()
            [[-inf, 0.0]]
        """
        nobody = torch.empty(0)  # the warpers take the tokens so far as an argument and do not read them
        if self.temperature != 1:
            logits = TemperatureLogitsWarper(self.temperature)(nobody, logits)
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(nobody, logits)
        return torch.log_softmax(logits, dim=-1)


@dataclass(frozen=True)
class NextToken:
    """Two models at n positions, [n] each, nats.

    Attributes:
        kl: the exact next-token KL.
        logprob, logprob_base: log-probability of the token that was drawn, under policy and base.
    """

    kl: torch.Tensor
    logprob: torch.Tensor
    logprob_base: torch.Tensor


def next_token_kl(
    policy_logits: torch.Tensor,
    base_logits: torch.Tensor,
    drawn: torch.Tensor,
    law: SamplingLaw,
    base_law: SamplingLaw | None = None,
) -> NextToken:
    """Compare two models at n positions.

    Args:
        policy_logits, base_logits: [n, v]. One may have further rows after the other's; the other has no
            probability there. Each model's law is over its own rows, and the KL is a sum over the policy's rows.
        drawn: tokens that the policy drew there, int64 [n].
        law, base_law: how next tokens are drawn by the policy, and by the base (default: the same).

    Returns:
        float64 [n] each, nats; `kl` is +inf where the policy's nucleus leaves the base's.

    Example:
        >>> policy, base = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]])
        >>> round(next_token_kl(policy, base, torch.tensor([1]), SamplingLaw()).kl.item(), 3)
        0.111

    References:
        arXiv 2504.10637; docs/theory.md, "KL of a trained policy".
    """
    p, q = law.log_probs(policy_logits), (base_law or law).log_probs(base_logits)[:, : policy_logits.shape[-1]]
    if q.shape[-1] < p.shape[-1]:
        q = torch.nn.functional.pad(q, (0, p.shape[-1] - q.shape[-1]), value=-torch.inf)
    logprob, logprob_base = (x.gather(-1, drawn[:, None]).squeeze(-1).double() for x in (p, q))
    weights = p.exp()
    terms = p.sub(q).mul_(weights)
    if min(law.top_p, (base_law or law).top_p) < 1:
        terms.masked_fill_(weights == 0, 0.0)  # 0 · log 0 = 0
    return NextToken(terms.sum(-1).double(), logprob, logprob_base)


LOGITS_CPU = 2**22  # numbers in memory at once per tensor: 16 MB in float32, about the size of a cache
LOGITS_GPU = 2**28


@dataclass(frozen=True)
class SequenceKL:
    """Both estimates of the KL of n replies, float64 [n], nats.

    Attributes:
        kl: Rao-Blackwellised.
        log_ratio: log π/π₀ of the reply.
        logprob, logprob_base: log-probability of the reply under policy and base.
    """

    kl: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    logprob: NDArray[np.float64]
    logprob_base: NDArray[np.float64]


def sequence_kl(
    policy: SplitModel,
    base: SplitModel,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    law: SamplingLaw,
    *,
    base_law: SamplingLaw | None = None,
    base_prompts: Sequence[Sequence[int]] | None = None,
    tokens: int | None = None,
    logits: int | None = None,
    further_tokens: bool = False,
    progress: Callable[[int], object] = lambda replies: None,
) -> SequenceKL:
    """Both estimates of the KL, for every reply.

    Args:
        policy, base: the models; the same object if only its log-probabilities are needed.
        prompts, replies: token ids, one prompt per reply; replies as drawn, with their stop token.
        law: how next tokens are drawn.
        base_law, base_prompts: the base's, if they are others (a proposal's temperature or system message).
        tokens: of a batch, padding included; the default suits the device.
        logits: how many numbers of a logits tensor are in memory at once, at least one position.
        further_tokens: whether the policy may have tokens that the base lacks. Its KL is infinite then.
        progress: called with the number of replies of each finished batch.

    Returns:
        The estimates, reply by reply, in the order given.

    Raises:
        SamplingError: the policy has tokens that the base lacks, or a prompt or reply is empty.

    References:
        arXiv 2504.10637; docs/theory.md, "KL of a trained policy".
    """
    if policy.vocabulary > base.vocabulary and not further_tokens:
        raise SamplingError(f"the policy predicts {policy.vocabulary} tokens, the base {base.vocabulary}")
    if not all(map(len, prompts)) or not all(map(len, replies)):
        raise SamplingError("every prompt and every reply needs at least one token")
    device = base.device
    rows = max(
        1, (logits or (LOGITS_CPU if device.type == "cpu" else LOGITS_GPU)) // max(policy.vocabulary, base.vocabulary)
    )
    asked = prompts if base_prompts is None else base_prompts
    triples = zip(prompts, replies, asked, strict=True)
    pairs, where = distinct_items([(tuple(p), tuple(r), tuple(q)) for p, r, q in triples])
    out = np.empty((3, len(pairs)))
    alone = policy is base and base_prompts is None  # only its log-probabilities are needed: it runs once
    longest = [max(len(p), len(q)) + len(r) for p, r, q in pairs]
    for batch in batches(longest, tokens or token_budget(device.type)):
        chosen = [pairs[i] for i in batch]
        ids, mask, row, position = (x.to(device) for x in _layout([(p, r) for p, r, _ in chosen]))
        own = policy.hidden(ids, mask)[row, position]
        # after a token that it lacks, the base's probability is 0 whatever it reads
        others = own if alone else _hidden(base, ids, mask, row, position, chosen, base_prompts is not None)
        drawn = ids[row, position + 1]
        sums = torch.zeros(3, len(chosen), dtype=torch.float64, device=device)
        for start in range(0, len(row), rows):
            some = slice(start, start + rows)
            with torch.inference_mode():
                logits_own = policy.logits(own[some])
                logits_base = logits_own if alone else base.logits(others[some])
                at = next_token_kl(logits_own, logits_base, drawn[some], law, base_law)
            sums.index_add_(1, row[some], torch.stack([at.kl, at.logprob, at.logprob_base]))
        out[:, batch] = sums.cpu().numpy()
        progress(len(chosen))
    kl, logprob, logprob_base = out[:, where]
    with np.errstate(invalid="ignore"):
        return SequenceKL(kl, logprob - logprob_base, logprob, logprob_base)


def _hidden(
    base: SplitModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    row: torch.Tensor,
    position: torch.Tensor,
    chosen: Sequence[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]],
    apart: bool,
) -> torch.Tensor:
    """The base's hidden states where each reply token is predicted; after prompts of its own, if these are `apart`."""
    if apart:
        ids, mask, row, position = (x.to(ids.device) for x in _layout([(q, r) for _, r, q in chosen]))
    return base.hidden(ids.clamp(max=base.vocabulary - 1), mask)[row, position]


def _layout(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch padded on the right, [b, t], and its mask; row and position of every reply token's prediction [n].

    The token at position j is predicted at j − 1, so a reply's first token is predicted at the prompt's last position.
    """
    width = max(len(p) + len(r) for p, r in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    row: list[int] = []
    position: list[int] = []
    for i, (prompt, reply) in enumerate(pairs):
        length = len(prompt) + len(reply)
        ids[i, :length] = torch.tensor([*prompt, *reply])
        mask[i, :length] = 1
        row += [i] * len(reply)
        position += range(len(prompt) - 1, length - 1)
    return ids, mask, torch.tensor(row), torch.tensor(position)


REPLIES = 64


def read_again(
    samples: pl.DataFrame,
    prompts: pl.DataFrame,
    folder: Path,
    law: SamplingLaw,
    *,
    template: str,
    trust_remote_code: bool = False,
    dtype: str = "float32",
    replies: int = REPLIES,
) -> pl.DataFrame:
    """The table `read_again`: both log-probabilities of replies that are spread evenly over a shard.

    Args:
        samples, prompts: tables of a shard.
        folder: of the model that drew it.
        law: the law by which it was drawn.
        template: of the prompts.
        trust_remote_code: whether a model may run its own code.
        dtype: precision of the model's body.
        replies: largest number of replies.

    Returns:
        prompt_id, sample_id, n_tokens, and the log-probabilities `logprob` (of the engine) and `logprob_read` (nats).
    """
    few = samples.gather_every(max(1, samples.height // replies)).head(replies)
    texts = dict(prompts.select("prompt_id", "text").iter_rows())
    tokenizer = load_tokenizer(folder, trust_remote_code)
    sent = encode([texts[name] for name in few["prompt_id"]], tokenizer, template)
    model = load_split(folder, device=device_of_job(), trust_remote_code=trust_remote_code, dtype=dtype)
    read = sequence_kl(model, model, sent, few["token_ids"].to_list(), law).logprob
    return few.select("prompt_id", "sample_id", "n_tokens", "logprob").with_columns(logprob_read=pl.Series(read))
