"""What a layer is made of: a linear map, a normalizer, an activation and dropout, put together as a block.

A `Block` is a pair of pure functions with the parameters and the state that one layer needs; `jnorm.nn.networks`
arranges blocks. All parts are functions, and may close over traced values: rates, gains and slopes can be swept by
``vmap``. Parameters are cast to the dtype of ``x``, which the output keeps; products are summed in at least float32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
from jax import lax

from jnorm._ground import checks

__all__ = [
    "Block",
    "Layer",
    "Linear",
    "Normalizer",
    "Run",
    "Tap",
    "Weights",
    "chain",
    "hidden",
    "linear",
    "readout",
    "stateless",
    "weighted",
]

Tap = Callable[[str, jax.Array], jax.Array]
"""Is shown a value by name while the network computes, and returns the one to go on with."""


class Normalizer(NamedTuple):
    """``init(features) -> (params, state)`` and ``apply(params, state, x, *, train) -> (y, state)``.

    The module `jnorm.nn.batch_norm` is one as it stands; ``functools.partial`` of its functions sets options.
    """

    init: Callable[[int], tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]


def stateless(init: Callable[[int], Any], apply: Callable[[Any, jax.Array], jax.Array]) -> Normalizer:
    """A normalizer that keeps no statistics, from ``init(features) -> params`` and ``apply(params, x) -> y``.

    >>> from jnorm.nn import feature_norm
    >>> norm = stateless(feature_norm.init, feature_norm.layer_norm)
    >>> norm.apply(*norm.init(2), jnp.array([[1.0, 3.0]]), train=True)[0].round(3).tolist()
    [[-1.0, 1.0]]
    """
    return Normalizer(lambda features: (init(features), ()), lambda p, s, x, *, train: (apply(p, x), s))


class Weights(Protocol):
    """Kernels as a function of what is learned; the module `jnorm.nn.weight_norm` is one."""

    def init(self, kernel: jax.Array) -> Any:
        """What is learned, from a fresh kernel."""

    def apply(self, params: Any) -> jax.Array:
        """The kernel."""


class Layer(NamedTuple):
    """What a hidden layer does: ``x @ kernel + bias``, the normalizer and the activation in either order, dropout.

    ``kernel_init`` and ``bias_init`` follow `jnorm.initializers`; ``bias_init=None`` leaves the bias out. ``normalize``
    puts the normalizer "before" or "after" the activation. ``dropout`` is called as ``dropout(key, x, train=train)``.
    ``weights`` (`jnorm.nn.weight_norm`, or any pair with ``init(kernel)`` and ``apply(params)``) makes the kernels.
    ``precision`` is that of `jax.lax`; "highest" is full float32 on every machine.
    """

    activation: Callable[[jax.Array], jax.Array]
    kernel_init: Callable[..., jax.Array]
    bias_init: Callable[..., jax.Array] | None = jax.nn.initializers.zeros
    normalizer: Any = None
    normalize: str = "before"
    dropout: Callable[..., jax.Array] | None = None
    weights: Weights | None = None
    precision: lax.PrecisionLike = "highest"


class Run(NamedTuple):
    """What one call of ``apply`` hands down."""

    train: bool
    key: jax.Array | None
    tap: Tap | None
    name: str = ""

    def at(self, index: int) -> Self:
        """The same for a part: its own key, its number in the names that taps see."""
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        return self._replace(key=key, name=f"{self.name}{index}.")

    def seen(self, name: str, value: jax.Array) -> jax.Array:
        """The value, or what the tap makes of it."""
        return value if self.tap is None else self.tap(self.name + name, value)


class Linear(NamedTuple):
    """A linear map: ``init(key) -> params``, ``apply(params, x) -> y``."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], jax.Array]


class Block(NamedTuple):
    """A part of a network: ``init(key) -> (params, state)``, ``apply(params, state, x, run) -> (y, state)``."""

    init: Callable[[jax.Array], tuple[Any, Any]]
    apply: Callable[[Any, Any, jax.Array, Run], tuple[jax.Array, Any]]


def weighted(layer: Layer, shape: tuple[int, ...], product: Callable[[jax.Array, jax.Array], jax.Array]) -> Linear:
    """``product(x, kernel) + bias`` for a fresh kernel of the given shape, outputs last."""

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
            y = y + params["bias"].astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y.astype(x.dtype)

    return Linear(init, apply)


def linear(layer: Layer, inputs: int, outputs: int) -> Linear:
    """``x @ kernel + bias`` over the last axis of ``x``.

    >>> dense = linear(Layer(jnp.tanh, jax.nn.initializers.ones), 3, 2)
    >>> dense.apply(dense.init(jax.random.key(0)), jnp.ones((1, 3))).tolist()
    [[3.0, 3.0]]
    """

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        wide = checks.wide(x.dtype)
        return jnp.matmul(x, kernel, precision=layer.precision, preferred_element_type=wide)

    return weighted(layer, (inputs, outputs), product)


def hidden(layer: Layer, linear: Linear, features: int) -> Block:
    """The layer as a block: linear map, normalizer and activation in the order that it says, dropout."""
    norm = layer.normalizer

    def init(key: jax.Array) -> tuple[Any, Any]:
        params = linear.init(key)
        if norm is None:
            return params, ()
        norm_params, state = norm.init(features)
        return params | {"norm": norm_params}, state

    def normalized(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, Any]:
        return (x, state) if norm is None else norm.apply(params["norm"], state, x, train=run.train)

    def apply(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, Any]:
        z = linear.apply(params, x)
        if layer.normalize == "before":
            z, state = normalized(params, state, z, run)
        y = layer.activation(run.seen("pre", z))
        if layer.normalize == "after":
            y, state = normalized(params, state, y, run)
        if layer.dropout is not None:
            y = layer.dropout(run.key, y, train=run.train)
        return run.seen("post", y), state

    return Block(init, apply)


def readout(linear: Linear) -> Block:
    """A linear map as a block, with nothing after it."""

    def apply(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, Any]:
        return run.seen("pre", linear.apply(params, x)), state

    return Block(lambda key: (linear.init(key), ()), apply)


def chain(blocks: Sequence[Block]) -> Block:
    """The blocks one after another: parameters and states are lists."""

    def init(key: jax.Array) -> tuple[list[Any], list[Any]]:
        pairs = [block.init(jax.random.fold_in(key, i)) for i, block in enumerate(blocks)]
        return [params for params, _ in pairs], [state for _, state in pairs]

    def apply(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, list[Any]]:
        states = []
        for i, (block, p, s) in enumerate(zip(blocks, params, state, strict=True)):
            x, s = block.apply(p, s, x, run.at(i))
            states.append(s)
        return x, states

    return Block(init, apply)
