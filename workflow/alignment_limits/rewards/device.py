"""Where a reward model runs: on the GPU its job asked for, else on the CPU."""

from __future__ import annotations

from typing import Any

from alignment_limits.errors import RewardError


def device_for(resources: Any) -> str:
    """Torch device of a job, from its Snakemake resources (`gpu: 1`, or `gres: gpu:…` as some Slurm sites want).

    Raises:
        RewardError: the job asked for a GPU and torch sees none.
    """
    if not resources.get("gpu") and "gpu" not in str(resources.get("gres") or ""):
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise RewardError(
            "this job asked for a GPU, but torch sees none: ask for none (set-resources: score: gpu: 0 in the "
            "profile), or install the build for GPUs (make setup HARDWARE=cuda) and check nvidia-smi on the node"
        )
    return "cuda"
