"""GPUs for the jobs of one machine: each job that asks for GPUs takes free ones, until its process ends.

Snakemake counts GPUs, but does not say which GPU a job gets. Here every GPU has a file on the machine, and the job that
has locked the file has the GPU. The kernel frees the lock when the process ends, however it ends. So all jobs of a
machine share its GPUs, also those of several studies and users. Nothing here depends on the rest of the library; a
script of another workflow can call `take` before it imports torch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alignment_limits.errors import AlignmentLimitsError

FOLDER = Path("/tmp/alignment-limits-gpus")  # not $TMPDIR, which can differ between jobs that share a GPU
NVIDIA, AMD, AMD_RUNTIME = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


class GpuError(AlignmentLimitsError):
    """A job asked for GPUs that it cannot have."""


class Gpu(NamedTuple):
    """A GPU, or a part of one (MIG).

    Attributes:
        name: its name in the environment variable.
        identity: its name for all processes of the machine.
        variable: the environment variable that selects it.
    """

    name: str
    identity: str
    variable: str = NVIDIA


def visible_gpus(environment: Mapping[str, str] = os.environ, amd_nodes: Path = AMD_NODES) -> list[Gpu]:
    """GPUs that this process may use: those of an inherited CUDA_VISIBLE_DEVICES or the like, else all of the machine.

    Example:
        >>> [gpu.name for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "2,MIG-7,-1,3", "PATH": ""})]
        ['2', 'MIG-7']
    """
    if NVIDIA in environment:
        names = _until_invalid(environment[NVIDIA])
        known = _nvidia(environment) if names else []
        return [Gpu(name, _identity(name, known, environment)) for name in names]
    for variable in (AMD, AMD_RUNTIME):
        if variable in environment:
            names = _until_invalid(environment[variable])
            own = names if variable == AMD else list(map(str, range(len(names))))  # HIP counts within ROCR's list
            return [Gpu(name, f"amd-{of}", AMD) for name, of in zip(own, names, strict=True)]
    if cards := _nvidia(environment):
        return [Gpu(part, part) for card in cards for part in card.parts or [card.uuid]]
    properties = [_text(node / "properties") for node in sorted(amd_nodes.glob("*"), key=lambda n: n.name.zfill(9))]
    amd = [text for text in properties if re.search(r"^simd_count [1-9]", text, re.MULTILINE)]
    return [Gpu(str(i), f"amd-{i}", AMD) for i in range(len(amd))]


def take(
    count: int,
    environment: MutableMapping[str, str] = os.environ,
    *,
    folder: Path = FOLDER,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    patience: float = 10.0,
    amd_nodes: Path = AMD_NODES,
) -> list[Gpu]:
    """Take `count` free GPUs, wait if there are too few, and show this process these alone. Call it before torch.

    With 0 no GPU is visible afterwards. The GPUs are held until the process ends, and so do its forks.

    Args:
        count: number of GPUs.
        environment: the variables that say what may be used, and then what is used.
        folder: of the locks; the same for all that share the GPUs.
        say: prints a line when the wait is longer than `patience` seconds.

    Raises:
        GpuError: this machine shows the process fewer GPUs than `count`.
    """
    gpus = visible_gpus(environment, amd_nodes) if count else []
    if count > len(gpus):
        raise GpuError(
            f"this job asked for {count} GPU{'s' * (count > 1)}, and this machine shows it {len(gpus) or 'none'}: "
            "check nvidia-smi and CUDA_VISIBLE_DEVICES here, or ask for fewer (--set-resources RULE:gpu=0 for none)"
        )
    held = _locked(gpus, count, folder, say, patience) if count else []
    _prepared.append(count)
    environment[NVIDIA] = ",".join(gpu.name for gpu in held)
    if any(gpu.variable == AMD for gpu in held) or (not count and (AMD in environment or amd_nodes.exists())):
        environment[AMD] = environment[NVIDIA] or "-1"  # torch and vLLM read both, and want them equal
    return held


_kept: list[int] = []  # open files, whose locks end with the process
_prepared: list[int] = []  # how many GPUs the process asked for, if it was prepared


def _locked(gpus: Sequence[Gpu], count: int, folder: Path, say: Callable[[str], None], patience: float) -> list[Gpu]:
    start, said = time.monotonic(), False
    while True:
        held: list[tuple[Gpu, int]] = []
        for gpu in gpus:
            if len(held) < count and (file := _try(folder, gpu)) is not None:
                held.append((gpu, file))
        if len(held) == count:
            _kept.extend(file for _, file in held)
            return [gpu for gpu, _ in held]
        for _, file in held:  # a job that waits holds nothing, so two jobs cannot wait for each other
            os.close(file)
        if not said and time.monotonic() - start > patience:
            say(f"waiting for {count} of {len(gpus)} GPUs: other jobs of this machine use them (locks in {folder})")
            said = True
        time.sleep(random.uniform(0.1, 0.5))


def _try(folder: Path, gpu: Gpu) -> int | None:
    """The open, locked file of a free GPU, or None."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # for all users, each of whom can remove only their own files
    path = folder / re.sub(r"[^A-Za-z0-9_.-]", "_", gpu.identity)
    while True:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            break
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return file


class _Card(NamedTuple):
    number: str
    uuid: str
    parts: list[str]  # of a card that is divided (MIG)


def _nvidia(environment: Mapping[str, str]) -> list[_Card]:
    """What `nvidia-smi -L` lists, which in a container or a Slurm job are the GPUs that it may use."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False, env=dict(environment)
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return _cards(done.stdout) if done.returncode == 0 else []


def _cards(listing: str) -> list[_Card]:
    """Cards of a listing.

    Example:
        >>> _cards("GPU 0: H200 (UUID: GPU-a)\\n  MIG 1g.18gb Device 0: (UUID: MIG-b)\\nGPU 1: H200 (UUID: GPU-c)")
        [_Card(number='0', uuid='GPU-a', parts=['MIG-b']), _Card(number='1', uuid='GPU-c', parts=[])]
    """
    cards: list[_Card] = []
    for line in listing.splitlines():
        if card := re.match(r"GPU (\d+): .*\(UUID: (\S+)\)", line):
            cards.append(_Card(card[1], card[2], []))
        elif cards and (part := re.match(r"\s+MIG .*\(UUID: (\S+)\)", line)):
            cards[-1].parts.append(part[1])
    return cards


def _identity(name: str, cards: Iterable[_Card], environment: Mapping[str, str]) -> str:
    """The UUID of what an inherited list calls `name`: an index, a UUID or its beginning."""
    for card in cards:
        if name == card.number or card.uuid.startswith(name):
            return card.uuid
        if parts := [part for part in card.parts if part.startswith(name)]:
            return parts[0]
    # Without nvidia-smi an index may be relative to what Slurm granted, so it is compared within one Slurm job.
    return f"job-{environment.get('SLURM_JOB_ID', '')}-{name}" if name.isdigit() else name


def _until_invalid(names: str) -> list[str]:
    """The list up to its first invalid name, as CUDA reads it."""
    out: list[str] = []
    for name in map(str.strip, names.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", name) or name in out:
            break
        out.append(name)
    return out


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def asked_for(resources: Any) -> int:
    """Number of GPUs in a job's Snakemake resources: `gpu: 1`, or `gres: gpu:a100:1` as some Slurm sites want it.

    Example:
        >>> [asked_for(resources) for resources in ({"gpu": 2}, {"gres": "gpu:a100:4,licence:1"}, {"gres": "gpu"}, {})]
        [2, 4, 1, 0]
    """
    if count := int(resources.get("gpu") or 0):
        return count
    asked = re.search(r"(?:^|,)gpu(?::[^,:]*[^,:\d][^,:]*)?(?::(\d+))?(?:,|$)", str(resources.get("gres") or ""))
    return int(asked[1] or 1) if asked else 0


def prepare(snakemake: Any) -> None:
    """Give a job its CPU threads and its GPUs. Scripts call it before they import what loads torch.

    An error is one message, in the log too, and exit code 1.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))
    try:
        take(asked_for(snakemake.resources))
    except GpuError as error:
        log = Path(str(snakemake.log[0]))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"\nerror in {snakemake.rule}: {error}\n", "utf-8")
        sys.exit(f"\nerror in {snakemake.rule}: {error}\n")


def device_of_job() -> str:
    """Torch device of this process: "cuda" where it took a GPU, "cpu" where it was prepared without one.

    A process that was not prepared computes on a GPU if torch sees one.

    Raises:
        GpuError: the process took a GPU that torch cannot use.
    """
    if _prepared and not _kept:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if _kept:
        raise GpuError(
            "this job has a GPU, but torch cannot use it: install the build for GPUs (make setup HARDWARE=cuda), check "
            f"that the driver is recent enough for torch {torch.__version__} (nvidia-smi), or ask for no GPU "
            "(--set-resources RULE:gpu=0)"
        )
    return "cpu"


def per_job(build: str | None = None, *, here: bool = True) -> int:
    """GPUs of a job that loads a model: 1 where the installed torch can use one, else 0.

    Args:
        build: "cuda", "cpu" or "light": of the environment that jobs use; default: that of the installed torch.
        here: whether jobs run on this machine, so that its GPUs count. On a cluster, all nodes are taken to have some.
    """
    if build is None:
        try:
            build = "cpu" if "+cpu" in importlib.metadata.version("torch") else "cuda"
        except importlib.metadata.PackageNotFoundError:
            build = "light"
    return int(build == "cuda" and (not here or bool(visible_gpus())))
