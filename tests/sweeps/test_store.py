import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.sweeps import _files as files
from jnorm.sweeps import _store as store
from jnorm.sweeps import sweep

SCRIPT = Path(__file__).with_name("sweep_script.py")
KILLS = int(os.environ.get("JNORM_KILLS", "2"))


def train(key, shared, rate):
    return {"x": rate * jax.random.normal(key, (3,)) + shared, "n": 2, "low": jax.random.normal(key).astype("bfloat16")}


def run(folder, seeds=5, rates=(0.5, 0.1), data=1.0, train=train, chunk=2, **options):
    return sweep(train, seeds=seeds, grid={"rate": rates}, shared=data, chunk=chunk, store=folder, **options)


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)
    assert (a.configurations, a.seeds) == (b.configurations, b.seeds)


def chunks(folder):
    """Contents of every chunk, by name."""
    return {path.name: path.read_bytes() for path in sorted((Path(folder) / "chunks").iterdir())}


@pytest.fixture
def counted():
    """A train function that counts how often it was called with values."""
    done = []

    def counting(key, shared, rate):
        jax.debug.callback(lambda r: done.append(float(r)), rate)
        return train(key, shared, rate)

    return counting, done


def test_a_store_holds_the_result(tmp_path):
    result = run(tmp_path / "a" / "b")
    same(store.load(tmp_path / "a" / "b"), result)
    same(run(None), result)
    assert len(chunks(tmp_path / "a" / "b")) == 5


def test_what_the_manifest_and_the_journal_say(tmp_path):
    run(tmp_path, seeds=(3, 1))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["configurations"] == [{"rate": 0.1}, {"rate": 0.5}]
    assert manifest["seeds"] == [1, 3]
    assert manifest["keys"]["data"] == [jax.random.key_data(jax.random.key(s)).tolist() for s in (1, 3)]
    assert manifest["outputs"] == {"low": [[], "bfloat16"], "n": [[], "int32"], "x": [[3], "float32"]}
    assert manifest["versions"]["jax"] == jax.__version__
    assert {"system", "machine", "device", "devices", "processes"} == set(manifest["platform"])
    assert "revision" in manifest
    assert manifest["plans"] == [[2, 1, 2, 2, 1]]
    start, *kept = files.lines(tmp_path / "journal.0.jsonl")
    assert start["run"]["versions"] == manifest["versions"]
    for record in kept:
        assert record["sha256"] == store._sum((tmp_path / "chunks" / record["file"]).read_bytes())


def test_finished_runs_are_not_run_again(tmp_path, counted):
    counting, done = counted
    first = run(tmp_path, train=counting)
    jax.effects_barrier()
    assert len(done) >= 10
    done.clear()
    same(run(tmp_path, train=counting), first)
    jax.effects_barrier()
    assert not done


def test_the_order_of_a_grid_is_not_part_of_a_store(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, rates=(0.1, 0.5), seeds=(4, 3, 2, 1, 0))
    np.testing.assert_array_equal(again["x"], first["x"][::-1, ::-1])
    same(store.load(tmp_path), first)


def test_a_resume_keeps_the_plan(tmp_path):
    run(tmp_path)
    before = chunks(tmp_path)
    (tmp_path / "chunks" / "00000002-00000004.0of1.npz").unlink()
    with pytest.warns(UserWarning, match="runs 2 to 3 .* count as not run: 00000002-00000004.0of1.npz is missing"):
        run(tmp_path, chunk="auto")
    assert chunks(tmp_path) == before


def test_the_choice_of_auto_is_kept(tmp_path):
    first = run(tmp_path, chunk="auto", seeds=40)
    plan = json.loads((tmp_path / "manifest.json").read_text())["plans"]
    before = chunks(tmp_path)
    shutil.rmtree(tmp_path / "chunks")
    with pytest.warns(UserWarning, match="is missing"):
        same(run(tmp_path, chunk=3, seeds=40), first)
    assert json.loads((tmp_path / "manifest.json").read_text())["plans"] == plan
    assert chunks(tmp_path) == before


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: b"", lambda data: data[:300] + b"?" + data[301:]]
)
def test_a_truncated_or_altered_chunk_is_run_again(tmp_path, damage, counted):
    counting, done = counted
    run(tmp_path, train=counting)
    jax.effects_barrier()
    done.clear()
    before = chunks(tmp_path)
    path = tmp_path / "chunks" / "00000008-00000010.0of1.npz"
    path.write_bytes(damage(path.read_bytes()))
    with (
        pytest.warns(UserWarning, match="is not what was written"),
        pytest.raises(ValueError, match="holds 8 of 10 runs; the same sweep with it finishes them"),
    ):
        store.load(tmp_path)
    with pytest.warns(UserWarning, match="runs 8 to 9 .* is not what was written"):
        run(tmp_path, train=counting)
    assert chunks(tmp_path) == before
    jax.effects_barrier()
    assert done == [0.5, 0.5]


def test_a_journal_that_was_cut_short(tmp_path):
    first = run(tmp_path)
    journal = tmp_path / "journal.0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    with pytest.raises(ValueError, match="holds 8 of 10 runs"):
        store.load(tmp_path)
    same(run(tmp_path), first)
    same(store.load(tmp_path), first)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seeds": 7}, "seeds: 5, 6 only in this call"),
        ({"seeds": (0, 9)}, "seeds: 1, 2, 3 and 1 more only in the store; 9 only in this call"),
        ({"rates": (0.5, 0.2)}, "configurations: {'rate': 0.1} only in the store; {'rate': 0.2} only in this call"),
        ({"data": 2.0}, "shared: other data"),
        (
            {"train": lambda key, shared, rate: train(key, shared, rate)},
            "train: .*train in the store, .*<lambda> in",
        ),
    ],
)
def test_the_store_of_another_sweep_is_refused(tmp_path, change, text):
    run(tmp_path)
    before = chunks(tmp_path)
    with pytest.raises(ValueError, match=f"belongs to another sweep:\n- {text}"):
        run(tmp_path, **change)
    assert chunks(tmp_path) == before


def make(scale, extra):
    def inner(key, shared, rate):
        return {"x": scale * jax.random.normal(key) * rate} | ({"y": shared} if extra else {})

    return inner


def test_another_program_or_output_under_the_same_name_is_refused(tmp_path):
    run(tmp_path, train=make(1.0, False))
    with pytest.raises(ValueError, match="program: `train` does something else now"):
        run(tmp_path, train=make(2.0, False))
    with pytest.raises(ValueError, match=r"output y: none in the store, float32\[\] in this call"):
        run(tmp_path, train=make(1.0, True))


def test_two_writers_are_one_too_many(tmp_path):
    inside, leave = threading.Event(), threading.Event()

    def hold(progress):
        inside.set()
        assert leave.wait(60)

    first = threading.Thread(target=lambda: run(tmp_path, progress=hold))
    first.start()
    assert inside.wait(60)
    with pytest.raises(BlockingIOError, match=f"is being written by process {os.getpid()} on "):
        run(tmp_path)
    leave.set()
    first.join()
    run(tmp_path)  # the lock file is still there, and locks nobody out
    assert (tmp_path / "lock").exists()


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"`store` must be a folder that can be written; got .*Not a directory"):
        run(tmp_path / "file" / "store")
    with pytest.raises(FileNotFoundError, match="is not the store of a sweep"):
        store.load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="`store` must be a folder that can be written"):
        run(tmp_path / "store")


def test_a_disk_without_room_is_refused_at_once(tmp_path, monkeypatch, counted):
    counting, done = counted
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(OSError, match=r"the results take 180 bytes, and the disk of .* has 0") as caught:
        run(tmp_path, train=counting)
    assert caught.value.errno == errno.ENOSPC
    assert not done


def test_a_disk_that_gets_full_loses_nothing_that_is_finished(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    fsync, left = os.fsync, [9]

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match=r"could not write '.*': No space left on device"):
            run(tmp_path / "full")
    kept = chunks(tmp_path / "full")
    assert 0 < len(kept) < 5
    same(run(tmp_path / "full"), whole)
    assert chunks(tmp_path / "full") == chunks(tmp_path / "whole")


def script(folder, *options):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("chunk", ["2", "auto"] if KILLS > 3 else ["2"])
def test_killed_at_random_moments_and_resumed(tmp_path, chunk):
    """JNORM_KILLS=20 kills twenty times; every killed sweep ends as the one that nobody killed."""
    options = ["--chunk", chunk, "--steps", 5_000]
    start = time.monotonic()
    whole = script(tmp_path / "whole", *options)
    printed, errors = whole.communicate(timeout=120)
    lasted = time.monotonic() - start
    assert whole.returncode == 0, errors
    draw = random.Random(0)
    kills = interrupted = 0
    while kills < KILLS:
        folder = tmp_path / "killed"
        if not folder.exists():  # "auto" measures: the same plan is needed for the same bits
            folder.mkdir()
            shutil.copy(tmp_path / "whole" / "manifest.json", folder)
        process = script(folder, *options)
        try:
            process.wait(draw.uniform(0.3, 1.0) * lasted)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        count = len(chunks(folder)) if (folder / "chunks").exists() else 0
        interrupted += 0 < count < len(chunks(tmp_path / "whole"))
        if process.returncode == 0:
            assert chunks(folder) == chunks(tmp_path / "whole")
            shutil.rmtree(folder)
    process = script(tmp_path / "killed", *options) if (tmp_path / "killed").exists() else whole
    if process is not whole:
        assert process.communicate(timeout=120)[0] == printed
        assert process.returncode == 0
        assert chunks(tmp_path / "killed") == chunks(tmp_path / "whole")
    print(f"{kills} kills, of which {interrupted} found some chunks finished and some not")


def test_packed_arrays_are_the_same_bytes_and_come_back(tmp_path):
    arrays = {"a": np.arange(3.0), "b": np.asarray(jnp.ones((2, 1), jnp.bfloat16)), "c": np.array([True])}
    data = files.pack(arrays)
    assert files.pack(arrays) == data
    back = files.unpack(data, {name: array.dtype for name, array in arrays.items()})
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)
