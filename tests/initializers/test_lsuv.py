from functools import partial
from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import initializers
from jnorm.initializers import lsuv

pytestmark = pytest.mark.usefixtures("unoptimized")

EPS = float(np.finfo(np.float32).eps)


def tanh_layers(params, x):
    outputs = []
    for layer in params:
        outputs.append(x @ layer["kernel"] + layer["bias"][None])
        x = jnp.tanh(outputs[-1])
    return outputs


def tanh_params(key, widths, scale=3.0, bias=0.0):
    shapes = list(pairwise(widths))
    keys = jax.random.split(key, len(shapes))
    return [
        {"kernel": initializers.orthogonal(scale)(k, shape), "bias": jnp.full(shape[1], bias)}
        for k, shape in zip(keys, shapes, strict=True)
    ]


def test_lsuv_gives_every_layer_the_variance():
    params = tanh_params(jax.random.key(0), (20, 50, 50, 50, 10))
    x = 5 + 7 * jax.random.normal(jax.random.key(1), (200, 20))
    scaled = lsuv(tanh_layers, params, x)
    assert scaled.converged
    for z, measured in zip(tanh_layers(scaled.params, x), scaled.var, strict=True):
        np.testing.assert_allclose(jnp.var(z), measured, rtol=16 * EPS)
        assert abs(jnp.var(z) - 1) <= 1e-3
    for before, after in zip(params, scaled.params, strict=True):
        ratio = after["kernel"] / before["kernel"]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=4 * EPS)  # one factor a layer: still orthogonal
        np.testing.assert_array_equal(before["bias"], after["bias"])
    other = lsuv(tanh_layers, params, x, var=0.25, tol=1e-5)
    np.testing.assert_allclose([jnp.var(z) for z in tanh_layers(other.params, x)], 0.25, rtol=2e-5)


def test_lsuv_with_biases_takes_several_steps():
    params = tanh_params(jax.random.key(2), (20, 30, 30))
    params[1]["bias"] = jax.random.normal(jax.random.key(3), (30,)) / 2
    x = jax.random.normal(jax.random.key(4), (100, 20))
    scaled = lsuv(tanh_layers, params, x)
    assert scaled.converged
    np.testing.assert_allclose([jnp.var(z) for z in tanh_layers(scaled.params, x)], 1, rtol=1.1e-3)


def test_lsuv_says_when_it_fails():
    x = jax.random.normal(jax.random.key(4), (100, 20))
    dead = tanh_params(jax.random.key(5), (20, 30, 30))
    dead[1]["kernel"] *= 0
    held = tanh_params(jax.random.key(5), (20, 30, 30))
    held[0]["bias"] = 9 * jax.random.normal(jax.random.key(6), (30,))
    for params in (dead, held):
        scaled = jax.jit(partial(lsuv, tanh_layers))(params, x)
        assert not scaled.converged
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(scaled.params))


def test_lsuv_under_jit_and_vmap():
    x = jax.random.normal(jax.random.key(1), (64, 8))
    widths = (8, 16, 16)
    keys = jax.random.split(jax.random.key(7), 3)
    scaled = jax.jit(jax.vmap(lambda k: lsuv(tanh_layers, tanh_params(k, widths), x)))(keys)
    assert np.all(scaled.converged)
    one = lsuv(tanh_layers, tanh_params(keys[1], widths), x)
    # Sums of 1024 squares, in another order, twice
    np.testing.assert_allclose(scaled.params[1]["kernel"][1], one.params[1]["kernel"], rtol=1e-5, atol=1e-6)


def test_lsuv_of_a_flax_model():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (3, 3), name="stem")(x))
            x = nn.relu(nn.Dense(30, name="hidden")(x.reshape(len(x), -1)))
            return nn.Dense(3, name="Dense_10")(x)

    layers = ("stem", "hidden", "Dense_10")
    x = jax.random.normal(jax.random.key(0), (32, 6, 6, 2))
    params = Net().init(jax.random.key(1), x)["params"]

    def apply(params, x):
        _, seen = Net().apply({"params": params}, x, capture_intermediates=True)
        return [seen["intermediates"][name]["__call__"][0] for name in layers]

    scaled = lsuv(apply, params, x, layers=layers)
    assert scaled.converged
    np.testing.assert_allclose([jnp.var(z) for z in apply(scaled.params, x)], 1, rtol=1.1e-3)
    assert jax.tree.structure(scaled.params) == jax.tree.structure(params)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p, x: lsuv(tanh_layers, p, x, var=0.0), "`var` must satisfy var > 0; got 0.0"),
        (lambda p, x: lsuv(tanh_layers, p, x, tol=-1.0), "`tol` must satisfy tol > 0; got -1.0"),
        (
            lambda p, x: lsuv(tanh_layers, p, x, layers=("0", "7")),
            "no leaf under the path `7`; the tree has 0/bias, 0/",
        ),
        (lambda p, x: lsuv(tanh_layers, p, x, layers=("0", "1/bias")), "layer `1/bias` must have a kernel"),
        (
            lambda p, x: lsuv(tanh_layers, p, x, layers=("0",)),
            "`apply` must return one array for each of 1 layers; got 2",
        ),
    ],
)
def test_lsuv_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call(tanh_params(jax.random.key(0), (4, 5, 3)), jnp.ones((6, 4)))


def test_lsuv_compiles_once_whoever_made_the_network_anew():
    seen = []
    listen = lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    counts = []
    for seed in range(2):
        params = tanh_params(jax.random.key(seed), (6, 7, 5))
        x = np.random.default_rng(seed).normal(size=(20, 6)).astype(np.float32)
        before = len(seen)
        scaled = lsuv(lambda p, x: tanh_layers(p, x), params, x, var=1.0 + seed)
        counts.append(len(seen) - before)
        np.testing.assert_allclose(scaled.var, 1.0 + seed, rtol=1.1e-3)
    jax.monitoring.unregister_event_duration_listener(listen)
    assert counts[0] > 0
    assert counts[1] == 0


def test_lsuv_of_parameters_that_hold_more_than_arrays():
    params = [{"kernel": jnp.eye(3) * 2, "phi": jnp.tanh}, {"kernel": jnp.eye(3) * 3, "phi": None}]

    def apply(params, x):
        first = x @ params[0]["kernel"]
        return first, params[0]["phi"](first) @ params[1]["kernel"]

    layers = ("0/kernel", "1/kernel")
    scaled = lsuv(apply, params, jax.random.normal(jax.random.key(0), (50, 3)), layers=layers)
    assert scaled.converged
    assert scaled.params[0]["phi"] is jnp.tanh
