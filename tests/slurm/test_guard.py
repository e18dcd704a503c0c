"""What is said about Slurm's jobs, without a Slurm."""

import sys

import pytest
import yaml
from running import ROOT

from alignment_limits.jobs import job

RUN = "43377df3-9605-49ed-aa68-753fb35d61f5"


def test_jobs_of_this_study_and_folder_count_once_per_array(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    listing = "\n".join(
        [
            f"12|small_{RUN}|{tmp_path}",
            f"12|small_{RUN}|{tmp_path}",
            f"9|{RUN}|{tmp_path}/link",  # no prefix: it may be of this study
            f"13|other_{RUN}|{tmp_path}",
            f"14|small_{RUN}|/elsewhere",
            f"15|training-run|{tmp_path}",
            f"16|v1_2_{RUN}|{tmp_path}",
        ]
    )
    assert job.earlier_jobs(listing, tmp_path, "small") == ["9", "12"]
    assert job.earlier_jobs(listing, tmp_path, "v1.2") == ["9", "16"]
    assert job.earlier_jobs("", tmp_path, "small") == []


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A squeue that says what it is told."""

    def say(text, code=0):
        (tmp_path / "squeue").write_text(f"#!/bin/sh\necho '{text}'\necho down >&2\nexit {code}\n")
        (tmp_path / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return say


def test_a_run_beside_earlier_jobs_is_refused_with_the_command_that_ends_them(squeue, tmp_path):
    squeue(f"12|small_{RUN}|{tmp_path}")
    with pytest.raises(job.SlurmError, match="scancel 12"):
        job.refuse_beside_earlier_jobs(tmp_path, "small")
    job.refuse_beside_earlier_jobs(tmp_path, "another")


def test_no_answer_is_not_taken_for_no_jobs(squeue, tmp_path):
    squeue("", code=1)
    with pytest.raises(job.SlurmError, match="down"):
        job.refuse_beside_earlier_jobs(tmp_path, "small")


def test_shards_too_small_for_a_task_are_told_with_the_key_to_change():
    assert "sampling.shard_tokens" in job.small_shards(100, 50_000)
    assert job.small_shards(100, job.TOKENS_IN_FIVE_MINUTES) == ""
    assert job.small_shards(1, 50_000) == "", "one task cannot be joined with another"


def test_arrays_and_a_limit_on_jobs_are_refused_together():
    for jobs, resources in ((50, {}), (None, {"gpu": 8}), (sys.maxsize, {"gpu": 8})):
        with pytest.raises(job.SlurmError, match="--jobs 50" if jobs == 50 else "gpu"):
            job.refuse_limited_arrays("sample,score", jobs, resources)
        job.refuse_limited_arrays("", jobs, resources)
    job.refuse_limited_arrays("sample,score", sys.maxsize, {})


def test_failures_are_explained_with_last_lines_and_a_remedy(tmp_path):
    (tmp_path / "rule_score").mkdir()
    (tmp_path / "rule_score/7_2.log").write_text("\n".join([f"line {i}" for i in range(40)] + ["x" * 9999]))
    log = (
        "SLURM-job '7_2' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed\n" * 2
        + "SLURM-job '8' failed, SLURM status is: 'TIMEOUT'.\n"
    )
    text = job.explain_ended(log, tmp_path)
    assert "line 39" in text
    assert "line 20" not in text
    assert max(map(len, text.splitlines())) < 250
    assert text.count("raise mem_mb") == 1
    assert "raise runtime" in text
    killed = "slurmstepd: error: StepId=9.batch exceeded memory limit (567844864 > 525336576), being killed"
    (tmp_path / "rule_score/9.log").write_text(killed)
    text = job.explain_ended("SLURM-job '9' failed, SLURM status is: 'FAILED'.", tmp_path)
    assert killed in text
    assert "raise mem_mb" in text
    assert job.explain_ended("all went well", tmp_path) == ""


def test_both_profiles_agree_on_what_reruns():
    local, cluster = (
        yaml.safe_load((ROOT / f"profiles/{name}/profile.yaml").read_text("utf-8")) for name in ("default", "slurm")
    )
    for key in ("rerun-triggers", "rerun-incomplete", "max-checksum-file-size", "scheduler"):
        assert cluster[key] == local[key], key
