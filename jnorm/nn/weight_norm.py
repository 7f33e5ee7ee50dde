"""Weights as a function of free parameters: weight norm, and (scaled) weight standardization with exact gains.

Both divide the weights that lead into each output by their Euclidean norm, weight standardization after subtracting
their mean. The result depends on the direction of those weights alone, so any constant factor drops out, in every
derivative too: they are divided by their largest entry first, and neither overflow nor underflow on the way.

Common to all: ``axis`` is the output axis of the kernel, or several, or none ``()``; all others are summed over. Half
precision is computed in float32. A ``TypeError`` answers integer kernels, a ``ValueError`` an axis out of range and
scales of another shape. The module is a `jnorm.nn.layers.Weights` as it stands: `init` and `apply` make the layers of a
network weight-normalized.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm import activations, gaussian
from jnorm._ground import checks
from jnorm.nn._axes import axes_of, floating, lengths, other_axes
from jnorm.nn._moments import moments

__all__ = [
    "PolarKernel",
    "apply",
    "exact_gain",
    "init",
    "init_from_data",
    "standardize",
]


class PolarKernel(NamedTuple):
    """A kernel as direction and length of the weights into each output, which are learned apart.

    Attributes:
        direction: Of the kernel's shape, and of any length.
        scale: The Euclidean norms, of the outputs' shape.
    """

    direction: jax.Array
    scale: jax.Array


def init(kernel: ArrayLike, *, axis: int | Sequence[int] = -1) -> PolarKernel:
    """The parameters whose kernel is ``kernel``: itself as direction, and its norms.

    Args:
        kernel: Floating, such as [in, out].
        axis: The output axis, or several, or ``()``.

    Returns:
        Direction and scale, in the dtype of the kernel.

    Raises:
        TypeError: For an integer kernel.
        ValueError: For an axis out of range.

    >>> init(jnp.array([[3.0, 0.0], [4.0, 2.0]])).scale.tolist()
    [5.0, 2.0]
    """
    kernel = floating(kernel, "kernel")
    inputs = _inputs(kernel, axis)
    _, norm = _polar(kernel, inputs)
    return PolarKernel(kernel, norm.squeeze(inputs).astype(kernel.dtype))


def apply(params: PolarKernel, *, axis: int | Sequence[int] = -1) -> jax.Array:
    """Weight norm, ``kernel = scale * direction / |direction|``.

    Singular point: a direction of zeros gives zeros, with derivatives zero.

    Args:
        params: What is learned, from `init`.
        axis: The output axis, or several, or ``()``.

    Returns:
        The kernel, in the shape and dtype of the direction.

    Raises:
        TypeError: For an integer direction.
        ValueError: For an axis out of range, or a scale of another shape.

    Source: Salimans, Kingma 2016 (arXiv 1602.07868), eq. 2.

    >>> apply(PolarKernel(jnp.array([[3.0], [4.0]]), jnp.array([10.0]))).tolist()
    [[6.0], [8.0]]
    """
    direction = floating(params.direction, "params.direction")
    inputs = _inputs(direction, axis)
    return _scaled("params.scale", _polar(direction, inputs)[0], params.scale, inputs).astype(direction.dtype)


def init_from_data(
    params: PolarKernel, layer: Callable[[jax.Array], jax.Array], *, axis: int | Sequence[int] = -1
) -> tuple[PolarKernel, jax.Array]:
    """Scale and bias that give the outputs of a layer mean 0 and variance 1 on a batch.

    With t the outputs for unit norms, ``scale = 1/sqrt(Var t)`` and ``bias = -E[t]/sqrt(Var t)``.

    Singular point: an output that is constant on the batch gives infinities.

    Args:
        params: Only their direction counts.
        layer: ``layer(kernel)`` is the layer without bias on the batch, its features on the last axis, in the order of
            ``axis``.
        axis: The output axis of the kernel, or several.

    Returns:
        The parameters, and the bias of the outputs' shape.

    Raises:
        TypeError: For an integer direction.
        ValueError: For an axis out of range.

    Source: Salimans, Kingma 2016, eqs. 5 and 6.

    >>> x = jnp.array([[0.0], [2.0], [4.0]])
    >>> layer = lambda kernel: jnp.matmul(x, kernel, precision="highest")
    >>> params, bias = init_from_data(init(jnp.array([[3.0]])), layer)
    >>> z = layer(apply(params)) + bias
    >>> bool(abs(z.mean()) < 1e-6), bool(abs(z.var() - 1) < 1e-6)
    (True, True)
    """
    outputs = layer(apply(PolarKernel(params.direction, jnp.ones_like(params.scale)), axis=axis))
    mean, var, _ = moments(outputs, range(outputs.ndim - 1))
    scale = lax.rsqrt(var).reshape(params.scale.shape)
    bias = -mean.reshape(params.scale.shape) * scale
    return PolarKernel(params.direction, scale.astype(params.scale.dtype)), bias.astype(params.scale.dtype)


def standardize(kernel: ArrayLike, *, gain: ArrayLike = 1.0, axis: int | Sequence[int] = -1) -> jax.Array:
    """Scaled weight standardization, ``gain * (w - mean) / |w - mean|``.

    The weights into each output then sum to 0 and their squares to gain^2, to rounding, whatever they were: omega = 0
    and tau = gain^2 in the terms of `jnorm.theory.moments`. No eps is needed.

    Singular point: equal weights give zeros, with derivatives zero.

    Args:
        kernel: Floating, such as [in, out].
        gain: A number, or one for each output; may be traced and learned. `exact_gain` keeps the variance from layer to
            layer; ``sqrt(fan_in)`` is the unscaled form, in which the weights themselves have variance 1.
        axis: The output axis, or several, or ``()``.

    Returns:
        The standardized kernel, in the shape and dtype of ``kernel``.

    Raises:
        TypeError: For an integer kernel.
        ValueError: For an axis out of range, a gain of another shape, and outputs with a single weight, which would
            always be zero.

    Source: Brock, De, Smith 2021 (arXiv 2101.08692), eq. 1; unscaled: Qiao et al. 2019 (arXiv 1903.10520), eq. 6.

    >>> w = standardize(jnp.array([[1.0, 5.0], [3.0, 5.0]]), gain=2.0)
    >>> bool(abs(w[:, 0] - jnp.array([-(2**0.5), 2**0.5])).max() < 1e-6), w[:, 1].tolist()
    (True, [0.0, 0.0])
    """
    kernel = floating(kernel, "kernel")
    inputs = _inputs(kernel, axis)
    if math.prod(kernel.shape[a] for a in inputs) == 1:
        raise ValueError(f"`kernel` must have at least two weights for each output; got shape {kernel.shape}")
    wide = kernel.astype(checks.wide(kernel.dtype))
    # Centred on one of the weights, on the mean, and on the mean of what rounding left. The result depends on none of
    # the three, so only one carries a derivative; without the first, equal weights would leave their mean's rounding.
    first = wide[tuple(slice(0, 1) if a in inputs else slice(None) for a in range(kernel.ndim))]
    moved = wide - lax.stop_gradient(first)
    moved = moved - jnp.mean(moved, inputs, keepdims=True)
    moved = moved - lax.stop_gradient(jnp.mean(moved, inputs, keepdims=True))
    unit, _ = _polar(moved, inputs)
    return _scaled("gain", unit, gain, inputs).astype(kernel.dtype)


def exact_gain(
    phi: Callable[[jax.Array], jax.Array],
    *,
    mean: ArrayLike = 0.0,
    var: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """The gain of `standardize` that keeps the variance of pre-activations, ``sqrt(var / Var[phi(z)])``.

    Where z ~ N(mean, var) enters ``phi``, standardized weights of this gain give the next layer's pre-activations the
    variance ``var`` (and the mean 0). The moments are exact, from `jnorm.gaussian`.

    Singular point: where phi is constant no gain is enough, and it is inf.

    Args:
        phi: The elementwise activation; may close over traced values.
        mean: Of the pre-activations; may be an array and traced.
        var: Their variance, positive; likewise, and both broadcast.
        kinks: Where phi or a derivative of it jumps; by default those that are registered or found.

    Returns:
        The gain, of the common shape of ``mean`` and ``var``.

    Raises:
        ValueError: For ``var <= 0``.

    Source: Brock, De, Smith 2021, section 4, where they are estimated from samples.

    >>> gains = [exact_gain(phi) for phi in (jax.nn.relu, jnp.tanh, jax.nn.silu)]
    >>> [f"{g:.4f}" for g in gains]  # the first is sqrt(2 / (1 - 1/pi))
    ['1.7129', '1.5925', '1.7872']
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    kinks = activations.kinks(phi) if kinks is None else kinks
    _, spread = gaussian.moments(phi, mean, var, kinks=kinks)
    return jnp.sqrt(jnp.asarray(var).astype(spread.dtype) / spread)


def _inputs(kernel: jax.Array, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The axes that are summed over."""
    return other_axes(kernel, () if axis == () else axes_of(kernel, axis))


def _polar(v: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """``v / |v|`` and ``|v|`` along ``axes``, in at least float32; zeros stay zeros, with derivatives zero."""
    v = v.astype(checks.wide(v.dtype))
    top = lax.stop_gradient(jnp.max(jnp.abs(v), axes, keepdims=True, initial=0))
    top = jnp.where(top == 0, 1, top)
    square = jnp.sum((v / top) ** 2, axes, keepdims=True)
    alive = square != 0
    norm = jnp.sqrt(jnp.where(alive, square, 1))
    return jnp.where(alive, v / top / norm, 0), jnp.where(alive, top * norm, 0)


def _scaled(name: str, unit: jax.Array, scale: ArrayLike, inputs: tuple[int, ...]) -> jax.Array:
    """``scale * unit`` for one scale, or one for each output."""
    scale = jnp.asarray(scale).astype(unit.dtype)
    outputs = lengths(unit, other_axes(unit, inputs))
    if scale.shape not in ((), outputs):
        raise ValueError(f"`{name}` must be a scalar or have the shape of the outputs, {outputs}; got {scale.shape}")
    return unit * (jnp.expand_dims(scale, inputs) if scale.ndim else scale)
