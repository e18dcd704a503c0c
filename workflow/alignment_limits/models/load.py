"""The one place where weights are loaded: causal models and classifiers, for sampling, scoring, KL and training.

What every use has in common is decided here:

- attention: the fastest kernels that compute what the checkpoint's configuration says. transformers' sdpa takes a
  soft-cap of the attention logits for granted and drops it, so eager attention is the reference: such models have it,
  and so has any model whose logits differ between the two on a probe;
- generation: no setting of the checkpoint's generation_config.json (a repetition penalty, say) enters a law;
- weights: all of them are there, none is invented.
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
# of the largest logit; kernels round alike, and what they leave out is larger
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
        dtype: of the weights; 'auto': as they are stored.
        what: what it should be, for messages. lacking: what it is when trained weights are missing.
        new_head: weights may be missing: a head will be trained.
        unread: how the names of weights begin that are not used, and may be missing.
        options: of `from_pretrained`, such as num_labels.

    Raises:
        ModelError: transformers cannot load it as that, or weights are missing.
    """
    transformers.utils.logging.disable_progress_bar()  # a bar per load drowns the study's own
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
            raise ModelError(f"{folder} is no {what} that transformers can load: {first_lines(error)}") from error
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
    """Whether a configuration, or a part of it, caps the logits of attention."""
    settings = config.to_dict()
    parts = [settings, *(value for value in settings.values() if isinstance(value, dict))]
    return any(
        value
        for part in parts
        for key, value in part.items()
        if "att" in str(key) and ("softcap" in str(key) or "logit_cap" in str(key))
    )


def honour_configuration(model: Any) -> None:
    """Give a model eager attention if its faster kernels leave out something that eager attention computes."""
    fast = getattr(model.config, "_attn_implementation", None)
    if fast in (None, "eager") or not hasattr(model, "set_attn_implementation"):
        return
    with torch.inference_mode():
        try:
            before = _probe(model)
            model.set_attn_implementation("eager")
            after = _probe(model)
        except (ValueError, TypeError, NotImplementedError):  # nothing to compare with, or not read as one text
            model.set_attn_implementation(fast)
            return
    largest = float(after.abs().max())
    if bool(torch.isfinite(after).all()) and float((after - before).abs().max()) <= ROUNDING[model.dtype] * largest:
        model.set_attn_implementation(fast)


def _probe(model: Any) -> torch.Tensor:
    """What a model makes of a short text of tokens spread over its vocabulary."""
    rows = model.get_input_embeddings().weight.shape[0]
    length = min(PROBE, (stated_context(model.config) or PROBE) - 4)  # some encoders keep positions for themselves
    ids = (torch.arange(1, length + 1, device=model.device) * 7919 % max(1, rows - 1))[None]
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state).float()


def ready(model: Any) -> Any:
    """A model that is only read, with the fastest exact kernels there are for it.

    torch multiplies float32 matrices on a CPU with MKL, which leaves AVX-512 unused outside Intel's own
    processors; oneDNN, which torch ships too, uses it: 2.4 × the matrix rate on AMD's, the same float32.
    """
    if model.device.type == "cpu" and torch.backends.mkldnn.is_available() and model.dtype == torch.float32:
        _with_onednn(model)
    return model


def _with_onednn(module: torch.nn.Module) -> None:
    """Give all linear layers oneDNN's kernels; torch's own `to_mkldnn` stops at the convolutions of vision towers."""
    for name, child in module.named_children():
        if type(child) is torch.nn.Linear:
            setattr(module, name, mkldnn.MkldnnLinear(child, torch.float))
        else:
            _with_onednn(child)


def device_of_job() -> str:
    """The one device a job computes on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_causal(
    folder: Path, *, dtype: torch.dtype | str = torch.float32, device: str = "cpu", trust_remote_code: bool = False
) -> Any:
    """A causal language model as its configuration describes it; see `models.load` for what that settles.

    Args:
        folder: a plain transformers folder with safetensors.
        dtype: of the weights; 'auto': as they are stored.

    Raises:
        ModelError: it is none, or trained weights are missing.
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
    """A sequence classifier as its configuration describes it; see `models.load` for what that settles.

    Args:
        folder: a plain transformers folder with safetensors.
        labels: how many it is to have; default: its own.
        new_head: a language model will do: it gets an untrained head.

    Raises:
        ModelError: it is none, or trained weights are missing.
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
