"""Partial sums of the frontier as files, so that machines can share the work."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.files import atomic
from alignment_limits.limits.streaming import FrontierSums, Specimens, merge

FORMAT = 1


def write_sums(sums: FrontierSums, path: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write sums as an .npz file, complete or not at all."""
    header = {"format": FORMAT, "names": sums.names, "seed": sums.seed, "samples": sums.samples, **provenance}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            header=np.array(json.dumps(header, sort_keys=True)),
            inverse=sums.inverse,
            prompts=sums.prompts,
            high=sums.high,
            low=sums.low,
            keys=sums.keys,
            marks=sums.specimens.marks,
            scores=sums.specimens.scores,
        )


def read_sums(path: str | Path) -> FrontierSums:
    """Read sums.

    Raises:
        ArtifactError: no such file, not one of ours, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise ArtifactError(f"{path} has format {header['format']}, this version reads {FORMAT}; sum again")
            specimens = Specimens()
            specimens.add(file["marks"], file["scores"])
            return FrontierSums(
                tuple(header["names"]),
                file["inverse"],
                header["seed"],
                file["prompts"],
                header["samples"],
                file["high"],
                file["low"],
                specimens,
                [file["keys"]],
            )
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} holds no partial sums of this project ({error}); sum again") from error


def merge_files(paths: Sequence[str | Path]) -> FrontierSums:
    """Sums of several files, in any order.

    Raises:
        ArtifactError: one cannot be read, they do not belong together, or a prompt is in two of them.
    """
    try:
        return merge([read_sums(path) for path in paths], [str(path) for path in paths])
    except EstimateError as error:
        raise ArtifactError(str(error)) from error
