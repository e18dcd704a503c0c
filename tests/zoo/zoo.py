"""Tiny random checkpoints of the architectures in use: a few layers, real configurations, templates and tokenizers.

What differs between families is kept, as that is where numbers go wrong: several stop tokens, padded and tied
vocabularies, soft-caps, sliding windows, sinks, experts, settings for generation, dates in templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("Ġ", "a"), ("Ġ", "the"), ("in", "g"), ("o", "u")]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NOT_THINKING = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n" + NOT_THINKING + "{% endif %}")
LLAMA = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}\n\n<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
HARMONY = (
    "<|start|>system<|message|>Current date: {{ strftime_now('%Y-%m-%d') }}<|end|>"
    "{% for m in messages %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not "
    "supported') }}{% endif %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def byte_level(special: list[str], bos: bool = False) -> Tokenizer:
    """GPT-2's kind: bytes and a few merges; special tokens behind them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate([*alphabet, *(a + b for a, b in MERGES)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with(tokenizer, special, bos)


def sentence_piece(special: list[str], bos: bool = True, strip: bool = True) -> Tokenizer:
    """Llama 2's kind: '▁' for a space, bytes for what it lacks; a text's first space is dropped in decoding."""
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\n:[]/", "▁"]
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("▁", "a"), ("▁", "the"), ("▁", "i"), ("▁", "s")]
    pieces = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), *letters, *(a + b for a, b in merges)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>"))
    first = [normalizers.Prepend("▁")] if strip else []
    tokenizer.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    last = [decoders.Strip(" ", 1, 0)] if strip else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    return _with(tokenizer, special, bos)


def _with(tokenizer: Tokenizer, special: list[str], bos: bool) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if bos:
        first = special[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return tokenizer


SHAPE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "initializer_range": 0.3,
}  # fmt: skip
FULL = {k: v for k, v in SHAPE.items() if k not in ("num_key_value_heads", "head_dim")}
ROTARY = SHAPE | {"max_position_embeddings": 256}
NAMES = (
    "llama-3", "qwen2.5", "qwen3", "gemma-2", "gemma-3", "gemma-3-wrapped", "mistral", "phi-3", "gpt-neox", "opt",
    "gpt-2", "mixtral", "qwen3-moe", "gpt-oss", "bloom",
)  # fmt: skip


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Write one checkpoint of the zoo."""
    tokenizer, config, written, shards = _RECIPES[name]()
    torch.manual_seed(seed)
    with torch.random.fork_rng():
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    _spread(model, seed)
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    tokenizer.save_pretrained(folder)
    file = folder / "generation_config.json"
    file.unlink(missing_ok=True)
    if written is not None:
        file.write_text(json.dumps(written), "utf-8")
    return folder


def _spread(model: Any, seed: int) -> None:
    """Weights from one generator, wide enough for laws that are neither flat nor certain and caps that bite."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if "sinks" in key:
                weight.copy_(noise)
            elif weight.ndim == 1:
                weight.add_(0.1 * noise)
            else:
                weight.copy_(0.25 * noise)


def _fast(tokenizer: Tokenizer, template: str, eos: str, bos: str | None = None, pad: str | None = None) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, bos_token=bos, pad_token=pad, chat_template=template
    )


def _llama() -> Any:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>"]
    inner = byte_level(special, bos=True)
    ends = [inner.token_to_id(t) for t in special[1:4]]
    config = transformers.LlamaConfig(
        vocab_size=inner.get_vocab_size(), bos_token_id=inner.token_to_id(special[0]), eos_token_id=ends, **ROTARY
    )
    return _fast(inner, LLAMA, "<|eot_id|>", "<|begin_of_text|>"), config, {"eos_token_id": ends}, None


def _chatml(kind: str, template: str, **more: Any) -> Any:
    inner = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end, start = (inner.token_to_id(t) for t in ("<|im_end|>", "<|endoftext|>"))
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=inner.get_vocab_size() + 29, bos_token_id=start, eos_token_id=end, **(ROTARY | more)
    )
    written = {
        "eos_token_id": [end, start], "do_sample": True, "repetition_penalty": 1.3, "temperature": 0.7, "top_p": 0.8,
        "top_k": 20, "min_p": 0.05, "no_repeat_ngram_size": 3,
    }  # fmt: skip
    return _fast(inner, template, "<|im_end|>", pad="<|endoftext|>"), config, written, None


def _gemma(kind: str, **more: Any) -> Any:
    special = ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"]
    inner = sentence_piece(special, strip=False)
    ids = {t: inner.token_to_id(t) for t in special}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=inner.get_vocab_size(), bos_token_id=ids["<bos>"], eos_token_id=ids["<eos>"],
        pad_token_id=ids["<pad>"], query_pre_attn_scalar=32, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"], **(ROTARY | more),
    )  # fmt: skip
    written = {"eos_token_id": [ids["<eos>"], ids["<end_of_turn>"]]}
    return _fast(inner, GEMMA, "<eos>", "<bos>", "<pad>"), config, written, None


def _gemma_wrapped() -> Any:
    """EOS as a list in config.json, and no settings for generation."""
    tokenizer, text, written, _ = _gemma("gemma3_text")
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    inside = {k: v for k, v in text.to_dict().items() if k not in ("transformers_version",)}
    config = transformers.Gemma3Config(
        text_config=inside, vision_config=vision, mm_tokens_per_image=4, image_token_index=len(tokenizer) - 1,
        boi_token_index=len(tokenizer) - 1, eoi_token_index=len(tokenizer) - 1, eos_token_id=written["eos_token_id"],
    )  # fmt: skip
    return tokenizer, config, None, None


def _mistral() -> Any:
    inner = sentence_piece(["<s>", "</s>"])
    config = transformers.MistralConfig(
        vocab_size=inner.get_vocab_size(), bos_token_id=inner.token_to_id("<s>"),
        eos_token_id=inner.token_to_id("</s>"), sliding_window=None, **ROTARY,
    )  # fmt: skip
    return _fast(inner, MISTRAL, "</s>", "<s>"), config, None, "100KB"


def _phi() -> Any:
    special = ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    inner = sentence_piece(special, bos=False)
    ids = {t: inner.token_to_id(t) for t in special}
    config = transformers.Phi3Config(
        vocab_size=inner.get_vocab_size(), bos_token_id=ids["<s>"], eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"], sliding_window=16, max_position_embeddings=256,
        original_max_position_embeddings=256, **(FULL | {"num_key_value_heads": 1}),
    )  # fmt: skip
    written = {"eos_token_id": [ids["<|endoftext|>"], ids["<|assistant|>"], ids["<|end|>"]]}
    return _fast(inner, PHI, "<|endoftext|>", "<s>", "<|endoftext|>"), config, written, None


def _older(make: Callable[[int, int], Any]) -> Any:
    """GPT-2's time: one EOS, a template of plain words, no settings for generation."""
    inner = byte_level(["<|endoftext|>"])
    end = inner.token_to_id("<|endoftext|>")
    return _fast(inner, PLAIN, "<|endoftext|>"), make(inner.get_vocab_size(), end), None, None


def _neox(size: int, end: int) -> Any:
    return transformers.GPTNeoXConfig(
        vocab_size=size, bos_token_id=end, eos_token_id=end, rotary_pct=0.25, max_position_embeddings=256, **FULL
    )


def _opt(size: int, end: int) -> Any:
    return transformers.OPTConfig(
        vocab_size=size, bos_token_id=end, eos_token_id=end, pad_token_id=end, ffn_dim=96, word_embed_proj_dim=64,
        max_position_embeddings=256, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
    )  # fmt: skip


def _gpt2(size: int, end: int) -> Any:
    return transformers.GPT2Config(
        vocab_size=size, bos_token_id=end, eos_token_id=end, n_positions=256, n_embd=64, n_layer=2, n_head=2
    )


def _bloom(size: int, end: int) -> Any:
    return transformers.BloomConfig(
        vocab_size=size, bos_token_id=end, eos_token_id=end, pad_token_id=end, hidden_size=64, n_layer=2, n_head=2
    )


def _experts(kind: str, **more: Any) -> Any:
    inner = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end, start = (inner.token_to_id(t) for t in ("<|im_end|>", "<|endoftext|>"))
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=inner.get_vocab_size(), bos_token_id=start, eos_token_id=end, num_experts_per_tok=2,
        **(ROTARY | more),
    )  # fmt: skip
    return _fast(inner, CHATML, "<|im_end|>", pad="<|endoftext|>"), config, None, None


def _harmony() -> Any:
    special = ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|call|>", "<|start|>", "<|end|>", "<|message|>"]
    inner = byte_level(special)
    ids = {t: inner.token_to_id(t) for t in special}
    config = transformers.GptOssConfig(
        vocab_size=inner.get_vocab_size(), eos_token_id=ids["<|return|>"], pad_token_id=ids["<|endoftext|>"],
        num_local_experts=4, num_experts_per_tok=2, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 64, "truncate": False,
        }, **ROTARY,
    )  # fmt: skip
    written = {"eos_token_id": [ids["<|return|>"], ids["<|endoftext|>"], ids["<|call|>"]]}
    return _fast(inner, HARMONY, "<|return|>", pad="<|endoftext|>"), config, written, None


_RECIPES: dict[str, Callable[[], Any]] = {
    "llama-3": _llama,
    "qwen2.5": lambda: _chatml("qwen2", CHATML, tie_word_embeddings=True),
    "qwen3": lambda: _chatml("qwen3", THINKING),
    "gemma-2": lambda: _gemma("gemma2", attn_logit_softcapping=5.0, final_logit_softcapping=5.0),
    "gemma-3": lambda: _gemma("gemma3_text"),
    "gemma-3-wrapped": _gemma_wrapped,
    "mistral": _mistral,
    "phi-3": _phi,
    "gpt-neox": lambda: _older(_neox),
    "opt": lambda: _older(_opt),
    "gpt-2": lambda: _older(_gpt2),
    "mixtral": lambda: _experts("mixtral", num_local_experts=4),
    "qwen3-moe": lambda: _experts("qwen3_moe", num_experts=4, moe_intermediate_size=48, mlp_only_layers=[]),
    "gpt-oss": _harmony,
    "bloom": lambda: _older(_bloom),
}
