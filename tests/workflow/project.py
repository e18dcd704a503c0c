"""A project of its own in a scratch folder: a copy of the workflow, a tiny base model, a study of seconds."""

import compileall
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import yaml

from alignment_limits.commands.studies import Plan, read_plan
from alignment_limits.limits.picks import fused_picks
from alignment_limits.limits.streaming.kernels import fused_sums

ROOT = Path(__file__).parents[2]
OWN_REWARDS = """
import helper

def vowels(prompts, replies):
    return [helper.count(r, "aeiouAEIOU") + 0.01 * len(r) for r in replies]

def letters(prompts, replies):
    return [sum(map(str.isalpha, r)) + 0.001 * sum(map(ord, r[:3])) for r in replies]
"""
HELPER = """
def count(text, characters):
    return sum(text.count(c) for c in characters)
"""
STUDY = {
    "study": "tiny",
    "model": {"name": "tiny", "source": {"path": "model"}},
    "prompts": {"source": {"path": "prompts.txt"}, "count": 8, "stratify_by": None},
    # two chunks of 4 prompts × two blocks of 8 samples
    "sampling": {
        "engine": "transformers",
        "samples_per_prompt": 16,
        "max_new_tokens": 12,
        "block": 8,
        "shard_tokens": 400,
    },
    "gold": "vowels",
    "rewards": {
        "vowels": {"kind": "python", "function": "own_rewards:vowels"},
        "letters": {"kind": "python", "function": "own_rewards:letters"},
        "words": {"kind": "lexicon", "lexicon": "words", "source": {"path": "words.txt"}},
    },
    "ensembles": {"mean": {"members": ["letters", "words"], "aggregator": "mean"}},
    "limits": {
        "betas": [4, 1],
        "kls": [0.1, 0.5],
        "best_of": [1, 2],
        "ensemble_betas": [1],
        "bootstrap": 200,
    },
}


@functools.cache
def _compile() -> None:
    """Compile the library, which takes seconds; a copy with what was compiled, and the times of files, is not again."""
    compileall.compile_dir(ROOT / "workflow", quiet=2)
    one = np.ones((1, 1, 2, 1))
    fused_sums(one[..., 0], one[0, :, 0], one, np.array([[2]]), one[0, 0, :1])
    fused_picks(one[0, ..., 0], np.array([2]), np.array([1]), np.array([0.0]), np.array([1]), step=1.0, cap=1.0)


class Project:
    """A folder with the workflow, where Snakemake runs the folder's own copy of the library.

    It and its jobs are forks of a process that has loaded their libraries; where `anew`, each starts Python, as a
    user's do. `light` is a folder on PYTHONPATH that refuses what the light environment does not have.
    """

    anew = False
    light = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, folder: Path, model: Path) -> "Project":
        _compile()
        folder.mkdir()
        for name in ("workflow", "config", "profiles"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info"))
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copytree(model, folder / "model")
        (folder / "prompts.txt").write_text("".join(f"prompt number {i} says {i * i}\n" for i in range(24)))
        (folder / "words.txt").write_text("stupid\nidiot\n" + "".join(f"{c}\n" for c in "abcdefghijklmnopqrstuvwxyz"))
        (folder / "own_rewards.py").write_text(OWN_REWARDS)
        (folder / "helper.py").write_text(HELPER)
        project = cls(folder)
        project.study()
        return project

    def copy(self, folder: Path) -> "Project":
        """The same project elsewhere, with all it has made and what Snakemake knows of it."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("locks"))
        return Project(folder)

    def study(self, change=None) -> None:
        """Write the study file: `STUDY` with sections (or keys of sections) replaced."""
        study = {k: dict(v) if isinstance(v, dict) else v for k, v in STUDY.items()}
        for section, values in (change or {}).items():
            if isinstance(values, dict) and section not in ("rewards", "ensembles"):
                study.setdefault(section, {}).update(values)
            else:
                study[section] = values
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")

    def module(self, *arguments) -> dict:
        """Arguments of `subprocess.run` or `Popen` that start a module in the project's folder and environment."""
        python = [sys.executable] if self.anew else forked.command(light=self.light)
        paths = [str(self.folder / "workflow"), self.light, os.environ.get("PYTHONPATH", "")]
        environment = forked.compiled_once() | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
        return {"args": [*python, "-m", *map(str, arguments)], "cwd": self.folder, "env": environment, "text": True}

    def command(self, *arguments, cores="all") -> dict:
        """The same of Snakemake on the study."""
        return self.module("snakemake", "--configfile", "study.yaml", "--nocolor", "--cores", cores, *arguments)

    def run(self, *arguments, check=True, cores="all") -> str:
        """What Snakemake said; with `check`, it must succeed, without it must fail."""
        run = subprocess.run(
            **self.command(*arguments, cores=cores), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
        )
        assert (run.returncode == 0) == check, f"snakemake {arguments} returned {run.returncode}:\n{run.stdout[-6000:]}"
        return run.stdout

    def plan(self, *arguments) -> Plan:
        """What a dry run lists, and why."""
        return read_plan(self.run("--dry-run", *arguments))
