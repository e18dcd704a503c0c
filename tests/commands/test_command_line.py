"""One console script with sub-commands; each says what it is for, and a user's error is one message."""

import subprocess
import sys

import pytest

from alignment_limits.__main__ import COMMANDS, main


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"alignment-limits {name}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["where", "a.yaml", "b.yaml"], ["verify"]])
def test_a_command_line_that_cannot_be_read_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: alignment-limits" in capsys.readouterr().err


def test_a_users_error_is_one_message(tmp_path, capsys):
    assert main(["where", str(tmp_path / "none.yaml")]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert not shown.out


def test_where_needs_neither_arrays_nor_tables():
    heavy = "assert not {'numpy', 'polars', 'matplotlib', 'snakemake'} & set(sys.modules)"
    code = f"import sys\nfrom alignment_limits.__main__ import main\nmain(['where', 'config/config.yaml'])\n{heavy}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "results/safety\n"
