"""Long runs in segments: what they carry is kept, and a sweep that ends anyhow goes on from there, bit for bit."""

import errno
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm._ground import atomic
from jnorm.sweeps import _carried as carried
from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _segments as segments
from jnorm.sweeps import load, sweep
from tests.sweeps import segments_script as script
from tests.sweeps.test_store import same

pytestmark = pytest.mark.usefixtures("unoptimized")

WORDS = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3206250496 bytes."


@pytest.fixture
def every(monkeypatch):
    """Save after every segment, however short."""
    monkeypatch.setattr(segments.Saving, "is_due", lambda saving: saving.folder is not None)


def files(folder):
    return sorted(path.name for path in (folder / "carried").glob("*"))


class Stopped(Exception):
    pass


def stopped(folder, runs, **options):
    """A sweep that ends with an error when so many runs are done."""

    def stop(progress):
        if progress.done + progress.begun > runs - 1e-6:
            raise Stopped

    with pytest.raises(Stopped):
        script.run(folder, progress=stop, **options)


def resumed(folder, **options):
    """Its result, and the first report of what was begun."""
    begun = []
    result = script.run(folder, progress=lambda progress: begun.append(progress.done + progress.begun), **options)
    return result, begun[1]


@pytest.fixture(scope="module")
def expected():
    return script.run()


def test_segments_are_the_whole_run(tmp_path, expected):
    train = script.training(6, 3)
    plain = lambda key, shared, multiplier: train(key, shared, multiplier)  # has no segments
    options = {"seeds": 3, "grid": script.GRID, "integers": ["multiplier"], "shared": jnp.uint32(1013)}
    same(expected, sweep(plain, **options))
    told = []
    same(script.run(tmp_path, progress=told.append), expected)
    same(load(tmp_path), expected)
    assert not files(tmp_path)
    moved = [progress.done + progress.begun for progress in told]
    assert moved == sorted(moved)
    np.testing.assert_allclose(moved[1:6], 2 * np.arange(1, 6) / 6)
    assert str(told[2]).startswith("0.7/9 runs")


def test_a_sweep_goes_on_within_a_chunk(tmp_path, every, expected):
    stopped(tmp_path, 2 + 2 * 4 / 6)  # of the second chunk, when four segments are done and three are saved
    assert files(tmp_path) == [f"00000002-00000004.0of1.{segment}.npz" for segment in (2, 3)]
    result, first = resumed(tmp_path)
    assert first == pytest.approx(2 + 2 * 3 / 6)
    same(result, expected)
    assert not files(tmp_path)


def test_damaged_files_are_not_used(tmp_path, every, expected):
    stopped(tmp_path, 2 * 4 / 6)
    last = tmp_path / "carried" / files(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="carried after segment 3 is not used: .* is not what was written"):
        result, first = resumed(tmp_path)
    assert first == pytest.approx(2 * 2 / 6)
    same(result, expected)


def test_a_full_disk_loses_nothing(tmp_path, every, expected, monkeypatch):
    def write(path, data):
        if ".3." in path.name:
            (path.parent / f".{path.name}.99").write_bytes(data[:9])  # as if the process had ended there
            raise OSError(errno.ENOSPC, f"could not write '{path}': {os.strerror(errno.ENOSPC)}")
        atomic.write(path, data)

    monkeypatch.setattr(carried, "atomic", SimpleNamespace(write=write))
    with pytest.raises(OSError, match=r"could not write '.*00000000-00000002.0of1.3.npz': No space left on device"):
        script.run(tmp_path)
    monkeypatch.undo()
    result, first = resumed(tmp_path)
    assert first == pytest.approx(2 * 2 / 6)
    same(result, expected)
    assert not files(tmp_path)
    assert not list((tmp_path / "carried").iterdir())


def test_memory_that_ends_within_a_run_makes_chunks_smaller(tmp_path, every, expected, monkeypatch):
    compiled, calls = programs.compiled, []

    def limited(*arguments, width, **options):
        program = compiled(*arguments, width=width, **options)

        def advance(*arguments):
            calls.append(width)
            if width > 1 and len(calls) > 3:
                raise jax.errors.JaxRuntimeError(WORDS)
            return program.advance(*arguments)

        return replace(program, advance=advance)

    monkeypatch.setattr(programs, "compiled", limited)
    with pytest.warns(UserWarning, match="memory did not suffice for 2 runs side by side .* next: 1 run"):
        same(script.run(tmp_path), expected)
    assert calls.count(2) == 4  # after the first segment, the last of them in vain: three segments were saved
    assert calls.count(1) == 2 * 3 + 7 * 5
    assert not files(tmp_path)


def test_others_choose_a_plan_by_one_segment(tmp_path, expected):
    same(script.run(tmp_path, chunk="auto"), expected)


def with_pieces(begin, advance=None, segments=2):
    def train(key, rate):
        return {"x": rate}

    train.segments, train.begin = segments, begin
    train.advance = advance or (lambda key, carried, rate: carried)
    train.finish = lambda key, carried, rate: {"x": jax.tree.leaves(carried)[0] + rate}
    return train


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (with_pieces(lambda key, rate: {"k": key}), r"for the key `\['k'\]` return jax.random.key_data of it"),
        (with_pieces(lambda key, rate: {"k": "text"}), r"must return arrays; `\['k'\]` is a str"),
        (
            with_pieces(lambda key, rate: jnp.zeros(2), lambda key, carried, rate: jnp.zeros(3)),
            r"must return what `train.begin` does, float32\[2\] as ``; got float32\[3\]",
        ),
        (
            with_pieces(lambda key, rate: jnp.zeros(2), lambda key, carried, rate: (carried, carried)),
            "must return what `train.begin` does, PyTreeDef",
        ),
    ],
)
def test_pieces_that_do_not_fit_are_refused(train, words):
    with pytest.raises(TypeError, match=words):
        sweep(train, seeds=2, grid={"rate": (0.1,)})


def test_their_number_is_checked_and_another_one_is_another_program(tmp_path):
    with pytest.raises(ValueError, match=r"`train\.segments` must be a whole number >= 1; got 0"):
        script.run(segments=0)
    script.run(tmp_path, segments=2)
    with pytest.raises(ValueError, match="program: `train` does something else now"):
        script.run(tmp_path, segments=3)


def start(folder, *options):
    command = [sys.executable, Path(script.__file__), folder, *map(str, options)]
    strict = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}  # as in tests
    environment = os.environ | strict | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_a_killed_sweep_loses_a_segment_at_most(tmp_path):
    size = {"segments": 16, "work": 200_000, "seeds": 1}
    process = start(tmp_path, "--always=1", *(f"--{name}={value}" for name, value in size.items()))
    done = 0.0
    for line in process.stderr:
        done = float(line.split()[-1])
        if done > 0.5:  # within the first chunk of two runs
            break
    process.kill()
    process.communicate()
    assert files(tmp_path)
    result, first = resumed(tmp_path, **size)
    assert first >= done - 2 / 16 - 1e-6
    same(result, script.run(**size))


@pytest.mark.thorough
@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_processes_is_killed_and_a_single_one_goes_on(tmp_path, victim, expected):
    size = {"segments": 16, "work": 200_000, "seeds": 1}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--{name}={value}" for name, value in size.items()]
    options += ["--always=1", "--processes=2", f"--port={port}"]
    pair = [start(tmp_path, *options, f"--process={number}") for number in (0, 1)]
    for line in pair[0].stderr:
        if re.fullmatch(r"[\d.]+ [\d.]+\n", line) and float(line.split()[-1]) > 0.5:  # of three runs
            break
    pair[victim].kill()
    for process in pair:
        process.communicate(timeout=100)
        assert process.returncode
    names = files(tmp_path)
    assert {name.split(".")[1] for name in names} == {"0of2", "1of2"}
    result, first = resumed(tmp_path, chunk=1, **size)  # by the plan of the store: two runs side by side
    assert first > 0.3
    same(result, script.run(**size))
