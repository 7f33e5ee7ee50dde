"""What networks show, layers of their own, what is done to the input, missing connections, and dropout at will."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import activations, initializers, losses
from jnorm.nn import batch_norm, connections, networks
from jnorm.nn.dropout import dropout
from jnorm.nn.layers import Layer
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(3)
WEIGHTS = initializers.normal(0.4)
PLAIN = Layer(activations.tanh, WEIGHTS, initializers.normal(0.3), input_init=WEIGHTS, readout_init=WEIGHTS)
HALF = partial(dropout, rate=0.5)
X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


def recorded(layer, train=True, **options):
    network = networks.mlp((6, 8, 3), layer, **options)
    params, state = network.init(KEY)
    return params, networks.record(network, params, state, X, train=train, key=KEY)[2]


def normalized(z):
    return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)


def close(got, exact):
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-5)  # sums of a few float32 products of size one


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "0.pre 0.post 1.pre"),
        ({"normalizer": batch_norm}, "0.linear 0.pre 0.post 1.pre"),
        ({"normalizer": batch_norm, "dropout": HALF}, "0.linear 0.pre 0.activated 0.post 1.pre"),
        ({"normalizer": batch_norm, "normalize": "after"}, "0.pre 0.activated 0.post 1.pre"),
        (
            {"normalizer": batch_norm, "normalize": "after", "dropout": HALF},
            "0.pre 0.activated 0.normalized 0.post 1.pre",
        ),
        ({"dropout": HALF}, "0.pre 0.activated 0.post 1.pre"),
    ],
)
def test_what_enters_and_leaves_each_part_is_shown(options, names):
    """Each value once: what enters and leaves the normalizer and the activation, and the output after dropout."""
    params, seen = recorded(PLAIN._replace(**options))
    assert list(seen) == names.split()
    z = X @ np.asarray(params[0]["kernel"]) + np.asarray(params[0].get("bias", 0.0))
    after = options.get("normalize") == "after"
    norm = normalized if options.get("normalizer") else lambda z: z
    exact = {"linear": z, "pre": z if after else norm(z)}
    exact["activated"] = np.tanh(exact["pre"])
    exact["normalized"] = norm(exact["activated"]) if after else exact["activated"]
    for name, value in exact.items():
        if f"0.{name}" in seen:
            close(seen[f"0.{name}"], value)
    last = exact["normalized"]
    if "dropout" in options:
        kept = np.asarray(seen["0.post"]) != 0
        assert 0.3 < kept.mean() < 0.7
        last = np.where(kept, 2 * last, 0)
    close(seen["0.post"], last)


def test_a_tap_may_replace_what_enters_batch_norm():
    network = networks.mlp((6, 8, 3), PLAIN._replace(normalizer=batch_norm))
    params, state = network.init(KEY)
    shift = lambda name, value: value + 5 if name == "0.linear" else value
    y, new = network.apply(params, state, X, train=True, tap=shift)
    plain, old = network.apply(params, state, X, train=True)
    close(y, plain)  # which takes it off again
    close(new[0].mean, old[0].mean + 5)


def test_each_hidden_layer_may_have_its_own():
    """Activation, normalizer, dropout and weights of each; the first has its input_init, the last its readout_init."""
    marks = [
        PLAIN._replace(kernel_init=initializers.constant(n), input_init=initializers.constant(10 + n)) for n in range(3)
    ]
    layers = [
        marks[0]._replace(activation=activations.relu, bias_init=None),
        marks[1]._replace(normalizer=batch_norm),
        marks[2]._replace(readout_init=initializers.constant(7)),
    ]
    network = networks.mlp((6, 5, 4, 3, 2), layers)
    params, state = network.init(KEY)
    assert [float(p["kernel"][0, 0]) for p in params] == [10, 1, 2, 7]
    assert [sorted(p) for p in params] == [["kernel"], ["kernel", "norm"], ["bias", "kernel"], ["bias", "kernel"]]
    small = [jax.tree.map(lambda a: a * 0.1 + 0.01, p) for p in params]
    h = np.maximum(X @ np.asarray(small[0]["kernel"]), 0)
    z = normalized(h @ np.asarray(small[1]["kernel"])) * np.asarray(small[1]["norm"].scale)
    h = np.tanh(z + np.asarray(small[1]["norm"].shift))
    for p, phi in zip(small[2:], (np.tanh, lambda z: z), strict=True):
        h = phi(h @ np.asarray(p["kernel"]) + np.asarray(p["bias"]))
    np.testing.assert_allclose(network.apply(small, state, X, train=True)[0], h, atol=1e-4)
    same = networks.mlp((6, 5, 4, 2), [PLAIN, PLAIN]).init(KEY)
    jax.tree.map(np.testing.assert_array_equal, same, networks.mlp((6, 5, 4, 2), PLAIN).init(KEY))
    images = networks.cnn((1, 2, 3), 4, [PLAIN._replace(activation=activations.relu), PLAIN])
    assert images.apply(*images.init(KEY), jnp.ones((2, 8, 8, 1)), train=True)[0].shape == (2, 4)


def test_the_input_may_be_normalized_and_dropped():
    inputs = PLAIN._replace(activation=activations.identity, normalizer=batch_norm, dropout=partial(dropout, rate=0.2))
    params, seen = recorded(PLAIN, inputs=inputs)
    assert list(seen) == ["0.linear", "0.pre", "0.activated", "0.post", "1.pre", "1.post", "2.pre"]
    assert sorted(params[0]) == ["norm"]
    np.testing.assert_array_equal(seen["0.linear"], X)
    close(seen["0.pre"], normalized(X))
    kept = np.asarray(seen["0.post"]) != 0
    close(seen["0.post"], np.where(kept, normalized(X) / 0.8, 0))
    close(seen["1.pre"], np.asarray(seen["0.post"]) @ np.asarray(params[1]["kernel"]) + np.asarray(params[1]["bias"]))


def test_missing_connections_stay_missing():
    """A training in which masked weights do not move, whatever the optimizer, and all others do."""
    rng = np.random.default_rng(1)
    masks = {(6, 8): rng.random((6, 8)) < 0.4, (8, 3): rng.random((8, 3)) < 0.6}
    layer = PLAIN._replace(weights=connections.masked(lambda shape: masks[shape]))
    network = networks.mlp((6, 8, 3), layer)
    options = {"epochs": 3, "batch_size": 8, "report": loop.Report([], keep_params=True)}
    train = loop.trainer(network, losses.squared_error, optax.adamw(0.1), **options)
    targets = rng.normal(size=(16, 3)).astype(np.float32)
    got = jax.jit(train)(KEY, {"train": (X, targets)})["params"]
    for p, start in zip(got, network.init(loop.streams(KEY)["init_key"])[0], strict=True):
        mask = masks[p["kernel"].shape]
        np.testing.assert_array_equal(p["kernel"] != 0, mask)
        assert np.all((p["kernel"] != start["kernel"]) == mask)
    y = network.apply(got, [(), ()], X, train=False)[0]
    h = np.tanh(X @ np.asarray(got[0]["kernel"]) + np.asarray(got[0]["bias"]))
    close(y, h @ np.asarray(got[1]["kernel"]) + np.asarray(got[1]["bias"]))
    # What stands in masked places does not matter, and has no gradient.
    dirty = [p | {"kernel": jnp.where(masks[p["kernel"].shape], p["kernel"], 9.0)} for p in got]
    np.testing.assert_array_equal(network.apply(dirty, [(), ()], X, train=False)[0], y)
    slopes = jax.grad(lambda p: jnp.sum(network.apply(p, [(), ()], X, train=False)[0] ** 2))(dirty)
    for slope in slopes:
        assert np.all(np.asarray(slope["kernel"])[~masks[slope["kernel"].shape]] == 0)


def test_dropout_at_will():
    """On in evaluation, by several keys, with running statistics; off in training, without a key."""
    layer = PLAIN._replace(normalizer=batch_norm, dropout=HALF)
    network = networks.mlp((6, 40, 3), layer)
    params, state = network.init(KEY)
    _, state = network.apply(params, state, X, train=True, key=KEY)
    passes = jax.vmap(lambda key: network.apply(params, state, X, train=False, dropout=True, key=key)[0])
    outputs = np.asarray(passes(jax.random.split(KEY, 4000)))
    quiet, same = network.apply(params, state, X, train=False)
    # The readout is linear in what is dropped: the mean is the output without dropout; z = 5 for the worst of 48.
    assert np.max(np.abs(outputs.mean(0) - quiet) / (outputs.std(0) / np.sqrt(4000))) < 5
    assert np.min(outputs.std(0)) > 0.01
    jax.tree.map(np.testing.assert_array_equal, state, same)
    off, moved = network.apply(params, state, X, train=True, dropout=False)
    without = networks.mlp((6, 40, 3), layer._replace(dropout=None)).apply(params, state, X, train=True)
    jax.tree.map(np.testing.assert_array_equal, (off, moved), without)
    with pytest.raises(ValueError, match="`key` must be a random key"):
        network.apply(params, state, X, train=False, dropout=True)
    with pytest.raises(TypeError, match=r"`dropout` must be True or False; got 0.5"):
        network.apply(params, state, X, train=False, dropout=0.5)


def test_one_mask_for_ever():
    """A network that is given the key of its mask trains with the same units missing in all steps and examples."""
    shared = PLAIN._replace(dropout=partial(dropout, rate=0.5, shared_axes=0))
    network = networks.mlp((6, 8, 3), shared)
    thinned = network._replace(
        apply=lambda params, state, x, *, train, key=None, tap=None: network.apply(
            params, state, x, train=train, key=jax.random.key(7), dropout=True, tap=tap
        )
    )
    seen = networks.record(thinned, *network.init(KEY), X, train=False)[2]
    alive = np.asarray(seen["0.post"][0]) != 0
    assert 0 < alive.sum() < 8
    options = {"epochs": 2, "batch_size": 5, "report": loop.Report(["train"], keep_params=True)}
    train = loop.trainer(thinned, losses.squared_error, optax.sgd(0.1), **options)
    data = {"train": (X, np.ones((16, 3), np.float32))}
    got = jax.jit(train)(KEY, data)
    start = network.init(loop.streams(KEY)["init_key"])[0]
    np.testing.assert_array_equal(np.any(got["params"][0]["kernel"] != start[0]["kernel"], 0), alive)
    cost = np.mean((thinned.apply(got["params"], [(), ()], X, train=False)[0] - 1) ** 2)
    np.testing.assert_allclose(got["train_loss"], cost, rtol=1e-5)  # float32, two programs


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: networks.mlp((6, 5, 4, 2), [PLAIN]),
            ValueError,
            "`layer` must be one, or one for each of the 2 hidden layers; got 1",
        ),
        (
            lambda: networks.mlp((6, 2), []),
            ValueError,
            "`layer` must be one, or one for each of the 0 hidden layers; got 0",
        ),
        (lambda: networks.mlp((6, 5, 2), [5]), TypeError, "`layer` must be a jnorm.nn.layers.Layer"),
        (lambda: networks.mlp((6, 5, 2), PLAIN, inputs=5), TypeError, "`inputs` must be a jnorm.nn.layers.Layer"),
        (
            lambda: connections.masked(np.ones((2, 3), bool)),
            TypeError,
            "`mask` must be a function of a kernel's shape.*ndarray",
        ),
        (
            lambda: connections.masked(lambda shape: jnp.ones(shape)).init(jnp.ones((2, 3))),
            TypeError,
            "`mask` must return booleans; got dtype float32",
        ),
        (
            lambda: connections.masked(lambda shape: jnp.ones((3, 2), bool)).init(jnp.ones((2, 3))),
            ValueError,
            r"`mask` must return what broadcasts against \(2, 3\); got \(3, 2\)",
        ),
    ],
)
def test_bad_input_names_the_rule_and_the_value(call, error, text):
    with pytest.raises(error, match=text):
        call()
