"""The library from a built wheel, in an empty environment with the light dependencies alone."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from running import ROOT

sys.path.insert(0, str(ROOT / "envs"))
import derive

EXAMPLE = """
import sys
import numpy as np
from alignment_limits.limits import best_of_n, frontier, proxy_gap
from alignment_limits.limits.streaming import FrontierSums
from alignment_limits.preferences.rates import slopes
from alignment_limits.study.load import load_study
from alignment_limits.tables.scores import read_score_table

scores = np.random.default_rng(0).standard_normal((64, 64))
table = frontier(scores, {"gold": scores}, betas=[1], kls=[0.5])["gold"]
(limit,) = table.gain[table.at == "kl"]
assert abs(limit - 1) < 0.1, limit  # sqrt(2 KL)
assert not {"torch", "matplotlib", "snakemake", "numba"} & set(sys.modules)
print(f"{limit:.3f}")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The programs of an environment that has the wheel and what it asks for, in the lock's versions."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, as building leaves files behind
    shutil.copytree(ROOT / "workflow", source / "workflow", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", source]
    subprocess.run([*build, "--wheel-dir", folder], check=True)
    (wheel,) = folder.glob("*.whl")
    pins = derive.pins((ROOT / "envs/light.lock").read_text("utf-8"))
    (folder / "pins.txt").write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    venv.create(folder / "empty", with_pip=False)
    bin = folder / "empty/bin"
    install = [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--python", bin / "python"]
    install += ["--find-links", os.environ["PIP_FIND_LINKS"]] if os.environ.get("PIP_FIND_LINKS") else []
    subprocess.run([*install, "--constraint", folder / "pins.txt", wheel], check=True)
    return wheel, bin


def test_the_wheel_has_all_modules_and_nothing_else(installed):
    library = ROOT / "workflow/alignment_limits"
    files = (f for pattern in ("*.py", "templates/*.html") for f in library.rglob(pattern))
    named = {str(f.relative_to(ROOT / "workflow")) for f in files}
    inside = {name for name in zipfile.ZipFile(installed[0]).namelist() if ".dist-info/" not in name}
    assert inside == named


def test_estimators_run_with_the_light_dependencies(installed, tmp_path):
    run = subprocess.run([installed[1] / "python", "-c", EXAMPLE], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_console_script_is_installed(installed, tmp_path):
    script = installed[1] / "alignment-limits"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"gold_scores": [*range(n)]}) + "\n" for n in (8, 16)))
    done = subprocess.run([script, "unnest", "scores.parquet", "a.jsonl"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores.parquet").is_file()
    words = ["stream", "sum", "--optimized", "gold_scores", "--out", "part.npz", "--tables", "scores.parquet"]
    done = subprocess.run([script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert "1 prompts, 1 more left out (fewer than 16 samples), 24 samples" in done.stderr
    listed = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "plan" in listed.stdout
