import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import harness, moments
from jnorm import activations
from jnorm.theory.moments import activation_moments

ROOT = Path(__file__).resolve().parents[1]


def test_a_row_knows_whether_it_is_what_was_asked():
    assert harness.Row("speed", 50.0, "times", least=50).met
    assert not harness.Row("speed", 49.9, "times", least=50).met
    assert harness.Row("time", 0.99, "s", most=1).met
    assert not harness.Row("time", 1.0, "s", most=1).met
    assert harness.Row("free", 1.0, "s").met


def test_every_contender_runs_once_a_round_in_turn():
    calls = []
    seconds = harness.interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba"


def test_the_ratio_is_taken_within_rounds():
    assert harness.ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0


def test_the_table_and_the_files_show_asked_against_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    rows = [harness.Row("speed", 12.0, "times", least=50, detail="slow"), harness.Row("time", 0.5, "s", most=1)]
    text = harness.table("Title", rows)
    assert "| speed   | >= 50 times | 12 times " in text
    assert text.count("| NO ") == text.count("| yes ") == 1
    data, table = harness.save("name", "Title", rows)
    assert table.read_text() == text
    assert '"met": false' in data.read_text()


def test_a_fresh_process_measures_itself():
    assert harness.fresh("print(2.5)", rounds=1) == 2.5


def test_the_peer_computes_the_same_numbers(x64):
    # 1e-9: the peer's window of ten standard deviations and its goal of 1e-12, absolute as well as relative
    for phi, plain in ((activations.selu, moments.plain_selu), (activations.tanh, np.tanh)):
        for mean, var in zip(*moments.points(5), strict=True):
            exact = activation_moments(phi, mean, var)
            assert moments.quad_moments(plain, mean, var, 1e-12) == pytest.approx(tuple(map(float, exact)), rel=1e-9)


def test_the_command_lists_and_refuses():
    listing = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "moments  Moments of activations against scipy.integrate.quad" in listing.stdout
    wrong = subprocess.run([sys.executable, "-m", "benchmarks", "moment"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "invalid choice: 'moment' (choose from" in wrong.stderr
