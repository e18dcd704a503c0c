"""A tiny study through a real Slurm: arrays, GPU requests, shards out of memory, a cancelled job, a killed run."""

import shutil
import subprocess

import pytest
from cluster import TABLES, SlurmProject, finish, jobs, until

pytestmark = pytest.mark.slurm


def test_a_study_through_slurm_equals_the_local_one_though_shards_ran_out_of_memory(local, tmp_path, tiny_model):
    """The profile as it is, but for memory that fits at the second attempt only."""
    project = SlurmProject.new(tmp_path / "project", tiny_model)
    project.through_slurm("preflights")
    first = jobs(project.folder)
    assert not [job for job in first if "rule_sample" in job["Comment"]], "preflights come before sampling"
    said = project.through_slurm(*TABLES, "--set-resources", "sample:mem_mb=700*attempt", "standardise:gpu=1")
    assert "Submitted array job" in said
    tables = project.tables()
    assert tables.keys() == (expected := local.tables()).keys()
    assert [name for name in expected if not expected[name].equals(tables[name])] == []
    sampling = [job for job in jobs(project.folder) if "rule_sample_" in job["Comment"]]
    (granted,) = (job for job in jobs(project.folder) if "rule_standardise" in job["Comment"])
    assert granted["TresPerJob"] == "gres:gpu:1"
    assert not any("gpu" in job.get("TresPerJob", "") for job in sampling), "this torch could not use one"
    scoring = [job for job in jobs(project.folder) if "rule_score_" in job["Comment"]]
    assert scoring
    assert all("vowels" in job["Comment"] for job in scoring), "word lists are scored where Snakemake runs"
    # this Slurm calls a task that it killed for memory FAILED, others OUT_OF_MEMORY
    completed = {job["MinMemoryNode"] for job in sampling if job["JobState"] == "COMPLETED"}
    killed = {job["MinMemoryNode"] for job in sampling if job["JobState"] != "COMPLETED"}
    # an array asks for a little more, for its list of commands
    assert [{int(memory[:-1]) // 100 for memory in kind} for kind in (killed, completed)] == [{7}, {14}]


@pytest.fixture
def unscored(local, tmp_path):
    """The finished study without what one reward scored, which it is held from scoring again; and those files."""
    project = local.copy(tmp_path / "project")
    (folder,) = (project.folder / "results/shared").glob("*/scores/vowels-*")
    files = sorted(str(f.relative_to(project.folder)) for f in folder.glob("*.parquet"))
    shutil.rmtree(folder)
    (project.folder / "starts").unlink()
    (project.folder / "hold").touch()
    yield project, files
    (project.folder / "hold").unlink(missing_ok=True)


def same_scores(project, local, files):
    made, expected = project.tables(), local.tables()
    return all(made[name].equals(expected[name]) for name in files)


def test_a_cancelled_shard_alone_is_scored_again(unscored, local):
    project, files = unscored
    process = project.start("--retries", "0", *files)
    until(lambda: len(project.starts()) == len(files), process=process)
    cancelled = next(job for job in jobs(project.folder) if job.get("ArrayTaskId") == "2")
    task = f"{cancelled['ArrayJobId']}_2"
    subprocess.run(["scancel", task], check=True)
    until(lambda: "CANCELLED" in [job["JobState"] for job in jobs(project.folder)])
    (project.folder / "hold").unlink()
    said, status = finish(process)
    assert status
    assert f"Slurm job {task}: CANCELLED" in said, said
    assert "last lines of" in said
    assert "run again (finished files are kept)" in said
    project.through_slurm(*files)
    assert same_scores(project, local, files)
    starts = project.starts()
    assert len(starts) == len(files) + 1
    assert len(set(starts)) == len(files)


def test_after_the_main_process_is_killed_nothing_is_scored_twice(unscored, local):
    project, files = unscored
    process = project.start(*files)
    until(lambda: len(project.starts()) == len(files), process=process)
    process.kill()
    process.communicate()
    project.through_slurm("--unlock")
    said = project.through_slurm(*files, check=False)
    (array,) = {job["ArrayJobId"] for job in jobs(project.folder)}
    assert f"scancel {array}" in said
    (project.folder / "hold").unlink()
    until(lambda: {job["JobState"] for job in jobs(project.folder)} == {"COMPLETED"})
    project.through_slurm(*files)
    assert same_scores(project, local, files)
    assert len(project.starts()) == len(set(project.starts())) == len(files)
