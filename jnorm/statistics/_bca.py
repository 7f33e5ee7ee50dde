"""Resamples of a sample of runs, bias-corrected accelerated (BCa) intervals from them, and what few runs need more.

>>> resamples = resample(jax.random.key(0), jnp.array([0.3, 0.1, 0.4, 0.2, 0.3]), jnp.mean, axis=0, samples=2000)
>>> interval = bca_interval(resamples, tail=ndtri(0.05))
>>> bool(interval.low < interval.value < interval.high)
True
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

    value: jax.Array | Any
    low: jax.Array | Any
    high: jax.Array | Any


class Resamples(NamedTuple):
    """What a BCa interval is made of.

    Attributes:
        value: The estimate on the sample itself.
        draws: The estimates on resamples, sorted, ``[samples, ...]``.
        bias: z0, the normal quantile at which the value lies among the draws.
        acceleration: a, a sixth of the skewness of the jackknife.
        runs: How many runs were drawn from.
    """

    value: jax.Array
    draws: jax.Array
    bias: jax.Array
    acceleration: jax.Array
    runs: jax.Array


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
        return Resamples(value, draws, unknown, unknown, count[..., 0])
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
    bias, acceleration = (jnp.where(known, a, jnp.nan) for a in (bias, acceleration))
    return Resamples(value, draws, bias, acceleration, count[..., 0])


def bca_interval(resamples: Resamples, *, tail: ArrayLike) -> Interval:
    """The BCa interval.

    Its ends are the quantiles of the draws at ``Phi(z0 + (z0 + z)/(1 - a (z0 + z)))``, z the normal quantiles of the
    two tails; beyond the pole of that map, the outermost draws. Source: Efron 1987, equation 6.7.

    Args:
        resamples: What `resample` returns.
        tail: The normal quantile of the lower tail, below 0; that of the upper one is its negative.

    Returns:
        Estimate and ends.

    >>> resamples = resample(jax.random.key(0), jnp.array([2.0, 2.0, 2.0]), jnp.mean, axis=0, samples=100)
    >>> bca_interval(resamples, tail=ndtri(0.025)).low
    Array(2., dtype=float32)
    """
    draws, bias, acceleration = resamples.draws, resamples.bias, resamples.acceleration
    tail = jnp.asarray(tail, resamples.value.dtype)

    def end(z: jax.Array) -> jax.Array:
        shifted = bias + z
        scale = 1 - acceleration * shifted
        moved = jnp.where(
            scale > 0, shifted / jnp.where(scale > 0, scale, 1), jnp.where(shifted > 0, jnp.inf, -jnp.inf)
        )
        at = ndtr(bias + jnp.where(jnp.isnan(scale), jnp.nan, moved)) * (len(draws) - 1)
        below = jnp.clip(jnp.floor(at), 0, len(draws) - 1)
        index = jnp.nan_to_num(below).astype(int)
        low = jnp.take_along_axis(draws, index[None], 0)[0]
        high = jnp.take_along_axis(draws, jnp.minimum(index + 1, len(draws) - 1)[None], 0)[0]
        return jnp.where(jnp.isnan(at), at, low + jnp.where(high > low, (at - below) * (high - low), 0))

    return Interval(resamples.value, end(tail), end(-tail))


def expanded_tail(level: ArrayLike, runs: ArrayLike, freedom: ArrayLike) -> jax.Array:
    """The normal quantile at which draws are to be cut, so that few runs are not taken for many.

    The spread of resamples is that of the runs by the factor ``sqrt((n - 1)/n)`` too small, and itself an estimate:
    with Student's quantile t at ``level/2``, the cut is at ``z = t sqrt(n/(n - 1))``, where an interval of draws that
    are normal is that of a t-test. The quantile is taken from the normal one, z', by
    ``t^2 = f (exp(((8 f + 3)/(8 f + 1) z')^2/f) - 1)``, for levels of .05 to .5 within .5 % from f = 4 on and .1 % from
    f = 8. Source: Hesterberg 2015, "expanded percentile intervals"; Wallace 1959.

    Args:
        level: The confidence is ``1 - level``.
        runs: The number n of runs that are drawn from.
        freedom: Degrees of freedom f of their spread.

    Returns:
        The quantile, below 0; minus infinity where there is no freedom.

    >>> f"{expanded_tail(0.05, 8, 7):.2f}", f"{-2.365 * (8 / 7) ** 0.5:.2f}"
    ('-2.53', '-2.53')
    """
    level, n, f = (jnp.asarray(a, jnp.result_type(float)) for a in (level, runs, freedom))
    square = jnp.square((8 * f + 3) / (8 * f + 1) * ndtri(level / 2)) / jnp.maximum(f, 1)
    return jnp.where(f > 0, -jnp.sqrt(f * jnp.expm1(square) * n / jnp.maximum(n - 1, 1)), -jnp.inf)


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
