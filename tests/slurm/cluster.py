"""A tiny study whose jobs go through a real Slurm, and what the test asks Slurm about them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
from project import ROOT, STUDY, Project

NODE = ROOT / "tests/slurm/one_node.sh"
# this Slurm has no accounting
HERE = ("--slurm-status-command", "squeue", "--latency-wait", "10")
# every stage to a table of limits, and no figures: a job through Slurm takes seconds to start
TABLES = ["results/tiny/limits/frontier.parquet"]
# the reward `vowels` notes what it scores when it begins, and waits as long as there is a file `hold`
NOTED = """
import hashlib, os, time

counted = vowels

def vowels(prompts, replies):
    with open("starts", "a") as file:
        file.write(hashlib.sha256(repr((prompts, replies)).encode()).hexdigest() + "\\n")
    while os.path.exists("hold"):
        time.sleep(0.2)
    return counted(prompts, replies)
"""
# two shards of two rewards: enough for arrays
SMALLER = {
    "sampling": {"shard_tokens": 800},
    "rewards": {name: STUDY["rewards"][name] for name in ("vowels", "words")},
    "ensembles": {},
}


class SlurmProject(Project):
    """A project of its own whose jobs Slurm runs."""

    @classmethod
    def new(cls, folder, model):
        project = super().new(folder, model)
        with (folder / "own_rewards.py").open("a") as file:
            file.write(NOTED)
        project.study(SMALLER)
        return project

    def copy(self, folder):
        return type(self)(super().copy(folder).folder)

    def start(self, *arguments):
        """Snakemake through the profile, as a process."""
        self.anew = True  # of memory that Slurm grants, what is shared would not count
        command = self.command(*HERE, *arguments)
        command["args"][1:3] = [str(NODE.with_name("impatient.py"))]  # in place of `-m snakemake`
        i = command["args"].index("--cores")
        command["args"][i : i + 2] = ["--workflow-profile", "slurm"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command["env"] |= {"PATH": path}
        return subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def through_slurm(self, *arguments, check=True):
        """The same to its end; what it said."""
        process = self.start(*arguments)
        said, status = finish(process)
        assert (status == 0) == check, f"returned {status}:\n{said[-8000:]}"
        return said

    def tables(self):
        """Every table this project has made, by path."""
        files = [f for f in (self.folder / "results").rglob("*.parquet") if not f.is_symlink()]
        return {str(f.relative_to(self.folder)): pl.read_parquet(f) for f in files}

    def starts(self):
        """What `vowels` began to score, in order."""
        noted = self.folder / "starts"
        return noted.read_text().split() if noted.exists() else []


def jobs(folder):
    """All Slurm has seen from a folder: a dict per job or array task, as `scontrol show job` names things."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=False)
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.stdout.splitlines()]
    return [job for job in found if job.get("WorkDir") == str(folder)]


def finish(process, seconds=500):
    """What a process said, and its exit status."""
    try:
        return process.communicate(timeout=seconds)[0], process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it did not end in time:\n{process.communicate()[0][-8000:]}") from None


def until(condition, seconds=300, process=None):
    """Wait for something to hold, while a process runs."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert process is None or process.poll() is None, process.communicate()[0][-8000:]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value
