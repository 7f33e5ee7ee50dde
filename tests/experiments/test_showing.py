"""What is shown while an experiment works: lines where nobody watches, one live display on a terminal."""

import re
import sys

import pytest

from experiments import showing


def test_a_log_gets_lines_at_the_start_now_and_then_and_at_the_end(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(showing.time, "perf_counter", lambda: now[0])
    clock = showing.Clock()
    with clock("sweep", 5, "runs") as shown:
        for seconds in (1, 11, 12, 30, 31):
            now[0] = float(seconds)
            shown.advance()
    assert clock.seconds == {"sweep": 31.0}
    lines = ["sweep ...", "sweep: 2/5 runs, 11 s", "sweep: 4/5 runs, 30 s", "sweep: 5/5 runs, 31 s", "sweep: 31.0 s"]
    assert capsys.readouterr().err.splitlines() == lines


def test_other_words_and_a_total_that_is_learned_later(capsys):
    with showing.task("sweep") as shown:
        shown.total = 3
        shown.reach(3, "3 of 3, 0 diverged")
    assert capsys.readouterr().err == "sweep ...\nsweep: 3 of 3, 0 diverged, 0 s\n"


def test_a_terminal_has_one_display_for_all_tasks(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with showing.task("figure"):
        outer = showing._display
        with showing.task("networks", 4, "seeds") as shown:
            assert showing._display is outer
            shown.advance(3)
            assert [(t.description, t.completed) for t in outer.tasks] == [("figure", 0), ("networks", 3)]
            outer.refresh()
        assert [t.description for t in outer.tasks] == ["figure"]
    assert showing._display is None
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "3/4 seeds" in text


def test_a_display_ends_with_the_work_that_fails(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(KeyboardInterrupt), showing.task("figure"):
        raise KeyboardInterrupt
    assert showing._display is None
