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
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.sweeps import _files as files
from jnorm.sweeps import _store as store
from jnorm.sweeps import sweep

pytestmark = pytest.mark.usefixtures("unoptimized")

SCRIPT = Path(__file__).with_name("sweep_script.py")


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
    """Contents of every finished chunk, by name: a process that is killed while it writes leaves a hidden one."""
    return {path.name: path.read_bytes() for path in sorted((Path(folder) / "chunks").glob("[!.]*"))}


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
    assert manifest["order"] == {"configurations": [{"rate": 0.5}, {"rate": 0.1}], "seeds": [3, 1]}
    (block,) = manifest["blocks"]
    assert block["configurations"] == [{"rate": 0.1}, {"rate": 0.5}]
    assert block["seeds"] == [1, 3]
    assert block["jax"] == jax.__version__
    assert block["keys"] == [jax.random.key_data(jax.random.key(s)).tolist() for s in (1, 3)]
    assert manifest["outputs"] == {"low": [[], "bfloat16"], "n": [[], "int32"], "x": [[3], "float32"]}
    assert manifest["versions"]["jax"] == jax.__version__
    assert {"system", "machine", "name", "device", "devices", "processes"} == set(manifest["platform"])
    assert manifest["platform"]["name"] == jax.devices()[0].platform
    assert "revision" in manifest
    assert block["plans"] == [[2, 1, 2, 2, 1]]
    start, *kept = files.lines(tmp_path / "journal.0.jsonl")
    assert start["run"]["versions"] == manifest["versions"]
    assert start["run"]["flags"] == manifest["flags"] == os.environ.get("XLA_FLAGS", "")
    for record in kept:
        assert record["sha256"] == files.sha256((tmp_path / "chunks" / record["file"]).read_bytes())


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
    assert len(chunks(tmp_path)) == 5
    again = run(tmp_path, rates=(0.1, 0.5), seeds=(4, 3, 2, 1, 0))
    np.testing.assert_array_equal(again["x"], first["x"][::-1, ::-1])
    assert len(chunks(tmp_path)) == 5
    same(store.load(tmp_path), again)  # in the order of the last call


def test_a_resume_keeps_the_plan(tmp_path):
    run(tmp_path)
    before = chunks(tmp_path)
    (tmp_path / "chunks" / "00000002-00000004.0of1.npz").unlink()
    with pytest.warns(UserWarning, match="runs 2 to 3 .* count as not run: 00000002-00000004.0of1.npz is missing"):
        run(tmp_path, chunk="auto")
    assert chunks(tmp_path) == before


def test_the_choice_of_auto_is_kept(tmp_path):
    first = run(tmp_path, chunk="auto", seeds=40)
    plan = json.loads((tmp_path / "manifest.json").read_text())["blocks"]
    before = chunks(tmp_path)
    shutil.rmtree(tmp_path / "chunks")
    with pytest.warns(UserWarning, match="is missing"):
        same(run(tmp_path, chunk=3, seeds=40), first)
    assert json.loads((tmp_path / "manifest.json").read_text())["blocks"] == plan
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
        ({"data": 2.0}, "data: `shared` holds other arrays"),
        (
            {"train": lambda key, shared, rate: train(key, shared, rate)},
            "train: .*train in the store, .*<lambda> in",
        ),
    ],
)
def test_the_store_of_another_sweep_is_refused(tmp_path, change, text):
    run(tmp_path)
    before = chunks(tmp_path)
    with pytest.raises(ValueError, match=f"belongs to another sweep:\n- {text}") as raised:
        run(tmp_path, **change)
    assert "random" not in str(raised.value)  # more seeds make more keys, of the same kind
    assert "keys:" not in str(raised.value)
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


def helped(b):
    """A helper that multiplies by ``b``, called from a nested jit inside scan and cond."""
    b = jnp.full((3,), b)
    helper = jax.jit(lambda x: x * b)

    def train(key, shared, rate):
        step = lambda x, _: (jax.lax.cond(rate > 0, helper, lambda x: x, x), None)
        return {"x": jax.lax.scan(step, rate + shared * jnp.arange(3.0), None, length=1)[0]}

    return train


def test_a_number_deep_in_the_program_is_another_program(tmp_path):
    inside = np.array([[0.1, 1.1, 2.1], [0.5, 1.5, 2.5]], np.float32)[::-1, None]  # rates 0.5 and 0.1
    np.testing.assert_array_equal(run(tmp_path / "a", train=helped(1.0), seeds=1)["x"], inside)
    with pytest.raises(ValueError, match="belongs to another sweep:\n- program: `train` does something else now"):
        run(tmp_path / "a", train=helped(100.0), seeds=1)
    np.testing.assert_array_equal(run(tmp_path / "b", train=helped(100.0), seeds=1)["x"], inside * np.float32(100))
    np.testing.assert_array_equal(run(tmp_path / "a", train=helped(1.0), seeds=1)["x"], inside)


def called(function):
    def train(key, shared, rate):
        return {"x": jax.pure_callback(function, jax.ShapeDtypeStruct((), "float32"), rate, vmap_method="sequential")}

    return train


def double(x):
    return np.float32(2 * x)


def triple(x):
    return np.float32(3 * x)


def test_code_that_jax_cannot_see_needs_a_version(tmp_path):
    text = f"`version` must be given with `store` .*: pure_callback {__name__}.double. Any text will do"
    with pytest.raises(ValueError, match=text):
        run(tmp_path, train=called(double), seeds=1)
    assert not any(tmp_path.iterdir())
    np.testing.assert_array_equal(run(None, train=called(double), seeds=1)["x"][:, 0], np.float32([1.0, 0.2]))
    first = run(tmp_path, train=called(double), seeds=1, version="double, 1")
    same(run(tmp_path, train=called(double), seeds=1, version="double, 1"), first)
    for train_now, version, words in (
        (called(double), "double, 2", "version: double, 1 in the store, double, 2 in this call"),
        (called(triple), "double, 1", "program: `train` does something else now"),
    ):
        with pytest.raises(ValueError, match=f"belongs to another sweep:\n- {words}"):
            run(tmp_path, train=train_now, seeds=1, version=version)
    with pytest.raises(ValueError, match="`version` must be given"):
        run(tmp_path, train=called(double), seeds=1)


@pytest.mark.parametrize("version", ["", 2, b"2"])
def test_a_version_is_a_text(version):
    with pytest.raises(TypeError, match="`version` must be a text that is not empty; got "):
        run(None, version=version)


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("jax_threefry_partitionable", True, False),
        ("jax_random_seed_offset", 0, 3),
        ("jax_default_matmul_precision", None, "highest"),
        ("jax_numpy_dtype_promotion", "strict", "standard"),
        ("jax_default_prng_impl", "threefry2x32", "rbg"),
        ("jax_enable_x64", False, True),
        ("jax_optimization_level", "UNKNOWN", "O1"),
    ],
)
def test_settings_that_change_numbers_are_part_of_a_store(tmp_path, setting, before, after):
    one = lambda key, shared, rate: {"x": jnp.float32(1) * rate.astype(jnp.float32)}
    run(tmp_path, train=one, data=np.float32(1), seeds=1)
    start = getattr(jax.config, setting)
    try:
        jax.config.update(setting, after)
        with pytest.raises(ValueError, match="belongs to another sweep") as caught:
            run(tmp_path, train=one, data=np.float32(1), seeds=1)
    finally:
        jax.config.update(setting, start)
    before = "none" if before is None else before
    assert f"- flag {setting}: {before} in the store, {after} in this call" in str(caught.value)
    random = setting in ("jax_threefry_partitionable", "jax_random_seed_offset", "jax_default_prng_impl")
    assert random == ("changes random numbers" in str(caught.value))
    run(tmp_path, train=one, data=np.float32(1), seeds=1)


def test_random_keys_and_where_they_draw_are_part_of_a_store(tmp_path):
    run(tmp_path / "a")
    with pytest.raises(ValueError, match="\n- impl: threefry2x32 in the store, rbg in this call, which changes random"):
        run(tmp_path / "a", impl="rbg")
    run(tmp_path / "b", impl="rbg")
    keys = json.loads((tmp_path / "b" / "manifest.json").read_text())["keys"]
    assert keys["platform"] == jax.default_backend()


def rewrite(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rewrite_block(folder, number=0, **values):
    blocks = json.loads((folder / "manifest.json").read_text())["blocks"]
    blocks[number] |= values
    rewrite(folder, blocks=blocks)


def test_stores_of_the_first_format_are_not_trusted(tmp_path):
    run(tmp_path)
    rewrite(tmp_path, format=1)
    for use in (run, store.load):
        with pytest.raises(ValueError, match=r"was written in format 1, .* give another folder, or delete this one"):
            use(tmp_path)
    rewrite(tmp_path, format=4)
    with pytest.raises(ValueError, match="is not a manifest of format 3"):
        store.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda text: "", "is damaged: Expecting value"),
        (lambda text: text[: len(text) // 2], "is damaged: "),
        (lambda text: "\xff" + text, "is damaged: "),
        (lambda text: "[]", "is not a manifest of format 3: give another folder, or delete this one"),
        (lambda text: text.replace('"order"', '"other"'), "its entry `order` is missing or not what a sweep writes"),
        (lambda text: text.replace('"float32"', '"float31"'), "its entry `outputs`"),
        (lambda text: text.replace('"plans"', '"plan"'), "its entry `blocks`"),
        (lambda text: json.dumps(json.loads(text) | {"order": [[0, 0], [0, 1]]}), "its entry `order`"),
        (lambda text: text.replace('"seeds"', '"seed"'), "its entry `blocks`"),
        (lambda text: text.replace('"fingerprint"', '"print"'), "its entry `blocks`"),
        (lambda text: json.dumps(json.loads(text) | {"until": {"looks": [1]}}), "its entry `until`"),
        (lambda text: json.dumps(json.loads(text) | {"keys": 3}), "its entry `keys`"),
        (lambda text: json.dumps(json.loads(text) | {"finite": ["q"]}), "its entry `finite`"),
    ],
)
def test_a_damaged_manifest_is_refused(stored, damage, text):
    path = stored / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=f"manifest.json' .*{text}"):
        store.load(stored)


def test_runs_without_a_manifest_belong_to_nobody(stored):
    (stored / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"has lost its manifest.json, .* give another folder"):
        run(stored)


@pytest.mark.parametrize("line", ['{"chunk": [0, 2]}', '{"chunk": 3, "parts": 1, "part": 0}', "[1", "\xff"])
def test_lines_of_a_journal_that_say_nothing_are_left_out(stored, line):
    before = store.load(stored)
    with (stored / "journal.0.jsonl").open("a") as journal:
        journal.write(line + "\n")
    same(store.load(stored), before)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "kept"
    run(folder, seeds=2)
    return folder


@pytest.fixture
def stored(tmp_path, once):
    """A finished store that a test may spoil."""
    return shutil.copytree(once, tmp_path / "copy")


def test_programs_of_another_version_of_jax_are_the_callers_word(tmp_path):
    older = {"jax": "0.0.1", "programs": [{"static": {}, "fingerprint": "another"}]}
    run(tmp_path / "a")
    rewrite_block(tmp_path / "a", **older)
    text = f"jax: 0.0.1 in the store, {jax.__version__} in this call, .*go on with JAX 0.0.1, or give another folder"
    with pytest.raises(ValueError, match=text):
        run(tmp_path / "a")
    first = run(tmp_path / "b", version="mine")
    rewrite_block(tmp_path / "b", **older)
    same(run(tmp_path / "b", version="mine"), first)


HOLDER = """
import sys, time
from pathlib import Path
from jnorm.sweeps import _chunks as chunk_files
from jnorm.sweeps import _files as files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_of_another_process_ends_with_it(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            for _ in range(2):  # whoever asks leaves the owner's name alone
                with pytest.raises(BlockingIOError, match=f"is being written by process {holder.pid} on "):
                    run(tmp_path)
        finally:
            holder.kill()
    run(tmp_path)


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"`store` must be a folder that can be written; .* cannot be locked: No locks"):
        run(tmp_path)


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


@pytest.mark.thorough
@pytest.mark.parametrize("chunk", ["2", "auto"])
def test_killed_at_random_moments_and_resumed(tmp_path, chunk):
    """Every killed sweep ends as the one that nobody killed."""
    options = ["--chunk", chunk, "--steps", 5_000]
    start = time.monotonic()
    whole = script(tmp_path / "whole", *options)
    printed, errors = whole.communicate(timeout=120)
    lasted = time.monotonic() - start
    assert whole.returncode == 0, errors
    draw = random.Random(0)
    kills = interrupted = 0
    while kills < 5:
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


def test_what_a_kill_left_half_written_is_swept_away(tmp_path):
    first = run(tmp_path)
    before = chunks(tmp_path)
    (tmp_path / "chunks" / ".00000030-00000032.0of1.npz.9612").write_bytes(b"PK")
    same(run(tmp_path), first)
    assert chunks(tmp_path) == before


def test_what_is_finished_is_in_memory_once(tmp_path):
    size = 64 * 2**16 * 4  # 64 runs of 256 KiB
    big = lambda key: {"x": jnp.full(2**16, jax.random.uniform(key))}
    first = sweep(big, seeds=64, chunk=4, store=tmp_path)
    for read in (lambda: sweep(big, seeds=64, store=tmp_path), lambda: store.load(tmp_path)):
        del first
        tracemalloc.start()
        first = read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(first.seeds) == 64
        # The runs as they come in, the result in the caller's order, and a chunk with its file: a sixteenth each.
        assert peak < 2.5 * size, peak / size
