"""Sampling with vLLM: its CPU build, or the official build on a GPU; both have the same Python API."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.errors import SamplingError
from alignment_limits.jobs.job import device_report
from alignment_limits.jobs.leases import device_of_job, visible_gpus
from alignment_limits.models.memory import check_fits, free_memory
from alignment_limits.models.tokenizer import load_config
from alignment_limits.sampling.shard import Completion, Request
from alignment_limits.study.sampling import Model, Sampling

# Seeded requests crash in chunked prefill on the CPU. Small blocks share more of a prompt's cache. More
# concurrent sequences were slower on two cores.
CPU_OPTIONS: dict[str, Any] = {
    "enable_chunked_prefill": False,
    "block_size": 32,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 8192,
    "enforce_eager": True,
}

GPU_SHARE = 0.9  # vLLM's own share of a GPU's memory

# architectures for which vLLM computes another law than the checkpoints' (more than rounding)
OTHER_LAW = {"bloom": "it takes the exact GELU for BLOOM's own, which is off by 10⁻³ nats a reply and more"}

REMEDY = "set sampling.engine: transformers"


class VllmEngine:
    """A model in this process.

    Args:
        folder: a plain transformers folder.
        threads: CPU threads; ignored on a GPU.
    """

    def __init__(self, folder: Path, model: Model, sampling: Sampling, context: int, threads: int) -> None:
        on_gpu = bool(visible_gpus())
        prepare_environment(threads // model.tensor_parallel or 1, on_gpu)
        _quiet()
        config = load_config(folder, model.trust_remote_code)
        if why := OTHER_LAW.get(config.model_type):
            raise SamplingError(f"vLLM does not sample the law of the model in {folder}: {why}; {REMEDY}")
        if model.batch_invariant and not on_gpu:
            raise SamplingError("model.batch_invariant is for GPUs, and this job has none: remove it from the study")
        if model.batch_invariant:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"
        if model.tensor_parallel > 1:  # on a CPU, vLLM would want a NUMA node for each part
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        check_fits(folder, model.dtype, *_room(model, on_gpu))
        from vllm import LLM

        _log_to_the_job()
        self._sampling = sampling
        with _main_without_a_file():
            self._llm = _started(
                LLM,
                folder,
                config,
                model=str(folder),
                dtype=model.dtype,
                max_model_len=context,
                trust_remote_code=model.trust_remote_code,
                logprobs_mode="processed_logprobs",  # of the law that is sampled (after temperature and top-p)
                tensor_parallel_size=model.tensor_parallel,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                generation_config="vllm",  # the study's settings only, never the model's defaults
                seed=0,  # every request has its own seed; this one avoids a warning of vLLM
                **_options(model, context, device_of_job()),
            )

    def description(self) -> dict[str, Any]:
        """How the model runs: parts of it in parallel, precision of the head, graphs, kernels of attention."""
        config = self._llm.llm_engine.vllm_config
        layers = config.compilation_config.static_forward_context.values()  # empty if workers are other processes
        attention = {layer.attn_backend.get_name() for layer in layers if hasattr(layer, "attn_backend")}
        return {
            "executor": str(config.parallel_config.distributed_executor_backend),
            "tensor_parallel": config.parallel_config.tensor_parallel_size,
            "head_dtype": str(config.model_config.head_dtype).removeprefix("torch."),
            "compilation": config.compilation_config.mode.name,
            "cuda_graphs": config.compilation_config.cudagraph_mode.name,
            "attention": ", ".join(sorted(attention)),
        }

    def generate(
        self, requests: Sequence[Request], stop: Sequence[int], progress: Callable[..., Any]
    ) -> list[list[Completion]]:
        """One list of completions per request, in order.

        Args:
            stop: token ids that end a reply.
            progress: a tqdm-like class for the progress bar.
        """
        from vllm import SamplingParams

        params = [
            SamplingParams(
                n=r.n,
                seed=r.seed,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                max_tokens=r.max_new_tokens or self._sampling.max_new_tokens,
                stop_token_ids=list(stop),
                logprobs=0,
                detokenize=False,
            )
            for r in requests
        ]
        prompts: Any = [{"prompt_token_ids": r.token_ids} for r in requests]
        outputs = self._llm.generate(prompts, params, use_tqdm=progress)
        return [
            [
                Completion(list(c.token_ids), float(c.cumulative_logprob), str(c.finish_reason))
                for c in sorted(output.outputs, key=lambda c: c.index)
            ]
            for output in outputs
        ]


def _room(model: Model, on_gpu: bool) -> tuple[float, str]:
    """Bytes that vLLM may use, and of what."""
    if not on_gpu:
        return free_memory(), "this machine"
    memory = re.findall(r"(\d+) MiB", device_report().get("memory", ""))  # torch would spoil the GPU for forked workers
    total = sum(sorted(map(int, memory))[: model.tensor_parallel]) * 2.0**20 or float("inf")
    share = model.gpu_memory_utilization or GPU_SHARE
    return total * share, f"{share:.0%} of {model.tensor_parallel} GPU(s) (model.gpu_memory_utilization)"


def _options(model: Model, context: int, device: str) -> dict[str, Any]:
    """Arguments of vLLM that depend on the model's precision and on the device."""
    options: dict[str, Any] = {}
    if model.dtype != "float32":  # in 16 bits next tokens would tie; transformers' reading has this head, too
        options["hf_overrides"] = {"head_dtype": "float32"}
    if device == "cpu":
        tokens = max(CPU_OPTIONS["max_num_batched_tokens"], context)
        return options | CPU_OPTIONS | {"max_num_batched_tokens": tokens}
    if model.gpu_memory_utilization is not None:
        options["gpu_memory_utilization"] = model.gpu_memory_utilization
    return options


@contextlib.contextmanager
def _main_without_a_file() -> Iterator[None]:
    """Hide the script's file: worker processes would run it before they serve."""
    main = sys.modules["__main__"].__dict__
    file = main.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file


def _log_to_the_job() -> None:
    """Write vLLM's messages to the job's log, and not to the terminal."""
    log = getattr(sys.stderr, "log", None)
    if log is not None:
        logger = logging.getLogger("vllm")
        logger.handlers, logger.propagate = [logging.StreamHandler(log)], False
        logger.setLevel(logging.INFO)


def _started(llm: Any, folder: Path, config: Any, **options: Any) -> Any:
    """Start vLLM on a model.

    Raises:
        SamplingError: vLLM does not support the model; with the reason.
    """
    try:
        return llm(**options)
    except (ValueError, RuntimeError, NotImplementedError, ImportError, KeyError, AttributeError, AssertionError) as e:
        if "out of memory" in str(e):
            raise
        why = _reason(e, config)
        raise SamplingError(f"vLLM cannot run the model in {folder} on this machine: {why[:300]}; {REMEDY}") from e


def _reason(error: Exception, config: Any) -> str:
    """Why vLLM did not start, in one line."""
    if config.get_text_config() is not config and importlib.util.find_spec("torchvision") is None:
        return (
            f"its {config.model_type} wraps a language model together with parts for images, for which vLLM needs "
            "torchvision, and that is not installed"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.partition("Value error, ")[2] for line in lines if line.startswith("Value error, ")]  # pydantic's
    telling = [line for line in lines if "rror" in line or "support" in line]
    return next(iter([*named, *telling, *lines]), repr(error))


def prepare_environment(threads: int, on_gpu: bool = False) -> None:
    """Set vLLM's variables; call it before vLLM is imported."""
    defaults = {
        "HF_HUB_OFFLINE": "1",  # all models are local folders
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; if unset, vLLM takes a share of all memory
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a child process would import vLLM again: 40 s
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads on a busy machine cost 4.6 times the throughput
    }
    if on_gpu:
        defaults["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else the question for a GPU spoils it for forked workers
    else:
        defaults["TORCH_COMPILE_DISABLE"] = "1"  # no compiler needed, no warm-up; equal throughput on the CPU
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    dynamo = sys.modules.get("torch._dynamo")  # loaded with a tokenizer: it has read its variable already
    if dynamo and os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        dynamo.config.disable = True


def _quiet() -> None:
    """Hide start-up warnings of other libraries that a user cannot act on."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="vllm|torch")
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
