"""Finished results without the records that Snakemake keeps of them, elsewhere, or out of reach."""

import contextlib
import json
import os
import shutil
import signal
import subprocess

import pytest
from faulty import GROWN, TABLES, alive, jobs

OTHER_BETAS = GROWN | {"limits": {"betas": [3, 1]}}
ESTIMATES = {"frontier"}


@pytest.fixture(scope="session")
def grown(before, undisturbed, tmp_path_factory):
    """The finished study, to be copied."""
    project = before.copy(tmp_path_factory.mktemp("grown") / "project")
    project.study(GROWN)
    project.run(*TABLES)
    project.expected = undisturbed
    return project


@pytest.fixture
def done(grown, tmp_path):
    project = grown.copy(tmp_path / "project")
    project.expected = grown.expected
    return project


def forget(project):
    shutil.rmtree(project.folder / ".snakemake")


def copied(project):
    """Results copied file by file, in whatever order, with new times and without Snakemake's records."""
    forget(project)
    results = project.folder / "results"
    results.rename(results.with_name("old"))
    shutil.copytree(results.with_name("old"), results, symlinks=True, copy_function=shutil.copyfile)
    shutil.rmtree(results.with_name("old"))
    for i, file in enumerate(sorted(results.rglob("*"), reverse=True)):  # outputs before their inputs
        if not file.is_symlink():
            os.utime(file, (1.7e9 + i, 1.7e9 + i))


def moved(project):
    """The whole project under another name."""
    project.folder = project.folder.rename(project.folder.with_name("moved here"))


def linked(project):
    """Results on another disk."""
    results = project.folder / "results"
    results.rename(project.folder.parent / "disk")
    results.symlink_to(project.folder.parent / "disk")


def damaged(project):
    """Each record cut short, emptied, or of another kind."""
    for i, file in enumerate(sorted(f for f in (project.folder / ".snakemake/metadata").rglob("*") if f.is_file())):
        file.write_text((file.read_text()[:40], "", "[1]", '{"rule": 7, "params": "x"}', "null")[i % 5])


def adopt(project):
    return subprocess.run(**project.module("alignment_limits", "adopt", "study.yaml"), capture_output=True)


def rules(plan):
    return dict(plan.jobs)


@pytest.mark.parametrize("what", [forget, moved, linked, damaged, copied])
def test_settings_that_changed_are_noticed_and_nothing_else_runs(done, what):
    what(done)
    if what is copied:
        said = adopt(done)
        assert said.returncode == 0, said.stderr
        assert "are unchanged" in said.stdout
        assert "refused" not in said.stdout
    assert rules(done.plan(*TABLES)) == {}
    done.study(OTHER_BETAS)
    plan = done.plan(*TABLES)
    assert rules(plan) == dict.fromkeys(ESTIMATES, 1)
    assert "setting betas: [1.0, 4.0] → [1.0, 3.0]" in plan.reasons["frontier"]


def test_stale_tables_are_made_again_wherever_they_came_from(done, tmp_path):
    """Copied without records, then other settings, another library, another input: each is noticed by the table."""
    copied(done)
    done.study(OTHER_BETAS)
    assert done.plan(*TABLES).jobs["frontier"] == 1, "before anything was adopted"
    assert adopt(done).returncode == 0
    done.study(GROWN)
    with (done.folder / "workflow/alignment_limits/limits/tilt.py").open("a") as module:
        module.write("\nMORE = 1\n")
    forget(done)
    plan = done.plan(*TABLES)
    assert {"frontier", "best_of_n"} <= plan.jobs.keys()
    assert "code of limits.tilt changed" in plan.reasons["frontier"]


def test_an_input_that_is_another_is_noticed_whatever_its_time(done):
    forget(done)
    prompts = done.folder / "prompts.txt"
    prompts.write_text(prompts.read_text().replace("number 3", "number three"))
    os.utime(prompts, (1e9, 1e9))
    plan = done.plan(*TABLES)
    assert plan.reasons["fetch"] == {"computed from another version of prompts.txt": 1}
    assert plan.jobs["sample"] > 0
    said = adopt(done)
    assert "computed from another version of prompts.txt" in said.stdout
    reasons = done.plan(*TABLES).reasons["fetch"]
    assert reasons == {"computed from another version of prompts.txt": 1}, "not adopted"


def test_tables_of_other_settings_put_over_ours_are_noticed(done, grown, tmp_path):
    """Snakemake's record is that of the table which was there before."""
    other = grown.copy(tmp_path / "other")
    other.study(OTHER_BETAS)
    other.run("frontier")
    name = "results/tiny/limits/frontier.parquet"
    shutil.copy2(other.folder / name, done.folder / name)
    plan = done.plan(*TABLES)
    assert rules(plan) == {"frontier": 1}
    assert "setting betas: [1.0, 3.0] → [1.0, 4.0]" in plan.reasons["frontier"]
    shutil.copy(grown.folder / name, done.folder / name)  # and ours put back, at another time
    assert rules(done.plan(*TABLES)) == {}


def test_a_result_without_any_record_is_made_again(done):
    forget(done)
    table = done.folder / "results/tiny/limits/frontier.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    shutil.copy(done.folder / "results/tiny/limits/best_of_n.parquet", done.folder / "results/tiny/limits/gone.parquet")
    plan = done.plan(*TABLES)
    assert rules(plan) == {"frontier": 1}
    assert plan.reasons["frontier"] == {"no record of how it was made": 1}
    said = adopt(done).stdout
    assert "limits/frontier.parquet: no record of how it was made" in said
    assert "limits/gone.parquet: no record of how it was made" in said


def test_nothing_is_adopted_while_a_run_is_at_work(done):
    locks = done.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.input.lock").write_text("results/x")
    said = adopt(done)
    assert said.returncode == 1
    assert "a run is in progress in this folder, or was killed" in said.stderr


@contextlib.contextmanager
def read_only(folder):
    """A folder that cannot be written, even by root."""
    mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount what this test cannot write")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder, folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_results_that_cannot_be_written(done):
    """They can be read and looked at; what would have to be made says so, and nothing is damaged."""
    with read_only(done.folder / "results"):
        assert rules(done.plan(*TABLES)) == {}
        assert "Nothing to be done" in done.run(*TABLES)
        said = adopt(done)
        assert said.returncode == 1
        assert "check the folder's permissions" in said.stderr
        done.study(OTHER_BETAS)
        said = done.run(*TABLES, check=False)
        assert "Write-protected output files for rule frontier" in said
        assert "results/tiny/limits/frontier.parquet" in said
    done.study(GROWN)
    done.is_right()


def test_two_studies_that_share_samples_at_once(study):
    """The second waits its turn, by a message, and then makes only what is its own."""
    run, _ = study.hold("samples")
    first = (study.folder / "study.yaml").read_text()
    study.study(GROWN | {"study": "second", "gold": "letters"})
    second = (study.folder / "study.yaml").read_text()
    assert "cannot be locked" in study.run(*TABLES, check=False)
    study.release()
    study.said(run, returns=0)
    made = jobs(study.run(*TABLES))[0]
    assert not {"sample", "score", "fetch", "convert", "prompts_chunk"} & {job.split()[0] for job in made}
    (study.folder / "study.yaml").write_text(first)
    study.is_right(apart_from="second")
    (study.folder / "study.yaml").write_text(second)
    assert "Nothing to be done" in study.run(*TABLES)


@pytest.mark.parametrize("whom", ["run", "job"])
def test_sigterm(study, whom):
    """The run lets its jobs end and starts no more; a job stops and leaves nothing."""
    run, job = study.hold("samples")
    if whom == "job":
        os.kill(job, signal.SIGTERM)
        study.wait_for(lambda: not alive(job), seconds=10)
        study.release()
    else:
        run.terminate()
        study.wait_for(lambda: "Will exit after finishing" in study.read("said.txt"), seconds=30)
        study.release()
    said = study.said(run, returns=None)
    assert not list((study.folder / "results").rglob(".*.part"))
    study.resume(said)


def test_a_killed_writer_s_file_is_gone_after_the_next_run(study):
    run, job = study.hold("samples")
    os.killpg(run.pid, signal.SIGKILL)
    os.kill(job, signal.SIGKILL)
    said = study.said(run, returns=None)
    assert list((study.folder / "results").rglob(".*.part"))
    study.release()
    study.run("--unlock")
    study.resume(said)
    assert not list((study.folder / "results").rglob(".*.part"))


def test_a_record_is_not_of_another_s_words(done):
    """A record next to a file is believed only where it is one of this very file."""
    record = next((done.folder / "results/models/fetched").glob(".*.made"))
    content = json.loads(record.read_text())
    content["files"] = {name: "0" * 64 for name in content["files"]}
    record.write_text(json.dumps(content))
    forget(done)
    said = adopt(done)
    assert "changed since it was written" in said.stdout
