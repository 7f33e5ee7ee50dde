"""Laws of `jnorm.interop`."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jnorm.interop import flax_linen, flax_nnx
from jnorm.nn.networks import Network
from tests.registry import host

X = np.cos(np.arange(12.0, dtype=np.float32)).reshape(4, 3)


class LinenModel(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = flax_linen.BatchNorm(use_running_average=not train)(nn.Dense(4, use_bias=False)(x))
        return flax_linen.AlphaDropout(0.5, deterministic=not train)(x)


class NnxModel(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense, self.norm = nnx.Linear(3, 4, use_bias=False, rngs=rngs), flax_nnx.BatchNorm(4, rngs=rngs)
        self.dropout = flax_nnx.AlphaDropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.norm(self.dense(x)))


def trained(network: Network) -> Any:
    """What one step of training computes."""
    params, state = network.init(jax.random.key(0))
    return params, network.apply(params, state, jnp.asarray(X), train=True, key=jax.random.key(1))


def restored() -> Any:
    theirs = {"mean": jnp.array([5.0, 0.0]), "var": jnp.ones(2)}
    return flax_linen.restore({"mean": jnp.zeros(2), "var": jnp.ones(2), "count": jnp.zeros(2)}, theirs)


host("interop.flax_linen.network", lambda: trained(flax_linen.network(LinenModel(), X[:1])))
host("interop.flax_linen.restore", restored)
host("interop.flax_nnx.network", lambda: trained(flax_nnx.network(NnxModel)))
host(
    "interop.flax_nnx.without_counts",
    lambda: nnx.to_pure_dict(flax_nnx.without_counts(nnx.state(NnxModel(nnx.Rngs(0)), nnx.BatchStat))),
)
