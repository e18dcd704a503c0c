"""Load weights of causal models and classifiers, for sampling, scoring, KL and training.

All weights are loaded here, so that three rules hold everywhere:

- attention: the fastest kernels that compute what the checkpoint's configuration says. The sdpa kernels of
  transformers ignore a soft-cap of the attention logits, so eager attention is the reference. It is used for models
  with such a cap, and for models whose logits differ between the two kernels on a short text;
- generation: no setting of the checkpoint's generation_config.json (such as a repetition penalty) changes a law;
- weights: a checkpoint with missing weights is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils import mkldnn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig

from alignment_limits.errors import ModelError
from alignment_limits.files import damaged_in, reading
from alignment_limits.models.tokenizer import first_lines, load_config, stated_context

PROBE = 24  # tokens of the text on which kernels are compared
# as a share of the largest logit: kernels differ by less in rounding, and by more where one leaves something out
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def load_model(
    auto: Any,
    folder: Path,
    *,
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    trust_remote_code: bool = False,
    what: str = "model",
    lacking: str = "a model without training",
    new_head: bool = False,
    unread: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """A checkpoint, in evaluation mode on its device.

    Args:
        auto: one of transformers' auto classes: AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModel.
        folder: a plain transformers folder with safetensors.
        dtype: precision of the weights; 'auto': as they are stored.
        what: the type of model, for messages. lacking: what a model without trained weights is, for messages.
        new_head: weights may be missing, because a head will be trained.
        unread: first letters of the names of weights that are not used; they may be missing.
        options: further arguments of `from_pretrained`, such as num_labels.

    Raises:
        ModelError: transformers cannot load this type of model from the folder, or weights are missing.
    """
    transformers.utils.logging.disable_progress_bar()  # one bar per load would hide the study's progress
    dtype = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    config = load_config(folder, trust_remote_code)
    capped = {"attn_implementation": "eager"} if caps_attention(config) else {}
    with reading(folder, ModelError):
        try:
            model, info = auto.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                dtype=dtype,
                output_loading_info=True,
                **capped,
                **options,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            if damaged_in(folder):
                raise
            raise ModelError(f"{folder} is not a {what} that transformers can load: {first_lines(error)}") from error
    lacks = sorted(key for key in info["missing_keys"] if not key.startswith(unread))
    if lacks and not new_head:
        missing = ", ".join(lacks[:4])
        raise ModelError(f"{folder} lacks trained weights for {missing}; it is {lacking}")
    if getattr(model, "generation_config", None) is not None:
        model.generation_config = GenerationConfig()
    model = model.eval().to(device)
    honour_configuration(model)
    return model


def caps_attention(config: Any) -> bool:
    """Whether a configuration, or a part of it, caps the attention logits."""
    settings = config.to_dict()
    parts = [settings, *(value for value in settings.values() if isinstance(value, dict))]
    return any(
        value
        for part in parts
        for key, value in part.items()
        if "att" in str(key) and ("softcap" in str(key) or "logit_cap" in str(key))
    )


def honour_configuration(model: Any) -> None:
    """Switch a model to eager attention if its faster kernels give other logits."""
    fast = getattr(model.config, "_attn_implementation", None)
    if fast in (None, "eager") or not hasattr(model, "set_attn_implementation"):
        return
    with torch.inference_mode():
        try:
            before = _probe(model)
            model.set_attn_implementation("eager")
            after = _probe(model)
        except (ValueError, TypeError, NotImplementedError):  # no eager attention, or the model reads no plain text
            model.set_attn_implementation(fast)
            return
    largest = float(after.abs().max())
    if bool(torch.isfinite(after).all()) and float((after - before).abs().max()) <= ROUNDING[model.dtype] * largest:
        model.set_attn_implementation(fast)


def _probe(model: Any) -> torch.Tensor:
    """A model's output for a short text of tokens spread over its vocabulary."""
    rows = model.get_input_embeddings().weight.shape[0]
    length = min(PROBE, (stated_context(model.config) or PROBE) - 4)  # some encoders reserve a few positions
    ids = (torch.arange(1, length + 1, device=model.device) * 7919 % max(1, rows - 1))[None]
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state).float()


def ready(model: Any) -> Any:
    """A model for inference only, with the fastest exact kernels available.

    torch multiplies float32 matrices on a CPU with MKL, which leaves AVX-512 unused outside Intel's own
    processors; oneDNN, which torch ships too, uses it: 2.4 × the matrix rate on AMD's, the same float32.
    """
    if model.device.type == "cpu" and torch.backends.mkldnn.is_available() and model.dtype == torch.float32:
        _with_onednn(model)
    return model


def _with_onednn(module: torch.nn.Module) -> None:
    """Give all linear layers oneDNN's kernels; torch's `to_mkldnn` fails on the convolutions of vision parts."""
    for name, child in module.named_children():
        if type(child) is torch.nn.Linear:
            setattr(module, name, mkldnn.MkldnnLinear(child, torch.float))
        else:
            _with_onednn(child)


def device_of_job() -> str:
    """The device that a job computes on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_causal(
    folder: Path, *, dtype: torch.dtype | str = torch.float32, device: str = "cpu", trust_remote_code: bool = False
) -> Any:
    """A causal language model, loaded by the rules of this module.

    Args:
        folder: a plain transformers folder with safetensors.
        dtype: precision of the weights; 'auto': as they are stored.

    Raises:
        ModelError: the folder contains no causal language model, or trained weights are missing.
    """
    return load_model(
        AutoModelForCausalLM,
        folder,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        what="causal language model",
        lacking="no language model (a reward model, or an adapter without its adapter_config.json?)",
    )


def load_classifier(
    folder: Path,
    *,
    labels: int | None = None,
    new_head: bool = False,
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Any:
    """A sequence classifier, loaded by the rules of this module.

    Args:
        folder: a plain transformers folder with safetensors.
        labels: number of labels; default: as in the checkpoint.
        new_head: accept a language model, too, and give it an untrained head.

    Raises:
        ModelError: the folder contains no sequence classifier, or trained weights are missing.
    """
    shape: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    return load_model(
        AutoModelForSequenceClassification,
        folder,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        what="sequence classifier",
        lacking="no sequence classifier (a base model?), its scores would be random",
        new_head=new_head,
        **shape,
    )
