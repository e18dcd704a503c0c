"""Every study of config/studies, whichever there are: those not made whole elsewhere are made reduced to seconds."""

import subprocess

import pytest
import yaml
from project import Project
from reduced import DEFAULT, ROOT, inputs, reduced
from reported import check

from alignment_limits.study.load import load_study, over_default
from alignment_limits.study.study import stages

STUDIES = {file.stem: file.read_text("utf-8") for file in sorted((ROOT / "config/studies").glob("*.yaml"))}
# made as they are, by test_small_study.py and .ci/run, and by test_enumerable_study.py
WHOLE = {"small", "enumerable"}
LIGHT = str(ROOT / "tests/workflow/light")  # on PYTHONPATH: a Python that has only what the light lock installs
RUN = [name for name, text in STUDIES.items() if "NOT RUN HERE" not in text and name not in WHOLE]


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    """One for all, as studies share their samples and scores."""
    return Project.new(tmp_path_factory.mktemp("studies") / "project", tiny_model)


@pytest.mark.parametrize("name", RUN)
def test_a_reduced_study_has_the_stages_of_the_whole_one(name):
    study = yaml.safe_load(STUDIES[name])
    both = [load_study(over_default(DEFAULT, s)) for s in (study, reduced(study))]
    assert stages(both[1]) == stages(both[0])


@pytest.mark.parametrize("name", [name for name in RUN if name != "scores_only"])
def test_a_study_is_made_and_reported(project, name):
    study = reduced(yaml.safe_load(STUDIES[name]))
    if "training" in study:  # so that figures and pages of policies are made in these units too
        study["units"] = "raw"
    inputs(study, project.folder)
    (project.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    project.run()
    report = project.folder / f"{name}.html"
    project.run("--report", report.name)
    check(project.folder, study["study"], report, over_default(DEFAULT, study))


def test_scores_are_studied_and_reported_with_the_light_environment_alone(tmp_path, tiny_model):
    project = Project.new(tmp_path / "project", tiny_model)
    project.light = LIGHT
    study = reduced(yaml.safe_load(STUDIES["scores_only"]))
    inputs(study, project.folder)
    (project.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    loaded = "import sys; print(int('torch' in sys.modules)); import torch"
    probe = project.module("timeit", "-n1", "-r1", loaded)
    refused = subprocess.run(**probe, capture_output=True)
    assert refused.returncode, "the environment of the jobs has no torch"
    assert "No module named 'torch' (not in light.lock)" in refused.stderr
    assert "0" in refused.stdout.split()
    project.run()
    project.run("--report", "light.html")
    check(project.folder, study["study"], project.folder / "light.html", over_default(DEFAULT, study))
