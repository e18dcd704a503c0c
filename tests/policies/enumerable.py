"""A language model whose replies can all be listed: tiny random weights, five tokens, at most four of them a reply."""

import itertools

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY, LONGEST, STOP = 5, 4, 4


def model(seed: int, scale: float = 0.5) -> LlamaForCausalLM:
    """Random weights in float64, so that sums over all replies are exact to rounding."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=32,
        initializer_range=scale,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double().eval()


def replies() -> list[tuple[int, ...]]:
    """Every reply: it ends with its first stop token, or at the longest length without one."""
    rest = [t for t in range(VOCABULARY) if t != STOP]
    ended = [(*body, STOP) for n in range(LONGEST) for body in itertools.product(rest, repeat=n)]
    return ended + list(itertools.product(rest, repeat=LONGEST))


def nucleus(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The law by its definition: the fewest likeliest tokens with mass top_p or more, renormalised."""
    p = np.exp(logits / temperature - (logits / temperature).max())
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p - 1e-12)) + 1]
    law = np.zeros_like(p)
    law[kept] = p[kept] / p[kept].sum()
    return law


def next_token_laws(language_model, prompt, temperature=1.0, top_p=1.0) -> dict[tuple[int, ...], np.ndarray]:
    """The law after every prefix, each from an unpadded forward pass of its own."""
    prefixes = sorted({r[:t] for r in replies() for t in range(len(r))})
    laws = {}
    for prefix in prefixes:
        with torch.inference_mode():
            logits = language_model(torch.tensor([[*prompt, *prefix]])).logits[0, -1].numpy()
        laws[prefix] = nucleus(logits, temperature, top_p)
    return laws


def probability(laws, reply) -> float:
    return float(np.prod([laws[reply[:t]][token] for t, token in enumerate(reply)]))
