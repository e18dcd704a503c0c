"""Partial sums of the frontier as files, so that machines can share the work."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.files import atomic
from alignment_limits.limits.streaming.sums import FrontierSums, Specimens, merge

FORMAT = 3


def write_sums(sums: FrontierSums, path: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write sums as an .npz file, complete or not at all."""
    header = {
        "format": FORMAT,
        "names": sums.names,
        "seed": sums.seed,
        "samples": sums.samples,
        "left_out": sums.left_out,
        "clustered": sums.clustered,
        **provenance,
    }
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.array(json.dumps(header, sort_keys=True)),
            inverse=sums.inverse,
            prompts=sums.prompts,
            sums=sums.sums,
            keys=sums.keys,
            marks=sums.specimens.marks,
            scores=sums.specimens.scores,
        )


def read_sums(path: str | Path) -> FrontierSums:
    """Read sums; see read_part."""
    return read_part(path)[0]


def read_part(path: str | Path) -> tuple[FrontierSums, dict[str, Any]]:
    """Read sums and what was written beside them.

    Raises:
        ArtifactError: no such file, not one of ours, damaged, or of another version.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise ArtifactError(f"{path} has format {header['format']}, this version reads {FORMAT}; sum again")
            specimens = Specimens()
            specimens.add(file["marks"], file["scores"])
            sums = FrontierSums(
                tuple(header["names"]),
                file["inverse"],
                header["seed"],
                file["prompts"],
                header["samples"],
                header["left_out"],
                header["clustered"],
                file["sums"],
                specimens,
                [file["keys"]],
            )
        if sums.prompts.sum() + sums.left_out != len(sums.keys):
            raise ValueError("prompts and keys differ")
        return sums, header
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except ArtifactError:
        raise
    except Exception as error:  # zipfile, zlib, json and NumPy have each their own
        raise ArtifactError(f"{path} holds no partial sums of this project ({error}); sum again") from error


def _check_sizes(path: str | Path) -> None:
    """Refuse arrays that claim more than lies in the file, before NumPy makes room for them.

    Raises:
        ValueError: the first of them.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                major, _ = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype.kind not in "biufUS" or math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                    raise ValueError(f"{entry.filename} is not filled by its content")


def continue_sums(
    empty: FrontierSums, path: Path, tables: Sequence[str], digest: Callable[[str], str]
) -> tuple[FrontierSums, dict[str, str]]:
    """The sums of a part that was begun, and the digests of the tables in it; the empty ones where there is no part.

    Raises:
        ArtifactError: the part was begun with other rewards, betas or seed, or of other tables.
    """
    if not path.exists():
        return empty, {}
    begun, header = read_part(path)
    done: dict[str, str] = header["tables"]
    try:
        empty.include(begun, str(path), "what is asked for")
    except EstimateError as error:
        raise ArtifactError(f"{error}; delete it, or choose another --out") from error
    for table, known in done.items():
        if table not in tables or digest(table) != known:
            what = "has changed since" if table in tables else "is not among the tables given, but"
            raise ArtifactError(f"{table} {what} it was summed into {path}; delete {path}, or choose another --out")
    return empty, done


def merge_files(paths: Sequence[str | Path]) -> FrontierSums:
    """Sums of several files, in any order.

    Raises:
        ArtifactError: one cannot be read, they do not belong together, or a prompt is in two of them.
    """
    try:
        return merge(map(read_sums, paths), [str(path) for path in paths])
    except EstimateError as error:
        raise ArtifactError(str(error)) from error
