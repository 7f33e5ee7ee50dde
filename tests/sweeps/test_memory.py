"""Memory that does not suffice, simulated where XLA raises: when a program is compiled, is called, and ends."""

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.sweeps import _files as files
from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _store as store
from jnorm.sweeps import sweep
from tests.sweeps.test_store import chunks, rewrite_block, same

pytestmark = pytest.mark.usefixtures("unoptimized")

WHEN = ("compile", "call", "wait")
WORDS = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3206250496 bytes."
GRID = {"rate": (0.1, 0.5)}


def train(key, rate):
    return {"x": rate * jax.random.normal(key, (3,)), "y": jnp.tanh(jax.random.normal(key))}


def run(folder=None, seeds=6, chunk=4, **options):
    return sweep(train, seeds=seeds, grid=GRID, chunk=chunk, store=folder, **options)


class Lost:
    """An output of a call that ended without memory."""

    def block_until_ready(self):
        raise jax.errors.JaxRuntimeError(WORDS)


@pytest.fixture
def lack(monkeypatch):
    """``lack(when, most, after)``: after so many calls there is room for ``most`` runs. Returns all that is tried."""

    compiled, execute = programs.compiled, programs.execute

    def limit(when, most, after=0):
        tried = []

        def beyond(width, groups):
            tried.append((width, groups))
            return len(tried) > after and width * groups > most

        def compile_less(text, mesh, *, width, groups):
            if beyond(width, groups):
                raise jax.errors.JaxRuntimeError(WORDS)
            return compiled(text, mesh, width=width, groups=groups)

        def execute_less(program, lanes, shared):
            if not beyond(program.width, program.groups):
                return execute(program, lanes, shared)
            if when == "call":
                raise jax.errors.JaxRuntimeError(WORDS)
            return {"x": Lost(), "y": Lost()}, np.arange(program.runs)

        if when == "compile":
            monkeypatch.setattr(programs, "compiled", compile_less)
        else:
            monkeypatch.setattr(programs, "execute", execute_less)
        return tried

    return limit


def events(folder):
    return [line for line in files.lines(folder / "journal.0.jsonl") if "did_not_fit" in line]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 21.90G",
            True,
        ),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 6291456 bytes.", True),
        ("RESOURCE_EXHAUSTED: Failed to allocate request for 2.99GiB (3206250496B) on device ordinal 0", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 70368744177664 bytes.", True),
        ("Resource exhausted: Failed to allocate request for 32.00MiB (33554432B) on device ordinal 0", True),
        ("INTERNAL: Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY: out of memory", True),
        ("INTERNAL: Failed to allocate: hipErrorOutOfMemory", True),
        ("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", False),
    ],
)
def test_what_a_lack_of_memory_looks_like(words, told):
    assert memory.lacking(jax.errors.JaxRuntimeError(words)) == told
    assert not memory.lacking(RuntimeError(words))


@pytest.mark.parametrize("when", WHEN)
def test_a_chunk_that_does_not_fit_is_made_smaller(tmp_path, when, lack):
    expected = run(chunk=2)
    tried = lack(when, most=3)
    with pytest.warns(UserWarning, match="memory did not suffice for") as told:
        result = run(tmp_path, chunk=8)
    same(result, expected)
    same(store.load(tmp_path), expected)
    assert [width for width, _ in dict.fromkeys(tried)] == [8, 4, 2]
    first, second = (str(warning.message) for warning in told)
    assert first == f"memory did not suffice for 8 runs side by side ({WORDS}); next: 4 runs side by side"
    assert second == f"memory did not suffice for 4 runs side by side ({WORDS}); next: 2 runs side by side"
    assert [event["did_not_fit"][0] for event in events(tmp_path)] == [8, 4]
    assert json.loads((tmp_path / "manifest.json").read_text())["blocks"][0]["plans"] == [[2, 1, 2, 2, 1]]
    before = chunks(tmp_path)
    (tmp_path / "chunks" / "00000004-00000006.0of1.npz").unlink()
    with pytest.warns(UserWarning, match="count as not run"):
        same(run(tmp_path, chunk=8), expected)  # by the plan that fits, without another try
    assert chunks(tmp_path) == before


@pytest.mark.parametrize("when", ["call", "wait"])
def test_a_later_chunk_that_does_not_fit_leaves_what_is_finished(tmp_path, when, lack):
    wide, narrow = run(chunk=4), run(chunk=2)
    tried = lack(when, most=2, after=2)
    with pytest.warns(UserWarning, match="; the 8 runs before were 4 side by side: their rounding may differ"):
        result = run(tmp_path, chunk=4)
    assert [width for width, _ in tried] == [4, 4, 4, 4, 2, 2]  # the third also without the results of the second
    for name in result:
        flat = [r[name].reshape(12, -1) for r in (result, wide, narrow)]
        np.testing.assert_array_equal(flat[0], [*flat[1][:8], *flat[2][8:]])
    assert [name[:17] for name in chunks(tmp_path)] == [
        "00000000-00000004",
        "00000004-00000008",
        "00000008-00000010",
        "00000010-00000012",
    ]


@pytest.mark.filterwarnings("ignore:runs .* count as not run")
def test_fewer_runs_in_a_row_change_no_bit(tmp_path, lack):
    run(tmp_path, chunk=2)
    rewrite_block(tmp_path, plans=[[2, 4, 2, 8, 1]])
    for name in list(chunks(tmp_path))[2:]:
        (tmp_path / "chunks" / name).unlink()
    expected = run(chunk=2)
    lack("call", most=2)
    with pytest.warns(UserWarning, match="did not suffice") as told:
        same(run(tmp_path), expected)
    (said,) = [str(warning.message) for warning in told if "did not suffice" in str(warning.message)]
    assert said == f"memory did not suffice for 4 times 2 runs side by side ({WORDS}); next: 2 runs side by side"


def test_one_run_that_does_not_fit_is_an_error_with_sizes(tmp_path, lack):
    lack("call", most=0)
    sizes = (
        "one run, with 16 bytes of outputs beside 0 bytes of `shared`, must fit .* \\(cpu\\), of which [0-9,]+ bytes"
    )
    with (
        pytest.warns(UserWarning, match="did not suffice"),
        pytest.raises(MemoryError, match=sizes + ".*" + WORDS[:20]),
    ):
        run(tmp_path, chunk=2)
    assert [event["then"] for event in events(tmp_path)][-1] is None


@pytest.mark.parametrize("when", WHEN)
def test_trials_that_do_not_fit(tmp_path, when, lack):
    lack(when, most=0)
    with (
        pytest.warns(UserWarning, match="did not suffice for 12 times 1 run "),
        pytest.raises(MemoryError, match="one run, with"),
    ):
        run(tmp_path, chunk="auto")
    lack(when, most=6)
    with pytest.warns(UserWarning, match=r"for 12 times 1 run \(.*\); next: 1 run$"):
        same(run(chunk="auto"), run(chunk=1))


def test_data_that_do_not_fit_are_an_error_with_sizes(monkeypatch):
    def device_put(*_):
        raise jax.errors.JaxRuntimeError(WORDS)

    shared = np.ones((3, 5), np.float32)
    monkeypatch.setattr(jax, "device_put", device_put)
    with pytest.raises(MemoryError, match="`shared`, of 60 bytes, must fit into the memory of a device"):
        sweep(lambda key, shared: {"x": shared.sum() + jax.random.normal(key)}, seeds=2, shared=shared)


@pytest.mark.parametrize("room", [1, 2])
def test_results_of_two_chunks_are_there_at_most(tmp_path, monkeypatch, room):
    """Where there is room for one only, a chunk waits, and nothing else changes."""
    expected, execute, alive, most = run(tmp_path / "a"), programs.execute, [], [0]

    def counted(program, lanes, shared):
        kept = sum(any(array() is not None for array in one) for one in alive)
        most[0] = max(most[0], kept + 1)
        if kept + 1 > room:
            raise jax.errors.JaxRuntimeError(WORDS)
        outputs, rows = execute(program, lanes, shared)
        alive.append([weakref.ref(array) for array in outputs.values()])
        return outputs, rows

    monkeypatch.setattr(programs, "execute", counted)
    same(run(tmp_path / "b"), expected)
    assert most[0] == 2
    assert chunks(tmp_path / "b") == chunks(tmp_path / "a")


def test_the_next_chunk_starts_before_one_is_written(tmp_path, monkeypatch):
    order, execute, keep = [], programs.execute, store.Store.keep

    def started(*arguments):
        order.append("start")
        return execute(*arguments)

    def kept(*arguments):
        order.append("keep")
        return keep(*arguments)

    def reported(progress):
        order.append(progress.done)
        assert 4 * len(chunks(tmp_path)) == progress.done  # what is reported is on the disk

    monkeypatch.setattr(programs, "execute", started)
    monkeypatch.setattr(store.Store, "keep", kept)
    run(tmp_path, progress=reported)
    assert order == [0, "start", "start", "keep", 4, "start", "keep", 8, "keep", 12]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, jax.errors.JaxRuntimeError])
def test_an_error_in_a_chunk_leaves_those_before_it(tmp_path, monkeypatch, error):
    expected, execute, count = run(tmp_path / "a"), programs.execute, [0]

    def failing(*arguments):
        count[0] += 1
        if count[0] == 3:
            raise error("of the third chunk")
        return execute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(programs, "execute", failing)
        with pytest.raises(error, match="of the third chunk"):
            run(tmp_path / "b")
    finished = 1 if error is KeyboardInterrupt else 2
    assert chunks(tmp_path / "b") == dict(list(chunks(tmp_path / "a").items())[:finished])
    same(run(tmp_path / "b"), expected)


def room(stats):
    def memory_stats():
        if isinstance(stats, Exception):
            raise stats
        return stats

    return SimpleNamespace(platform="gpu", memory_stats=memory_stats)


@pytest.mark.parametrize(
    ("devices", "free"),
    [
        ([{"bytes_limit": 100, "bytes_in_use": 30}], 70),
        ([{"bytes_limit": 100, "bytes_in_use": 30}, {"bytes_limit": 100, "bytes_in_use": 60}], 40),
        ([{"bytes_limit": 100, "bytes_in_use": 30}, None], None),
        ([{"bytes_in_use": 30}], None),
        ([{"bytes_limit": -1}], None),
        ([jax.errors.JaxRuntimeError("UNIMPLEMENTED")], None),
    ],
)
def test_free_memory_is_of_the_devices_of_the_mesh(devices, free):
    assert memory.free(SimpleNamespace(local_devices=list(map(room, devices)))) == free


def test_a_program_counts_with_the_results_of_the_chunk_before(monkeypatch):
    sizes = []
    compiled = programs.compiled
    monkeypatch.setattr(programs, "compiled", lambda *a, **k: sizes.append(compiled(*a, **k)) or compiled(*a, **k))
    sweep(lambda key: {"x": jnp.full(2**16, jax.random.uniform(key))}, seeds=8, chunk=4)
    assert sizes[0].memory >= 2 * 4 * 4 * 2**16
    unknown = SimpleNamespace(compile=lambda: SimpleNamespace(memory_analysis=lambda: None))
    assert programs.compiled([unknown], sizes[0].mesh, width=1, groups=1).memory is None


REFUSED = """
import resource
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp

from jnorm.sweeps import sweep


def train(key):
    x = jax.random.normal(key, (2**22,))
    return {"top": jnp.sort(x)[-3:]}


expected = sweep(train, seeds=2, chunk=1)["top"]
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 600 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    result = sweep(train, seeds=16, chunk=16)["top"]
same = abs(result[0, :2] - expected[0]).max() < 5e-6  # rounding of numbers near 5, ten times
print(len(told), str(told[0].message).split(":")[0], same)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a system that limits and tells memory")
def test_memory_that_the_system_refuses():
    """A sort of 2^22 numbers in 16 runs takes 1.9 GB; the system gives 600 MiB more."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", REFUSED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *words = done.stdout.split()
    assert int(count) >= 1
    assert " ".join(words) == "memory did not suffice for 16 runs side by side (RESOURCE_EXHAUSTED True"
