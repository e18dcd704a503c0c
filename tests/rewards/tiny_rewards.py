"""Texts, chat templates and tokenizers of the tiny checkpoints (imported by conftest and the tests)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = [
    "Thank you, that is very kind.",
    "No.",
    "The committee met on Tuesday to discuss the budget for the coming year, and then it went home.",
    "",
    "Grüße aus Köln 😀",
    "It rains. " * 15,
    "No.",
]
PROMPTS = ["How are you?", "Really?", "What happened?", "Say nothing.", "Hello!", "Weather?", "Really?"]

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"  # Qwen's
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
LLAMA = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"

CLASSIFIER = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 1}
GUARD = {"kind": "guard", "text": "reply", "sign": 1, "safe": "safe", "unsafe": "unsafe", "lead": ""}


def byte_bpe(specials: list[str], bos: str | None = None) -> Any:
    """A byte-level BPE of 400 pieces; `bos` is added in front by its post-processor."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS + PROMPTS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def classifier_kinds() -> dict[str, dict[str, Any]]:
    return {
        # as Llama 3: BOS by template and by tokenizer, no padding token
        "llama": {
            "specials": ["<s>", "</s>"],
            "tokens": {"bos_token": "<s>", "eos_token": "</s>"},
            "template": LLAMA,
        },
        # as Qwen 2: no BOS, a padding token of its own
        "qwen2": {
            "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            "tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
            "template": CHATML,
        },
        # as Pythia: one token is BOS, EOS and padding, and no template
        "gpt_neox": {
            "specials": ["<|endoftext|>"],
            "tokens": dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
            "template": None,
        },
    }


def one_score(folder: Path, kind: str, string: str) -> float:
    """A reward's score of one text by a forward pass of its tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(string, add_special_tokens=False)["input_ids"]])
    auto = AutoModelForCausalLM if kind == "guard" else AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        if kind == "guard":
            logits = model(ids).logits[0, -1].double()
            good, bad = (tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("safe", "unsafe"))
            return float(logits[good] - logits[bad])
        return float(model.score(model.base_model(ids).last_hidden_state[0, -1])[1])
