"""Bars of long work."""

import pytest

from alignment_limits.jobs.job import progress_bar


@pytest.mark.parametrize(("seconds", "shown"), [(1, False), (60, True)])
def test_a_bar_shows_only_where_work_turns_out_long(seconds, shown, capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress_bar(2, "text", "scoring") as bar:
        now[0] += seconds
        bar.update(2)
    assert ("scoring: 100%" in capsys.readouterr().err) == shown
