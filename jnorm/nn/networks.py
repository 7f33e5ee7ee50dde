"""Reference networks as pure ``init``/``apply`` pairs: plain, residual and highway perceptrons, a small CNN.

`jnorm.nn.layers.Layer` says what a layer is made of, all of it functions; the network says how layers are arranged.
Networks are cheap to build, so build them where they are used: what they close over may then be traced.

- **Initial weights.** ``layer.kernel_init`` is for layers behind an activation; the first layer and the readout have
  ``layer.input_init`` and ``layer.readout_init``.
- **Parameters** are a list, one entry for each block from the input on, of dictionaries with ``kernel``, ``bias`` and
  ``norm``. The state is a list of the same length with the normalizers' states.
- **Types.** Parameters are cast to the dtype of ``x``, which the output keeps; products are summed in at least float32.
  Those of half precision have half operands, in the backward pass too. `jnorm.nn.layers` says how precise float32 is.
- **Errors** of ``apply``: ``ValueError`` for another number of features, and for a missing ``key`` where there is
  dropout to do; ``TypeError`` for an integer ``x``.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import initializers
from jnorm.activations import sigmoid
from jnorm.nn._blocks import (
    Block,
    Context,
    LinearMap,
    Tap,
    chain,
    first,
    hidden,
    last,
    linear,
    readout,
    stacked,
    weighted,
)
from jnorm.nn._network import Network, check_layer, check_sizes, record, sequential
from jnorm.nn.convolution import convolve
from jnorm.nn.layers import Layer

__all__ = [
    "Network",
    "cnn",
    "conic",
    "highway",
    "mlp",
    "record",
    "rectangular",
    "residual",
]


def rectangular(inputs: int, outputs: int, *, units: int, depth: int) -> tuple[int, ...]:
    """Widths of a perceptron with hidden layers of equal size.

    Args:
        inputs: Number of input features.
        outputs: Number of outputs.
        units: Width of the hidden layers.
        depth: How many there are.

    Returns:
        The depth + 2 widths that `mlp` takes.

    >>> rectangular(784, 10, units=256, depth=2)
    (784, 256, 256, 10)
    """
    return (inputs, *[units] * depth, outputs)


def conic(inputs: int, outputs: int, *, units: int, depth: int) -> tuple[int, ...]:
    """Widths that go in a geometric progression from the first hidden layer to the output.

    ``units * (outputs / units)^(l / depth)`` in layer l = 0 ... depth - 1, rounded.

    Args:
        inputs: Number of input features.
        outputs: Number of outputs.
        units: Width of the first hidden layer.
        depth: How many hidden layers there are.

    Returns:
        The depth + 2 widths that `mlp` takes.

    Source: Klambauer et al. 2017, section 4.

    >>> conic(784, 10, units=1000, depth=2)
    (784, 1000, 100, 10)
    """
    return (inputs, *[round(units * (outputs / units) ** (l / depth)) for l in range(depth)], outputs)


def mlp(widths: Sequence[int], layer: Layer | Sequence[Layer], *, inputs: Layer | None = None) -> Network:
    """Multilayer perceptron: hidden layers and a linear output, on x of shape [..., widths[0]].

    Kernels are [in, out].

    Args:
        widths: Numbers of features from the input to the output, from `rectangular` or `conic` say.
        layer: What the hidden layers do, one for all or one for each; the first one's ``input_init`` and the last one's
            ``readout_init`` count, and its ``weights`` and ``bias_init`` are the readout's too.
        inputs: What is done to x itself, as a block of its own before all others: its normalizer, activation and
            dropout. Its ``kernel_init`` does not matter, for there is no linear map.

    Returns:
        The network.

    Raises:
        ValueError: For less than two widths, one below 1, and another number of layers.
        TypeError: For a layer that is none.

    >>> network = mlp((4, 8, 8, 3), Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> y, state = network.apply(params, state, jnp.ones((5, 4)), train=True)
    >>> y.shape, [p["kernel"].shape for p in params]
    ((5, 3), [(4, 8), (8, 8), (8, 3)])
    """
    check_sizes(layer, widths=widths)
    if len(widths) < 2:
        raise ValueError(f"`widths` must hold at least an input and an output; got {tuple(widths)}")
    pairs = list(itertools.pairwise(widths))
    *parts, output = stacked(layer, len(pairs) - 1)
    blocks = [hidden(part, linear(part, *pair), pair[1]) for part, pair in zip(parts, pairs[:-1], strict=True)]
    if inputs is not None:
        check_layer(inputs, "inputs")
        blocks.insert(0, hidden(inputs, LinearMap(lambda key: {}, lambda params, x: x), widths[0]))
    return sequential([*blocks, readout(linear(output, *pairs[-1]))], widths[0])


def residual(
    inputs: int,
    outputs: int,
    *,
    units: int,
    blocks: int,
    layer: Layer,
    block_layers: int = 1,
    branch_scale: ArrayLike = 1.0,
) -> Network:
    """Residual perceptron, ``x <- x + branch_scale * linear(hidden layers(x))`` between a first layer and the output.

    A branch of variance 1 adds branch_scale^2 to the variance of the stream: blocks^(-1/2) keeps it bounded at any
    depth. The input is [..., inputs].

    Args:
        inputs: Number of input features.
        outputs: Number of outputs.
        units: Width of all layers in between.
        blocks: Number of residual blocks.
        layer: What the hidden layers do.
        block_layers: Hidden layers in each block, in front of its linear one.
        branch_scale: Factor of the branches; may be traced.

    Returns:
        The network.

    Raises:
        ValueError: For a size below 1.

    Source: He et al. 2016 (arXiv 1603.05027), eq. 1 with h the identity; in mean field theory Yang, Schoenholz 2017.

    >>> network = residual(4, 3, units=8, blocks=2, layer=Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> y, _, seen = record(network, params, state, jnp.ones((5, 4)))
    >>> y.shape, [name for name in seen if name.endswith("post")]  # the stream after each block, and within
    ((5, 3), ['0.post', '1.0.post', '1.post', '2.0.post', '2.post'])
    """
    check_sizes(layer, inputs=inputs, outputs=outputs, units=units, blocks=blocks, block_layers=block_layers)
    square = linear(layer, units, units)
    branch = chain([*[hidden(layer, square, units) for _ in range(block_layers)], readout(square)])

    def apply(params: Any, state: Any, x: jax.Array, context: Context) -> tuple[jax.Array, Any]:
        y, state = branch.apply(params, state, x, context)
        return context.tapped("post", x + jnp.asarray(branch_scale).astype(x.dtype) * y), state

    stream = hidden(layer, linear(first(layer), inputs, units), units)
    output = readout(linear(last(layer), units, outputs))
    return sequential([stream, *[Block(branch.init, apply)] * blocks, output], inputs)


def highway(inputs: int, outputs: int, *, units: int, depth: int, layer: Layer, gate_bias: ArrayLike = -2.0) -> Network:
    """Highway perceptron, ``x <- h(x) * t(x) + x * (1 - t(x))``, t = sigmoid of a linear map.

    The first layer has no gate, for it changes the width. The gates' parameters are in ``gate``, and
    ``"<block>.gate"`` is shown to taps. The input is [..., inputs].

    Args:
        inputs: Number of input features.
        outputs: Number of outputs.
        units: Width of the hidden layers.
        depth: How many there are, the first one included.
        layer: What the hidden layers do.
        gate_bias: Where the gates' biases start; far below 0 a layer carries x at first. May be traced.

    Returns:
        The network.

    Raises:
        ValueError: For a size below 1.

    Source: Srivastava, Greff, Schmidhuber 2015 (arXiv 1505.00387), eq. 3.

    >>> network = highway(4, 3, units=8, depth=3, layer=Layer(jnp.tanh, initializers.lecun_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> y, _, seen = record(network, params, state, jnp.ones((5, 4)))
    >>> y.shape, bool(seen["1.gate"].mean() < 0.5)
    ((5, 3), True)
    """
    check_sizes(layer, inputs=inputs, outputs=outputs, units=units, depth=depth)
    plain = hidden(layer, linear(layer, units, units), units)
    gate = linear(layer._replace(bias_init=initializers.constant(gate_bias)), units, units)

    def init(key: jax.Array) -> tuple[Any, Any]:
        key_plain, key_gate = jax.random.split(key)
        params, state = plain.init(key_plain)
        return params | {"gate": gate.init(key_gate)}, state

    def apply(params: Any, state: Any, x: jax.Array, context: Context) -> tuple[jax.Array, Any]:
        t = context.tapped("gate", sigmoid(gate.apply(params["gate"], x)))
        h, state = plain.apply(params, state, x, context._replace(tap=_before_post(context.tap)))
        return context.tapped("post", h * t + x * (1 - t)), state

    stream = hidden(layer, linear(first(layer), inputs, units), units)
    output = readout(linear(last(layer), units, outputs))
    return sequential([stream, *[Block(init, apply)] * (depth - 1), output], inputs)


def cnn(
    channels: Sequence[int],
    outputs: int,
    layer: Layer | Sequence[Layer],
    *,
    window: int = 3,
    strides: int | Sequence[int] = 2,
    method: str = "auto",
) -> Network:
    """Small convolutional network with strides in the place of pooling, for images of any height and width.

    On x of shape [..., height, width, channels[0]]: a layer with zero padding for each of ``channels[1:]``, then the
    mean over all positions and a linear output. Kernels are [window, window, in, out].

    Args:
        channels: Numbers of channels from the input to the last layer.
        outputs: Number of outputs.
        layer: What the layers do, one for all or one for each, as for `mlp`.
        window: Length of the square windows.
        strides: Of each layer, or one for all.
        method: That of `jnorm.nn.convolution.convolve`.

    Returns:
        The network.

    Raises:
        ValueError: For a size below 1, less than two ``channels``, another number of strides or of layers.

    Source: Springenberg et al. 2015 (arXiv 1412.6806) for strides instead of pooling; Lin et al. 2014 for the mean.

    >>> network = cnn((1, 8, 16), 10, Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 28, 28, 1)), train=True)[0].shape
    (5, 10)
    """
    if len(channels) < 2:
        raise ValueError(
            f"`channels` must hold those of the input and of one layer at least, such as (1, 8); got {tuple(channels)}"
        )
    steps = [strides] * (len(channels) - 1) if isinstance(strides, int) else list(strides)
    check_sizes(layer, channels=channels, outputs=outputs, window=window, strides=steps)
    if len(steps) != len(channels) - 1:
        raise ValueError(f"`strides` must hold one for each of the layers {tuple(channels[1:])}; got {strides}")

    def conv(layer: Layer, n_in: int, n_out: int, stride: int) -> LinearMap:
        def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolve(x, kernel, strides=stride, method=method, precision=layer.precision)

        return weighted(layer, (window, window, n_in, n_out), product)

    *layers, last_layer = stacked(layer, len(steps))
    output = linear(last_layer, channels[-1], outputs)
    pooled = LinearMap(output.init, lambda params, x: output.apply(params, jnp.mean(x, (-3, -2))))
    parts = zip(layers, itertools.pairwise(channels), steps, strict=True)
    inner = [hidden(part, conv(part, *pair, step), pair[1]) for part, pair, step in parts]
    return sequential([*inner, readout(pooled)], channels[0], 3)


def _before_post(tap: Tap | None) -> Tap | None:
    """Hides the output of the plain layer in a highway layer, whose own output is called that."""
    return tap and (lambda name, value: value if name.endswith("post") else tap(name, value))
