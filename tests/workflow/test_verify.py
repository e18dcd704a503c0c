"""A finished study that is no longer what was made is told by file; its timeline is that of its jobs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project import Project

from alignment_limits.commands.figures import Job, Overhead, overhead, read_jobs, without_pauses
from alignment_limits.commands.results import drift
from alignment_limits.files import checksums


def verify(project, *plan):
    return subprocess.run(**project.module("alignment_limits", "verify", "results/tiny", *plan), capture_output=True)


def test_one_flipped_byte_is_named(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    intact = verify(project)
    assert intact.returncode == 0
    assert "files of results/tiny are unchanged" in intact.stdout
    names = ["figures/frontier.png", "limits/frontier.parquet", "scores/letters/p00000-00004-b00001.parquet"]
    for file in (project.folder / "results/tiny" / name for name in names):
        content, times = bytearray(file.read_bytes()), file.stat()
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        os.utime(file, (times.st_atime, times.st_mtime))
    (project.folder / "results/tiny/report/study.html").unlink()
    drifted = verify(project)
    assert drifted.returncode == 1
    assert [line for line in drifted.stderr.splitlines() if line.startswith("  ")] == [
        *(f"  changed: results/tiny/{name}" for name in names[:2]),
        "  missing: results/tiny/report/study.html",
        f"  changed: results/tiny/{names[2]}",
    ]


def test_every_result_of_a_study_is_in_its_manifest(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    files = checksums(["results/tiny"])
    left_out = {f for f in files if f.split("/")[2] in ("logs", "benchmarks", "preflight", "manifest.json")}
    manifest = json.loads(Path("results/tiny/manifest.json").read_text())
    assert manifest.keys() == files.keys() - left_out
    assert drift(manifest) == {}


def test_an_unfinished_study_cannot_be_verified(tmp_path):
    (tmp_path / "results/tiny").mkdir(parents=True)
    run = verify(Project(tmp_path))
    assert run.returncode == 1
    assert "finish the study first" in run.stderr


def test_overhead_is_what_no_job_ran_in_and_what_tables_cost():
    jobs = [Job("a", 100, 110, 0.5), Job("b", 105, 120, 0.0), Job("c", 122, 130, 1.0), Job("d", 1000, 1010, 0.0)]
    cut = without_pauses(jobs)
    assert [(j.start, j.end) for j in cut] == [(0, 10), (5, 20), (22, 30), (30, 40)]
    assert overhead(cut) == Overhead(wall=40, idle=2, tables=1.5)
    assert overhead(cut).share == pytest.approx(3.5 / 40)


def test_jobs_are_read_from_benchmarks_and_logs(tmp_path):
    study = tmp_path / "results/x"

    def job(folder, name, end, seconds, benchmark=None):
        log = folder / f"logs/{name}.log"
        log.parent.mkdir(parents=True)
        log.write_text(f"said\n{seconds} s, of which 0.250 s reading and writing tables\n")
        os.utime(log, (end, end))
        if benchmark:
            file = folder / f"benchmarks/{name}.tsv"
            file.parent.mkdir(parents=True)
            file.write_text(f"s\th:m:s\n{benchmark}\t0:00:09\n")
            os.utime(file, (end, end))

    job(study, "score/vader/p0-b0", end=1020, seconds=7.5, benchmark=8)
    job(tmp_path / "results/models", "fetch/tox", end=1005, seconds=5)
    job(tmp_path / "results/models", "convert/of-another-day", end=5, seconds=5)
    assert read_jobs(study) == [Job("fetch", 1000, 1005, 0.25), Job("score", 1012, 1020, 0.25)]


def test_a_timeline_is_drawn_of_a_finished_study(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    run = subprocess.run(**project.module("alignment_limits", "timeline", "results/tiny"), capture_output=True)
    assert run.returncode == 0, run.stderr
    assert "of the time" in run.stdout
    assert (project.folder / "results/tiny/timeline.png").read_bytes()[:4] == b"\x89PNG"
    rules = {job.rule for job in read_jobs(project.folder / "results/tiny")}
    assert {"fetch", "convert", "sample", "score", "frontier", "manifest"} <= rules


def test_results_of_other_settings_are_not_verified_as_the_study_s(finished, tmp_path):
    """Without Snakemake's records, too: the tables' own say what they were made with."""
    project = finished.copy(tmp_path / "project")
    shutil.rmtree(project.folder / ".snakemake")
    plan = "--plan", "--configfile", "study.yaml"
    run = verify(project, *plan)
    assert run.returncode == 0, run.stdout + run.stderr
    project.study({"limits": {"betas": [3, 1]}})
    run = verify(project, *plan)
    assert run.returncode == 1
    assert "are unchanged" in run.stdout
    assert "but the study file or the code has changed since" in run.stderr
    assert "frontier (1 job): setting betas: [1.0, 4.0] → [1.0, 3.0]" in run.stderr
