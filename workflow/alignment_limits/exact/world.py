"""A model whose replies can all be listed: the one of the enumerable study, and the replies of any such model.

    python -m alignment_limits.exact.world resources/enumerable

writes the study's model again: `model/` (65 kB; a small Llama with random weights and a vocabulary of four words),
`prompts.txt` (every prompt of three words) and `words.txt` (for a word-list reward). Weights come from NumPy's
generator, whose stream is the same on every machine.

Every reply has its exact log-probability under several models. R is the number of replies, N the number of beginnings
(prefixes), v the number of tokens and p that of prompts.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError, SamplingError
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import decode

END = "<end>"
WORDS = ("good", "bad", "not", "very")
PROMPT_WORDS = 3
DISLIKED = ("bad", "not", "ugly", "stupid")  # the last two occur only in the probes of the preflight
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SEED, SPREAD, SHARPNESS = 5, 0.15, 1.0  # of the weights, and of the logits (standard deviation over tokens)


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word, which includes the space before it, and one token that ends a reply.

    Returns:
        A fast tokenizer of transformers.

    Example:
        >>> tokenizer()("good not")["input_ids"]
        [1, 3]
    """
    vocabulary = {END: 0} | {f"▁{word}": i + 1 for i, word in enumerate(WORDS)}
    # unknown words need a token; the study contains none
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=END, unk_token=END)


def base_model(seed: int = SEED) -> LlamaForCausalLM:
    """A Llama with random weights; its head is scaled so that next-token laws are neither flat nor certain.

    Args:
        seed: of the weights.

    Returns:
        The model, in float32.
    """
    config = LlamaConfig(
        vocab_size=len(WORDS) + 1,
        num_key_value_heads=4,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **SHAPE,
    )
    model, rng = LlamaForCausalLM(config).eval(), np.random.default_rng(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.from_numpy(SPREAD * rng.standard_normal(weight.shape)))
        every = torch.tensor([*itertools.product(range(1, len(WORDS) + 1), repeat=PROMPT_WORDS)])
        logits = model(every).logits[:, -1]
        model.lm_head.weight *= SHARPNESS / float(logits.std(dim=-1).mean())
    return model


def write(folder: Path) -> None:
    """Write all files of the world into a folder that does not exist or is empty.

    Args:
        folder: to write.

    Raises:
        ArtifactError: the folder contains something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder} is not empty; choose another folder, or empty it")
    folder.mkdir(parents=True, exist_ok=True)
    base_model().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    prompts = [" ".join(words) for words in itertools.product(WORDS, repeat=PROMPT_WORDS)]
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", "utf-8")
    (folder / "words.txt").write_text("\n".join(DISLIKED) + "\n", "utf-8")


MOST = 100_000  # replies of one prompt
CLOSE = 1e-5  # nats per token, between the tree and a plain pass


@dataclass(frozen=True)
class Replies:
    """Every reply once, and the tree of their beginnings.

    Attributes:
        tokens: R replies as token ids, with their stop token.
        nodes: N beginnings, shortest first, without the empty one.
        sees: which nodes lead to which (each to itself), bool [N, N].
        after: the node after which each token is drawn (0 the empty beginning, then the nodes), [R, longest].
        drawn: the token [R, longest].
        inside: False after the end of a reply [R, longest].
    """

    tokens: tuple[tuple[int, ...], ...]
    nodes: tuple[tuple[int, ...], ...]
    sees: torch.Tensor
    after: torch.Tensor
    drawn: torch.Tensor
    inside: torch.Tensor

    @classmethod
    def of(cls, vocabulary: int, stop: Sequence[int], longest: int) -> Replies:
        """List the replies: first those that stop, shortest first, then those that are cut.

        Args:
            vocabulary: number of tokens.
            stop: tokens that end a reply.
            longest: tokens at which a reply is cut.

        Returns:
            All replies.

        Raises:
            SamplingError: there are too many to list.

        Example:
            >>> Replies.of(2, [0], 2).tokens  # token 0 stops
            ((0,), (1, 0), (1, 1))
        """
        ends, words = sorted(set(stop)), [t for t in range(vocabulary) if t not in set(stop)]
        count = sum(len(words) ** n * len(ends) for n in range(longest)) + len(words) ** longest
        if count > MOST:
            raise SamplingError(
                f"{count:.2g} replies of up to {longest} tokens of {vocabulary} are too many to list (at most "
                f"{MOST:,}): use shorter replies or a smaller vocabulary"
            )
        beginnings = [b for n in range(longest) for b in itertools.product(words, repeat=n)]
        tokens = (*((*b, end) for b in beginnings for end in ends), *itertools.product(words, repeat=longest))
        place = {b: i for i, b in enumerate(beginnings)}
        nodes = tuple(beginnings[1:])
        sees = torch.eye(len(nodes), dtype=torch.bool)
        for i, node in enumerate(nodes):
            for t in range(1, len(node)):
                sees[i, place[node[:t]] - 1] = True
        steps = range(longest)
        return cls(
            tokens,
            nodes,
            sees,
            torch.tensor([[place[r[:t]] if t < len(r) else 0 for t in steps] for r in tokens]),
            torch.tensor([[r[t] if t < len(r) else 0 for t in steps] for r in tokens]),
            torch.tensor([[t < len(r) for t in steps] for r in tokens]),
        )

    def __len__(self) -> int:
        return len(self.tokens)


def next_token_logprobs(
    model: Any, prompts: Sequence[Sequence[int]], replies: Replies, law: SamplingLaw | None = None
) -> torch.Tensor:
    """log π(·|x, beginning) of every prompt and beginning; differentiable.

    Prompts of equal length are read together, without padding. The model's own precision is kept: give it in float64.

    Args:
        model: a causal model that follows the attention mask and positions that it is given.
        prompts: token ids.
        replies: all replies.
        law: how next tokens are drawn; default: temperature 1, top-p 1.

    Returns:
        Nats [p, 1 + N, v], the empty beginning first.
    """
    law = law or SamplingLaw()
    tree = torch.tensor([node[-1] for node in replies.nodes], dtype=torch.long)
    depth = torch.tensor([len(node) for node in replies.nodes], dtype=torch.long)
    out: list[Any] = [None] * len(prompts)
    for length in sorted({len(p) for p in prompts}):
        rows = [i for i, p in enumerate(prompts) if len(p) == length]
        sent = torch.tensor([prompts[i] for i in rows], dtype=torch.long)
        ids = torch.cat([sent, tree.expand(len(rows), -1)], dim=1)
        seen = torch.zeros(ids.shape[1], ids.shape[1], dtype=torch.bool)
        seen[:length, :length] = torch.ones(length, length).tril().bool()
        seen[length:, :length] = True
        seen[length:, length:] = replies.sees
        mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, torch.finfo(model.dtype).min)
        positions = torch.cat([torch.arange(length), length - 1 + depth])
        logits = model(
            input_ids=ids,
            attention_mask=mask.expand(len(rows), 1, -1, -1),
            position_ids=positions.expand(len(rows), -1),
            use_cache=False,
        ).logits[:, length - 1 :]
        laws = law.log_probs(logits.flatten(0, 1)).reshape(logits.shape)
        for i, each in zip(rows, laws, strict=True):
            out[i] = each
    return torch.stack(out)


def reply_logprobs(
    model: Any, prompts: Sequence[Sequence[int]], replies: Replies, law: SamplingLaw | None = None
) -> torch.Tensor:
    """log π(y|x) of every reply to every prompt; differentiable.

    Args:
        model, prompts, replies, law: as for `next_token_logprobs`.

    Returns:
        Nats [p, R]; −inf where a nucleus leaves a token out.
    """
    drawn = next_token_logprobs(model, prompts, replies, law)[:, replies.after, replies.drawn]
    return torch.where(replies.inside, drawn, torch.zeros((), dtype=drawn.dtype)).sum(-1)


def check_tree(model: Any, prompt: Sequence[int], replies: Replies) -> None:
    """Compare the tree's laws along one longest beginning with those of an ordinary forward pass.

    Args:
        model, replies: as for `next_token_logprobs`.
        prompt: token ids of one prompt.

    Raises:
        SamplingError: they differ (an architecture that does not follow the mask or the positions given).
    """
    node = replies.nodes[-1] if replies.nodes else ()
    place = {n: i + 1 for i, n in enumerate(replies.nodes)} | {(): 0}
    with torch.inference_mode():
        tree = next_token_logprobs(model, [prompt], replies)[0]
        plain = torch.log_softmax(model(torch.tensor([[*prompt, *node]])).logits[0, len(prompt) - 1 :], dim=-1)
    path = tree[[place[node[:t]] for t in range(len(node) + 1)]]
    apart = float((path - plain).abs().max())
    if not apart < CLOSE:
        raise SamplingError(
            f"{type(model).__name__} reads a tree of replies differently from one reply ({apart:.1g} nats apart), so "
            "its replies cannot be listed this way"
        )


WHOLE = 1e-9  # how far the sum of the probabilities of all replies may be from 1


def load_exact(folder: Path, trust_remote_code: bool = False) -> Any:
    """A plain model folder in float64: sums over all replies are then exact up to rounding.

    Args:
        folder: of the model.
        trust_remote_code: whether it may run its own code.

    Returns:
        The model.
    """
    from alignment_limits.models.load import load_causal

    return load_causal(folder, dtype=torch.float64, trust_remote_code=trust_remote_code)


def replies_of(model: Any, stop: Sequence[int], longest: int) -> Replies:
    """All replies of a model.

    Args:
        model: a causal model.
        stop: its stop tokens.
        longest: tokens at which a reply is cut.

    Returns:
        All replies.

    Raises:
        SamplingError: there are too many to list.
    """
    return Replies.of(int(model.get_output_embeddings().weight.shape[0]), stop, longest)


def exact_logprobs(model: Any, sent: Sequence[Sequence[int]], replies: Replies, law: SamplingLaw) -> Array:
    """log π(y|x) of every reply, checked to sum to 1.

    Args:
        model, replies, law: as for `next_token_logprobs`.
        sent: token ids of the prompts.

    Returns:
        Nats [p, R], float64.

    Raises:
        SamplingError: the model cannot be read as a tree of replies.
    """
    check_tree(model, sent[0], replies)
    with torch.inference_mode():
        logp: Array = reply_logprobs(model, sent, replies, law).numpy()
    off = float(np.abs(np.exp(logp).sum(axis=1) - 1).max())
    if off > WHOLE:
        raise SamplingError(f"the probabilities of all replies sum to 1 ± {off:.1g}: the list is incomplete")
    return logp


def listed(
    prompts: pl.DataFrame,
    replies: Replies,
    logprobs: Mapping[str, Array],
    tokenizer: Any,
    stop: Sequence[int],
    template: str = "none",
) -> pl.DataFrame:
    """The table `samples` of all replies, with one column for each law. A reply's number is its sample_id.

    Args:
        prompts: table `prompts`.
        replies: all replies.
        logprobs: of every reply [p, R], by column; `logprob` is the base's.
        tokenizer, stop, template: of the base: its tokenizer, its stop tokens, and how prompts are sent.

    Returns:
        One row per prompt and reply.
    """
    texts = decode([list(r) for r in replies.tokens], tokenizer, stop, template)
    one = pl.DataFrame(
        {
            "sample_id": range(len(replies)),
            "text": texts,
            "token_ids": [list(r) for r in replies.tokens],
            "n_tokens": [len(r) for r in replies.tokens],
            "finish_reason": ["stop" if r[-1] in stop else "length" for r in replies.tokens],
            "seed": 0,
        }
    )
    every = prompts.select("prompt_id").join(one, how="cross", maintain_order="left_right")
    return every.with_columns(pl.Series(name, values.ravel()) for name, values in logprobs.items())


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]))
    except ArtifactError as error:
        sys.exit(f"error: {error}")
