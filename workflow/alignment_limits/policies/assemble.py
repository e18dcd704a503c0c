"""Make a policy's plain model folder: a checkpoint as it is, or an adapter merged into the base; with the base's
tokenizer and stop tokens, once the policy is known to share them.

Every policy is then sampled and read exactly as the base is. What could make a number wrong is refused here,
before anything is sampled.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignment_limits.errors import SourceError
from alignment_limits.files import scratch, write_json
from alignment_limits.models.convert import convert
from alignment_limits.policies.vocabulary import check_tokenizer, check_width
from alignment_limits.sampling import tokens

NOTES = "policy.json"  # in the folder: what `assemble` returned


def assemble(
    fetched: Path,
    base: Path,
    folder: Path,
    *,
    name: str,
    base_names: Sequence[str],
    adapter: bool = False,
    trust_remote_code: bool = False,
) -> list[str]:
    """Write `folder`, whole or not at all.

    Args:
        fetched: what the policy's source held.
        base: the base model's plain folder.
        name: the policy's, for messages. base_names: what the base may be called by those who adapt it.
        adapter: it must be one; else its files decide.

    Returns:
        lines worth telling: what was made of what, and what of the policy's own is not used.

    Raises:
        SourceError: another tokenizer or vocabulary, an adapter that does not fit the base, weights that are
            missing or not finite, or nothing that can be loaded.
    """
    with scratch(folder) as work:
        ready = work / "ready"
        if adapter or (fetched / "adapter_config.json").is_file():
            said = _merge(fetched, base, ready, name, base_names, trust_remote_code)
            own = fetched
        else:
            said = [_named(name, lambda: convert(fetched, ready, trust_remote_code=trust_remote_code))]
            own = ready
        said += check_tokenizer(own, base, name, trust_remote_code)
        check_width(ready, base, name, trust_remote_code)
        if own is ready:
            _check_weights(ready, name, trust_remote_code)
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
    adapter: Path, base: Path, ready: Path, name: str, base_names: Sequence[str], trust_remote_code: bool
) -> list[str]:
    """The base with the adapter's change added to its weights, in float32."""
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    absent = [f for f in ("adapter_config.json", "adapter_model.safetensors") if not (adapter / f).is_file()]
    if absent:
        held = ", ".join(sorted(p.name for p in adapter.iterdir())[:10])
        raise SourceError(
            f"policy '{name}': an adapter (PEFT) needs adapter_config.json and adapter_model.safetensors; "
            f"{' and '.join(absent)} missing among: {held}; pickled ones (*.bin) must be converted first"
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
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code
    )
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
            f"policy '{name}': an adapter of type {config.peft_type} cannot be merged into weights; LoRA and its "
            "relatives can"
        )
    try:
        plain = merged.merge_and_unload(safe_merge=True)
    except ValueError as error:  # not finite
        raise SourceError(f"policy '{name}': {_first_line(error)}") from error
    plain.save_pretrained(ready)
    said = [f"{config.peft_type.value} adapter, made for {trained_on}, merged into the study's base in float32"]
    if Path(trained_on).name.lower() not in map(str.lower, base_names):
        said.append(
            f"by that name the adapter's base is not the study's ({base_names[0]}); if their weights differ, what is "
            "measured is not the policy that was trained"
        )
    return said


def _check_weights(ready: Path, name: str, trust_remote_code: bool) -> None:
    """All weights of a causal language model are there, and finite."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            ready,
            dtype="auto",
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(f"policy '{name}' is no causal language model transformers can load: {error}") from error
    if info["missing_keys"]:
        raise SourceError(
            f"policy '{name}' lacks weights for {', '.join(sorted(info['missing_keys'])[:4])}; it is no language "
            "model (a reward model, or an adapter without its adapter_config.json?)"
        )
    bad = [key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise SourceError(f"policy '{name}' has weights that are not finite ({', '.join(bad[:4])}): it diverged")


def _as_the_base(ready: Path, base: Path, trust_remote_code: bool) -> None:
    """Give the policy the base's tokenizer, template and stop tokens: prompts and the end of a reply are one rule."""
    (ready / "generation_config.json").unlink(missing_ok=True)
    if (base / "generation_config.json").is_file():
        shutil.copy2(base / "generation_config.json", ready)
    for file in ready.glob("chat_template*"):
        file.unlink()
    tokens.load_tokenizer(base, trust_remote_code).save_pretrained(ready)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
