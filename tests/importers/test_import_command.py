"""The command: what it prints and writes, and that its table is one for the next command."""

import subprocess
import sys

import foreign
import polars as pl
import pytest

from alignment_limits.__main__ import main
from alignment_limits.tables.artifacts import read_provenance
from alignment_limits.tables.scores import read_score_table


@pytest.fixture
def samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [
        {"prompt": f"question {i}", "reply": f"answer {j} to {i}", "judge": float((j * 7 + i) % 13), "model": "m"}
        for i in range(8)
        for j in range(20)
    ]
    return foreign.jsonl(tmp_path / "mine.jsonl", lines)[0].name


def test_the_table_and_its_verdict_are_written(samples, tmp_path, capsys):
    assert main(["import", samples, "-o", "out.parquet"]) == 0
    said = capsys.readouterr().out
    assert "format: generic" in said
    assert "reply: reply" in said, "guesses are shown"
    assert "8 prompts, 160 samples" in said
    made = read_provenance(tmp_path / "out.parquet")["import"]
    assert made["files"][0]["file"] == samples
    assert made["one_law"] is True
    assert {finding["name"] for finding in made["findings"]} == {"unknown-settings", "retokenised"}
    assert all(finding["effect"] and finding["remedy"] for finding in made["findings"])


def test_the_table_is_one_for_limits(samples, tmp_path):
    assert main(["import", samples, "-o", "out.parquet"]) == 0
    scores = read_score_table(tmp_path / "out.parquet", ["judge"])
    assert scores.height == 160
    assert scores["judge"].sum() == pl.read_parquet("out.parquet")["judge"].sum()


def test_what_makes_limits_wrong_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    foreign.trl(tmp_path, (1, 2))
    assert main(["import", "trl", "completions", "-o", "out.parquet"]) == 1
    assert (
        "error: these samples are not a sample of one law:\n  several-steps: 2 values of step"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out.parquet").exists()
    assert main(["import", "completions", "--keep", "step=2", "-o", "out.parquet"]) == 0
    assert main(["import", "completions", "--accept", "several-steps", "-o", "out.parquet"]) == 0, "it may be repeated"
    assert "accepted" in [f["severity"] for f in read_provenance(tmp_path / "out.parquet")["import"]["findings"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["csv", "mine.jsonl"], "'csv' is neither a file nor a format; formats: inspect, lm-eval"),
        (["trl"], "give the files after the format 'trl'"),
        (["trl", "mine.jsonl"], "mine.jsonl: row 1: 'completion' is missing"),
        (["lost.jsonl"], "lost.jsonl does not exist"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(samples, capsys, words, message):
    assert main(["import", *words, "-o", "out.parquet"]) == 1
    assert message in capsys.readouterr().err


def test_files_of_the_user_are_not_overwritten(samples, capsys):
    pl.DataFrame({"a": [1]}).write_parquet("own.parquet")
    assert main(["import", samples, "-o", "own.parquet"]) == 1
    assert main(["import", samples, "-o", "table.csv"]) == 1
    said = capsys.readouterr().err
    assert "own.parquet exists and was not written by this command" in said
    assert "table.csv: the table is a .parquet file" in said


def test_no_package_for_models_is_imported(samples):
    code = "import sys; from alignment_limits.__main__ import main; "
    code += f"code = main(['import', {samples!r}, '-o', 'o.parquet']); "
    code += "heavy = {'torch', 'vllm', 'transformers', 'datasets', 'pyarrow', 'snakemake'} & set(sys.modules); "
    code += "exit(code or len(heavy))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
