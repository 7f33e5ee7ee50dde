"""The examples of the pages for Flax linen, Flax nnx and Equinox, each trained for fifty steps."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jnorm import activations, initializers
from jnorm.interop import flax_linen, flax_nnx
from jnorm.nn import batch_norm
from jnorm.nn.dropout import alpha_dropout

# The arithmetic under XLA's optimizations is tested beside each layer; here it is how the parts are put together.
pytestmark = pytest.mark.usefixtures("unoptimized")

X = jax.random.normal(jax.random.key(0), (64, 8))
Y = jnp.sum(X[:, :2], 1, keepdims=True)


@pytest.fixture(autouse=True)
def libraries_promote_implicitly():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def test_flax_linen():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = activations.selu(nn.Dense(64, kernel_init=initializers.lecun_normal())(x))
            x = flax_linen.AlphaDropout(0.05, deterministic=not train)(x)
            x = flax_linen.BatchNorm(use_running_average=not train)(x)
            return nn.Dense(1)(x)

    model, optimizer = Model(), optax.adam(1e-2)
    variables = model.init(jax.random.key(0), X, train=False)
    params, stats = variables["params"], variables["batch_stats"]
    slots = optimizer.init(params)

    @jax.jit
    def step(params, stats, slots, key):
        def loss(params):
            variables = {"params": params, "batch_stats": stats}
            out, new = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": key})
            return jnp.mean((out - Y) ** 2), new["batch_stats"]

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, slots = optimizer.update(gradient, slots)
        return optax.apply_updates(params, updates), stats, slots, value

    losses = []
    for i in range(50):
        params, stats, slots, value = step(params, stats, slots, jax.random.key(i))
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]
    out = model.apply({"params": params, "batch_stats": stats}, X, train=False)
    assert jnp.mean((out - Y) ** 2) < 0.3 * losses[0]
    # The entries behind them, of which older ones fade: fifty sums in float32.
    np.testing.assert_allclose(stats["BatchNorm_0"]["count"], len(X) * np.sum(0.99 ** np.arange(50)), rtol=1e-5)


def test_flax_nnx():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(8, 64, kernel_init=initializers.lecun_normal(), rngs=rngs)
            self.dropout = flax_nnx.AlphaDropout(0.05, rngs=rngs)
            self.norm = flax_nnx.BatchNorm(64, rngs=rngs)
            self.out = nnx.Linear(64, 1, rngs=rngs)

        def __call__(self, x):
            return self.out(self.norm(self.dropout(activations.selu(self.hidden(x)))))

    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, gradient = nnx.value_and_grad(lambda m: jnp.mean((m(X) - Y) ** 2))(model)
        optimizer.update(model, gradient)
        return value

    losses = [float(step(model, optimizer)) for _ in range(50)]
    assert losses[-1] < 0.3 * losses[0]
    model.eval()
    assert jnp.mean((model(X) - Y) ** 2) < 0.3 * losses[0]


def test_equinox():
    class Model(eqx.Module):
        hidden: eqx.nn.Linear
        norm: batch_norm.Params
        out: eqx.nn.Linear

        def __init__(self, key):
            key_hidden, key_out, key_kernel = jax.random.split(key, 3)
            kernel = initializers.lecun_normal()(key_kernel, (8, 64)).T  # Equinox keeps [out, in]
            hidden = eqx.nn.Linear(8, 64, key=key_hidden)
            self.hidden = eqx.tree_at(lambda linear: linear.weight, hidden, kernel)
            self.norm = batch_norm.init(64)[0]
            self.out = eqx.nn.Linear(64, 1, key=key_out)

        def __call__(self, x, state, *, key=None):
            x = activations.selu(jax.vmap(self.hidden)(x))
            x = alpha_dropout(key, x, 0.05, train=key is not None)
            x, state = batch_norm.apply(self.norm, state, x, train=key is not None)
            return jax.vmap(self.out)(x), state

    model, optimizer = Model(jax.random.key(0)), optax.adam(1e-2)
    state = batch_norm.init(64)[1]
    slots = optimizer.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state, slots, key):
        def loss(model):
            out, new = model(X, state, key=key)
            return jnp.mean((out - Y) ** 2), new

        (value, state_), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(model)
        updates, slots = optimizer.update(gradient, slots)
        return eqx.apply_updates(model, updates), state_, slots, value

    losses = []
    for i in range(50):
        model, state, slots, value = step(model, state, slots, jax.random.key(i))
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]
    out, same = model(X, state)
    assert jnp.mean((out - Y) ** 2) < 0.3 * losses[0]
    assert same is state
    np.testing.assert_allclose(state.count, len(X) * np.sum(0.99 ** np.arange(50)), rtol=1e-5)  # sums in float32
