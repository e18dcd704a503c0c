"""Load causal models and classifiers, and run them: for sampling, scoring, KL and training.

All weights are loaded here, so that three rules hold everywhere:

- attention: the fastest kernels that compute what the checkpoint's configuration says. The sdpa kernels of
  transformers ignore a soft-cap of the attention logits, so eager attention is the reference. It is used for models
  with such a cap, and for models whose logits differ between the two kernels on a short text;
- generation: no setting of the checkpoint's generation_config.json (such as a repetition penalty) changes a law;
- weights: a checkpoint with missing weights is refused.

A causal model runs in two halves (tokens → hidden states → logits). The logits of a batch are tokens × vocabulary
numbers: 5 GB for 8,192 tokens of a 150k vocabulary in float32. Two models and their log-softmax are in memory at once.
Hidden states are a hundred times smaller. So logits are computed for a few positions at a time, each over the full
vocabulary, which top-p needs.

A batch is padded to its longest text, and reply lengths have a long tail. In file order most of the work would be
padding. Sorting by length removes nearly all of it, and a token budget limits memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.utils import mkldnn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig
from transformers.modeling_outputs import BaseModelOutputWithPast

from alignment_limits.errors import ModelError
from alignment_limits.files import damaged_in, reading
from alignment_limits.jobs.job import progress_bar
from alignment_limits.models.memory import check_fits, free_memory
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
    placed = {} if device == "cpu" else {"device_map": {"": device}}  # weights go straight to the GPU
    check_fits(folder, dtype, *_room(device))
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
                **placed,
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
    model = model.eval() if placed else model.eval().to(device)
    honour_configuration(model)
    return model


def _room(device: str) -> tuple[float, str]:
    """Bytes that a model may take on a device, and the device's name."""
    if device == "cpu":
        return free_memory(), "this machine"
    return float(torch.cuda.mem_get_info(device)[0]), f"the GPU ({torch.cuda.get_device_name(device)})"


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


# as a share of the largest logit: the halves run the same operations on other shapes
CLOSE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}


class SplitModel:
    """Both halves of a model on one device; the model itself is not changed and can be trained further.

    Raises:
        ModelError: the halves give other logits than the model (its architecture is not a plain stack).
    """

    def __init__(self, model: Any, name: str = "the model") -> None:
        self.device = model.device
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        probe = torch.arange(8, device=self.device)[None] % self.vocabulary
        with torch.inference_mode():
            whole = model(input_ids=probe).logits
            probed = whole[..., : self.vocabulary]
        self._body = model.get_decoder()
        self._parent, self._place = _place(model, self._body)
        if self._parent is None:
            raise ModelError(f"{name}: {type(model).__name__} has no plain body and head that can be split")
        self._model = model
        halves = self.logits(self.hidden(probe, torch.ones_like(probe))[0])
        if not torch.allclose(halves, whole[0], rtol=0, atol=CLOSE[model.dtype] * float(probed.abs().max())):
            raise ModelError(f"{name}: {type(model).__name__} gives other logits when split; please report this model")

    @torch.inference_mode()
    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states [b, t, d] of tokens [b, t], padded on the right (mask 0)."""
        states: torch.Tensor = self._body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token logits [n, v] of hidden states [n, d]."""
        # the model's own forward pass on given hidden states: the head, with its soft caps and scales of logits
        setattr(self._parent, self._place, _Given())
        try:
            logits: torch.Tensor = self._model(inputs_embeds=hidden[None], use_cache=False).logits[0]
        finally:
            setattr(self._parent, self._place, self._body)
        return logits


class _Given(torch.nn.Module):
    """Replaces a body: returns the hidden states that it is given."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> BaseModelOutputWithPast:
        return _States(last_hidden_state=inputs_embeds)


class _States(BaseModelOutputWithPast):
    """Hidden states only; other outputs of a body (router logits, cross-attentions) are absent."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _place(model: Any, body: Any) -> tuple[Any, str]:
    """The module that contains a model's body, and the body's name in it; it may be nested (OPT, wrappers)."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is body:
                return parent, name
    return None, ""


def load_split(
    folder: Path, *, device: str, trust_remote_code: bool = False, dtype: torch.dtype | str = torch.float32
) -> SplitModel:
    """The model in a plain folder, for forward passes only; in float32 whatever its sampling precision.

    Args:
        dtype: precision of the body. The head is float32: with 8 bits of mantissa different texts would have ties.
    """
    model = load_causal(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    if model.dtype in (torch.bfloat16, torch.float16):
        _float32_head(model)
    return SplitModel(ready(model), str(folder))


def _float32_head(model: Any) -> None:
    head = copy.deepcopy(model.get_output_embeddings()).float()  # tied embeddings are not changed
    head.register_forward_pre_hook(lambda _, states: (states[0].float(),))
    model.set_output_embeddings(head)


TOKENS_CPU = 1024  # fastest of 256 … 8192 for MiniLM; larger batches fall out of the cache
TOKENS_GPU = 32768


def token_budget(device: str) -> int:
    """Tokens of one batch, padding included."""
    return TOKENS_CPU if device.startswith("cpu") else TOKENS_GPU


def batches(lengths: Sequence[int], budget: int) -> Iterator[NDArray[np.intp]]:
    """Indices of each batch, longest first, so that a lack of memory shows at once.

    Args:
        lengths: tokens of each text [n].
        budget: tokens of a batch, padding included; a longer text is a batch alone.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        stop = start + max(1, budget // longest)
        yield order[start:stop]
        start = stop


def in_batches(
    ids: Sequence[Sequence[int]],
    forward: Callable[..., torch.Tensor],
    *,
    pad: int,
    device: str,
    more: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Run a model over token ids in length-sorted batches, padded on the right.

    Args:
        ids: token ids of each text, special tokens included.
        forward: (input ids [b, t], attention mask [b, t]) → [b, k].
        pad: id of the padding token.
        more: one integer for each text; `forward` gets it as a third argument [b].

    Returns:
        float64 [n, k], in the order of `ids`.
    """
    lengths = [len(i) for i in ids]
    rows: list[NDArray[np.float64]] = []
    order: list[NDArray[np.intp]] = []
    with torch.inference_mode(), progress_bar(len(ids), "text", "scoring") as bar:
        for batch in batches(lengths, token_budget(device)):
            width = lengths[batch[0]]
            tokens = torch.full((len(batch), width), pad, dtype=torch.long)
            mask = torch.zeros_like(tokens)
            for row, i in enumerate(batch):
                tokens[row, : lengths[i]] = torch.tensor(ids[i], dtype=torch.long)
                mask[row, : lengths[i]] = 1
            extra = () if more is None else (torch.tensor([more[i] for i in batch], device=device),)
            rows.append(forward(tokens.to(device), mask.to(device), *extra).double().cpu().numpy())
            order.append(batch)
            bar.update(len(batch))
    out = np.concatenate(rows)
    result = np.empty_like(out)
    result[np.concatenate(order)] = out
    return result
