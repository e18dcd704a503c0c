"""Tiny random sequence classifiers of the architectures in use, and what they score: one text at a time, unpadded, in
eager float32, by a computation that shares nothing with ours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from zoo import CHATML, FULL, GEMMA, ROTARY, byte_level, sentence_piece

# as SmolLM2's: the token that begins a text is also the one that begins each turn
TURNS = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "You help.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}"
    "<|eot_id|>{% endfor %}"
)
NAMES = (
    "llama", "smollm2", "qwen2", "gemma-2", "gpt-neox", "gpt-2", "roberta", "deberta-v2", "modernbert",
)  # fmt: skip
TEMPLATES = ("llama", "smollm2", "qwen2", "gemma-2")  # have one
ENCODERS = ("roberta", "deberta-v2", "modernbert")
CONTEXT = 96


def build(name: str, folder: Path, labels: int, seed: int | None = None) -> Path:
    """Write one classifier; by default the seed is the number of labels."""
    tokenizer, config = _RECIPES[name]()
    config.num_labels = labels
    seed = labels if seed is None else seed
    torch.manual_seed(seed)
    with torch.random.fork_rng():
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # wide enough for scores that differ, and caps that bite
        for key, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                weight.add_(0.1 * noise)
            else:
                weight.copy_((0.3 if "embed" in key.lower() else 0.15) * noise)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _eager(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def logits(folder: Path, ids: list[int]) -> list[float]:
    """All labels' logits of one text: eager, float32, unpadded; decoders are read at the last token."""
    model = _eager(folder)
    with torch.inference_mode():
        tokens = torch.tensor([ids])
        if not hasattr(model, "score"):
            return model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0].tolist()
        hidden = model.base_model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0, -1]
        return model.score(hidden).tolist()


def _fast(tokenizer: Tokenizer, template: str | None = None, **tokens: str) -> Any:
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
    made.chat_template = template
    return made


def _llama() -> Any:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    inner = byte_level(special, bos=True)
    config = transformers.LlamaConfig(
        vocab_size=inner.get_vocab_size(), bos_token_id=inner.token_to_id(special[0]),
        eos_token_id=inner.token_to_id("<|eot_id|>"), **(ROTARY | {"max_position_embeddings": CONTEXT}),
    )  # fmt: skip
    return _fast(inner, LLAMA, bos_token=special[0], eos_token="<|eot_id|>"), config  # no padding token


def _turns(kind: str, template: str, pad: str, **tokens: str) -> Any:
    inner = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=inner.get_vocab_size() + 5, pad_token_id=inner.token_to_id(pad),
        eos_token_id=inner.token_to_id("<|im_end|>"), **(ROTARY | {"max_position_embeddings": CONTEXT}),
    )  # fmt: skip
    made = _fast(inner, template, eos_token="<|im_end|>", pad_token=pad, **tokens)
    made.padding_side = "left"
    return made, config


def _gemma() -> Any:
    special = ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"]
    inner = sentence_piece(special, strip=False)
    ids = {t: inner.token_to_id(t) for t in special}
    config = transformers.Gemma2Config(
        vocab_size=inner.get_vocab_size(), bos_token_id=ids["<bos>"], eos_token_id=ids["<eos>"],
        pad_token_id=ids["<pad>"], query_pre_attn_scalar=32, sliding_window=8, attn_logit_softcapping=5.0,
        final_logit_softcapping=5.0, layer_types=["sliding_attention", "full_attention"],
        **(ROTARY | {"max_position_embeddings": CONTEXT}),
    )  # fmt: skip
    return _fast(inner, GEMMA, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"), config


def _older(make: Callable[[int, int], Any]) -> Any:
    """One token is BOS, EOS and padding."""
    inner = byte_level(["<|endoftext|>"])
    end = "<|endoftext|>"
    return _fast(inner, bos_token=end, eos_token=end, pad_token=end), make(
        inner.get_vocab_size(), inner.token_to_id(end)
    )


def _neox(size: int, end: int) -> Any:
    return transformers.GPTNeoXConfig(
        vocab_size=size, bos_token_id=end, eos_token_id=end, pad_token_id=end, rotary_pct=0.25,
        max_position_embeddings=CONTEXT, **FULL,
    )  # fmt: skip


def _gpt2(size: int, end: int) -> Any:
    return transformers.GPT2Config(
        vocab_size=size, bos_token_id=end, eos_token_id=end, pad_token_id=end, n_positions=CONTEXT, n_embd=64,
        n_layer=2, n_head=2,
    )  # fmt: skip


def _between(inner: Tokenizer, first: str, last: str) -> Tokenizer:
    ids = [(token, inner.token_to_id(token)) for token in (first, last)]
    inner.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ids)
    return inner


def _roberta() -> Any:
    """Positions start behind the padding's id, 1, so two of the embedding's rows are never a position."""
    from tokenizers import AddedToken

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*special, *alphabet])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    config = transformers.RobertaConfig(
        vocab_size=inner.get_vocab_size(), pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
        max_position_embeddings=CONTEXT + 2, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    return _fast(_between(inner, "<s>", "</s>"), pad_token="<pad>", **names), config


def _wordpiece() -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'<>[]/|_"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    inner = Tokenizer(models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return _fast(_between(inner, "[CLS]", "[SEP]"), **names), inner.get_vocab_size()


def _deberta() -> Any:
    tokenizer, size = _wordpiece()
    config = transformers.DebertaV2Config(
        vocab_size=size, pad_token_id=0, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=CONTEXT, relative_attention=True, position_buckets=16,
        norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        type_vocab_size=0, pooler_hidden_size=64,
    )  # fmt: skip
    return tokenizer, config


def _modernbert() -> Any:
    tokenizer, size = _wordpiece()
    config = transformers.ModernBertConfig(
        vocab_size=size, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, hidden_size=64,
        intermediate_size=96, num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=CONTEXT,
        local_attention=16, classifier_pooling="mean", reference_compile=False,
    )  # fmt: skip
    return tokenizer, config


_RECIPES: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "smollm2": lambda: _turns("llama", TURNS, "<|im_end|>", bos_token="<|im_start|>"),
    "qwen2": lambda: _turns("qwen2", CHATML, "<|endoftext|>"),
    "gemma-2": _gemma,
    "gpt-neox": lambda: _older(_neox),
    "gpt-2": lambda: _older(_gpt2),
    "roberta": _roberta,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
}
