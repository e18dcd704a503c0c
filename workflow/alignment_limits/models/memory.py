"""Memory that a model needs, from the sizes of its files: known before anything is loaded.

The files say how many weights there are, and the settings of a job say in which precision it loads them. What a job
needs in addition, for libraries, activations and caches, is an allowance (our choice, measured in docs/clusters.md).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment_limits.errors import ModelError

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
HEADER = 100_000_000  # bytes; the format allows no longer header
QUANTISED = 8  # a GGUF file grows by up to this factor in float32: four bits become 32


@dataclass(frozen=True)
class Checkpoint:
    """What the files of a model say of its size.

    Attributes:
        numbers: weights; 0 for files that do not say (Keras, ONNX, joblib).
        stored: bytes of the files with weights.
        largest: bytes of the largest of them.
        hidden, vocabulary, layers: the widths of the configuration; 0 if it does not say.
    """

    numbers: int
    stored: int
    largest: int
    hidden: int = 0
    vocabulary: int = 0
    layers: int = 0

    def size(self, dtype: str = "float32") -> int:
        """Bytes of all weights in a precision; `auto`: as they are stored.

        Example:
            >>> Checkpoint(numbers=8_030_261_248, stored=16_060_522_496, largest=0).size("bfloat16") / 1e9
            16.060522496
        """
        if dtype == "auto" or not self.numbers:
            return self.stored
        return self.numbers * BYTES[dtype]

    @property
    def head(self) -> int:
        """Bytes of an output head in float32."""
        return 4 * self.hidden * self.vocabulary


def checkpoint(folder: Path) -> Checkpoint:
    """Read the size of a model from the headers of its files; no weight is read.

    Args:
        folder: of a plain transformers model, or of a source of another kind, whose files are added up.

    Raises:
        ModelError: a safetensors file is damaged.
    """
    index = folder / "model.safetensors.index.json"
    tensors = sorted(folder.glob("*.safetensors"))
    if index.is_file():  # some repositories have their weights twice; transformers reads those of the index
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        tensors = [file for file in tensors if file.name in named]
    files = tensors or [file for file in folder.rglob("*") if file.is_file()]
    sizes = [file.stat().st_size for file in files]
    numbers = sum(map(_numbers, tensors))
    quantised = [file for file in files if file.suffix == ".gguf"]
    if quantised:
        numbers = QUANTISED * max(file.stat().st_size for file in quantised) // BYTES["float32"]
    return Checkpoint(numbers, sum(sizes), max(sizes, default=0), **_widths(folder / "config.json"))


def _numbers(file: Path) -> int:
    """Number of weights in a safetensors file."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = dict(json.loads(opened.read(min(length, HEADER))))
        return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is damaged: its header cannot be read ({error}); fetch the model again") from error


def _widths(config: Path) -> dict[str, int]:
    try:
        given = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    text = {**given, **(given.get("text_config") or {})}
    names = {"hidden": "hidden_size", "vocabulary": "vocab_size", "layers": "num_hidden_layers"}
    return {name: int(text.get(key) or 0) for name, key in names.items()}


def in_gb(size: float) -> str:
    """Bytes for a message.

    Example:
        >>> in_gb(16_060_522_496), in_gb(270e6)
        ('16 GB', '0.3 GB')
    """
    return f"{size / 1e9:.0f} GB" if size >= 9.5e9 else f"{size / 1e9:.1f} GB"


def check_fits(folder: Path, dtype: Any, room: float, place: str) -> None:
    """Refuse a model whose weights alone are larger than the memory that they go to.

    Args:
        folder: of the model.
        dtype: precision in which it is loaded, a name or a torch type; `auto`: as it is stored.
        room: bytes.
        place: what has this memory, for the message.

    Raises:
        ModelError: with the arithmetic and what to change.
    """
    dtype = str(dtype).removeprefix("torch.")
    found = checkpoint(folder)
    if (size := found.size(dtype)) <= room:
        return
    precision = "the precision of the files" if dtype == "auto" else dtype
    smaller = "set dtype: bfloat16, or " if dtype == "float32" else ""
    raise ModelError(
        f"{folder.name} does not fit: {found.numbers / 1e9:.3g} billion weights in {precision} are {in_gb(size)}, and "
        f"{place} has {in_gb(room)}; {smaller}choose a smaller model or a larger machine"
    )


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that this process can still use: those free on the machine, or the limit of its control group.

    Slurm and containers set such limits. Infinite if the system does not say.
    """
    try:
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        of = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text("ascii").splitlines()]
    except OSError:
        return float("inf")
    found = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    for _, controllers, own in of:
        if controllers and "memory" not in controllers.split(","):
            continue
        root = groups / "memory" if controllers else groups
        place = root / own.lstrip("/")
        for group in [place, *place.parents][: len(place.parts) - len(root.parts) + 1]:
            for name in ("memory.max", "memory.limit_in_bytes"):  # cgroups version 2, version 1
                limit = (group / name).read_text("ascii").strip() if (group / name).is_file() else "max"
                found += [] if limit == "max" else [float(limit)]
    return min(found, default=float("inf"))
