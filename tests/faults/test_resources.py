"""No disk and no memory left: the message says what to do, and the next run finishes."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from faulty import TABLES

EAT = """
import os, resource
if target.startswith("results") and "samples" in target:
    {limit}
    eaten = []
    while True:
        eaten.append(bytearray(b"x" * 2**24))
"""
FILL = """
import os
if target.startswith("results") and "samples" in target and not os.path.exists("ballast"):
    with open("ballast", "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
"""


@contextlib.contextmanager
def small_disk(folder: Path, size: str):
    """A file system of its own in memory; whatever is written beyond its size meets a true ENOSPC."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if mount.returncode:
        pytest.skip("only root can mount the small disk this test fills")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the space left."""
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return folder / "ballast"


def test_the_disk_of_the_shards_is_full(study):
    folder = study.shards("samples/*")[0].parent
    old = folder.rename(folder.with_name("old"))
    with small_disk(folder, "1m"):
        for shard in old.iterdir():
            shutil.copy2(shard, folder)
        shutil.rmtree(old)
        ballast = fill(folder)
        said = study.run(*TABLES, check=False)
        assert "no space left on the disk while writing" in said
        assert "b00002.parquet; free some and run again" in said
        ballast.unlink()
        study.resume(said)


@pytest.mark.parametrize("when", ["before the run", "when the first shard is in place"])
def test_the_disk_of_the_whole_project_is_full(study, tmp_path, when):
    """Then Snakemake cannot write either what it knows."""
    with small_disk(tmp_path / "disk", "64m"):
        project = study.copy(tmp_path / "disk/project")
        project.expected = study.expected
        if when == "before the run":
            fill(project.folder)
        else:
            project.fault(FILL)
        said = project.run(*TABLES, check=False)
        assert "No space left on device" in said
        project.release()
        (project.folder / "ballast").unlink()
        project.resume(said)


@contextlib.contextmanager
def memory_group(limit: int):
    """A control group whose processes the kernel kills beyond `limit` bytes."""
    v1, v2 = Path("/sys/fs/cgroup/memory/alignment-limits-test"), Path("/sys/fs/cgroup/alignment-limits-test")
    group, name = (v1, "memory.limit_in_bytes") if v1.parent.exists() else (v2, "memory.max")
    try:
        group.mkdir(exist_ok=True)
        (group / name).write_text(str(limit))
    except OSError:
        pytest.skip("only root with a memory controller can have the kernel kill a job for its memory")
    try:
        yield group
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def test_the_kernel_kills_a_job_for_its_memory(study):
    with memory_group(400 * 2**20) as group:
        study.fault(EAT.format(limit=f"open('{group}/cgroup.procs', 'w').write(str(os.getpid()))"))
        said = study.run(*TABLES, check=False)
    assert "b00002" in said
    assert "SIGKILL" in said or "died with" in said or "Killed" in said
    study.release()
    study.resume(said)


def test_a_job_meets_its_limit_of_memory(study):
    study.fault(EAT.format(limit="resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))"))
    said = study.run(*TABLES, check=False)
    assert "out of memory; run again with fewer jobs at once (--cores 1) or smaller shards" in said
    study.release()
    study.resume(said)
