"""Replies that a user has of policies without log-probabilities, in a study that samples its base model."""

import polars as pl
import pytest
from test_reruns import WRITING, assert_planned, once

from alignment_limits.errors import ConfigError
from alignment_limits.study.load import load_study
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import POOL
from alignment_limits.tables.tradeoffs import CLOSED_POLICIES

REPLIES = {"tradeoffs": {"closed_policies": {"gpt 5": "gpt.csv", "claude": "claude.jsonl"}}}
AFTER = {"closed_scores", "closed_policies", "figure_closed_policies"} | WRITING


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """The finished study, with replies of two policies."""
    project = finished.copy(tmp_path_factory.mktemp("closed") / "project")
    prompts = pl.read_parquet(project.folder / "results/tiny/prompts.parquet")
    asked = prompts.select("prompt_id").with_columns(text=pl.lit("aeiou, a kind reply"), model=pl.lit("gpt"))
    pl.concat([asked, asked[:3]]).write_csv(project.folder / "gpt.csv")
    prompts[1:].select("prompt", text=pl.lit("xyz idiot")).write_ndjson(project.folder / "claude.jsonl")
    project.study(REPLIES)
    return project


def test_they_are_scored_by_the_studys_rewards_and_placed(project):
    project.run()
    results = project.folder / "results/tiny"
    table = read_table(results / "tradeoffs/closed_policies.parquet", CLOSED_POLICIES)
    assert table.select("policy", "prompts", "replies").rows() == [("gpt 5", 8, 11), ("claude", 7, 7)]
    assert table["gain"][0] > table["gain"][1]
    scores = read_table(results / "tradeoffs/closed_scores.parquet", POOL)
    assert scores.columns == ["prompt_id", "sample_id", "law", "vowels", "letters", "words"]
    assert dict(scores["law"].value_counts().rows()) == {"gpt 5": 11, "claude": 7}
    assert scores.filter(pl.col("law") == "gpt 5")["vowels"].n_unique() == 1, "the same reply has the same score"
    assert (results / "figures/closed_policies.png").stat().st_size > 5000
    assert "Where are the policies without log-probabilities?" in (results / "report/findings.json").read_text("utf-8")
    assert "Nothing to be done" in project.run()


def test_exactly_what_new_replies_touch_runs_again(project):
    file = project.folder / "gpt.csv"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"kind", b"kinder"))
    jobs = once({"read_replies"}, AFTER) | {"closed_score": 3}
    assert_planned(project.plan(), jobs, {"read_replies": "input changed: gpt.csv"})
    file.write_bytes(before)
    project.study({"tradeoffs": {"closed_policies": {"gpt 5": "gpt.csv"}}})
    assert_planned(project.plan(), once(AFTER), {"closed_scores": "setting policies: ['gpt 5', 'claude']"})
    project.study(REPLIES)


def test_a_prompt_that_the_study_lacks_ends_the_run_with_the_row(project):
    file = project.folder / "gpt.csv"
    before = file.read_bytes()
    file.write_bytes(before + b"nobody,a reply,gpt\n")
    said = project.run(check=False)
    assert (
        "gpt.csv: 1 of 12 rows are not of a prompt of the study, the first in row 12: 'prompt_id' is 'nobody'" in said
    )
    file.write_bytes(before)


SCORES = {"study": "s", "scores": {"table": "t.csv", "gold": "a"}}
SAMPLES = {"study": "s", "samples": {"table": "t.csv"}, "gold": "a"}


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (SCORES, "scores.pool.closed"),
        (SAMPLES | {"rewards": {"a": {"kind": "column", "column": "a"}}}, "rewards.a is a column of the samples"),
        (SAMPLES | {"rewards": {"a": {"kind": "length"}}, "names": ["base"]}, "'base' is the name of another policy"),
    ],
)
def test_studies_that_cannot_score_replies_say_so(study, said):
    names = study.get("names", ["gpt"])
    given = {key: value for key, value in study.items() if key != "names"}
    with pytest.raises(ConfigError, match=said):
        load_study(given | {"tradeoffs": {"closed_policies": dict.fromkeys(names, "gpt.csv")}}, "s.yaml")
