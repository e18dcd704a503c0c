"""Tiny checkpoints with random weights, made on the spot: no network, no downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"  # Qwen's
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
)


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


def _kinds() -> dict[str, dict[str, Any]]:
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


@pytest.fixture(scope="session")
def make_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(kind, template=…, spare_rows=…) → folder of a tiny sequence classifier with two labels."""

    def make(kind: str, template: str | None = "", spare_rows: int = 0) -> Path:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

        spec = _kinds()[kind]
        bpe = byte_bpe(spec["specials"], spec["tokens"].get("bos_token") if kind == "llama" else None)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=128, **spec["tokens"])
        tokenizer.chat_template = spec["template"] if template == "" else template
        config = AutoConfig.for_model(
            kind,
            vocab_size=len(tokenizer) + spare_rows,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            num_labels=2,
            initializer_range=0.3,  # large, so that scores differ by much more than rounding
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(kind)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as sentence-transformers stores it, told to read 24 tokens."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer()
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    wordpiece.train_from_iterator(TEXTS + PROMPTS, trainer)
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("encoder")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    return folder
