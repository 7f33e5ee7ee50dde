"""Weights as a function of free parameters: weight norm, and (scaled) weight standardization with exact gains.

Both divide the weights that lead into each output by their Euclidean norm, weight standardization after subtracting
their mean. The result depends on the direction of those weights alone, so any constant factor drops out, in every
derivative too: they are divided by their largest entry first, and neither overflow nor underflow on the way.

Common: ``axis`` is the output axis of the kernel, or several, or none; all others are summed over. Half precision is
computed in float32. A ``TypeError`` answers integer kernels, a ``ValueError`` an axis out of range and scales of
another shape.
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
from jnorm.nn import _statistics as statistics

__all__ = [
    "Params",
    "apply",
    "exact_gain",
    "init",
    "init_from_data",
    "standardize",
]


class Params(NamedTuple):
    """A kernel as the direction of the weights into each output, of any length, and their norm."""

    direction: jax.Array
    scale: jax.Array  # of the outputs' shape


def init(kernel: ArrayLike, *, axis: int | Sequence[int] = -1) -> Params:
    """The parameters whose kernel is ``kernel``: itself as direction, and its norms.

    >>> init(jnp.array([[3.0, 0.0], [4.0, 2.0]])).scale.tolist()
    [5.0, 2.0]
    """
    kernel = statistics.floating(kernel, "kernel")
    inputs = _inputs(kernel, axis)
    _, norm = _polar(kernel, inputs)
    return Params(kernel, norm.squeeze(inputs).astype(kernel.dtype))


def apply(params: Params, *, axis: int | Sequence[int] = -1) -> jax.Array:
    """Weight norm, ``kernel = scale * direction / |direction|``, in the shape and dtype of the direction.

    Singular point: a direction of zeros gives zeros, with derivatives zero.

    Source: Salimans, Kingma 2016 (arXiv 1602.07868), eq. 2.

    >>> apply(Params(jnp.array([[3.0], [4.0]]), jnp.array([10.0]))).tolist()
    [[6.0], [8.0]]
    """
    direction = statistics.floating(params.direction, "params.direction")
    inputs = _inputs(direction, axis)
    return _scaled("params.scale", _polar(direction, inputs)[0], params.scale, inputs).astype(direction.dtype)


def init_from_data(
    params: Params, layer: Callable[[jax.Array], jax.Array], *, axis: int | Sequence[int] = -1
) -> tuple[Params, jax.Array]:
    """Scale and bias that give the outputs of a layer mean 0 and variance 1 on a batch.

    ``layer(kernel)`` is the layer without bias on the batch, its features on the last axis (the order of ``axis``).
    With t its outputs for unit norms, ``scale = 1/sqrt(Var t)`` and ``bias = -E[t]/sqrt(Var t)``.

    Singular point: an output that is constant on the batch gives infinities.

    Source: Salimans, Kingma 2016, eqs. 5 and 6.

    >>> x = jnp.array([[0.0], [2.0], [4.0]])
    >>> params, bias = init_from_data(init(jnp.array([[3.0]])), lambda kernel: x @ kernel)
    >>> z = x @ apply(params) + bias
    >>> bool(abs(z.mean()) < 1e-6), bool(abs(z.var() - 1) < 1e-6)
    (True, True)
    """
    outputs = layer(apply(Params(params.direction, jnp.ones_like(params.scale)), axis=axis))
    mean, var, _ = statistics.moments(outputs, range(outputs.ndim - 1))
    scale = lax.rsqrt(var).reshape(params.scale.shape)
    bias = -mean.reshape(params.scale.shape) * scale
    return Params(params.direction, scale.astype(params.scale.dtype)), bias.astype(params.scale.dtype)


def standardize(kernel: ArrayLike, *, gain: ArrayLike = 1.0, axis: int | Sequence[int] = -1) -> jax.Array:
    """Scaled weight standardization, ``gain * (w - mean) / |w - mean|``, in the shape and dtype of the kernel.

    The weights into each output then sum to 0 and their squares to gain^2, to rounding, whatever they were: omega = 0
    and tau = gain^2 in the terms of `jnorm.theory.moments`. ``gain`` is a number or one for each output, and may be
    learned; `exact_gain` keeps the variance from layer to layer, ``sqrt(fan_in)`` is the unscaled form, in which the
    weights themselves have variance 1. No eps is needed.

    Singular point: equal weights give zeros, with derivatives zero. Also raises ``ValueError`` for outputs with a
    single weight, which would always be zero.

    Source: Brock, De, Smith 2021 (arXiv 2101.08692), eq. 1; unscaled: Qiao et al. 2019 (arXiv 1903.10520), eq. 6.

    >>> w = standardize(jnp.array([[1.0, 5.0], [3.0, 5.0]]), gain=2.0)
    >>> bool(abs(w[:, 0] - jnp.array([-(2**0.5), 2**0.5])).max() < 1e-6), w[:, 1].tolist()
    (True, [0.0, 0.0])
    """
    kernel = statistics.floating(kernel, "kernel")
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

    Where z ~ N(mean, var) enters the elementwise ``phi``, standardized weights of this gain give the next layer's
    pre-activations the variance ``var`` (and the mean 0). The moments are exact (`jnorm.gaussian`), split at ``kinks``:
    by default those of the library's own activations, 0 for any other function. ``mean`` and ``var`` broadcast and may
    be traced; ``phi`` may close over traced values.

    Raises ``ValueError`` for ``var <= 0`` and where Var[phi(z)] is known and zero or not finite.

    Source: Brock, De, Smith 2021, section 4, where they are estimated from samples.

    >>> gains = [exact_gain(phi) for phi in (jax.nn.relu, jnp.tanh, jax.nn.silu)]
    >>> [f"{g:.4f}" for g in gains]  # the first is sqrt(2 / (1 - 1/pi))
    ['1.7129', '1.5925', '1.7872']
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    kinks = activations.kinks(phi) if kinks is None else kinks
    _, spread = gaussian.moments(phi, mean, var, kinks=kinks)
    checks.require(lambda s: (s > 0) & jnp.isfinite(s), "`phi` must have a finite Var[phi(z)] > 0", phi=spread)
    return jnp.sqrt(jnp.asarray(var).astype(spread.dtype) / spread)


def _inputs(kernel: jax.Array, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The axes that are summed over."""
    return statistics.others(kernel, () if axis == () else statistics.axes_of(kernel, axis))


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
    outputs = tuple(unit.shape[a] for a in statistics.others(unit, inputs))
    if scale.shape not in ((), outputs):
        raise ValueError(f"`{name}` must be a scalar or have the shape of the outputs, {outputs}; got {scale.shape}")
    return unit * (jnp.expand_dims(scale, inputs) if scale.ndim else scale)
