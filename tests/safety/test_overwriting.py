"""Commands that write where a user says do not write over what she made."""

import json
import subprocess
import sys

import polars as pl
import pytest
from matplotlib.figure import Figure

from alignment_limits.errors import ArtifactError
from alignment_limits.files import refuse_to_overwrite
from alignment_limits.report.figures.style import Look, is_own_figure, save


def test_only_a_file_of_the_command_s_own_may_be_written_again(tmp_path):
    new, mine, ours = (tmp_path / name for name in ("new", "mine", "ours"))
    mine.write_text("mine")
    ours.write_text("made")
    (tmp_path / "hard").hardlink_to(mine)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    def made(file):
        return file.read_text() == "made"

    refuse_to_overwrite(new, [mine], unless=made)
    refuse_to_overwrite(ours, [mine], unless=made)
    for out, inputs, message in (
        (mine, [], "was not written by this command"),
        (ours, [ours], "is an input"),
        (tmp_path / "hard", [mine], "is an input"),
        (tmp_path, [], "was not written"),
        (tmp_path / "dangling", [], "was not written"),
    ):
        with pytest.raises(ArtifactError, match=message):
            refuse_to_overwrite(out, inputs, unless=made)


def test_a_table_of_nested_scores_is_written_once(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"gold_scores": [1.0, 2.0]}]))
    for out, returns, said in (("t.parquet", 0, ""), ("t.parquet", 1, "exists"), ("a.json", 1, "is an input")):
        command = [sys.executable, "-m", "alignment_limits", "unnest", out, "a.json"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == returns, run.stderr
        assert said in run.stderr
        assert "Traceback" not in run.stderr
    assert pl.read_parquet(tmp_path / "t.parquet")["gold_scores"].to_list() == [1.0, 2.0]
    assert json.loads((tmp_path / "a.json").read_text())


def test_a_figure_is_known_as_ours(tmp_path):
    files = tmp_path / "a.pdf", tmp_path / "a.png"
    save(Figure(figsize=(1, 1)), Look(), *files)
    assert all(is_own_figure(file) for file in files)
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 mine")
    assert not is_own_figure(tmp_path / "b.pdf")
