"""Layers put together: a linear map, a hidden layer and a readout as blocks, and blocks one after another.

A `Block` is a pair of pure functions with the parameters and the state that one part of a network needs;
`jnorm.nn.networks` arranges blocks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.nn._products import matmul
from jnorm.nn.layers import Layer

Tap = Callable[[str, jax.Array], jax.Array]
"""Is shown a value by name while the network computes, and returns the one to go on with."""


class Context(NamedTuple):
    """What one call of a network hands down to its blocks."""

    train: bool
    dropout: bool
    key: jax.Array | None
    tap: Tap | None
    prefix: str = ""
    """What stands before the names that the tap is shown, such as ``"1.0."``."""

    def within(self, index: int) -> Self:
        """The context of the part with that number: a key and a prefix of its own."""
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        return self._replace(key=key, prefix=f"{self.prefix}{index}.")

    def tapped(self, name: str, value: jax.Array) -> jax.Array:
        """The value, or what the tap makes of it."""
        return value if self.tap is None else self.tap(self.prefix + name, value)


class LinearMap(NamedTuple):
    """``init(key) -> params``, ``apply(params, x) -> y``."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], jax.Array]


class Block(NamedTuple):
    """A part of a network: ``init(key) -> (params, state)``, ``apply(params, state, x, context) -> (y, state)``."""

    init: Callable[[jax.Array], tuple[Any, Any]]
    apply: Callable[[Any, Any, jax.Array, Context], tuple[jax.Array, Any]]


def weighted(layer: Layer, shape: tuple[int, ...], product: Callable[[jax.Array, jax.Array], jax.Array]) -> LinearMap:
    """``product(x, kernel) + bias`` for a kernel of the given shape, outputs last."""

    def init(key: jax.Array) -> dict[str, Any]:
        key_kernel, key_bias = jax.random.split(key)
        kernel = layer.kernel_init(key_kernel, shape)
        params = {"kernel": kernel if layer.weights is None else layer.weights.init(kernel)}
        if layer.bias_init is not None:
            params["bias"] = layer.bias_init(key_bias, shape[-1:])
        return params

    def apply(params: dict[str, Any], x: jax.Array) -> jax.Array:
        kernel = params["kernel"] if layer.weights is None else layer.weights.apply(params["kernel"])
        y = product(x, kernel.astype(x.dtype))
        if "bias" in params:
            bias = params["bias"].astype(y.dtype).astype(checks.wide(y.dtype)).reshape((1,) * (y.ndim - 1) + (-1,))
            y = y + jnp.broadcast_to(bias, y.shape).astype(y.dtype)  # wide, for its gradient is a sum over all rows
        return y.astype(x.dtype)

    return LinearMap(init, apply)


def linear(layer: Layer, inputs: int, outputs: int) -> LinearMap:
    """``x @ kernel + bias`` over the last axis of ``x``.

    >>> dense = linear(Layer(jnp.tanh, jax.nn.initializers.ones), 3, 2)
    >>> dense.apply(dense.init(jax.random.key(0)), jnp.ones((1, 3))).tolist()
    [[3.0, 3.0]]
    """
    return weighted(layer, (inputs, outputs), partial(matmul, precision=layer.precision))


def first(layer: Layer) -> Layer:
    """The layer as a network's first one."""
    return layer._replace(kernel_init=layer.input_init)


def stacked(layer: Layer | Sequence[Layer], depth: int) -> list[Layer]:
    """The ``depth`` hidden layers of a network, from the input on, and its readout: of one for all, or one for each."""
    layers = [layer] * max(depth, 1) if isinstance(layer, Layer) else list(layer)
    if len(layers) != max(depth, 1):
        raise ValueError(f"`layer` must be one, or one for each of the {depth} hidden layers; got {len(layers)}")
    return [*[first(layers[0]), *layers[1:]][:depth], last(layers[-1])]


def last(layer: Layer) -> Layer:
    """The layer as a network's readout."""
    return layer._replace(kernel_init=layer.readout_init)


def hidden(layer: Layer, linear_map: LinearMap, features: int) -> Block:
    """The layer as a block: linear map, normalizer and activation in the order that it says, dropout."""
    norm = layer.normalizer

    def init(key: jax.Array) -> tuple[Any, Any]:
        params = linear_map.init(key)
        if norm is None:
            return params, ()
        norm_params, state = norm.init(features)
        if layer.normalize == "before" and getattr(norm_params, "shift", None) is not None:
            params.pop("bias", None)  # the shift takes its place
        return params | {"norm": norm_params}, state

    before, after = (norm is not None and layer.normalize == place for place in ("before", "after"))

    def apply(params: Any, state: Any, x: jax.Array, context: Context) -> tuple[jax.Array, Any]:
        z = linear_map.apply(params, x)
        if before:
            z, state = norm.apply(params["norm"], state, context.tapped("linear", z), train=context.train)
        y = layer.activation(context.tapped("pre", z))
        if after:
            y, state = norm.apply(params["norm"], state, context.tapped("activated", y), train=context.train)
        if layer.dropout is not None:
            y = context.tapped("normalized" if after else "activated", y)
            y = layer.dropout(context.key, y, train=context.dropout)
        return context.tapped("post", y), state

    return Block(init, apply)


def readout(linear_map: LinearMap) -> Block:
    """A linear map as a block, with nothing after it."""

    def apply(params: Any, state: Any, x: jax.Array, context: Context) -> tuple[jax.Array, Any]:
        return context.tapped("pre", linear_map.apply(params, x)), state

    return Block(lambda key: (linear_map.init(key), ()), apply)


def chain(blocks: Sequence[Block]) -> Block:
    """The blocks one after another: parameters and states are lists."""

    def init(key: jax.Array) -> tuple[list[Any], list[Any]]:
        pairs = [block.init(jax.random.fold_in(key, i)) for i, block in enumerate(blocks)]
        return [params for params, _ in pairs], [state for _, state in pairs]

    def apply(params: Any, state: Any, x: jax.Array, context: Context) -> tuple[jax.Array, list[Any]]:
        states = []
        for i, (block, p, s) in enumerate(zip(blocks, params, state, strict=True)):
            x, s = block.apply(p, s, x, context.within(i))
            states.append(s)
        return x, states

    return Block(init, apply)
