"""Side effects and length control in a study: tables of the workflow, figures, sentences of the report."""

import numpy as np
import polars as pl
import pytest

from alignment_limits import tradeoffs
from alignment_limits.report.figures.style import Look
from alignment_limits.report.figures.tradeoffs import side_effects
from alignment_limits.report.figures.tradeoffs_length import length_control
from alignment_limits.report.tradeoffs import answers
from alignment_limits.study.load import load_study
from alignment_limits.tables.estimates import estimate, inputs_of, made_for, settings_of
from alignment_limits.tables.sample_columns import sample_columns
from alignment_limits.tables.standardised import standardised_tables

PROMPTS, SAMPLES = 32, 32
SMALL = {"kls": [0.2, 0.5], "best_of": [1, 4], "bootstrap": 200}


def study(**more):
    scores = {"table": "t.parquet", "gold": "human", "proxies": ["rm"]}
    length = {"kls": [0.5], **more.pop("length_control", {})}
    given = {"study": "mine", "scores": scores, "limits": SMALL, "tradeoffs": {"length_control": length} | more}
    return load_study(given, "mine.yaml")


def samples(tokens=True):
    """Scores that like length, and the columns of the samples."""
    rng = np.random.default_rng(0)
    row, sample = (each.ravel() for each in np.indices((PROMPTS, SAMPLES)))
    f, rest = rng.normal(size=(2, PROMPTS * SAMPLES))
    keys = pl.DataFrame({"prompt_id": [f"p{i:02}" for i in row], "sample_id": sample.astype(np.int32)})
    tables = {
        "human": keys.with_columns(score=pl.Series(0.6 * f + 0.8 * rest)),
        "rm": keys.with_columns(score=pl.Series(f)),
    }
    drawn = keys.with_columns(text=pl.lit("yes"), finish_reason=pl.Series(np.where(f > 1, "length", "stop")))
    if tokens:
        drawn = drawn.with_columns(n_tokens=pl.Series(np.round(50 + 10 * f)))
    return standardised_tables(tables)[0], sample_columns(drawn, ["sorry"])


def found(name, standardised, columns, **more):
    return estimate(name, standardised, settings_of(name, study(**more)), columns=columns)


@pytest.fixture(scope="module")
def tables():
    standardised, columns = samples()
    return {name: found(name, standardised, columns) for name in ("side_effects", "length_control")}


def test_a_study_has_the_tables_and_reads_the_columns():
    assert {"side_effects", "length_control"} <= set(made_for(study()))
    assert inputs_of("side_effects", study()) == {"columns": "tradeoffs/columns.parquet"}


def test_every_reward_is_optimised_and_every_column_and_other_reward_changes(tables):
    table = tables["side_effects"]
    pairs = set(table.filter(pl.col("kind") == "reward").select("optimized", "column").iter_rows())
    assert pairs == {("human", "rm"), ("rm", "human")}
    assert set(table.filter(pl.col("kind") == "column")["column"]) == {"tokens", "characters", "truncated", "refusal"}
    change = table.filter((pl.col("optimized") == "human") & (pl.col("column") == "tokens") & (pl.col("kl") == 0.5))
    assert change["change"][0] == pytest.approx(6.0, abs=0.8)
    assert not table.filter(pl.col("column").is_in(["characters", "refusal"]))["reliable"].any(), "constant here"


def test_some_rewards_may_be_chosen():
    standardised, columns = samples()
    table = found("side_effects", standardised, columns, side_effects={"optimized": ["rm"]})
    assert set(table["optimized"]) == {"rm"}
    table = found("length_control", standardised, columns, length_control={"optimized": ["rm"], "column": "truncated"})
    assert set(table.select("optimized", "evaluated", "column").iter_rows()) == {
        ("rm", "rm", "truncated"), ("rm", "human", "truncated"),
    }  # fmt: skip


def test_length_control_has_gold_and_gold_under_the_proxy(tables):
    table = tables["length_control"]
    own = table.filter((pl.col("optimized") == "human") & (pl.col("evaluated") == "human"))
    assert own.filter(pl.col("tilt") == "free")["explained"][0] == pytest.approx(0.36, abs=0.08)
    under = table.filter((pl.col("optimized") == "rm") & (pl.col("evaluated") == "human"))
    assert set(under["tilt"]) == {"free", "held", "residual"}


def test_without_any_length_the_tables_are_there_and_the_figures_say_so():
    standardised, columns = samples(tokens=False)
    length = found("length_control", standardised, columns)
    assert length.height == 0, "all texts have one length"
    look = Look(gold="human", names=("rm",))
    assert "no length" in length_control(length, look).axes[0].texts[0].get_text()
    effects = found("side_effects", standardised, columns.select("prompt_id", "sample_id"))
    figure = side_effects(effects, look, proxies=["rm"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["rm"], "the other rewards, as gold is optimised"
    nothing = side_effects(effects.clear(), look, proxies=["rm"])
    assert "no column" in nothing.axes[0].texts[0].get_text()
    assert answers({"side_effects": effects, "length_control": length}, "human") == []


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_the_figures_have_a_panel_for_each_column_and_a_line_for_each_reward(tables, width):
    look = Look(gold="human", names=("rm",), width=width)
    figure = side_effects(tables["side_effects"], look, proxies=["rm"])
    shown = [ax for ax in figure.axes if ax.get_visible()]
    titles = [ax.get_title(loc="left").partition(" (")[0] for ax in shown]
    assert titles == ["length in tokens", "replies cut at the token limit"]
    for ax in shown:
        assert {line.get_gid() for line in ax.get_lines()} >= {"human", "rm"}
    assert shown[1].get_ylabel() == "change\n(percentage points)"
    figure = length_control(tables["length_control"], look, proxies=["rm"])
    assert {line.get_gid() for line in figure.axes[0].get_lines()} >= {"free", "held"}
    assert {line.get_gid() for line in figure.axes[1].get_lines()} >= {"human", "rm"}


def test_results_from_arrays_draw_themselves():
    rng = np.random.default_rng(1)
    reward, f = rng.normal(size=(2, 32, 32))
    effects = tradeoffs.side_effects(reward, {"tokens": f, "emoji": f + reward}, kls=[0.2, 0.5], ns=[4], replicates=200)
    assert len(effects.plot().axes) == 2
    control = tradeoffs.length_control(reward + f, f, kls=[0.2, 0.5], replicates=200)
    assert "held: the mean of length" in control.plot().axes[0].get_title(loc="left")


def test_policies_are_squares_in_the_figure(tables):
    table = tables["side_effects"]
    row = table.filter((pl.col("column") == "tokens") & (pl.col("kl") == 0.5) & (pl.col("optimized") == "human"))
    policy = row.with_columns(
        method=pl.lit("policy"), policy=pl.lit("ppo"), kl=pl.lit(0.4), optimized=pl.lit(None, pl.String)
    )
    figure = side_effects(pl.concat([table, policy]), Look(gold="human", names=("rm",)), proxies=["rm"])
    assert [line.get_xdata()[0] for line in figure.axes[0].get_lines() if line.get_marker() == "s"] == [0.4]


def test_a_policy_has_a_row_for_each_column_that_its_replies_have_too():
    standardised, columns = samples()
    theirs = columns.with_columns(tokens=pl.col("tokens") + 5.0, policy=pl.lit("ppo")).drop("refusal")
    policies = pl.DataFrame(
        {"policy": ["ppo"] * 2, "evaluated": ["human", "rm"], "optimized": ["rm"] * 2, "kl": [0.4] * 2}
        | {"kl_low": [0.3] * 2, "kl_high": [0.5] * 2, "kl_reason": [""] * 2}
    )
    of_study = settings_of("side_effects", study())
    more = {"columns": columns, "policies": policies, "policy_columns": theirs}
    rows = estimate("side_effects", standardised, of_study, **more).filter(pl.col("method") == "policy")
    assert rows["column"].to_list() == ["tokens", "characters", "truncated"]
    assert rows.select("policy", "optimized", "kl").unique().rows() == [("ppo", "rm", 0.4)]
    assert rows["change"].to_list() == pytest.approx([5.0, 0.0, 0.0])


def test_the_report_says_what_changes_in_its_own_units_and_what_does_not(tables):
    (question, effects), (_, length) = answers(tables, "human")
    assert question == "What else changes?"
    assert effects.startswith("Replies get longer by ")
    assert " tokens at 0.5 nats (base model: 49.5)" in effects
    assert "Replies cut at the token limit become more frequent by " in effects
    assert "refusal" not in effects.lower(), "no reply refuses, so nothing is known"
    assert "% of the gain in gold" in length or "%] of the gain in gold" in length
    assert "the largest gain is " in length


def test_what_is_not_reliable_is_not_given(tables):
    bad = {
        name: t.with_columns(pl.lit(False).alias(c) for c in t.columns if c.endswith("reliable"))
        for name, t in tables.items()
    }
    bad = {
        name: t.with_columns(pl.lit("too few").alias(c) for c in t.columns if c.endswith("reason"))
        for name, t in bad.items()
    }
    said = [answer for _, answer in answers(bad, "human")]
    assert all("Reason: too few." in answer for answer in said)
    assert not any("tokens at" in answer for answer in said)
