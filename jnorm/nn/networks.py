"""Reference networks as pure ``init``/``apply`` pairs: plain, residual and highway perceptrons, a small CNN.

`jnorm.nn.layers.Layer` says what a layer is made of, all of it functions; the network says how layers are arranged.
Networks are cheap to build, so build them where they are used: what they close over may then be traced.

- **Parameters** are a list, one entry for each block from the input on, of dictionaries with ``kernel``, ``bias`` and
  ``norm``. The state is a list of the same length with the normalizers' states.
- **Types.** Parameters are cast to the dtype of ``x``, which the output keeps; products are summed in at least float32.
- **Errors.** ``ValueError`` for widths below 1 and an unknown ``normalize`` where the network is built, for another
  number of features, and for a missing ``key`` where there is dropout to do; ``TypeError`` for an integer ``x``.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import initializers
from jnorm._ground import checks
from jnorm.activations import sigmoid
from jnorm.nn import _statistics as statistics
from jnorm.nn import layers
from jnorm.nn.convolution import convolve
from jnorm.nn.layers import Block, Layer, Linear, Run, Tap

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


class Network(NamedTuple):
    """A pair of pure functions.

    ``init(key) -> (params, state)``; ``apply(params, state, x, *, train, key=None, tap=None) -> (y, state)``. The key
    serves dropout. ``tap`` sees each layer's ``"<block>.pre"``, the argument of its activation, and ``"<block>.post"``,
    its output, and may replace them; inside residual blocks names are ``"<block>.<layer>.pre"``. `record` collects
    them.
    """

    init: Callable[[jax.Array], tuple[list[Any], list[Any]]]
    apply: Callable[..., tuple[jax.Array, list[Any]]]


def record(
    network: Network, params: Any, state: Any, x: ArrayLike, *, train: bool = False, key: jax.Array | None = None
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """``apply``'s output and state, and every value that a `Tap` sees, by name, in the order of computation.

    The same under ``jit`` and ``vmap``, with lanes in front.

    >>> network = mlp((4, 8, 3), Layer(jnp.tanh, initializers.lecun_normal()))
    >>> y, _, seen = record(network, *network.init(jax.random.key(0)), jnp.ones((2, 4)))
    >>> {name: value.shape for name, value in seen.items()}
    {'0.pre': (2, 8), '0.post': (2, 8), '1.pre': (2, 3)}
    """
    seen: dict[str, jax.Array] = {}

    def tap(name: str, value: jax.Array) -> jax.Array:
        seen[name] = value
        return value

    y, state = network.apply(params, state, x, train=train, key=key, tap=tap)
    return y, state, seen


def rectangular(inputs: int, outputs: int, *, units: int, depth: int) -> tuple[int, ...]:
    """Widths of a perceptron with ``depth`` hidden layers of equal size.

    >>> rectangular(784, 10, units=256, depth=2)
    (784, 256, 256, 10)
    """
    return (inputs, *[units] * depth, outputs)


def conic(inputs: int, outputs: int, *, units: int, depth: int) -> tuple[int, ...]:
    """Widths that go in a geometric progression from ``units`` in the first of ``depth`` hidden layers to ``outputs``.

    ``units * (outputs / units)^(l / depth)`` in layer l = 0 ... depth - 1, rounded (Klambauer et al. 2017, section 4).

    >>> conic(784, 10, units=1000, depth=2)
    (784, 1000, 100, 10)
    """
    return (inputs, *[round(units * (outputs / units) ** (l / depth)) for l in range(depth)], outputs)


def mlp(widths: Sequence[int], layer: Layer) -> Network:
    """Multilayer perceptron: hidden layers of ``widths[1:-1]`` and a linear output, on x of shape [..., widths[0]].

    Kernels are [in, out]. See `rectangular` and `conic` for the widths.

    >>> network = mlp((4, 8, 8, 3), Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 4)), train=True)[0].shape
    (5, 3)
    """
    _check(layer, widths=widths)
    if len(widths) < 2:
        raise ValueError(f"`widths` must hold at least an input and an output; got {tuple(widths)}")
    pairs = list(itertools.pairwise(widths))
    hidden = [layers.hidden(layer, layers.linear(layer, *pair), pair[1]) for pair in pairs[:-1]]
    return _sequence([*hidden, layers.readout(layers.linear(layer, *pairs[-1]))], widths[0])


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

    Each of the ``blocks`` holds ``block_layers`` hidden layers and a linear one, all of width ``units``. A branch of
    variance 1 adds branch_scale^2 to the variance of the stream: blocks^(-1/2) keeps it bounded at any depth.

    Source: He et al. 2016 (arXiv 1603.05027), eq. 1 with h the identity; in mean field theory Yang, Schoenholz 2017.

    >>> network = residual(4, 3, units=8, blocks=2, layer=Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 4)), train=True)[0].shape, len(params)
    ((5, 3), 4)
    """
    _check(layer, inputs=inputs, outputs=outputs, units=units, blocks=blocks, block_layers=block_layers)
    square = layers.linear(layer, units, units)
    branch = layers.chain([*[layers.hidden(layer, square, units) for _ in range(block_layers)], layers.readout(square)])

    def apply(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, Any]:
        y, state = branch.apply(params, state, x, run)
        return run.seen("post", x + jnp.asarray(branch_scale).astype(x.dtype) * y), state

    first = layers.hidden(layer, layers.linear(layer, inputs, units), units)
    return _sequence(
        [first, *[Block(branch.init, apply)] * blocks, layers.readout(layers.linear(layer, units, outputs))], inputs
    )


def highway(inputs: int, outputs: int, *, units: int, depth: int, layer: Layer, gate_bias: ArrayLike = -2.0) -> Network:
    """Highway perceptron, ``x <- h(x) * t(x) + x * (1 - t(x))``, t = sigmoid of a linear map: ``depth`` layers, all but
    the first (which has no gate, for it changes the width) with one.

    The gates' biases start at ``gate_bias``, so that at first they carry x; their parameters are in ``gate``, and
    ``"<block>.gate"`` is shown to taps.

    Source: Srivastava, Greff, Schmidhuber 2015 (arXiv 1505.00387), eq. 3.

    >>> network = highway(4, 3, units=8, depth=3, layer=Layer(jnp.tanh, initializers.lecun_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 4)), train=True)[0].shape, len(params)
    ((5, 3), 4)
    """
    _check(layer, inputs=inputs, outputs=outputs, units=units, depth=depth)
    plain = layers.hidden(layer, layers.linear(layer, units, units), units)
    gate = layers.linear(layer._replace(bias_init=initializers.constant(gate_bias)), units, units)

    def init(key: jax.Array) -> tuple[Any, Any]:
        key_plain, key_gate = jax.random.split(key)
        params, state = plain.init(key_plain)
        return params | {"gate": gate.init(key_gate)}, state

    def apply(params: Any, state: Any, x: jax.Array, run: Run) -> tuple[jax.Array, Any]:
        t = run.seen("gate", sigmoid(gate.apply(params["gate"], x)))
        h, state = plain.apply(params, state, x, run._replace(tap=_before_post(run.tap)))
        return run.seen("post", h * t + x * (1 - t)), state

    first = layers.hidden(layer, layers.linear(layer, inputs, units), units)
    blocks = [first, *[Block(init, apply)] * (depth - 1), layers.readout(layers.linear(layer, units, outputs))]
    return _sequence(blocks, inputs)


def cnn(
    channels: Sequence[int],
    outputs: int,
    layer: Layer,
    *,
    window: int = 3,
    strides: int | Sequence[int] = 2,
    method: str = "auto",
) -> Network:
    """Small convolutional network on x of shape [..., height, width, channels[0]], of any height and width.

    A layer with a square ``window`` and zero padding for each of ``channels[1:]``, with its stride (or one for all) in
    the place of pooling; then the mean over all positions and a linear output. Kernels are [window, window, in, out].
    ``method`` is that of `jnorm.nn.convolution.convolve`.

    Source: Springenberg et al. 2015 (arXiv 1412.6806) for strides instead of pooling; Lin et al. 2014 for the mean.

    >>> network = cnn((1, 8, 16), 10, Layer(jax.nn.relu, initializers.he_normal()))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 28, 28, 1)), train=True)[0].shape
    (5, 10)
    """
    steps = [strides] * (len(channels) - 1) if isinstance(strides, int) else list(strides)
    _check(layer, channels=channels, outputs=outputs, window=window, strides=steps)
    if len(steps) != len(channels) - 1 or not steps:
        raise ValueError(f"`strides` must hold one for each of the layers {tuple(channels[1:])}; got {strides}")

    def conv(n_in: int, n_out: int, stride: int) -> Linear:
        def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolve(x, kernel, strides=stride, method=method, precision=layer.precision)

        return layers.weighted(layer, (window, window, n_in, n_out), product)

    readout = layers.linear(layer, channels[-1], outputs)
    pooled = Linear(readout.init, lambda params, x: readout.apply(params, jnp.mean(x, (-3, -2))))
    shapes = [(*pair, step) for pair, step in zip(itertools.pairwise(channels), steps, strict=True)]
    return _sequence(
        [*[layers.hidden(layer, conv(*shape), shape[1]) for shape in shapes], layers.readout(pooled)], channels[0], 3
    )


def _check(layer: Layer, **sizes: Any) -> None:
    checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", **sizes)
    checks.choice("normalize", layer.normalize, ("before", "after"))


def _before_post(tap: Tap | None) -> Tap | None:
    """Hides the output of the plain layer in a highway layer, whose own output is called that."""
    return tap and (lambda name, value: value if name.endswith("post") else tap(name, value))


def _sequence(blocks: Sequence[Block], features: int, ndim: int = 1) -> Network:
    """The blocks one after another, on inputs with ``ndim`` axes of their own, features last."""
    chain = layers.chain(blocks)

    def apply(
        params: Any,
        state: Any,
        x: ArrayLike,
        *,
        train: bool,
        key: jax.Array | None = None,
        tap: Tap | None = None,
    ) -> tuple[jax.Array, list[Any]]:
        x = statistics.floating(x)
        if x.ndim < ndim or x.shape[-1] != features:
            raise ValueError(f"`x` must have {ndim} axes or more, the last of {features} features; got {x.shape}")
        return chain.apply(params, state, x, Run(train, key, tap))

    return Network(chain.init, apply)
