"""Stores that grow: only what is new is run, and the whole is a fresh sweep."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.sweeps import _store as store
from jnorm.sweeps import sweep
from tests.sweeps.test_store import chunks, same, script

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.fixture
def ran():
    """A train function that writes down which runs were done, by rate and seed."""
    done = set()

    def train(key, shared, rate, depth=1):
        w = jax.random.normal(key, (4, 4))
        jax.debug.callback(
            lambda r, k: done.add((round(float(r), 3), depth, int(k))), rate, jax.random.key_data(key)[1]
        )
        for _ in range(depth):
            w = jnp.tanh(shared @ w * rate)
        return {"w": w, "mean": w.mean(), "steps": jnp.int32(depth)}

    def take():
        jax.effects_barrier()
        taken = set(done)
        done.clear()
        return taken

    return train, take


DATA = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def run(train, folder, seeds=4, rates=(0.5, 2.0), chunk=2, **options):
    given = {"grid": {"rate": rates}, "shared": DATA} | options
    return sweep(train, seeds=seeds, chunk=chunk, store=folder, **given)


def pairs(rates, seeds, depth=1):
    return {(rate, depth, seed) for rate in rates for seed in seeds}


GROWTH = {
    "seeds": ({"seeds": 7}, pairs((0.5, 2.0), (4, 5, 6))),
    "one seed in between": ({"seeds": (9, 0, 1, 2, 3)}, pairs((0.5, 2.0), (9,))),
    "a rate in between": ({"rates": (0.5, 1.0, 2.0)}, pairs((1.0,), range(4))),
    "both": ({"rates": (3.0, 2.0, 0.5), "seeds": 6}, pairs((0.5, 2.0), (4, 5)) | pairs((3.0,), range(6))),
    "a part": ({"rates": (2.0,), "seeds": 2}, set()),
    "part and more": ({"rates": (2.0, 4.0), "seeds": (3, 5)}, pairs((2.0,), (5,)) | pairs((4.0,), (3, 5))),
    "nothing that was there": ({"rates": (7.0,), "seeds": (20, 21)}, pairs((7.0,), (20, 21))),
    "whole numbers as floats": ({"rates": (0.5, 2)}, set()),
}


@pytest.mark.parametrize("change", GROWTH)
def test_only_what_is_new_is_run_and_the_whole_is_a_fresh_sweep(tmp_path, ran, change):
    train, take = ran
    options, new = GROWTH[change]
    run(train, tmp_path)
    take()
    kept = chunks(tmp_path)
    grown = run(train, tmp_path, **options)
    assert take() == new
    same(grown, run(train, None, **options))
    assert chunks(tmp_path).items() >= kept.items()
    take()
    same(run(train, tmp_path, **options), grown)
    assert take() == set()


def test_what_a_grown_store_holds_is_loaded_whole(tmp_path, ran):
    train, _ = ran
    first = run(train, tmp_path)
    part = run(train, tmp_path, rates=(4.0, 2.0), seeds=(5, 0))
    loaded = store.load(tmp_path)
    assert [c["rate"] for c in loaded.configurations] == [4.0, 2.0, 0.5]
    assert loaded.seeds == (5, 0, 1, 2, 3)
    assert loaded.done.tolist() == [[True, True, False, False, False], [True] * 5, [False, True, True, True, True]]
    np.testing.assert_array_equal(loaded["w"][:2, :2], part["w"])
    np.testing.assert_array_equal(loaded["w"][1:, 1:], first["w"][::-1])
    assert np.isnan(loaded["w"][0, 2:]).all()
    assert (loaded["steps"] == loaded.done).all()
    assert not loaded.failed.any()


def test_another_value_of_a_static_name_is_another_program(tmp_path, ran):
    train, take = ran
    grid = lambda *depths: {"grid": {"rate": (0.5, 2.0), "depth": depths}, "static": ["depth"], "shared": DATA}
    sweep(train, seeds=2, **grid(1), chunk=2, store=tmp_path)
    take()
    grown = sweep(train, seeds=3, **grid(3, 1), chunk=2, store=tmp_path)
    assert take() == pairs((0.5, 2.0), (2,)) | pairs((0.5, 2.0), range(3), depth=3)
    same(grown, sweep(train, seeds=3, **grid(3, 1), chunk=2))
    blocks = json.loads((tmp_path / "manifest.json").read_text())["blocks"]
    assert [[program["static"]["depth"] for program in block["programs"]] for block in blocks] == [[1], [1], [3]]


def test_a_store_that_grows_before_it_is_finished(tmp_path, ran):
    train, take = ran
    whole = run(train, tmp_path, seeds=8)
    for name in list(chunks(tmp_path))[2:]:
        (tmp_path / "chunks" / name).unlink()
    take()
    with pytest.warns(UserWarning, match="count as not run"):
        grown = run(train, tmp_path, seeds=8, rates=(0.5, 1.0, 2.0))
    same(grown.select(rate=0.5), whole.select(rate=0.5))
    assert take() == pairs((0.5,), range(4, 8)) | pairs((1.0, 2.0), range(8))
    same(store.load(tmp_path), grown)


def test_damage_in_a_later_block_is_told_and_mended(tmp_path, ran):
    train, _ = ran
    run(train, tmp_path)
    grown = run(train, tmp_path, seeds=6)
    (name,) = [name for name in chunks(tmp_path) if name.startswith("1.00000002")]
    (tmp_path / "chunks" / name).write_bytes(b"PK")
    with pytest.warns(UserWarning, match="runs 2 to 3 of block 1 in .* count as not run: .* is not what was written"):
        same(run(train, tmp_path, seeds=6), grown)


def test_another_program_data_or_name_is_still_refused(tmp_path, ran):
    train, _ = ran
    run(train, tmp_path)
    other = lambda key, shared, rate: {"w": shared}
    other.__qualname__, other.__module__ = train.__qualname__, train.__module__
    for refused, text in (
        (lambda: run(other, tmp_path, seeds=9), r"- output mean: float32\[\] in the store, none in this call"),
        (
            lambda: run(train, tmp_path, grid={"rate": (0.5,), "depth": (1,)}, static=["depth"]),
            "- hyperparameters: rate in the store, depth, rate in this call .*\n- static: none in the store, depth in",
        ),
        (
            lambda: run(train, tmp_path, seeds=9, shared=2 * DATA),
            r"- data: `shared` holds other arrays than in the store: `shared` \(float32\[4, 4\]\)\nThe same as in the",
        ),
    ):
        with pytest.raises(ValueError, match=f"belongs to another sweep:\n{text}"):
            refused()


def test_the_arrays_that_differ_are_named(tmp_path):
    data = {"train": (np.ones((3, 2)), np.arange(3)), "test": np.ones(4)}
    other = {"train": (np.ones((3, 2)), np.arange(3.0)), "test": np.zeros(4)}
    one = lambda key, shared: {"x": jax.random.normal(key)}
    sweep(one, seeds=2, shared=data, store=tmp_path)
    text = r"`shared\['test'\]` \(float32\[4\]\), `shared\['train'\]\[1\]` \(int32\[3\], now float32\[3\]\)\n"
    with pytest.raises(ValueError, match=text):
        sweep(one, seeds=2, shared=other, store=tmp_path)


def test_a_few_runs_do_not_make_the_plan_of_many(tmp_path, ran):
    train, _ = ran
    run(train, tmp_path, seeds=1, chunk=64)
    run(train, tmp_path, seeds=30, chunk=64)
    widths = [block["plans"][0][0] for block in json.loads((tmp_path / "manifest.json").read_text())["blocks"]]
    assert widths == [2, 58]


def test_a_store_of_the_second_format_is_read_and_grows(tmp_path, ran):
    """As version 0.1.0 wrote it: one block, whose entries were the manifest's own."""
    train, take = ran
    first = run(train, tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    (block,), order = manifest.pop("blocks"), manifest.pop("order")
    places = [order["configurations"].index(configuration) for configuration in block["configurations"]]
    manifest.pop("until")
    before = {name: block[name] for name in ("configurations", "seeds", "programs", "plans")}
    keys = manifest["keys"] | {"data": block["keys"]}
    path.write_text(json.dumps(manifest | before | {"format": 2, "keys": keys, "order": [places, order["seeds"]]}))
    same(store.load(tmp_path), first)
    take()
    same(run(train, tmp_path), first)
    assert take() == set()
    same(run(train, tmp_path, seeds=6), run(train, None, seeds=6))
    path.write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ValueError, match="is damaged: KeyError"):
        store.load(tmp_path)


@pytest.mark.thorough
def test_seeds_beyond_a_device(tmp_path):
    """Two devices: the same cuts for what is new."""
    for folder, seeds in (("grown", 9), ("grown", 13), ("fresh", 13)):
        process = script(tmp_path / folder, "--devices", 2, "--seeds", seeds)
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        if folder == "grown":
            shutil.copytree(tmp_path / folder, tmp_path / f"{folder} {seeds}")
            grown = printed
    assert printed == grown
