"""Random streams of a run: no two share a key, whatever seeds they are given, and each moves its own draws alone."""

import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.data import _orders, augment, batches, splits
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH, EPOCHS, MICROBATCHES, STEPS = 11, 4, 2, 2, 6


def patterns(keys):
    """The bits of keys, each a tuple."""
    words = np.asarray(jax.random.key_data(keys))
    return list(map(tuple, words.reshape(-1, words.shape[-1]).tolist()))


@jax.jit
def family(key):
    """A key, and its descendants of two generations by small numbers: layers, epochs, steps, microbatches, splits."""
    below = lambda key, count: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.uint32))
    children = below(key, 64)
    return [key[None], children, jax.vmap(lambda child: below(child, 16))(children).reshape(-1)]


def all_patterns(keys):
    return [pattern for key in keys for part in family(key) for pattern in patterns(part)]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_streams_of_equal_seeds_share_no_key(impl):
    """Every stream left to the run's key, or given its seed: the 32 combinations; and beside them the key itself."""
    key = jax.random.key(0, impl=impl)
    for given in itertools.product([False, True], repeat=len(loop.STREAMS)):
        chosen = {name: key for name, has in zip(loop.STREAMS, given, strict=True) if has}
        keys = [key, *loop.streams(key, chosen).values()]
        assert len(set(patterns(jnp.stack(keys)))) == 1 + len(loop.STREAMS), chosen
    found = all_patterns([key, *loop.streams(key, dict.fromkeys(loop.STREAMS, key)).values()])
    # Of 6 x 1089 keys of 64 bits two are equal by chance in 1 of 10^12 cases.
    assert len(found) == 6 * (1 + 64 + 64 * 16)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("derive", [lambda key: jax.random.fold_in(key, 1), lambda key: jax.random.split(key)[0]])
def test_streams_given_keys_of_one_descent_share_none(derive):
    key = jax.random.key(0)
    keys = loop.streams(key, {"init_key": derive(key), "order_key": loop.streams(key)["dropout_key"], "noise_key": 0})
    found = all_patterns(keys.values())
    assert len(set(found)) == len(found)


def test_a_stream_is_that_of_the_run_with_its_key():
    own = loop.streams(jax.random.key(3))
    for name in loop.STREAMS:
        keys = loop.streams(jax.random.key(0), {name: 3})
        assert bool(keys[name] == own[name])
        assert bool(
            keys[name] == jax.random.fold_in(jax.random.key(3), np.uint32(zlib.crc32(f"train.{name}".encode())))
        )
        others = loop.streams(jax.random.key(0))
        assert all(bool(keys[other] == others[other]) for other in loop.STREAMS if other != name)


@pytest.fixture(scope="module")
def recorded():
    """``run(**keys)``: a real training, and the bits of all keys that it draws by, under the name of their stream."""
    seen = {}

    def note(name, key):
        jax.debug.callback(
            lambda words: seen.setdefault(name, []).append(tuple(words.tolist())), jax.random.key_data(key)
        )

    def kernel(key, shape, dtype=jnp.float32):
        note("init_key", key)
        return 0.1 * jax.random.normal(key, shape, dtype)

    def dropout(key, x, *, train):
        if train:
            note("dropout_key", key)
        return x

    def augmented(key, x):
        note("augment_key", key)
        return x

    def optimizer(noise_key):
        note("noise_key", noise_key)
        return optax.sgd(0.1)

    layer = Layer(jnp.tanh, kernel, dropout=dropout, input_init=kernel, readout_init=kernel)
    options = {"epochs": EPOCHS, "batch_size": BATCH, "accumulate": MICROBATCHES, "augment": augmented}
    train = loop.trainer(networks.mlp((3, 4, 4, 2), layer), losses.softmax_cross_entropy, optimizer, **options)
    original = _orders.permutation

    def permutation(key, size):
        note("order_key", key)
        return original(key, size)

    data = {"train": (jnp.ones((SIZE, 3)), jnp.zeros(SIZE, int))}
    program = jax.jit(lambda keys: train(jax.random.key(0), data, **keys))

    def run(**keys):
        seen.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_orders, "permutation", permutation)
            jax.block_until_ready(program(keys))
        jax.effects_barrier()
        return {name: sorted(words) for name, words in seen.items()}

    return run


def test_a_training_draws_by_no_key_twice(recorded):
    key = jax.random.key(0)
    seen = recorded(**dict.fromkeys(loop.STREAMS, key))
    layers, hidden = 3, 2
    dropouts = hidden * STEPS * MICROBATCHES
    counts = {"init_key": layers, "order_key": EPOCHS, "dropout_key": dropouts, "augment_key": STEPS, "noise_key": 1}
    assert {name: len(words) for name, words in seen.items()} == counts
    every = [pattern for words in seen.values() for pattern in words]
    assert len(set(every)) == len(every)


def test_a_stream_alone_moves_its_own_draws_alone(recorded):
    key, other = jax.random.key(0), jax.random.key(1)
    base = recorded(**dict.fromkeys(loop.STREAMS, key))
    for name in loop.STREAMS:
        moved = recorded(**dict.fromkeys(loop.STREAMS, key) | {name: other})
        assert {n for n in loop.STREAMS if moved[n] != base[n]} == {name}
        assert not set(moved[name]) & set(base[name])
    everything = recorded(**dict.fromkeys(loop.STREAMS, other))
    assert {n for n in loop.STREAMS if everything[n] != base[n]} == set(loop.STREAMS)


class _DrawnError(Exception):
    pass


def test_what_is_drawn_of_data_by_one_key_shares_none(monkeypatch):
    """Splits, folds, orders and augmentations by the key of a run: their own keys differ, and from the run's."""
    key, labels, images = jax.random.key(0), np.arange(30) % 3, jnp.ones((2, 3, 3))
    seen = []

    def draw(key, *_):
        seen.append(key)
        raise _DrawnError

    draws = [
        lambda: splits.stratified(key, labels),
        lambda: splits.random(key, 30),
        lambda: splits.stratified_folds(key, labels, 3),
        lambda: batches.epoch(key, 30, 4),
        lambda: augment.shift(key, images, 1),
        lambda: augment.flip(key, images),
        lambda: augment.rotate(key, images, 10.0),
        lambda: augment.noise(key, images, 1.0),
        lambda: augment.crop(key, images, 2),
        lambda: augment.shear(key, images, 10.0),
        lambda: augment.elastic(key, images, 1.0, 1.0),
    ]
    for name in ("bits", "permutation", "randint", "bernoulli", "uniform", "normal"):
        monkeypatch.setattr(jax.random, name, draw)
    for (
        call
    ) in draws:  # of a stratified split the first draw decides who gets the remainders, the next one is `random`'s
        with pytest.raises(_DrawnError):
            call()
    assert len(seen) == 11
    found = all_patterns([key, *seen, *loop.streams(key).values()])
    assert len(set(found)) == len(found)
