"""Jobs and runs that are killed: the next run finishes, and makes again only what was in hand."""

import os
import signal

import pytest
from faulty import TABLES, alive


@pytest.mark.parametrize("stage", ["samples", "scores/letters"])
def test_a_job_is_killed(study, stage):
    run, job = study.hold(stage)
    os.kill(job, signal.SIGKILL)
    study.release()
    said = study.said(run, returns=1)
    assert "b00002" in said
    study.resume(said)


@pytest.mark.parametrize("stage", ["samples", "scores/letters"])
def test_the_run_is_killed_while_jobs_work(study, stage):
    run, job = study.hold(stage)
    run.kill()
    said = study.said(run, returns=-signal.SIGKILL)
    study.wait_for(lambda: not alive(job), seconds=5)  # jobs of a run that is no more stop by themselves
    study.release()
    refused = study.run(*TABLES, check=False)
    assert "--unlock" in refused, "the command to use is named"
    study.run("--unlock")
    study.resume(said)


def test_control_c(study):
    run, job = study.hold("samples")
    os.killpg(run.pid, signal.SIGINT)
    said = study.said(run, returns=None)
    study.wait_for(lambda: not alive(job), seconds=5)
    study.release()
    assert not list((study.folder / "results/shared").rglob(".*.part")), "half-written files are removed"
    study.resume(said)


def test_two_runs_at_once(study):
    run, _ = study.hold("samples")
    assert "cannot be locked" in study.run(*TABLES, check=False), "the second run says why it does not start"
    study.release()
    study.said(run, returns=0)
    study.is_right()
