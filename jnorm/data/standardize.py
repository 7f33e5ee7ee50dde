"""Standardization: subtract the mean and divide by the standard deviation of training data, feature by feature.

Statistics are centred sums, exact for one array, for a stream of batches and for fits that are merged in any order:

>>> scale = fit(jnp.array([[1.0, 10.0], [3.0, 10.0]]))
>>> scale = merge(scale, fit(jnp.array([[5.0, 10.0]])))  # one more batch
>>> apply(scale, jnp.array([[3.0, 10.0], [5.0, 11.0]])).round(4)
Array([[0.    , 0.    ],
       [1.2247, 1.    ]], dtype=float32)

- **Axes.** ``axis`` names the feature axes, -1 by default; statistics run over all others. ``axis=(-2, -1)`` has one
  mean and variance for each pixel, ``axis=()`` one for all entries.
- **Missing values.** A NaN is a missing value: `fit` skips it, the counts are by feature, and `apply` and `invert`
  leave it NaN. A padded batch is padded with NaN. An infinity makes the variance of its own feature NaN.
- **Constant features** have variance exactly 0 and are only shifted: `apply` gives 0 on them, `invert` restores them.
- **Types.** Statistics have at least float32; integers are promoted, boolean and complex input raises ``TypeError``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "Scale",
    "apply",
    "fit",
    "invert",
    "merge",
]

_Axes = int | Sequence[int]


class Scale(NamedTuple):
    """Statistics of each feature, arrays of the features' shape.

    The mean is ``mean + low``: around 1e6 float32 has steps of .06, so that ``mean`` alone would leave standardized
    data of unit variance with a mean of .03.

    Attributes:
        count: Values that were seen, an integer.
        mean: The rounded mean; 0 where ``count`` is 0.
        low: What rounding took from the mean.
        var: The biased variance, the mean of the squared deviations; 0 where ``count`` is 0.
    """

    count: jax.Array  # type: ignore[assignment]
    mean: jax.Array
    low: jax.Array
    var: jax.Array


def fit(x: ArrayLike, *, axis: _Axes = -1) -> Scale:
    """Statistics of one array: count, mean and biased variance over all axes but the feature axes.

    The variance is computed in a second pass over differences from the smallest value, so that neither a large mean
    (N(1e4, 1) in float32) nor a constant leaves a trace. No examples, or none that is not missing, give count 0. A
    variance that leaves the range of the dtype (deviations above 1e19, or all below 1e-19 in float32) is NaN.

    Args:
        x: Real numbers of any shape; NaN is a missing value.
        axis: The feature axes.

    Returns:
        Statistics of the shape of the features, in at least float32.

    Raises:
        ValueError: ``x`` does not have an axis, or an axis is named twice.
        TypeError: ``x`` is boolean or complex.

    >>> fit(jnp.array([[1.0, 5.0], [3.0, jnp.nan]])).count
    Array([2, 1], dtype=int32)
    """
    _, (x,) = checks.wide_floats(x=x)
    features = _feature_axes(x.ndim, axis)
    over = tuple(a for a in range(x.ndim) if a not in features)
    present = ~jnp.isnan(x)
    count = jnp.sum(present, over, dtype=jnp.result_type(int))
    n = jnp.maximum(count, 1).astype(x.dtype)
    least = jnp.min(x, over, initial=jnp.inf, where=present)
    least = jnp.where(count == 0, 0, least)

    def total(values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(present, values, 0), over)

    above = x - jnp.expand_dims(least, over)
    shift = total(above) / n
    var = total(jnp.square(above - jnp.expand_dims(shift, over))) / n
    spread = shift > 0
    lost = (spread & (var == 0)) | ~jnp.isfinite(var)
    return Scale(count, *_two_sum(least, shift), jnp.where(lost, jnp.nan, var))


def merge(a: Scale, b: Scale) -> Scale:
    """Statistics of two disjoint data sets together; with an empty one, those of the other.

    Counts add exactly up to the integer's range (2^31 - 1, or 2^63 - 1 in 64 bits: past it the feature is NaN), means
    and variances to rounding: nu = (n_a nu_a + n_b nu_b)/n + n_a n_b (mu_a - mu_b)^2/n^2.
    Source: Chan, Golub, LeVeque 1979.

    Args:
        a: Statistics of one data set.
        b: Statistics of the other one, of the same features.

    Raises:
        ValueError: The features differ in shape.

    >>> merge(fit(jnp.array([1.0, 3.0]), axis=()), fit(jnp.array([5.0]), axis=())).var.round(4)
    Array(2.6667, dtype=float32)
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"`a` and `b` must have features of one shape; got {a.mean.shape} and {b.mean.shape}")
    count = a.count + b.count
    n_a, n_b = (s.count.astype(a.mean.dtype) / jnp.maximum(count, 1).astype(a.mean.dtype) for s in (a, b))
    apart = (b.mean - a.mean) + (b.low - a.low)
    # The larger side moves by its smaller share: so the other one may be empty, or far away, at no cost in digits.
    left = a.count >= b.count
    high = jnp.where(left, a.mean, b.mean)
    low = jnp.where(left, a.low + n_b * apart, b.low - n_a * apart)
    var = n_a * a.var + n_b * b.var + (n_a * apart) * (n_b * apart)
    bad = (count < 0) | ~jnp.isfinite(var)
    return Scale(count, *_two_sum(high, low), jnp.where(bad, jnp.nan, var))


def apply(scale: Scale, x: ArrayLike, *, axis: _Axes = -1) -> jax.Array:
    """Standardized values ``(x - mean) / sqrt(var)``.

    A constant feature is only shifted, and so 0 where it was fit; one that was never seen (count 0) is NaN.

    Args:
        scale: Statistics of the features.
        x: Real numbers of any shape.
        axis: The feature axes of ``x``.

    Returns:
        An array of the shape of ``x``, and of its dtype if that is floating.

    Raises:
        ValueError: The feature axes of ``x`` have another shape than ``scale``.

    >>> train, test = jnp.array([[1.0], [3.0]]), jnp.array([[5.0]])
    >>> apply(fit(train), test)
    Array([[3.]], dtype=float32)
    """
    dtype, x, mean, low, deviation = _prepare(scale, axis, x=x)
    return (((x - mean) - low) / deviation).astype(dtype)


def invert(scale: Scale, y: ArrayLike, *, axis: _Axes = -1) -> jax.Array:
    """The values that `apply` maps to ``y``: ``y * sqrt(var) + mean``.

    Args:
        scale: Statistics of the features.
        y: Standardized values of any shape.
        axis: The feature axes of ``y``.

    Returns:
        An array of the shape of ``y``, and of its dtype if that is floating.

    Raises:
        ValueError: The feature axes of ``y`` have another shape than ``scale``.

    >>> scale = fit(jnp.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> invert(scale, apply(scale, jnp.array([[2.5, 7.0]])))
    Array([[2.5, 7. ]], dtype=float32)
    """
    dtype, y, mean, low, deviation = _prepare(scale, axis, y=y)
    return ((y * deviation + low) + mean).astype(dtype)


def _prepare(scale: Scale, axis: _Axes, **named: ArrayLike) -> tuple[Any, ...]:
    """The dtype of the result, and the one named array, mean, low part and standard deviation for it."""
    dtype, (x,) = checks.wide_floats(**named)
    features = _feature_axes(x.ndim, axis)
    shape = tuple(x.shape[a] for a in features)
    if shape != scale.mean.shape:
        (name,) = named
        raise ValueError(f"`{name}` must have features of shape {scale.mean.shape} on axes {features}; got {shape}")
    over = tuple(a for a in range(x.ndim) if a not in features)
    deviation = jnp.sqrt(jnp.where(scale.var == 0, 1, scale.var))
    deviation = jnp.where(scale.count > 0, deviation, jnp.nan)
    wide = np.promote_types(x.dtype, scale.mean.dtype)
    parts = (jnp.expand_dims(part, over).astype(wide) for part in (scale.mean, scale.low, deviation))
    return dtype, x.astype(wide), *parts


def _feature_axes(ndim: int, axis: _Axes) -> tuple[int, ...]:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"`axis` must satisfy {-ndim} <= axis < {ndim} for {ndim} axes; got {a}")
    features = tuple(sorted(a % ndim for a in axes))
    if len(set(features)) < len(features):
        raise ValueError(f"`axis` must name each axis once; got {axis}")
    return features


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rounded sum, and exactly what rounding took from it (Knuth's algorithm)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
