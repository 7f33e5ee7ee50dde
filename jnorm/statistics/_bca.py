"""Resamples of a sample of runs, bias-corrected accelerated (BCa) intervals from them, and p-values that agree.

>>> resamples = resample(jax.random.key(0), jnp.array([0.3, 0.1, 0.4, 0.2, 0.3]), jnp.mean, axis=0, samples=2000)
>>> interval = bca_interval(resamples, level=0.1)
>>> bool(interval.low < interval.value < interval.high), f"{bca_p_value(resamples, interval.low):.2f}"
(True, '0.05')
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, Estimator, sample_last

WORKSPACE = 2**22  # values that are resampled at a time: 16 MiB in float32


class Interval(NamedTuple):
    """An estimate with its confidence interval.

    Attributes:
        value: The estimate.
        low: The lower end.
        high: The upper end.
    """

    value: jax.Array
    low: jax.Array
    high: jax.Array


class Resamples(NamedTuple):
    """What a BCa interval is made of.

    Attributes:
        value: The estimate on the sample itself.
        draws: The estimates on resamples, sorted, ``[samples, ...]``.
        bias: z0, the normal quantile at which the value lies among the draws.
        acceleration: a, a sixth of the skewness of the jackknife.
    """

    value: jax.Array
    draws: jax.Array
    bias: jax.Array
    acceleration: jax.Array


def resample(key: jax.Array, x: ArrayLike, estimator: Estimator, *, axis: Axes, samples: int) -> Resamples:
    """Estimates on resamples of the runs, with what a BCa interval needs besides.

    Each resample draws as many runs as there are, with replacement, the same ones in every lane. The correction (bias,
    acceleration) is NaN where fewer than two runs are left. Source: Efron 1987, equations 3.5, 4.1 and 6.6.

    Args:
        key: Where the resamples come from.
        x: Values of the runs; NaN pads.
        estimator: Any symmetric ``estimator(x, axis=...)``.
        axis: The axis of the runs.
        samples: Number of resamples.

    Returns:
        The value, the sorted draws, and the two corrections, in at least float32.

    >>> resample(jax.random.key(0), jnp.arange(8.0), jnp.mean, axis=0, samples=100).draws.shape
    (100,)
    """
    _, (x,) = checks.wide_floats(x=x)
    x = jnp.sort(sample_last("x", x, axis), -1)
    n = x.shape[-1]
    place = jnp.arange(n).reshape((1,) * (x.ndim - 1) + (n,))
    count = jnp.sum(~jnp.isnan(x), -1, keepdims=True)

    def again(key: jax.Array) -> jax.Array:
        at = jax.random.uniform(key, place.shape, x.dtype) * count.astype(x.dtype)
        at = jnp.clip(at.astype(count.dtype), 0, jnp.maximum(count - 1, 0))
        drawn = jnp.take_along_axis(x, at, -1)
        return estimator(jnp.where(place < count, drawn, jnp.nan), axis=-1)

    def without(i: jax.Array) -> jax.Array:
        others = jnp.arange(n - 1)
        return estimator(jnp.take(x, others + (others >= i).astype(others.dtype), -1), axis=-1)

    value = estimator(x, axis=-1)
    draws = jnp.sort(batched(again, jax.random.split(key, samples), x.size), 0)
    # Equal up to the rounding of sums in another order, or a constant sample has no bias.
    near = 8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), -1, initial=0, where=~jnp.isnan(x))
    bias = ndtri(_share_below(draws, value, near))
    if n == 1:
        unknown = jnp.full(value.shape, jnp.nan, x.dtype)
        return Resamples(value, draws, unknown, unknown)
    left = jnp.moveaxis(batched(without, jnp.arange(n), x.size), 0, -1)
    seen = (place < count) & (count > 1)
    center = jnp.sum(jnp.where(seen, left, 0), -1, keepdims=True) / count.astype(x.dtype)
    off = jnp.where(seen, center - left, 0)
    scale = jnp.max(jnp.abs(off), -1, keepdims=True)
    flat = scale <= near[..., None]
    off = jnp.where(flat, 0, off / jnp.where(flat, 1, scale))
    square = jnp.sum(jnp.square(off), -1)
    acceleration = jnp.sum(off**3, -1) / (6 * jnp.where(square == 0, 1, square) ** 1.5)
    known = (count[..., 0] > 1) & ~jnp.isnan(value)
    return Resamples(value, draws, *(jnp.where(known, a, jnp.nan) for a in (bias, acceleration)))


def bca_interval(resamples: Resamples, *, level: ArrayLike = 0.05) -> Interval:
    """The BCa interval at confidence ``1 - level``.

    Its ends are the quantiles of the draws at ``Phi(z0 + (z0 + z)/(1 - a (z0 + z)))``, z the normal quantiles at
    ``level/2`` and ``1 - level/2``. Source: Efron 1987, equation 6.7.

    Args:
        resamples: What `resample` returns.
        level: The confidence is ``1 - level``.

    Returns:
        Estimate and ends.

    >>> bca_interval(resample(jax.random.key(0), jnp.array([2.0, 2.0, 2.0]), jnp.mean, axis=0, samples=100)).low
    Array(2., dtype=float32)
    """
    draws, bias, acceleration = resamples.draws, resamples.bias, resamples.acceleration
    tail = ndtri(jnp.asarray(level, resamples.value.dtype) / 2)

    def end(z: jax.Array) -> jax.Array:
        shifted = bias + z
        at = ndtr(bias + shifted / (1 - acceleration * shifted)) * (len(draws) - 1)
        below = jnp.clip(jnp.floor(at), 0, len(draws) - 1)
        index = jnp.nan_to_num(below).astype(int)
        low = jnp.take_along_axis(draws, index[None], 0)[0]
        high = jnp.take_along_axis(draws, jnp.minimum(index + 1, len(draws) - 1)[None], 0)[0]
        return low + (at - below) * (high - low)

    return Interval(resamples.value, end(tail), end(-tail))


def bca_p_value(resamples: Resamples, null: ArrayLike = 0.0) -> jax.Array:
    """The one-sided p-value of ``truth <= null``: the level at which the lower BCa bound meets ``null``.

    The other side is its complement. Inverts `bca_interval`: with w the normal quantile of the share of draws below
    ``null`` and ``u = w - z0``, ``p = Phi(u/(1 + a u) - z0)``; between 1/(samples + 1) and its complement, since a
    bootstrap cannot see further.

    Args:
        resamples: What `resample` returns.
        null: The value that the truth may not exceed.

    Returns:
        The p-values.

    >>> resamples = resample(jax.random.key(0), jnp.array([0.3, 0.1, 0.4, 0.2, 0.3]), jnp.mean, axis=0, samples=2000)
    >>> bool(bca_p_value(resamples) < 0.001)
    True
    """
    draws, bias, acceleration = resamples.draws, resamples.bias, resamples.acceleration
    null = jnp.asarray(null, resamples.value.dtype)
    shifted = ndtri(_share_below(draws, null, jnp.zeros((), resamples.value.dtype))) - bias
    floor = 1 / (len(draws) + 1)
    scale = 1 + acceleration * shifted
    # Past the pole of the map no draw is left on that side.
    p = jnp.where(scale > 0, ndtr(shifted / jnp.where(scale > 0, scale, 1) - bias), (shifted > 0).astype(shifted.dtype))
    return jnp.where(jnp.isnan(scale), jnp.nan, jnp.clip(p, floor, 1 - floor)).astype(resamples.value.dtype)


def _share_below(draws: jax.Array, value: jax.Array, near: jax.Array) -> jax.Array:
    """The share of draws below a value, ties by half, kept off 0 and 1."""
    value, near = (jnp.broadcast_to(a, draws.shape[1:])[None] for a in (value, near))
    inside = jnp.abs(draws - value) <= near
    share = jnp.mean(jnp.where(inside, jnp.asarray(0.5, draws.dtype), (draws < value).astype(draws.dtype)), 0)
    return jnp.clip(share, 0.5 / len(draws), 1 - 0.5 / len(draws))


def batched(f: Callable[[Any], jax.Array], over: jax.Array, size: int) -> jax.Array:
    """Map ``f``, as many at a time as the workspace holds."""
    batch = max(1, WORKSPACE // max(size, 1))
    return jax.vmap(f)(over) if batch >= len(over) else lax.map(f, over, batch_size=batch)
