"""Write a policy's plain model folder: a checkpoint as it is, or an adapter merged into the base.

The folder gets the base's tokenizer and stop tokens, once the policy is known to share its tokenizer and vocabulary.
Only then is KL(π‖π₀) a sum over tokens. Every policy is sampled and read exactly as the base is. What could make a
number wrong is refused here, before anything is sampled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignment_limits.errors import ModelError, SourceError
from alignment_limits.files import scratch, write_json
from alignment_limits.models.fetch import convert
from alignment_limits.models.tokenizer import load_config, load_tokenizer, stop_tokens

# Case, digits, white space, accents, scripts and a symbol beyond the basic plane: where tokenizers differ.
PROBES = (
    "Hello, World! It's 12345.67 — don't?",
    "  two spaces,\ta tab\n\nand lines  ",
    "Grüße aus Köln, 你好, Привет 😀",
    "def f(x):\n    return x ** 2  # code",
)


def check_tokenizer(own: Path, base: Path, name: str, trust_remote_code: bool = False) -> list[str]:
    """Compare a policy's own tokenizer, if it has one, with the base's.

    Args:
        own: folder of the policy.
        base: folder of the base model.
        name: of the policy, for messages.
        trust_remote_code: whether a tokenizer may run its own code.

    Returns:
        One line for each part of the policy that is not used: stop tokens or a chat template that differ.

    Raises:
        SourceError: the tokenizers differ.
    """
    ours = load_tokenizer(base, trust_remote_code)
    if not any((own / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        return ["it brings no tokenizer: the base's is taken for its own"]
    try:
        theirs = load_tokenizer(own, trust_remote_code)
    except ModelError as error:
        raise SourceError(f"policy '{name}': {error}") from error
    _same_tokens(theirs.get_vocab(), ours.get_vocab(), name)
    for probe in PROBES:
        if theirs(probe)["input_ids"] != ours(probe)["input_ids"]:
            raise SourceError(
                f"policy '{name}' has the base's tokens, but splits text differently ({probe[:20]!r}); a policy must "
                "have the base's tokenizer"
            )
    unused = []
    stops = stop_tokens(own, theirs), stop_tokens(base, ours)
    # without settings for generation a folder has only the tokenizer's stop tokens
    if stops[0] != stops[1] and ((own / "generation_config.json").is_file() or not set(stops[0]) <= set(stops[1])):
        unused.append(f"it stops at tokens {stops[0]}, the base at {stops[1]}: replies end where the base's do")
    if theirs.chat_template not in (None, ours.chat_template):
        unused.append("its chat template differs from the base's, which is used")
    return unused


def _same_tokens(theirs: dict[str, int], ours: dict[str, int], name: str) -> None:
    if theirs == ours:
        return
    more, fewer = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
    moved = sorted(t for t in set(theirs) & set(ours) if theirs[t] != ours[t])
    parts = [
        f"{len(group)} {what} such as {group[0]!r}"
        for group, what in ((more, "tokens the base lacks"), (fewer, "fewer"), (moved, "with other ids"))
        if group
    ]
    remedy = "a policy must have the base's tokenizer"
    if more and not fewer and not moved and len(more) < 10:
        remedy += "; train it without adding tokens (a padding token, say), or take them out again"
    raise SourceError(f"policy '{name}' has another tokenizer than the base ({'; '.join(parts)}); {remedy}")


def check_width(ready: Path, base: Path, name: str, trust_remote_code: bool = False) -> str | None:
    """Check that both models predict the same tokens: all that have a text.

    Vocabularies are often padded to a round number of rows, which have no text, or cut to the tokenizer's length in
    training. A policy with fewer rows than the base gives the missing ones no probability, and its KL is a sum over the
    rows that it has. A policy with more rows is cut to the base's (`assemble`): the base could never draw what is cut.

    Args:
        ready: plain model folder of the policy.
        base: folder of the base model.
        name: of the policy, for messages.
        trust_remote_code: whether a model may run its own code.

    Returns:
        A line about a width that differs, or None.

    Raises:
        SourceError: one of them lacks a row for a token that has a text.
    """
    policy, own = (_rows(folder, trust_remote_code) for folder in (ready, base))
    needed = max(load_tokenizer(base, trust_remote_code).get_vocab().values()) + 1
    if policy == own:
        return None
    if min(policy, own) < needed:
        raise SourceError(
            f"policy '{name}' predicts {policy} tokens, the base {own}, and the tokenizer has {needed}; it has another "
            "vocabulary, or its embeddings were resized in training. A policy must have the base's vocabulary"
        )
    return (
        f"it predicts {policy} tokens, the base {own}; the tokenizer has {needed}, and the further ones have no text: "
        f"the KL is over the {min(policy, own)} that both have"
    )


def _rows(folder: Path, trust_remote_code: bool) -> int:
    return int(load_config(folder, trust_remote_code).get_text_config().vocab_size)


NOTES = "policy.json"  # in the folder: the lines that `assemble` returned
MERGED = 1e-3  # of the largest logit: allowed difference between an adapter added to the weights and an adapter applied


def assemble(
    fetched: Path,
    base: Path,
    folder: Path,
    *,
    name: str,
    base_names: Sequence[str],
    adapter: bool = False,
    scale: float = 1.0,
    trust_remote_code: bool = False,
) -> list[str]:
    """Write `folder` completely or not at all.

    Args:
        fetched: files of the policy's source.
        base: the base model's plain folder.
        folder: to write.
        name: of the policy, for messages.
        base_names: names by which an adapter may call the base.
        adapter: it must be an adapter; otherwise its files decide.
        scale: multiplies the adapter's change of the weights.
        trust_remote_code: whether a model may run its own code.

    Returns:
        Lines for the report: how the folder was assembled, and which parts of the policy are not used.

    Raises:
        SourceError: another tokenizer or vocabulary, an adapter that does not fit the base, weights that are
            missing or not finite, or nothing that can be loaded.
    """
    with scratch(folder) as work:
        ready = work / "ready"
        if adapter or (fetched / "adapter_config.json").is_file():
            said = _merge(fetched, base, ready, name, base_names, scale, trust_remote_code)
            own = fetched
        else:
            said = [_named(name, lambda: convert(fetched, ready, trust_remote_code=trust_remote_code))]
            own = ready
        said += check_tokenizer(own, base, name, trust_remote_code)
        if wider := check_width(ready, base, name, trust_remote_code):
            said.append(wider)
        if own is ready:
            _check_weights(ready, base, name, trust_remote_code)
        _as_the_base(ready, base, trust_remote_code)
        write_json(said, ready / NOTES)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(ready, folder)
    return said


def _named(name: str, make: Any) -> Any:
    try:
        return make()
    except SourceError as error:
        raise SourceError(f"policy '{name}': {error}") from error


def _merge(
    adapter: Path,
    base: Path,
    ready: Path,
    name: str,
    base_names: Sequence[str],
    scale: float,
    trust_remote_code: bool,
) -> list[str]:
    """The base with the adapter's change added to its weights, in float32."""
    from peft import PeftConfig, PeftModel

    from alignment_limits.models.load import load_causal

    absent = [f for f in ("adapter_config.json", "adapter_model.safetensors") if not (adapter / f).is_file()]
    if absent:
        held = ", ".join(sorted(p.name for p in adapter.iterdir())[:10])
        raise SourceError(
            f"policy '{name}': an adapter (PEFT) needs adapter_config.json and adapter_model.safetensors; "
            f"missing: {' and '.join(absent)}; the folder contains: {held}. Pickled files (*.bin) must be converted "
            "to safetensors first"
        )
    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"policy '{name}': adapter_config.json cannot be read by PEFT: {error}") from error
    trained_on = config.base_model_name_or_path or "a model it does not name"
    refused = (
        f"policy '{name}': the adapter, made for {trained_on}, does not fit the study's base model; merge it into "
        "its own base (`merge_and_unload` of PEFT) and give the merged folder, if that has the same tokenizer"
    )
    model = load_causal(base, trust_remote_code=trust_remote_code)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            merged = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
        except (ValueError, RuntimeError) as error:
            raise SourceError(f"{refused}: {_first_line(error)}") from error
    missing = [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]
    if missing:
        raise SourceError(f"{refused}: {missing[0][:200]}")
    if not hasattr(merged, "merge_and_unload"):
        raise SourceError(
            f"policy '{name}': an adapter of type {config.peft_type} cannot be merged into weights; use LoRA or a "
            "similar type"
        )
    _scale(merged, scale, name)
    applied = _logits(merged)
    try:
        plain = merged.merge_and_unload(safe_merge=True)
    except ValueError as error:  # not finite
        raise SourceError(f"policy '{name}': {_first_line(error)}") from error
    _save_as_applied(plain, applied, ready, name, trust_remote_code)
    said = [f"{config.peft_type.value} adapter, made for {trained_on}, merged into the study's base in float32"]
    said += [f"its change of the weights × {scale:g}"] if scale != 1 else []
    if Path(trained_on).name.lower() not in map(str.lower, base_names):
        said.append(
            f"by that name the adapter's base is not the study's ({base_names[0]}); if their weights differ, what is "
            "measured is not the policy that was trained"
        )
    return said


def _scale(merged: Any, scale: float, name: str) -> None:
    """Multiply an adapter's change of the weights.

    Raises:
        SourceError: it is not of low rank throughout: it replaces parts of the model, which cannot be scaled.
    """
    if scale == 1:
        return
    layers = [module for module in merged.modules() if hasattr(module, "scale_layer")]
    replaced = [module for module in merged.modules() if getattr(module, "modules_to_save", None)]
    if not layers or replaced:
        raise SourceError(f"policy '{name}': scale is for adapters of low rank (LoRA) that replace no layer")
    for layer in layers:
        layer.scale_layer(scale)


def _save_as_applied(plain: Any, applied: Any, ready: Path, name: str, trust_remote_code: bool) -> None:
    """Save a merged model so that it has, loaded again, the logits of the adapter applied to its base.

    An adapter may bring its own embeddings or head (`modules_to_save`) to a base that ties the two. A file that ties
    them would keep only one of them.
    """
    from alignment_limits.models.load import load_causal

    largest = float(applied.abs().max())
    for tied in (None, False):
        if tied is not None:
            for config in {id(c): c for c in (plain.config, plain.config.get_text_config())}.values():
                config.tie_word_embeddings = tied
        shutil.rmtree(ready, ignore_errors=True)
        plain.save_pretrained(ready)
        with contextlib.suppress(ModelError):
            again = _logits(load_causal(ready, trust_remote_code=trust_remote_code))
            if float((again - applied).abs().max()) <= MERGED * largest:
                return
    raise SourceError(
        f"policy '{name}': the adapter merged into the base's weights gives other logits than the adapter on the "
        "base; merge it yourself (`merge_and_unload` of PEFT), check it, and give the merged folder"
    )


def _logits(model: Any) -> Any:
    """A model's logits after a few tokens spread over its vocabulary."""
    import torch

    model.eval()
    rows = model.get_output_embeddings().weight.shape[0]
    with torch.inference_mode():
        return model(input_ids=(torch.arange(1, 9) * 7919 % rows)[None]).logits


def _check_weights(ready: Path, base: Path, name: str, trust_remote_code: bool) -> None:
    """Check that all weights of a causal language model are present and finite; remove rows that the base lacks."""
    import torch

    from alignment_limits.models.load import load_causal

    try:
        model = load_causal(ready, dtype="auto", trust_remote_code=trust_remote_code)
    except ModelError as error:
        raise SourceError(f"policy '{name}': {error}") from error
    bad = [key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise SourceError(f"policy '{name}' has weights that are not finite ({', '.join(bad[:4])}): training diverged")
    rows = load_config(base, trust_remote_code).get_text_config().vocab_size
    if model.get_output_embeddings().weight.shape[0] > rows:
        model.resize_token_embeddings(rows)
        shutil.rmtree(ready)
        model.save_pretrained(ready)


def _as_the_base(ready: Path, base: Path, trust_remote_code: bool) -> None:
    """Give the policy the base's tokenizer, template and stop tokens: one rule for all models."""
    (ready / "generation_config.json").unlink(missing_ok=True)
    if (base / "generation_config.json").is_file():
        shutil.copy2(base / "generation_config.json", ready)
    for file in ready.glob("chat_template*"):
        file.unlink()
    load_tokenizer(base, trust_remote_code).save_pretrained(ready)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
