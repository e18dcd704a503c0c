"""A real Slurm of one node for tests marked `slurm`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

NODE = ROOT / "tests/slurm/one_node.sh"
# no accounting here, and no minutes between looks at the queue; two cores
HERE = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")


@pytest.fixture(scope="session")
def slurm():
    """A running Slurm; skipped where none can be installed and started (not Debian, not root, or one is here already)."""
    up = subprocess.run(["bash", NODE, "up"], capture_output=True, text=True, check=False)
    if up.returncode:
        if os.environ.get("SLURM_TESTS") == "must-run":
            raise AssertionError(f"no Slurm could be started:\n{up.stdout}{up.stderr}")
        pytest.skip(f"no Slurm could be started: {up.stderr.strip().splitlines()[-1]}")
    yield
    subprocess.run(["bash", NODE, "down"], capture_output=True, check=False)


class Shards:
    """The three shards of tests/slurm/Snakefile, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *arguments, seconds=0, megabytes=1, profile="slurm"):
        """Snakemake through the profile, as a process."""
        command = [sys.executable, "-m", "snakemake", "--nocolor", "--snakefile", ROOT / "tests/slurm/Snakefile"]
        command += ["--directory", self.folder, "--workflow-profile", ROOT / "profiles" / profile]
        command += ["--config", f"seconds={seconds}", f"megabytes={megabytes}", *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            list(map(str, command)),
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments, **options):
        """The same to its end: exit status and output."""
        process = self.start(*arguments, **options)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def starts(self):
        """What each shard noted at each of its starts."""
        return [(self.folder / f"starts-{i}").read_text().splitlines() for i in range(3)]

    def finished(self):
        return all((self.folder / f"scores/{i}.txt").read_text() == f"score {i}\n" for i in range(3))


@pytest.fixture
def shards(slurm, tmp_path):
    return Shards(tmp_path)


@pytest.fixture
def queue(slurm):
    """Task id → state of what is in the queue."""

    def look():
        listing = subprocess.run(
            ["squeue", "--array", "--noheader", "--format=%i %T"], capture_output=True, text=True, check=True
        )
        return dict(line.split() for line in listing.stdout.splitlines())

    return look
