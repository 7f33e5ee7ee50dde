"""Laws of `jnorm.initializers`."""

import jax.numpy as jnp
import numpy as np

from jnorm import activations, initializers
from tests.registry import BATCHES, KEYS, LAYER, X, add, drawn, each, host

DRAWS = {"gradient": "draws from a key", "nan": "draws from a key"}
for _name, _init in {
    "zeros": initializers.zeros(),
    "ones": initializers.ones(),
    "constant": initializers.constant(0.3),
    "normal": initializers.normal(),
    "truncated_normal": initializers.truncated_normal(),
    "uniform": initializers.uniform(),
    "variance_scaling": initializers.variance_scaling(2.0, "fan_avg", "uniform", omega=0.1, tau=1.0),
    **{
        f"{who}_{law}": getattr(initializers, f"{who}_{law}")()
        for who in ("glorot", "he", "lecun")
        for law in ("normal", "uniform")
    },
    "for_activation": initializers.for_activation(activations.tanh, mode="both"),
    "identity": initializers.identity(),
    "orthogonal": initializers.orthogonal(),
    "sparse": initializers.sparse(0.5),
}.items():
    add(f"initializers.{_name}", drawn(_init, 6, 4), KEYS, X, dtypes=LAYER, **DRAWS)
add("initializers.delta_orthogonal", drawn(initializers.delta_orthogonal(), 3, 2, 4), KEYS, X, dtypes=LAYER, **DRAWS)

KERNELS = [np.random.default_rng(4 + n).normal(size=(3, 3)) for n in range(2)]


def layers(params, x):
    first = x @ params[0]
    return first, jnp.tanh(first) @ params[1]


def lsuv(batch):
    return initializers.lsuv(layers, [jnp.asarray(kernel, batch.dtype) for kernel in KERNELS], batch)


add(
    "initializers.lsuv",
    each(lsuv),
    BATCHES,
    gradient="a search that ends when it is near enough",
    nan="`converged` is false, and the parameters stay",
)
host("initializers.fans", lambda: initializers.fans((3, 3, 16, 32)))
