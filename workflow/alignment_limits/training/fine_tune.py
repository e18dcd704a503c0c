"""Train all weights of a sequence classifier on preferences, with TRL's RewardTrainer.

In training the model reads the same token ids and padding as in scoring. With another template, or pooled at another
token, it would be another reward model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PrinterCallback, set_seed
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from alignment_limits.errors import ModelError, RewardError
from alignment_limits.models.load import load_classifier
from alignment_limits.models.tokenizer import DATE, load_config, load_tokenizer
from alignment_limits.rewards.checkpoints import Encode, context_of, encoder, most_tokens, need_checkpoint
from alignment_limits.rewards.sequence_classifier import set_padding, what_is_read
from alignment_limits.training.task import one_device, plain

REPLY = "Yes, of course."  # a placeholder for later replies


def fine_tune(
    start: Path,
    better: Sequence[tuple[str, str]],
    worse: Sequence[tuple[str, str]],
    settings: dict[str, Any],
    folder: Path,
    scratch: Path,
) -> dict[str, float]:
    """Train on pairs (prompt, reply), where the first is preferred to the second; write the model to `folder`.

    Args:
        start: folder of a checkpoint: a sequence classifier of one label, or a language model, which gets a head.
        settings: settings of a reward of kind fine-tuned, and the date of its chat template.
        scratch: a folder for what TRL writes.

    Returns:
        steps, and the mean loss (nats) and accuracy of the last tenth of them, each on pairs that were not yet trained
        on in that pass.

    Raises:
        RewardError: the checkpoint is incomplete, is neither of both, or cannot read the texts.
    """
    path, remote = need_checkpoint(start), settings["trust_remote_code"]
    torch.use_deterministic_algorithms(True, warn_only=True)
    set_seed(settings["seed"])  # a new head's first weights
    tokenizer = load_tokenizer(path, remote)
    model = _one_label(path, remote)
    pad = set_padding(model, tokenizer, path)
    encode = _encoder(tokenizer, model.config, settings, path)
    tokenizer.save_pretrained(folder)
    chosen, rejected = (
        [encode(*item)[0] for item in what_is_read(settings["text"])(*zip(*side, strict=True))]
        for side in (better, worse)
    )
    pairs = [{"chosen_ids": a, "rejected_ids": b} for a, b in zip(chosen, rejected, strict=True)]
    arguments = plain(
        scratch,
        learning_rate=settings["learning_rate"],
        batch=settings["batch"] // settings["parts"],
        seed=settings["seed"],
    ) | {
        "gradient_accumulation_steps": settings["parts"],
        "num_train_epochs": settings["epochs"],
        "bf16": settings["dtype"] == "bfloat16",
        "gradient_checkpointing": torch.cuda.is_available(),  # saves memory, which is scarce there
        "max_length": None,
    }
    trainer = RewardTrainer(
        model=model,
        args=one_device(RewardConfig(**arguments)),
        train_dataset=Dataset.from_list(pairs),
        data_collator=DataCollatorForPreference(pad_token_id=pad),
        processing_class=tokenizer,
    )
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.pad_token_id = pad  # TRL has set the tokenizer's padding, which a text may end with
    trainer.processing_class = None  # otherwise training would set it again
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.save_pretrained(folder)
    told = [row for row in trainer.state.log_history if "loss" in row]
    last = told[-max(1, len(told) // 10) :]
    return {"steps": len(told)} | {name: sum(row[name] for row in last) / len(last) for name in ("loss", "accuracy")}


def check_start(start: Path, prompts: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Check, before anything is sampled, that a checkpoint can be trained to a reward of this study.

    No weights are loaded.

    Args:
        start: as in `fine_tune`.
        prompts: all prompts that the reward will read, in training or scoring, by prompt_id.
        settings: as in `fine_tune`.

    Raises:
        RewardError: the checkpoint is incomplete, cannot be trained, or cannot read a prompt (the message names it).
    """
    path, remote = need_checkpoint(start), settings["trust_remote_code"]
    config = load_config(path, remote)
    try:
        with torch.device("meta"):
            AutoModelForSequenceClassification.from_config(config, trust_remote_code=remote)
    except ValueError as error:  # transformers has no classifier of this architecture
        raise RewardError(_no_start(path, error)) from error
    classifier = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    if classifier and config.num_labels != 1:
        raise RewardError(_no_start(path, f"it has {config.num_labels} labels"))
    encode = _encoder(load_tokenizer(path, remote), config, settings, path)
    names, texts = list(prompts), list(prompts.values())
    for name, item in zip(names, what_is_read(settings["text"])(texts, [REPLY] * len(texts)), strict=True):
        try:
            encode(*item)
        except RewardError as error:
            raise RewardError(f"prompt '{name}': {error}") from error
        except Exception as error:  # a template is code, which can raise any error
            raise RewardError(f"prompt '{name}': {type(error).__name__}: {error}") from error


def _encoder(tokenizer: Any, config: Any, settings: Mapping[str, Any], path: Path) -> Encode:
    limit = most_tokens(settings["max_length"], context_of(tokenizer, config), path)
    read = {"wording": settings["wording"] or "{prompt}{reply}", "date": settings.get("date", DATE)}
    return encoder(tokenizer, settings["text"], limit, path, **read)


def _one_label(path: Path, trust_remote_code: bool) -> Any:
    try:
        return load_classifier(path, labels=1, new_head=True, trust_remote_code=trust_remote_code)
    except ModelError as error:
        raise RewardError(_no_start(path, error)) from error


def _no_start(path: Path, why: object) -> str:
    return f"{path} is neither a sequence classifier of one label nor a language model that can be made one: {why}"
