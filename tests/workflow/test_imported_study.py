"""A study that imports samples of another project: the numbers of the command's table, and a page on what drew them."""

import foreign
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from project import Project
from reduced import DEFAULT
from reported import check

from alignment_limits.__main__ import main
from alignment_limits.study.load import over_default
from alignment_limits.tables.artifacts import read_provenance

RESULTS = "results/mine"
WANTED = ("ensembles/standardised.parquet", "report/provenance.html", "report/study.html")


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    """Two logged steps of TRL with two rewards, and a study that keeps the first."""
    project = Project.new(tmp_path_factory.mktemp("imported") / "project", tiny_model)
    out = foreign.trl(project.folder, (1, 2))[0]
    for step in (1, 2):
        file = out / f"completions_0000{step}.parquet"
        rows = [
            {"step": step, "prompt": f"question {i}", "completion": f"answer {j} of step {step}", "advantage": 0.0}
            | {"accuracy": float((i * j + step) % 3), "length": float(j % 7)}
            for i in range(1, 21)
            for j in range(16)
        ]
        pl.DataFrame(rows).write_parquet(file)
    return project


def study(project, **more):
    scores = {"import": {"files": ["completions"]} | more, "gold": "accuracy", "proxies": ["length"]}
    values = {"study": "mine", "scores": scores, "limits": {"bootstrap": 200, "best_of": [1, 2]}}
    (project.folder / "study.yaml").write_text(yaml.safe_dump(values), "utf-8")


def test_mixed_steps_stop_the_study_with_one_message(project):
    study(project)
    said = project.run(f"{RESULTS}/scores/imported.parquet", check=False)
    assert "several-steps: 2 values of step" in said
    assert "Remedy: --keep step=N" in said
    assert "Traceback" not in said


def test_a_study_has_the_scores_of_the_command_and_a_page_on_what_drew_them(project, tmp_path):
    study(project, keep=["step=1"])
    project.run(*(f"{RESULTS}/{name}" for name in WANTED))
    out = tmp_path / "by_command.parquet"
    assert main(["import", str(project.folder / "completions"), "--keep", "step=1", "-o", str(out)]) == 0
    made = project.folder / RESULTS
    columns = ["prompt_id", "sample_id", "accuracy", "length", "text"]
    assert_frame_equal(pl.read_parquet(made / "scores/imported.parquet")[columns], pl.read_parquet(out)[columns])
    page = (made / "report/provenance.html").read_text("utf-8")
    assert "Nothing was found that speaks against it" in page
    assert "unknown-settings" in page
    assert "completions_00001.parquet" in page
    source = read_provenance(made / "scores/accuracy/table.parquet")["source"]
    assert source["imported"]["one law"] is True


def test_an_accepted_finding_is_on_the_page_and_in_the_card(project):
    study(project, accept=["several-steps"])
    project.run(*(f"{RESULTS}/{name}" for name in WANTED))
    made = project.folder / RESULTS
    page = (made / "report/provenance.html").read_text("utf-8")
    assert "They are not" in page
    assert page.index("Accepted, although") < page.index("several-steps") < page.index("<h2>Noted")
    assert read_provenance(made / "scores/accuracy/table.parquet")["source"]["imported"]["accepted"] == [
        "several-steps"
    ]


def test_a_changed_file_of_a_folder_is_read_again(project):
    study(project, accept=["several-steps"])
    table = f"{RESULTS}/scores/imported.parquet"
    project.run(table)
    assert not project.plan(table).jobs
    file = project.folder / "completions/completions_00002.parquet"
    pl.read_parquet(file).with_columns(length=pl.col("length") + 1).write_parquet(file)
    assert set(project.plan(table).jobs) == {"import_samples"}


def test_the_report_of_an_imported_study_is_complete(project):
    study(project, keep=["step=1"])
    config = over_default(DEFAULT, yaml.safe_load((project.folder / "study.yaml").read_text("utf-8")))
    project.run()
    project.run("--report", "imported.html")
    check(project.folder, "mine", project.folder / "imported.html", config)
