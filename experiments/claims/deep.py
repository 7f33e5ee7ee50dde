"""Deep perceptrons whose equal hidden layers are one loop: compiled in the time of a single layer, at any depth."""

from typing import Any

import jax
import jax.numpy as jnp

from jnorm.nn.layers import Layer
from jnorm.nn.networks import Network


def deep(layer: Layer, inputs: int, outputs: int, *, units: int, depth: int) -> Network:
    """`jnorm.nn.networks.mlp` of ``depth`` hidden layers of equal width, without taps and without biases of a norm.

    Parameters and states of hidden layers are dictionaries of arrays with the layers first; "first" is the layer on the
    inputs, "hidden" those after it, "last" the readout.
    """
    norm = layer.normalizer

    def made(key: jax.Array, kernel_init: Any, shape: tuple[int, int]) -> tuple[dict[str, Any], Any]:
        params, state = {"kernel": kernel_init(key, shape)}, ()
        if norm is None:
            return params | {"bias": jnp.zeros(shape[1])}, state
        norm_params, state = norm.init(shape[1])
        return params | {"norm": norm_params}, state

    def init(key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
        first, inner, last = jax.random.split(key, 3)
        keys = jax.random.split(inner, depth - 1)
        pairs = {"first": made(first, layer.input_init, (inputs, units))}
        if depth > 1:
            pairs["hidden"] = jax.vmap(lambda k: made(k, layer.kernel_init, (units, units)))(keys)
        params = {name: pair[0] for name, pair in pairs.items()}
        params["last"] = {"kernel": layer.readout_init(last, (units, outputs)), "bias": jnp.zeros(outputs)}
        return params, {name: pair[1] for name, pair in pairs.items()}

    def one(params: Any, state: Any, x: jax.Array, train: bool, key: jax.Array | None) -> tuple[jax.Array, Any]:
        z = x @ params["kernel"]
        if norm is None:
            z = z + params["bias"]
        else:
            z, state = norm.apply(params["norm"], state, z, train=train)
        y = layer.activation(z)
        return y if layer.dropout is None else layer.dropout(key, y, train=train), state

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None = None) -> tuple[Any, Any]:
        keys = jax.random.split(jax.random.key(0) if key is None else key, depth)
        y, states = x, {}
        y, states["first"] = one(params["first"], state["first"], y, train, keys[0])
        if depth > 1:
            layers = params["hidden"], state["hidden"], keys[1:]
            y, states["hidden"] = jax.lax.scan(lambda y, part: one(*part[:2], y, train, part[2]), y, layers)
        return y @ params["last"]["kernel"] + params["last"]["bias"], states

    return Network(init, apply)
