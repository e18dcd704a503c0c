"""`--logger brief`: progress and every error, and no listing of jobs unless it is asked for."""

import logging
import os
import subprocess
from types import SimpleNamespace

import forked
import pytest
from project import ROOT
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_brief import LogHandler

SNAKEFILE = """
rule all:
    input: expand("{n}.txt", n=range(3)), "last.txt"

rule number:
    output: "{n,[0-9]+}.txt"
    log: "{n}.log"
    shell: "touch {output}"

rule last:
    input: expand("{n}.txt", n=range(3))
    output: "last.txt"
    log: "last.log"
    shell: "echo what went wrong > {log}; test -e allowed && touch {output}"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def run(folder, *arguments):
    command = forked.command("-m", "snakemake", "--logger", "brief", "--nocolor", "--cores", "1", *arguments)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, env=environment)
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize("quiet", [(), ("--quiet", "all")], ids=["plain", "quiet"])
def test_a_failed_job_is_shown_with_its_log_and_the_others_are_not_listed(folder, quiet):
    code, said = run(folder, "--show-failed-logs", *quiet)
    assert code
    assert "Error in rule last:" in said
    assert "what went wrong" in said
    assert not [line for line in said if line.startswith(("rule ", "localrule "))]
    assert "5 jobs to run, among them 3 number" in said
    assert "1 of 5 jobs done (20%)" in said
    (log,) = (folder / ".snakemake/log").iterdir()
    if not quiet:
        assert log.read_text().count("rule number:") == 3, "the listing is in Snakemake's log"


def test_an_error_of_the_workflow_itself_is_shown(folder):
    code, said = run(folder, "nowhere.txt", "--quiet", "all")
    assert code
    assert any("MissingRuleException" in line for line in said)


def test_a_finished_run_says_so_and_a_dry_run_lists(folder):
    (folder / "allowed").touch()
    _, said = run(folder, "--dry-run")
    assert sum(line.endswith("rule number:") for line in said) == 3
    code, said = run(folder, "--printshellcmds")
    assert code == 0
    assert sum(line.endswith("rule number:") for line in said) == 3
    assert run(folder) == (0, ["nothing to be done: all is there already"])


def test_progress_says_what_runs_and_comes_at_most_every_ten_seconds(monkeypatch, capsys):
    clock = iter([0.0, 9.0, 10.0, 11.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    switches = ("debug_dag", "verbose", "dryrun", "printshellcmds", "show_failed_logs")
    handler = LogHandler(SimpleNamespace(quiet=None, **dict.fromkeys(switches, False)), None)

    def tell(event, **fields):
        handler.emit(SimpleNamespace(event=event, levelno=logging.INFO, **fields))

    for number, rule in enumerate(["score", "score", "sample"]):
        tell(LogEvent.JOB_INFO, jobid=number, rule_name=rule)
    for done in range(1, 5):
        tell(LogEvent.JOB_FINISHED, job_id=done - 1)
        tell(LogEvent.PROGRESS, done=done, total=4)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 4 jobs done (25%); running: score, sample",
        "3 of 4 jobs done (75%)",
        "4 of 4 jobs done (100%)",
    ]
