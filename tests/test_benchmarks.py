import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import floors, golden, harness, kernels, moments
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


def test_a_row_is_a_line_as_soon_as_it_is_measured():
    assert harness.line(harness.Row("speed", 12.0, "times", least=50)) == "speed: 12 times, asked >= 50 times: NOT MET"
    assert harness.line(harness.Row("free", 0.5, "s", detail="once")) == "free: 0.5 s (once)"


def test_quick_is_two_rounds(monkeypatch):
    assert list(harness.turns(5)) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(harness, "quick", True)
    assert list(harness.turns(5)) == [0, 1]
    assert list(harness.turns(1)) == [0]


def test_quick_figures_are_not_saved(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "moments", "--quick", "--save"])
    with pytest.raises(SystemExit):
        command.main()
    assert "not worth" in capsys.readouterr().err


def test_the_floor_is_the_longer_of_moving_and_multiplying():
    floor = floors.Floor(1e9, {"float32": 1e12})
    assert floor.seconds(2e9, 1e12, "float32") == 2
    assert floor.seconds(2e9, 3e12, "float32") == 3


def test_the_floor_counts_what_a_pass_reads_and_writes(monkeypatch):
    monkeypatch.setattr(floors, "ROUNDS", 1)
    item = floors.Item("relu", {"jnorm": activations.relu, "peer": jax.nn.relu}, (jnp.ones(2**18),))  # a MiB
    forward, both = floors.timed(item, floors.Floor(2.0**21, {"float32": 1.0}))
    assert forward.what == "relu, float32, forward"
    assert "for 1e+03; 2 MiB; " in forward.detail  # x and y; in milliseconds at 2 MiB a second
    assert "for 2e+03; 4 MiB; " in both.detail  # and the weight and dx
    assert both.detail.endswith("times peer's")


def plane(name, **lines):
    """A plane of a profile, its lines with the names and nanoseconds of their events."""
    event = lambda name, time, *keys: SimpleNamespace(name=name, duration_ns=time, stats=[(key, 0) for key in keys])
    return SimpleNamespace(
        name=name, lines=[SimpleNamespace(name=line, events=[event(*e) for e in es]) for line, es in lines.items()]
    )


def test_kernels_are_what_devices_ran():
    gpu = plane(
        "/device:GPU:0", **{"Stream #1(Compute)": [("fusion_1", 5), ("gemm", 7)], "XLA Modules": [("jit_f", 12)]}
    )
    tpu = plane("/device:TPU:0", **{"XLA Ops": [("%while.3", 9), ("fusion.2", 4)], "Steps": [("1", 9)]})
    cpu = plane("/host:CPU", python=[("call", 90)], client=[("fusion.4", 2, "hlo_op"), ("while.1", 3, "hlo_op")])
    assert list(kernels.events(SimpleNamespace(planes=[gpu]))) == [("fusion_1", 5), ("gemm", 7)]
    assert list(kernels.events(SimpleNamespace(planes=[tpu, cpu]))) == [("fusion.2", 4), ("fusion.4", 2)]


def test_a_profile_names_kernels_or_says_why_not(monkeypatch):
    call = lambda: jax.jit(lambda x: jnp.sort(x @ x))(jnp.ones((64, 64)))
    first, *rows = kernels.top("it", call)
    assert first.measured > 0 or "profile" in first.detail
    assert len(rows) <= kernels.MOST
    assert sum(row.measured for row in rows) <= 100 * (1 + 1e-12)

    def closed(*_, **__):
        raise RuntimeError("not here")

    monkeypatch.setattr(jax.profiler, "trace", closed)
    (row,) = kernels.top("it", call)
    assert row.detail == "no profile: RuntimeError: not here"


def test_the_worst_error_is_found_and_nan_is_infinite():
    at = np.array([1.0, 2.0, 3.0])
    assert golden.worst(np.array([1.0, 6.0, 0.0]), np.array([1.0, 2.0, 1.0]), at) == (3.0, 2.0)
    assert golden.worst(np.array([1.0, 6.0, np.nan]), np.ones(3), at) == (np.inf, 3.0)


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
