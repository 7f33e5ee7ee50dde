"""The seven networks of the paper, padded so that one program serves many data sets, depths and widths.

A padded network is the network without padding: what is beyond its features, widths, layers and classes is nothing.

- **Features, widths.** Rows and columns of kernels beyond the true ones are 0 and get no gradient; the others are drawn
  with the deviation of the true fan-in.
- **Layers** beyond the true number hand on what they get.
- **Classes** beyond the true ones have logits of -inf.

All have zero biases at the start, LeCun weights at the input and the readout, and, but for selu, He weights between.
``depth`` counts hidden layers; a residual network has as many in its first layer and its blocks of two layers each,
whose branches are scaled by ``blocks^(-1/2)``.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm import activations, initializers
from jnorm.nn import batch_norm, feature_norm, networks, weight_norm
from jnorm.nn.dropout import alpha_dropout, dropout
from jnorm.nn.layers import Layer, stateless

KINDS = ("snn", "msrainit", "highway", "resnet", "batchnorm", "weightnorm", "layernorm")
"""The networks, in the paper's order."""
DROPPED = {"snn": alpha_dropout, "msrainit": dropout, "highway": dropout}
"""Those with dropout in the paper's grid, and which."""


class Size(NamedTuple):
    """The true size of a network, whose parts may be traced.

    Attributes:
        features: Features of the data.
        classes: Classes.
        depth: Hidden layers.
        conic: Whether widths go from the units to the classes in a geometric progression; None: they do not.
    """

    features: Any
    classes: Any
    depth: Any
    conic: Any = None


def blocks(kind: str, depth: Any) -> Any:
    """Parts of a network in front of its readout: its first layer, and layers, or blocks of two, behind it."""
    return 1 + depth // 2 if kind == "resnet" else depth


def network(
    kind: str, size: Size, *, inputs: int, outputs: int, units: int, depth: int, rate: Any = None
) -> networks.Network:
    """A network of at most so many inputs, outputs and hidden layers.

    Args:
        kind: One of `KINDS`.
        size: What it really has of each.
        inputs: The most features.
        outputs: The most classes.
        units: Width of the (first) hidden layer.
        depth: The most hidden layers.
        rate: Rate of dropout, None for none.
    """
    count = blocks(kind, size.depth)
    widths = _widths(units, size, count, blocks(kind, depth))
    plain = _plain(kind, inputs, outputs, units, depth, count, widths if size.conic is not None else None, rate)

    def init(key: jax.Array) -> tuple[Any, Any]:
        params, state = plain.init(key)
        ends = [size.features, *widths]
        fitted = [_fitted(part, *pair) for part, pair in zip(params[:-1], pairwise(ends), strict=True)]
        last = jnp.asarray(widths)[count - 1] if isinstance(count, jax.Array) else widths[count - 1]
        return [*fitted, _fitted(params[-1], last, size.classes)], state

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool, key: Any = None) -> tuple[jax.Array, Any]:
        tap = _tap(count, widths if size.conic is not None else None, blocks(kind, depth))
        y, state = plain.apply(params, state, x, train=train, key=key, tap=tap)
        return jnp.where(_first(y, size.classes), y, -jnp.inf), state

    return networks.Network(init, apply)


def _widths(units: int, size: Size, count: Any, most: int) -> list[Any]:
    """The true widths of the parts."""
    if size.conic is None:
        return [units] * most
    shrink = lambda l: jnp.round(units * (size.classes / units) ** (l / count)).astype(jnp.int32)
    return [jnp.where(size.conic, jnp.clip(shrink(l), 1, units), units) for l in range(most)]


def _plain(
    kind: str, inputs: int, outputs: int, units: int, depth: int, count: Any, widths: list[Any] | None, rate: Any
) -> networks.Network:
    """The network at its largest."""
    phi = activations.selu if kind == "snn" else activations.relu
    draw = initializers.lecun_normal() if kind == "snn" else initializers.he_normal()
    drop = None if rate is None or kind not in DROPPED else partial(DROPPED[kind], rate=rate)
    layer = Layer(phi, draw, dropout=drop)
    if kind == "highway":
        return networks.highway(inputs, outputs, units=units, depth=depth, layer=layer)
    if kind == "resnet":
        scale = jnp.maximum(count - 1, 1) ** -0.5
        return networks.residual(inputs, outputs, units=units, blocks=depth // 2, layer=layer, branch_scale=scale)
    layers = [layer] * depth
    if kind == "batchnorm":
        layers = [layer._replace(normalizer=batch_norm)] * depth
    if kind == "weightnorm":
        layers = [layer._replace(weights=weight_norm)] * depth
    if kind == "layernorm":
        masks = [None] * depth if widths is None else [(jnp.arange(units) < w)[None] for w in widths]
        norms = [stateless(feature_norm.init, partial(feature_norm.layer_norm, mask=mask)) for mask in masks]
        layers = [layer._replace(normalizer=norm) for norm in norms]
    return networks.mlp(networks.rectangular(inputs, outputs, units=units, depth=depth), layers)


def _tap(count: Any, widths: list[Any] | None, most: int) -> Callable[[str, jax.Array], jax.Array]:
    """Cuts the output of each part to its true width, and hands on what enters the parts that are not there."""
    last: list[jax.Array] = []

    def tap(name: str, value: jax.Array) -> jax.Array:
        part, _, what = name.partition(".")
        if what != "post":
            return value
        if widths is not None:
            value = jnp.where(_first(value, widths[int(part)]), value, 0)
        if last and isinstance(count, jax.Array):
            value = jnp.where(int(part) < count, value, last[-1])
        last[:] = [value]
        return value

    return tap


def _first(x: jax.Array, count: Any) -> jax.Array:
    """True for the first so many features."""
    return jnp.broadcast_to(jnp.arange(x.shape[-1]) < count, x.shape)


def _fitted(part: Any, inputs: Any, outputs: Any) -> Any:
    """The parameters of a part, with the kernels of so many inputs and outputs in the place of the largest."""
    if isinstance(part, list):
        return [_fitted(p, inputs if i == 0 else outputs, outputs) for i, p in enumerate(part)]
    fit = {"kernel": _kernel, "gate": _fitted}
    return {name: fit[name](value, inputs, outputs) if name in fit else value for name, value in part.items()}


def _kernel(kernel: Any, inputs: Any, outputs: Any) -> Any:
    if isinstance(kernel, weight_norm.PolarKernel):
        return weight_norm.init(_kernel(kernel.direction, inputs, outputs))
    rows, columns = (jnp.arange(n) < true for n, true in zip(kernel.shape, (inputs, outputs), strict=True))
    scale = jnp.sqrt(kernel.shape[0] / jnp.asarray(inputs, kernel.dtype))
    return jnp.where(rows[:, None] & columns[None], kernel * scale, 0)
