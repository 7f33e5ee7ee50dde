"""Deep perceptrons whose equal hidden layers are one loop: compiled in the time of a single layer, at any depth."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jnorm.nn.networks import Network

Weights = Callable[[jax.Array], jax.Array]
"""``weights(z)`` makes a kernel [in, out] of numbers from N(0, 1)."""


def scaled(factor: Any = 1.0) -> Weights:
    """Weights of variance ``factor^2 / fan_in``."""
    return lambda z: factor * z.shape[0] ** -0.5 * z


def deep(
    activation: Callable[[jax.Array], jax.Array],
    weights: Weights,
    inputs: int,
    outputs: int,
    *,
    units: int,
    depth: int,
    first: Weights | None = None,
    last: Weights | None = None,
    normalizer: Any = None,
    dropout: Callable[..., jax.Array] | None = None,
) -> Network:
    """A perceptron as `jnorm.nn.networks.mlp` makes it, of ``depth`` hidden layers of equal width, without taps.

    Parameters and states are dictionaries: "first" is the layer on the inputs, "hidden" holds those after it, layers
    first, "last" is the readout. All weights are one draw, which takes a program most of its compilation otherwise.

    Args:
        activation: Of the hidden layers.
        weights: Of their initial kernels.
        inputs: Number of features.
        outputs: Number of outputs.
        units: Of every hidden layer.
        depth: Hidden layers.
        first: Weights of the first layer; None for ``weights``.
        last: Weights of the readout; None for variance 1 / fan_in.
        normalizer: Before the activation, such as `jnorm.nn.batch_norm`; it takes the place of the bias.
        dropout: After the activation.
    """
    first, last = first or weights, last or scaled()
    most = max(inputs, outputs, units)

    def beginning(kernel: jax.Array) -> tuple[dict[str, Any], Any]:
        if normalizer is None:
            return {"kernel": kernel, "bias": jnp.zeros(units)}, ()
        norm, state = normalizer.init(units)
        return {"kernel": kernel, "norm": norm}, state

    def init(key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
        z = jax.random.normal(key, (depth + 1, most, most))
        pairs = {"first": beginning(first(z[0, :inputs, :units]))}
        if depth > 1:
            pairs["hidden"] = jax.vmap(lambda z: beginning(weights(z)))(z[1:depth, :units, :units])
        params = {name: pair[0] for name, pair in pairs.items()}
        params["last"] = {"kernel": last(z[depth, :units, :outputs]), "bias": jnp.zeros(outputs)}
        return params, {name: pair[1] for name, pair in pairs.items()}

    def layer(params: Any, state: Any, x: jax.Array, train: bool, key: Any) -> tuple[jax.Array, Any]:
        z = x @ params["kernel"]
        if normalizer is None:
            z = z + params["bias"]
        else:
            z, state = normalizer.apply(params["norm"], state, z, train=train)
        y = activation(z)
        return y if dropout is None else dropout(key, y, train=train), state

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None = None) -> tuple[Any, Any]:
        draws = dropout is not None and key is not None
        keys = jax.random.split(key, depth) if draws else jnp.zeros(depth)  # type: ignore[arg-type]
        y, states = x, {}
        y, states["first"] = layer(params["first"], state["first"], y, train, keys[0])
        if depth > 1:
            each = params["hidden"], state["hidden"], keys[1:]
            y, states["hidden"] = jax.lax.scan(lambda y, one: layer(*one[:2], y, train, one[2]), y, each)
        return y @ params["last"]["kernel"] + params["last"]["bias"], states

    return Network(init, apply)
