"""Location of a sample of runs, and bias-corrected accelerated (BCa) bootstrap intervals for it.

Mean, interquartile mean and median keep the middle 100, 50 and 0 % of a sorted sample. A NaN is a run that diverged:
with ``diverged="nan"`` it makes its own lane NaN, with ``diverged="exclude"`` it is left out. To count it as worst,
fill it in before: ``jnp.where(jnp.isfinite(x), x, worst)``.

>>> accuracy = jnp.array([0.91, 0.93, 0.92, 0.94, 0.10, 0.92, 0.93, 0.95])  # one of eight seeds failed
>>> f"{mean(accuracy, axis=0):.4f} {iqm(accuracy, axis=0):.4f} {median(accuracy, axis=0):.4f}"
'0.8250 0.9250 0.9250'
>>> found = bootstrap(jax.random.key(0), accuracy, iqm, axis=0)
>>> bool(found.low < found.value < found.high)
True
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, last

POLICIES = ("nan", "exclude")
WORKSPACE = 2**22  # values that are resampled at a time: 16 MiB in float32


class Estimator(Protocol):
    """A symmetric function of a sample: reduces ``axis``, keeps the others."""

    def __call__(self, x: jax.Array, /, *, axis: int) -> jax.Array:
        """The estimates."""


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    value: jax.Array
    low: jax.Array
    high: jax.Array


class Bootstrap(NamedTuple):
    """What a BCa interval is made of."""

    value: jax.Array  # the estimate on the sample itself
    draws: jax.Array  # [samples, ...]: on resamples, sorted
    bias: jax.Array  # z0: the normal quantile at which the value lies among the draws
    acceleration: jax.Array  # a: a sixth of the skewness of the jackknife


def mean(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The mean along ``axis``, ``sum_i x_i / n``; ``diverged`` is "nan" or "exclude" (NaN where nothing is left).

    >>> mean(jnp.array([[1.0, 3.0], [2.0, jnp.nan]]), axis=1, diverged="exclude")
    Array([2., 2.], dtype=float32)
    """
    return _middle(x, 1.0, axis, diverged)


def median(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The median along ``axis``: the middle value, or the mean of the middle two; ``diverged`` as in `mean`.

    >>> median(jnp.array([4.0, 1.0, 2.0, 9.0]), axis=0)
    Array(3., dtype=float32)
    """
    return _middle(x, 0.0, axis, diverged)


def iqm(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The interquartile mean along ``axis``: of the middle half of the sorted values; ``diverged`` as in `mean`.

    With x_(1) <= ... <= x_(n): ``2/n sum_i w_i x_(i)``, where w_i is the length of the part of [i - 1, i] that lies in
    [n/4, 3n/4]. Where n is no multiple of 4, the two outermost values have fractional weights; rliable (Agarwal et al.
    2021) keeps whole values there (SciPy's ``trim_mean`` at .25), and is equal where n is a multiple of 4. Over tasks
    and seeds at once, as there: ``axis=(task, seed)``.

    >>> iqm(jnp.array([9.0, 1.0, 2.0, 3.0, 4.0, -50.0]), axis=0)  # (2/6) (x_(2)/2 + x_(3) + x_(4) + x_(5)/2)
    Array(2.5, dtype=float32)
    """
    return _middle(x, 0.5, axis, diverged)


def _middle(x: ArrayLike, share: float, axis: Axes, diverged: str) -> jax.Array:
    """Mean of the middle ``share`` of the values."""
    checks.choice("diverged", diverged, POLICIES)
    dtype, (x,) = checks.wide_floats(x=x)
    x = last("x", x, axis)
    n = x.shape[-1]
    present = ~jnp.isnan(x)
    count = jnp.sum(present, -1, keepdims=True).astype(x.dtype)
    if share == 1.0:
        result = jnp.sum(jnp.where(present, x, 0), -1) / count[..., 0]
    else:
        i = jnp.arange(n, dtype=x.dtype).reshape((1,) * (x.ndim - 1) + (n,))
        half = jnp.maximum(count * share / 2, 0.5)
        weight = jnp.minimum(i + 1, count / 2 + half) - jnp.maximum(i, count / 2 - half)
        weight = jnp.clip(weight, 0, 1) / (2 * half)
        result = jnp.sum(jnp.where(weight > 0, weight * jnp.sort(x, -1), 0), -1)  # sort puts NaN last
    if diverged == "nan":
        result = jnp.where(count[..., 0] < n, jnp.nan, result)
    return result.astype(dtype)


def resample(
    key: jax.Array, x: ArrayLike, estimator: Estimator = mean, *, axis: Axes, samples: int = 2000
) -> Bootstrap:
    """Estimates on resamples of the runs, with what a BCa interval needs besides.

    Each resample draws as many runs as there are, with replacement, the same ones in every lane. NaN is never drawn
    and pads the resample, so that the estimator decides: `iqm` has NaN in such a lane,
    ``partial(iqm, diverged="exclude")`` the bootstrap of the others. The correction (bias, acceleration) is NaN where
    fewer than two runs are left.

    Raises ``ValueError`` for ``samples`` below 1 and as `bootstrap`. Source: Efron 1987, equations 3.5, 4.1 and 6.6.

    >>> resample(jax.random.key(0), jnp.arange(8.0), axis=0, samples=100).draws.shape
    (100,)
    """
    checks.whole(1, samples=samples)
    dtype, (x,) = checks.wide_floats(x=x)
    x = jnp.sort(last("x", x, axis), -1)
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
    draws = jnp.sort(_batched(again, jax.random.split(key, samples), x.size), 0)
    # Equal up to the rounding of sums in another order, or a constant sample has no bias.
    near = 8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), -1, initial=0, where=~jnp.isnan(x))
    bias = ndtri(_share_below(draws, value, near))
    if n == 1:
        unknown = jnp.full(value.shape, jnp.nan, dtype)
        return Bootstrap(value.astype(dtype), draws.astype(dtype), unknown, unknown)
    left = jnp.moveaxis(_batched(without, jnp.arange(n), x.size), 0, -1)
    seen = (place < count) & (count > 1)
    center = jnp.sum(jnp.where(seen, left, 0), -1, keepdims=True) / count.astype(x.dtype)
    off = jnp.where(seen, center - left, 0)
    scale = jnp.max(jnp.abs(off), -1, keepdims=True)
    flat = scale <= near[..., None]
    off = jnp.where(flat, 0, off / jnp.where(flat, 1, scale))
    square = jnp.sum(jnp.square(off), -1)
    acceleration = jnp.sum(off**3, -1) / (6 * jnp.where(square == 0, 1, square) ** 1.5)
    known = (count[..., 0] > 1) & ~jnp.isnan(value)
    bias, acceleration = (jnp.where(known, a, jnp.nan).astype(dtype) for a in (bias, acceleration))
    return Bootstrap(value.astype(dtype), draws.astype(dtype), bias, acceleration)


def bca_interval(found: Bootstrap, *, level: ArrayLike = 0.05) -> Interval:
    """The BCa interval at confidence ``1 - level``.

    Its ends are the quantiles of the draws at ``Phi(z0 + (z0 + z)/(1 - a (z0 + z)))``, z the normal quantiles at
    ``level/2`` and ``1 - level/2``. Raises ``ValueError`` for a level outside (0, 1). Source: Efron 1987, equation 6.7.

    >>> bca_interval(resample(jax.random.key(0), jnp.array([2.0, 2.0, 2.0]), axis=0)).low
    Array(2., dtype=float32)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    tail = ndtri(jnp.asarray(level, found.value.dtype) / 2)

    def end(z: jax.Array) -> jax.Array:
        shifted = found.bias + z
        at = ndtr(found.bias + shifted / (1 - found.acceleration * shifted)) * (len(found.draws) - 1)
        below = jnp.clip(jnp.floor(at), 0, len(found.draws) - 1)
        index = jnp.nan_to_num(below).astype(int)
        low = jnp.take_along_axis(found.draws, index[None], 0)[0]
        high = jnp.take_along_axis(found.draws, jnp.minimum(index + 1, len(found.draws) - 1)[None], 0)[0]
        return low + (at - below) * (high - low)

    return Interval(found.value, end(tail), end(-tail))


def bca_p_value(found: Bootstrap, null: ArrayLike = 0.0) -> jax.Array:
    """The one-sided p-value of ``truth <= null``: the level at which the lower BCa bound meets ``null``.

    The other side is its complement. Inverts `bca_interval`: with w the normal quantile of the share of draws below
    ``null`` and ``u = w - z0``, ``p = Phi(u/(1 + a u) - z0)``; between 1/(samples + 1) and its complement, since a
    bootstrap cannot see further.

    >>> found = resample(jax.random.key(0), jnp.array([0.3, 0.1, 0.4, 0.2, 0.3]), axis=0)
    >>> bool(bca_p_value(found) < 0.001)
    True
    """
    null = jnp.asarray(null, found.value.dtype)
    shifted = ndtri(_share_below(found.draws, null, jnp.zeros((), found.value.dtype))) - found.bias
    floor = 1 / (len(found.draws) + 1)
    scale = 1 + found.acceleration * shifted
    # Past the pole of the map no draw is left on that side.
    p = jnp.where(
        scale > 0, ndtr(shifted / jnp.where(scale > 0, scale, 1) - found.bias), (shifted > 0).astype(shifted.dtype)
    )
    return jnp.where(jnp.isnan(scale), jnp.nan, jnp.clip(p, floor, 1 - floor)).astype(found.value.dtype)


def bootstrap(
    key: jax.Array,
    x: ArrayLike,
    estimator: Estimator = mean,
    *,
    axis: Axes,
    level: ArrayLike = 0.05,
    samples: int = 2000,
) -> Interval:
    """An estimate with its BCa bootstrap interval over the runs along ``axis``: `resample`, then `bca_interval`.

    Any symmetric ``estimator(x, axis=...)`` will do. The interval is NaN where fewer than two runs are
    left. Second-order accurate, but short on few runs: 95 % intervals of a normal mean cover 89 % at
    8 runs, 92 % at 16, 93 % at 32 and 95 % at 64 (of an interquartile mean 93, 95, 94 and 94 %).

    Raises ``ValueError`` for a level outside (0, 1), ``samples`` below 1, an axis that ``x`` does not have, or an
    empty one. Source: Efron 1987.

    >>> found = bootstrap(jax.random.key(0), jnp.arange(16.0), axis=0)
    >>> f"{found.value:.1f}", bool(found.low < 7.5 < found.high)
    ('7.5', True)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    return bca_interval(resample(key, x, estimator, axis=axis, samples=samples), level=level)


def _share_below(draws: jax.Array, value: jax.Array, near: jax.Array) -> jax.Array:
    """The share of draws below a value, ties by half, kept off 0 and 1."""
    value, near = (jnp.broadcast_to(a, draws.shape[1:])[None] for a in (value, near))
    inside = jnp.abs(draws - value) <= near
    share = jnp.mean(jnp.where(inside, jnp.asarray(0.5, draws.dtype), (draws < value).astype(draws.dtype)), 0)
    return jnp.clip(share, 0.5 / len(draws), 1 - 0.5 / len(draws))


def _batched(f: Callable[[Any], jax.Array], over: jax.Array, size: int) -> jax.Array:
    """Map ``f``, as many at a time as the workspace holds."""
    batch = max(1, WORKSPACE // max(size, 1))
    return jax.vmap(f)(over) if batch >= len(over) else lax.map(f, over, batch_size=batch)


ESTIMATORS: dict[str, Estimator] = {
    name: partial(f, diverged="exclude") for name, f in {"mean": mean, "median": median, "iqm": iqm}.items()
}
