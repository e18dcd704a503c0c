"""Tiny checkpoints with random weights, made on the spot: no network, no downloads."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tiny_rewards import PROMPTS, TEXTS, byte_bpe, classifier_kinds

Pairs = Sequence[tuple[str, str]]


@pytest.fixture(scope="session")
def make_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(kind, template=…, spare_rows=…, labels=…) → folder of a tiny sequence classifier with two labels."""
    return functools.partial(_make, tmp_path_factory, "AutoModelForSequenceClassification")


@pytest.fixture(scope="session")
def make_causal(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(kind, template=…) → folder of a tiny causal language model; each is made once."""
    return functools.cache(functools.partial(_make, tmp_path_factory, "AutoModelForCausalLM"))


@pytest.fixture
def tuned(make_causal: Callable[..., Path], tmp_path: Path) -> Callable[..., float]:
    """(template, better, worse, …settings) → the loss of the one step in which a tiny model is fine-tuned on them."""
    from alignment_limits.training.fine_tune import fine_tune

    settings = {"text": "chat", "wording": None, "max_length": None, "seed": 0, "epochs": 1, "batch": 2, "parts": 1}
    settings |= {"learning_rate": 1e-3, "dtype": "float32", "trust_remote_code": False}

    def loss(template: str, better: Pairs, worse: Pairs, **more: object) -> float:
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            start = make_causal("qwen2", template=template)
            return fine_tune(start, better, worse, settings | more, Path(name) / "model", Path(name))["loss"]

    return loss


def _make(
    scratch: pytest.TempPathFactory,
    auto: str,
    kind: str,
    template: str | None = "",
    spare_rows: int = 0,
    labels: int = 2,
    **saving: object,
) -> Path:
    import torch
    import transformers
    from transformers import AutoConfig, PreTrainedTokenizerFast

    spec = classifier_kinds()[kind]
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
        num_labels=labels,
        initializer_range=0.3,  # large, so that scores differ by much more than rounding
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    folder = scratch.mktemp(kind)
    getattr(transformers, auto).from_config(config).save_pretrained(folder, **saving)
    tokenizer.save_pretrained(folder)
    return folder


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
