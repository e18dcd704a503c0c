"""Memory that the jobs with models of a study ask for, from the sizes of the models' files.

Rules ask for `mem_mb` of host memory. All jobs of an array on a cluster get what its first one asks for, so a rule's
answer depends on the study and on the attempt only, not on the shard. Until the files are there, it is a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from alignment_limits.models.memory import BYTES, Checkpoint, checkpoint, in_gb
from alignment_limits.study.layout import Layout

# Allowances in bytes (our choice; docs/clusters.md compares them with what jobs used)
TORCH = 1.5e9  # Python, torch, transformers and one batch
VLLM = 4.5e9  # Python, torch, vLLM and, on a CPU, its cache of keys and values
CUDA = 3e9  # what the GPU's libraries take in host memory
ROOM = 1.15  # buffers of matrix products, as a factor of the weights

UNKNOWN = 16e9  # before the files of a model are there


def for_sampling(base: Checkpoint, dtype: str) -> float:
    """Bytes for drawing replies: of the machine without a GPU, or of the GPUs together."""
    return VLLM + ROOM * base.size(dtype)


def for_scoring(reward: Checkpoint, dtype: str = "float32") -> float:
    """Bytes for a reward; the head of a language model is float32 (guards, judges)."""
    if not reward.numbers:  # Keras, ONNX, joblib: converted after reading
        return TORCH + 3 * reward.stored
    return TORCH + ROOM * reward.size(dtype) + (0 if dtype == "float32" else reward.head)


def for_kl(base: Checkpoint, dtype: str = "float32") -> float:
    """Bytes for the base and a policy of its size, and their next-token laws at a few positions."""
    return TORCH + 2 * (ROOM * base.size(dtype) + (0 if dtype == "float32" else base.head))


def for_training(base: Checkpoint, recipe: Any, tokens: int, reward: float = 0.0) -> float:
    """Bytes for training a policy: weights, reference, critic, gradients and moments, activations of a batch.

    Args:
        base: the model's size.
        recipe: its settings: dtype, lora, batch, objective.
        tokens: of a prompt with its reply, at most.
        reward: bytes of the reward that it is trained on.
    """
    weights = base.size(recipe.dtype)
    models = 2 if recipe.objective == "ppo" else 1  # with a critic
    if recipe.lora is None:
        held = models * (weights + 12 * base.numbers) + weights  # gradients, two moments; the reference
    else:
        adapter = 2 * 7 * recipe.lora.rank * base.hidden * (recipe.lora.layers or base.layers)
        held = models * (weights + 16 * adapter)
    each = base.layers * base.hidden * 34 + 4 * base.vocabulary  # numbers per token that backward passes keep
    return TORCH + ROOM * held + recipe.batch * tokens * each * BYTES["float32"] + reward


def in_words(found: Checkpoint, dtype: str, needed: float) -> str:
    """Size of a model and memory of its jobs, for a message.

    Example:
        >>> guard = Checkpoint(numbers=8_030_261_248, stored=16_060_522_496, largest=5_000_000_000)
        >>> in_words(guard, "bfloat16", for_scoring(guard, "bfloat16"))
        '8.03 billion weights, 16 GB in bfloat16; a job needs about 20 GB'
    """
    weights = f"{found.numbers / 1e9:.3g} billion weights, " if found.numbers else "weights: "
    return f"{weights}{in_gb(found.size(dtype))} in {dtype}; a job needs about {in_gb(needed)}"


class Memory:
    """Host memory of the jobs of a study.

    Args:
        layout: of the study.
        gpus: of a job with a model; with at least one, weights are in the GPU's memory.

    Example:
        >>> from alignment_limits.study.load import load_study
        >>> scores = {"table": "t.parquet", "gold": "human", "proxies": ["rm"]}
        >>> study = load_study({"study": "mine", "scores": scores}, "mine.yaml")
        >>> Memory(Layout(study)).of("score")(None, attempt=2)
        3000
    """

    def __init__(self, layout: Layout, gpus: int = 0) -> None:
        self._layout = layout
        self._study = layout.study
        self._gpus = gpus

    def of(self, job: str) -> Callable[..., int]:
        """`mem_mb` of a rule: a function of wildcards and attempt."""
        needed: Callable[[], float] = getattr(self, f"_{job}")

        def mem_mb(wildcards: Any, attempt: int) -> int:
            return math.ceil(needed() / 1e6) * attempt

        return mem_mb

    def _of_model(self, folder: str | list[str], source: Any, need: Callable[[Checkpoint], float], own: float) -> float:
        """Bytes of the host for a model: all that it needs, or on a GPU what passes through."""
        found = self._checkpoint(folder, source)
        if found is None:
            return UNKNOWN
        return own + CUDA + found.largest if self._gpus else need(found)

    def _checkpoint(self, folder: str | list[str], source: Any = None) -> Checkpoint | None:
        local = source and source.path and Path(source.path).expanduser() / (source.member or "")
        places = [folder] if isinstance(folder, str) else folder[:1]
        for place in (*map(Path, places), local):
            if place and place.is_dir():
                return _cached(place)
        return None

    @property
    def _base(self) -> Checkpoint | None:
        return self._checkpoint(self._layout.model, self._study.model.source) if self._study.model else None

    def _with_base(self, need: Callable[[Checkpoint], float], own: float) -> float:
        return self._of_model(self._layout.model, self._study.model.source, need, own)

    def _sample(self) -> float:
        if self._study.sampling.engine == "endpoint":
            return VLLM
        return self._with_base(lambda base: for_sampling(base, self._study.model.dtype), VLLM)

    def _read_samples(self) -> float:
        return self._with_base(lambda base: for_scoring(base, self._study.model.kl_dtype), TORCH)

    def _policy_kl(self) -> float:
        return self._with_base(lambda base: for_kl(base, self._study.model.kl_dtype), TORCH)

    def _convert(self) -> float:
        found = self._checkpoint(self._layout.fetched(self._study.model.source), self._study.model.source)
        return UNKNOWN if found is None else TORCH + 2 * ROOM * found.size()  # a GGUF file's model, and its copy

    def _policy_model(self) -> float:
        base = self._base
        return UNKNOWN if base is None else TORCH + 2 * ROOM * base.size()

    def _score(self) -> float:
        """The largest of the rewards that are models."""
        spec = self._study.rewards
        return max((self._of_reward(name) for name in self._layout.given if not spec[name].light), default=TORCH)

    def _of_reward(self, name: str) -> float:
        spec = self._layout.scoring(name)
        folder, dtype = self._layout.scoring_files(name), getattr(spec, "dtype", "float32")
        if not folder:
            return TORCH if not spec.neural or getattr(spec, "endpoint", None) else UNKNOWN
        return self._of_model(folder, getattr(spec, "source", None), lambda found: for_scoring(found, dtype), TORCH)

    def _features(self) -> float:
        found = [self._layout.fetched(reader.features) for reader in self._layout.encoders.values()]
        return max((self._of_model(folder, None, for_scoring, TORCH) for folder in found), default=UNKNOWN)

    def _tempered(self) -> float:
        return self._sample() + self._score()

    def _fine_tune(self) -> float:
        """Weights, gradients and two moments in float32."""
        specs = list(self._layout.of_kind("fine-tuned").values())

        def need(found: Checkpoint) -> float:
            return TORCH + 16 * ROOM * found.numbers + 2e9

        folders = [(self._layout.source_files(spec), spec.source or self._study.model.source) for spec in specs]
        return max((self._of_model(folder, source, need, TORCH) for folder, source in folders), default=UNKNOWN)

    def _train_policy(self) -> float:
        """The largest of all runs."""
        reward = self._score() if self._layout.optimized else 0.0
        tokens = self._prompt_tokens() + self._study.sampling.max_new_tokens

        def need(base: Checkpoint) -> float:
            recipes = (self._study.training or {}).values()
            return max((for_training(base, recipe, tokens, reward) for recipe in recipes), default=UNKNOWN)

        return self._with_base(need, TORCH)

    def _prompt_tokens(self) -> int:
        """Tokens of the longest prompt, which the preflight writes down."""
        preflight = Path(self._layout.results("preflight/sampling.json"))
        try:
            return int(json.loads(preflight.read_text("utf-8"))["tokens_max"])
        except (OSError, ValueError, KeyError):
            return 256


@cache
def _cached(folder: Path) -> Checkpoint:
    return checkpoint(folder)
