"""A table of scores in one command: the numbers of a study, figures and a page, and messages for bad input."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from project import Project

from alignment_limits.__main__ import main

TABLES = (
    "limits/frontier",
    "limits/best_of_n",
    "limits/over_optimisation",
    "ensembles/standardised",
    "report/headline",
)


def table(prompts=20, samples=32):
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(prompts, samples))
    row, sample = np.indices(gold.shape)
    return pl.DataFrame(
        {
            "prompt_id": [f"p{i:03}" for i in row.ravel()],
            "sample_id": sample.ravel(),
            "text": ["a reply"] * gold.size,
            "n_tokens": [2] * gold.size,
            "prompt": row.ravel().astype(str),
            "judge": gold.ravel(),
            "length": np.round(5 * gold + 9 * rng.normal(size=gold.shape)).ravel(),
        }
    )


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The folder that the command wrote, and what it said."""
    folder = tmp_path_factory.mktemp("scores")
    table().write_parquet(folder / "mine.parquet")
    code = "import sys; from alignment_limits.__main__ import main; code = main(); "
    code += (
        "heavy = {'torch', 'vllm', 'transformers', 'snakemake'} & set(sys.modules); assert not heavy, heavy; exit(code)"
    )
    command = [sys.executable, "-c", code, "frontier", "mine.parquet", "--gold", "judge", "-o", "out"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


def test_a_column_that_is_nearly_a_reward_is_not_left_out_in_silence(tmp_path, capsys):
    """One missing score, or true and false: the reader is not left without this proxy and without a word."""
    nearly = table(2, 4).with_columns(
        rm=pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise("length"), passed=pl.col("judge") > 0
    )
    nearly.write_parquet(tmp_path / "mine.parquet")
    assert main(["frontier", str(tmp_path / "mine.parquet"), "--gold", "nothing", "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "mine.parquet: 'rm' is missing, NaN or infinite, in row 3" in said
    assert "mine.parquet: 'passed' contains true or false, not numbers; write 1 and 0" in said
    assert said.count("not used as a reward: ") == 2


def test_the_questions_are_answered_with_a_page_and_figures_and_no_model_library(answered):
    folder, said = answered
    assert "20 prompts, 640 samples; gold: judge" in said
    assert "proxies: length (" in said, "all other columns of numbers, but those of samples"
    assert said.count("?") == 3
    page = (folder / "out/report.html").read_text("utf-8")
    assert page.count("data:image/png") == 4
    assert "img-src data:" in page
    for name in ("frontier", "gold_under_proxies", "win_rate", "reward_distributions"):
        assert (folder / f"out/figures/{name}.pdf").read_bytes()[:4] == b"%PDF"


def test_a_study_of_the_same_table_gives_the_same_numbers(answered, tmp_path, tiny_model):
    folder, _ = answered
    project = Project.new(tmp_path / "project", tiny_model)
    study = yaml.safe_load((folder / "out/study.yaml").read_text("utf-8"))
    (project.folder / "study.yaml").write_text(yaml.safe_dump(study), "utf-8")
    results = f"results/{study['study']}"
    project.run(*(f"{results}/{name}.parquet" for name in TABLES))
    for name in TABLES:
        expected, made = (pl.read_parquet(at / f"{name}.parquet") for at in (project.folder / results, folder / "out"))
        assert_frame_equal(made, expected, check_exact=True)


def test_it_may_be_repeated_with_other_settings(answered, monkeypatch):
    folder, _ = answered
    monkeypatch.chdir(folder)
    assert (
        main(["frontier", "mine.parquet", "--gold", "judge", "--proxies", "--n", "4", "--kls", "0.5", "-o", "out2"])
        == 0
    )
    assert (
        main(["frontier", "mine.parquet", "--gold", "length", "--proxies", "--n", "2", "--kls", "0.5", "-o", "out2"])
        == 0
    )
    frontier = pl.read_parquet("out2/limits/frontier.parquet")
    assert set(frontier["optimized"]) == {"length"}
    assert pl.read_parquet("out2/limits/best_of_n.parquet").filter(method="best-of-n")["n"].unique().to_list() == [2]


def test_with_columns_it_says_what_else_changes(answered, monkeypatch, capsys):
    folder, _ = answered
    monkeypatch.chdir(folder)
    pl.read_parquet("mine.parquet").with_columns(n_tokens=pl.col("length") + 100).write_parquet("long.parquet")
    command = ["frontier", "long.parquet", "--gold", "judge", "--columns", "length", "--n", "4", "-o", "out3"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "proxies:" not in said, "a named column is no proxy"
    assert "What else changes? Replies get longer by " in said
    assert "How much of the gain comes with length?" in said
    study = yaml.safe_load((folder / "out3/study.yaml").read_text("utf-8"))
    assert study["tradeoffs"] == {"side_effects": {"columns": ["length"]}}
    assert set(pl.read_parquet("out3/tradeoffs/side_effects.parquet")["column"]) >= {"tokens", "length"}
    assert (folder / "out3/figures/length_control.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--gold", "jugde"],
            "has no column jugde; it has: prompt_id, sample_id, text, n_tokens, prompt, judge, length",
        ),
        (["--gold", "text"], "'text' is not a number ('a reply'), in row 1"),
        (["--gold", "judge", "--n", "64"], "best-of-64 needs as many samples; a prompt has 32"),
        (["--gold", "judge", "--proxies", "judge"], "gold and proxies must be different columns"),
        (["--gold", "judge", "--kls", "-1"], "greater than 0"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(answered, tmp_path, capsys, arguments, said):
    folder, _ = answered
    out = tmp_path / "out"
    assert main(["frontier", str(folder / "mine.parquet"), *arguments, "-o", str(out)]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_reward_that_cannot_be_used_leaves_no_folder(tmp_path, capsys):
    table().with_columns(length=pl.lit(7)).write_parquet(tmp_path / "mine.parquet")
    assert main(["frontier", str(tmp_path / "mine.parquet"), "--gold", "judge", "-o", str(tmp_path / "out")]) == 1
    assert "mine.parquet: Reward 'length' is constant" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_without_keys_leads_to_the_import(tmp_path, capsys):
    table().drop("sample_id").write_parquet(tmp_path / "mine.parquet")
    assert main(["frontier", str(tmp_path / "mine.parquet"), "--gold", "judge", "-o", str(tmp_path / "out")]) == 1
    assert "alignment-limits import makes such a table" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "study"), [("My Scores é.parquet", "my-scores-e"), ("評価.parquet", "scores")])
def test_a_table_may_have_any_name(tmp_path, capsys, file, study):
    table(1, 16).drop("length").write_parquet(tmp_path / file)
    assert main(["frontier", str(tmp_path / file), "--gold", "judge", "-o", str(tmp_path / "out é")]) == 0
    said = capsys.readouterr().out
    assert "1 prompt, 16 samples" in said
    assert "only 1 prompt (needs 16)" in said
    assert yaml.safe_load((tmp_path / "out é/study.yaml").read_text("utf-8"))["study"] == study


@pytest.mark.parametrize("file", ["notes.txt", "study.yaml"])
def test_a_folder_of_the_user_is_left_alone(answered, tmp_path, capsys, file):
    folder, _ = answered
    (tmp_path / file).write_text("mine")
    assert main(["frontier", str(folder / "mine.parquet"), "--gold", "judge", "-o", str(tmp_path)]) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_text() == "mine"
