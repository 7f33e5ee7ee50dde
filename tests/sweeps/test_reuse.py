"""A sweep that differs in numbers only compiles nothing; one whose program differs in anything does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.sweeps import _reuse, sweep
from jnorm.sweeps._randomness import key_data
from tests.test_laws import compilations


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(_reuse, "_lowered", type(_reuse._lowered)())


def number(key):
    """The seed, without the operations that a draw takes."""
    return jax.random.key_data(key)[-1].astype(jnp.float32)


def compiled(train, **options):
    """How many programs a sweep compiles, and its result; keys have been made before."""
    options = {"seeds": 3, "grid": {"rate": (0.1, 0.2)}, "chunk": 6} | options
    key_data((0, 1, 2), options.get("impl", "threefry2x32"))
    before = len(compilations())
    result = sweep(train, **options)
    return len(compilations()) - before, result


def test_other_values_seeds_and_data_compile_nothing():
    def train(key, shared, rate, depth=2):
        x = shared
        for _ in range(depth):
            x = jnp.tanh(rate * x)
        return {"loss": jnp.sum(x) + number(key)}

    options = {"shared": np.ones(3, np.float32), "grid": {"rate": (0.1, 0.2), "depth": (1, 2)}, "static": ("depth",)}
    first, old = compiled(train, **options)
    assert first == 2
    for change in (
        {"seeds": (5, 6, 7)},
        {"shared": np.full(3, 2, np.float32)},
        {"grid": {"rate": (0.7, 0.3), "depth": (2, 1)}},
    ):
        count, new = compiled(train, **options | change)
        assert count == 0
        assert (new["loss"] != old["loss"]).any()
    assert compiled(train, **options | {"shared": np.ones(4, np.float32)})[0] == 2
    assert compiled(train, **options | {"chunk": 2})[0] == 2
    assert compiled(train, **options | {"grid": {"rate": (0.1, 0.2), "depth": (1, 3)}})[0] == 1


def test_what_a_closure_holds_is_seen():
    held = {"scale": 1.0}
    train = lambda key, rate: {"x": held["scale"] * rate * number(key)}
    first, old = compiled(train)
    held["scale"] = 2.0
    second, new = compiled(train)
    assert (first, second) == (1, 1)
    np.testing.assert_array_equal(new["x"], 2 * old["x"])  # a factor of 2 rounds nothing


def test_names_and_settings_are_part_of_a_program():
    one = lambda key, rate: {"x": rate * number(key)}
    other = lambda key, rate: {"y": rate * number(key)}
    named = lambda key, width: {"x": width * number(key)}
    assert compiled(one)[0] == compiled(other)[0] == compiled(named, grid={"width": (0.1, 0.2)})[0] == 1
    with jax.default_matmul_precision("highest"):
        assert compiled(one)[0] == 1
    assert compiled(one)[0] == 0
    assert compiled(one, impl="rbg")[0] == 1


def test_what_prints_or_calls_out_is_compiled_anew():
    """The texts and functions of callbacks cannot be compared."""
    said = []

    def train(key, rate):
        jax.debug.callback(said.append, rate)
        return {"x": rate * number(key)}

    assert compiled(train)[0] == compiled(train)[0] == 1
    jax.effects_barrier()
    assert len(said) == 12


def test_few_are_kept(monkeypatch):
    monkeypatch.setattr(_reuse, "KEPT", 2)
    train = lambda key, rate, power: {"x": rate**power * number(key)}
    run = lambda power: compiled(train, grid={"rate": (0.1, 0.2), "power": (power,)}, static=("power",))[0]
    assert [run(1), run(2), run(3), run(3), run(2), run(1)] == [1, 1, 1, 0, 0, 1]
