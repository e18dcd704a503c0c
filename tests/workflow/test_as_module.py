"""The workflow where others put it: as a module of another project, from another folder, in the catalogue's form."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import Project

ROOT = Path(__file__).parents[2]
MODULE = """
configfile: "study.yaml"


module limits:
    snakefile:
        "{snakefile}"
    config:
        config
    prefix:
        "our limits/été"


use rule * from limits as limits_*


rule count_rewards:
    default_target: True
    input:
        rules.limits_all.input,
        frontier="our limits/été/results/tiny/limits/frontier.parquet",
    output:
        "rewards.txt",
    shell:
        "wc -c < {{input.frontier:q}} > {{output}}"
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory, tiny_model):
    """A project of somebody else's, in a folder with a space and an accent, which has this workflow as a module."""
    project = Project.new(tmp_path_factory.mktemp("other") / "Étude deux", tiny_model)
    for name in ("workflow", "config", "profiles"):
        shutil.rmtree(project.folder / name)
    (project.folder / "Snakefile").write_text(MODULE.format(snakefile=ROOT / "workflow/Snakefile"), "utf-8")
    project.run()
    return project


def test_a_module_makes_its_study_below_the_prefix_and_the_other_project_uses_it(other):
    made = other.folder / "our limits/été/results"
    assert not (other.folder / "results/tiny/limits").exists()
    size = (made / "tiny/limits/frontier.parquet").stat().st_size
    assert int((other.folder / "rewards.txt").read_text()) == size
    assert (made / "tiny/report/headline.html").is_file()


def test_links_of_a_module_lead_to_the_shared_shards_below_the_prefix(other):
    made = other.folder / "our limits/été/results"
    links = [*(made / "tiny/samples/tiny").glob("*.parquet"), *(made / "tiny/scores").glob("*/*.parquet")]
    assert len(links) == 4 + 3 * 4
    assert all(link.is_symlink() and link.resolve().is_relative_to((made / "shared").resolve()) for link in links)


def test_a_second_run_of_a_module_makes_nothing(other):
    assert not other.plan().jobs


def test_a_study_runs_from_another_folder(finished, tmp_path):
    """`--directory`: data and results there, the workflow here."""
    there = tmp_path / "données du jour"
    there.mkdir()
    for name in ("study.yaml", "prompts.txt", "words.txt", "own_rewards.py", "helper.py"):
        shutil.copy(finished.folder / name, there)
    shutil.copytree(finished.folder / "model", there / "model")
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--directory", there]
    wanted = ["--configfile", there / "study.yaml", "--cores", "1", "results/tiny/preflight/rewards.json"]
    run = subprocess.run([*command, *wanted], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (there / "results/tiny/preflight/rewards.json").is_file()
    assert not (tmp_path / "results").exists()


def test_the_linter_has_only_what_is_argued_in_contributing():
    command = [sys.executable, "-m", "snakemake", "--lint", "--cores", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = {re.sub(r" (used but|in line).*", "", line) for line in re.findall(r"^    \* (.*?):?$", run.stderr, re.M)}
    argued = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert found
    assert not [message for message in found if message not in argued]


def test_the_catalogue_finds_what_it_asks_for():
    catalogue = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))
    assert set(catalogue["usage"]["software-stack-deployment"]) == {"conda", "apptainer"}
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    for flag in re.findall(r"`(config/\S+)`", (ROOT / "config/README.md").read_text("utf-8")):
        assert (ROOT / flag).exists(), flag


def test_every_environment_of_a_rule_is_there():
    rules = "\n".join(f.read_text("utf-8") for f in (ROOT / "workflow/rules").glob("*.smk"))
    assert len(re.findall(r"^ +conda:\n +ENVIRONMENT$", rules, re.M)) == len(re.findall(r"^ +script:$", rules, re.M))
    for hardware in ("cpu", "cuda", "light"):
        assert (ROOT / f"envs/{hardware}.yaml").is_file()
        assert (ROOT / f"envs/{hardware}.def").is_file()
