"""Verifiable rewards in a study: found by itself, answers of a table, sentence, figure, errors."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from alignment_limits.errors import EstimateError
from alignment_limits.report.figures.style import Look
from alignment_limits.report.figures.table import plot
from alignment_limits.report.figures.verifiable import verifiable as figure
from alignment_limits.report.tradeoffs import verifiable as sentence
from alignment_limits.study.load import load_study
from alignment_limits.tables.estimates import ESTIMATORS, estimate, inputs_of, made_for, settings_of
from alignment_limits.tables.sample_columns import table_columns, with_answers
from alignment_limits.tables.standardised import standardised_tables
from alignment_limits.tradeoffs import verifiable

KEY = ["prompt_id", "sample_id"]
NAMED = {"right": "correct", "words": "rm"}
PROMPTS, SAMPLES = 40, 16


def written(folder, **changed):
    rng = np.random.default_rng(0)
    correct = (rng.random((PROMPTS, SAMPLES)) < rng.beta(0.4, 1.0, (PROMPTS, 1))).astype(int)
    table = pl.DataFrame(
        {
            "prompt_id": np.repeat([f"q{i:02d}" for i in range(PROMPTS)], SAMPLES),
            "sample_id": np.tile(np.arange(SAMPLES), PROMPTS),
            "correct": correct.ravel(),
            "rm": (correct + rng.normal(size=correct.shape)).ravel(),
            "final": np.where(correct == 1, "42", rng.choice(["12", "-3", ""], correct.shape)).ravel(),
        }
    ).with_columns(**changed)
    table.write_csv(folder / "scores.csv")
    return correct, table


def study_of(folder, gold="correct", **tradeoffs):
    scores = {"table": str(folder / "scores.csv"), "gold": gold, "proxies": [n for n in ("correct", "rm") if n != gold]}
    limits = {"bootstrap": 200, "kls": [0.2, 1.0], "best_of": [1, 4]}
    return load_study({"study": "s", "scores": scores, "limits": limits, "tradeoffs": tradeoffs}, "s.yaml")


def made(folder, study, table):
    scores = {name: table.select(*KEY, score=pl.col(name).cast(pl.Float64)) for name in ("correct", "rm")}
    standardised, scales = standardised_tables(scores, None)
    more = {"columns": table_columns(folder / "scores.csv", [], [], study.tradeoffs.texts)}
    more = {name: more[name] for name in inputs_of("verifiable", study) if name != "scales"}
    return estimate("verifiable", standardised, settings_of("verifiable", study), None, scales, **more)


def test_a_table_with_a_0_1_gold_gets_the_table_by_itself_and_another_does_not(tmp_path):
    written(tmp_path)
    assert "verifiable" in made_for(study_of(tmp_path))
    assert "verifiable" not in made_for(study_of(tmp_path, gold="rm"))
    assert "verifiable" in made_for(study_of(tmp_path, gold="rm", verifiable={"reward": "correct"}))


def test_numbers_are_those_of_the_arrays(tmp_path):
    correct, table = written(tmp_path)
    study = study_of(tmp_path, verifiable={"answer": "final", "k": [1, 4]})
    found = made(tmp_path, study, table)
    rm, answers = (table[name].to_numpy().reshape(correct.shape) for name in ("rm", "final"))
    own = verifiable(correct, kls=[0.0, 0.2, 1.0], ks=[1, 4], answers=answers, selecting={"rm": rm}, replicates=200)
    assert found["method"].to_list() == own.method.tolist()
    limits = own.method != "majority"  # votes use random orders, which depend on the names of prompts
    limits &= own.method != "best-of-majority"
    np.testing.assert_allclose(found["pass_rate"].to_numpy()[limits], own.pass_rate[limits], atol=1e-6)
    np.testing.assert_allclose(found["pass_rate"].to_numpy(), own.pass_rate, atol=0.02)
    assert found.filter(pl.col("kl") == 0.0)["pass_rate"][0] == pytest.approx(correct.mean(), abs=0.01)
    assert next(ESTIMATORS["verifiable"].said(found, settings_of("verifiable", study))).startswith("'correct' is 0/1")


def test_a_reward_that_is_not_0_or_1_is_an_error_only_where_it_was_asked_for(tmp_path):
    _, table = written(tmp_path)
    with pytest.raises(EstimateError, match="'rm' has other scores than 0 and 1"):
        made(tmp_path, study_of(tmp_path, verifiable={"reward": "rm"}), table)
    free = study_of(tmp_path, gold="rm")
    empty = made(tmp_path, free, table)
    assert empty.height == 0
    assert list(ESTIMATORS["verifiable"].said(empty, settings_of("verifiable", free))) == [
        "'rm' is not 0/1: no pass rates"
    ]
    assert sentence(empty, "rm") is None
    assert figure(empty, Look()).axes[0].texts[0].get_text() == "Gold has other scores than 0 and 1."


def test_the_report_says_what_can_pass_and_what_does(tmp_path):
    _, table = written(tmp_path)
    question, said = sentence(made(tmp_path, study_of(tmp_path, verifiable={"answer": "final"}), table), "correct")
    assert question == "How many replies can pass?"
    assert "`correct` is 0 or 1." in said
    assert "The best of 4 replies passes in" in said
    assert "Without knowing which pass," in said


def test_the_figure_shows_every_method_and_a_result_draws_itself(tmp_path):
    correct, table = written(tmp_path)
    found = made(tmp_path, study_of(tmp_path, verifiable={"answer": "final"}), table)
    drawn = figure(found, Look(gold="correct", names=("rm",)), proxies=["rm"])
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert len(labels) == 6
    assert "majority of k" in labels
    assert plot(verifiable(correct, kls=[0.1, 0.5], ks=[2], replicates=200)).axes[0].lines


def test_names_that_do_not_exist_are_refused(tmp_path):
    written(tmp_path)
    with pytest.raises(Exception, match=r"tradeoffs\.verifiable\.reward"):
        study_of(tmp_path, verifiable={"reward": "none"})


def test_a_verifier_as_gold_brings_the_table_and_its_answers_vote(tmp_path):
    def study(reward, **tradeoffs):
        rewards = {"right": {"kind": "verifier"} | reward, "words": {"kind": "length"}}
        start = {"study": "s", "samples": {"table": "t.csv", "parts": 1}, "rewards": rewards, "tradeoffs": tradeoffs}
        return load_study(start | {"gold": tradeoffs.pop("gold", "right")}, "s.yaml")

    gold, pattern = study({}), study({"match": "pattern", "pattern": "4"})
    assert "verifiable" in made_for(gold)
    assert "verifiable" in made_for(pattern)
    assert (settings_of("verifiable", gold)["answer"], settings_of("verifiable", pattern)["answer"]) == ("answer", None)
    assert "columns" in inputs_of("verifiable", gold)
    assert "verifiable" not in made_for(study({}, gold="words"))
    proxy = study({}, gold="words", verifiable={"reward": "right"})
    assert (proxy.answered_by, settings_of("verifiable", proxy)["answer"]) == ("right", "answer")

    _, table = written(tmp_path)
    columns = table.select(*KEY, tokens=pl.lit(3.0))
    scores = table.select(*KEY, answer=pl.col("final").replace("", None))
    found = with_answers(columns, scores)
    assert found["answer"].to_list() == scores["answer"].to_list()
    assert with_answers(columns, scores.with_columns(answer=pl.lit(None, pl.String))) is columns, "none can vote"
    assert with_answers(columns, table) is columns
    rewards = {name: table.select(*KEY, score=pl.col(of).cast(pl.Float64)) for name, of in NAMED.items()}
    standardised, scales = standardised_tables(rewards, None)
    settings = settings_of("verifiable", gold) | {"bootstrap": 200, "k": [1, 4]}
    voted = estimate("verifiable", standardised, settings, None, scales, columns=found)
    own = study_of(tmp_path, verifiable={"answer": "final", "k": [1, 4]})
    named = made(tmp_path, own, table)
    for method in ("majority", "best-of-n"):
        rates = [each.filter(pl.col("method") == method)["pass_rate"].to_list() for each in (voted, named)]
        np.testing.assert_allclose(*rates, atol=1e-9)
    silent = estimate("verifiable", standardised, settings, None, scales, columns=columns)
    assert "majority" not in silent["method"].to_list()


def test_references_of_several_experts_are_several_answers():
    documents = {"text": "d", "references": ["a", "b"], "instruction": "Sum up: {document}"}
    given = yaml.safe_load(Path("config/config.yaml").read_text("utf-8"))
    given |= {"documents": documents, "gold": "right", "rewards": {"right": {"kind": "verifier"}}, "ensembles": {}}
    with pytest.raises(
        Exception, match=r"rewards.right: documents have several references, one a line; add several: lines"
    ):
        load_study(given, "s.yaml")
    load_study(given | {"rewards": {"right": {"kind": "verifier", "several": "lines"}}}, "s.yaml")
