"""Snakemake's cache between workflows keeps fetched and converted models, each under its own content."""

import re
import shutil

import pytest
from project import Project
from test_fingerprint import RULES

from alignment_limits.models.fetch import source_id
from alignment_limits.study.base import Source

CACHED = [(name, body) for name, body in RULES if re.search(r"^\s+cache:", body, re.M)]


def test_fetched_and_converted_models_are_what_is_cached():
    assert [name for name, _ in CACHED] == ["fetch", "convert"]


@pytest.mark.parametrize(("name", "body"), CACHED, ids=[name for name, _ in CACHED])
def test_params_of_a_cached_rule_name_its_wildcards(name, body):
    """Snakemake hashes no wildcards: a rule whose params lack one gets another job's files, without a word."""
    output, params = (re.search(rf"^( *){part}:\n((?:\1    .*\n)+)", body, re.M)[2] for part in ("output", "params"))
    for wildcard in re.findall(r"(?<!{){(\w+)}", output):
        if not wildcard.isupper():  # an f-string's constant
            assert re.search(rf"p=lambda w: .*\bw\.{wildcard}\b", params), f"params of {name} lack {wildcard}"
    assert "benchmark:" not in body, "Snakemake refuses both"


def test_a_second_workflow_takes_all_from_the_cache(tmp_path, tiny_model, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    projects = [Project.new(tmp_path / name, tiny_model) for name in ("first", "second")]
    files = {path: f"results/models/fetched/{source_id(Source(path=path))}" for path in ("words.txt", "prompts.txt")}
    asked = ("convert", *files.values(), "--cache")
    first, second = (project.run(*asked) for project in projects)
    assert "fetching words.txt" in first
    assert "fetching" not in second
    assert "converting" not in second
    for project in projects:
        for path, folder in files.items():
            fetched = project.folder / folder / path
            assert fetched.read_text() == (project.folder / path).read_text(), "another source's file"
        weights = next((project.folder / "results/models").glob("tiny-*/model.safetensors"))
        assert weights.read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    # what the cache holds is not what was asked for once a source's content is another
    (projects[1].folder / "words.txt").write_text("moron\n")
    shutil.rmtree(projects[1].folder / "results")
    assert "fetching words.txt" in projects[1].run(*asked)
    assert (projects[1].folder / files["words.txt"] / "words.txt").read_text() == "moron\n"
