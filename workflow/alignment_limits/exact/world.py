"""The base model of the enumerable study: a small Llama with random weights and a vocabulary of four words.

    python -m alignment_limits.exact.world resources/enumerable

writes the same files again: `model/` (65 kB), `prompts.txt` (every prompt of three words) and `words.txt` (for a
word-list reward). Weights come from NumPy's generator, whose stream is the same on every machine.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alignment_limits.errors import ArtifactError

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


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]))
    except ArtifactError as error:
        sys.exit(f"error: {error}")
