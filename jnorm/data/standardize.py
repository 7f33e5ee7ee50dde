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
- **Types.** Statistics have at least float32; boolean and complex input raises ``TypeError``. Whole numbers past 2^24
  and NumPy's double precision are not rounded on the way in: time stamps that are one number in float32 stay apart.
  Inside ``jit`` this holds for integers; a NumPy array that is handed to a compiled function is rounded before.
- **Size.** Deviations may have any size from 1e-30 to 1e37 in float32 (1e-290 to 1e307 in float64). Below, XLA takes
  the smallest differences for 0 (less than 1e-38), and a feature without larger ones for a constant.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm.data._words import two_sum, words

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
        var: The biased variance, the mean of the squared deviations, over ``unit**2``; 0 where ``count`` is 0.
        unit: 1 while deviations lie between about 1e-14 and 1e14 (1e-149 and 1e149 in float64); beyond, a power of
            two, so that squares neither vanish nor overflow.
    """

    count: jax.Array  # type: ignore[assignment]
    mean: jax.Array
    low: jax.Array
    var: jax.Array
    unit: jax.Array | float = 1.0


def fit(x: ArrayLike, *, axis: _Axes = -1) -> Scale:
    """Statistics of one array: count, mean and biased variance over all axes but the feature axes.

    The variance is computed in a second pass over differences from the smallest value, so that neither a large mean
    (N(1e4, 1) in float32) nor a constant leaves a trace. No examples, or none that is not missing, give count 0; one
    example is a constant. An infinity, or a range (greatest less smallest value) past the greatest number, gives a
    variance of NaN.

    Args:
        x: Real numbers of any shape; NaN is a missing value.
        axis: The feature axes.

    Returns:
        Statistics of the shape of the features, in at least float32.

    Raises:
        ValueError: ``x`` does not have an axis, or an axis is named twice; NumPy integers past 2^48 without
            ``jax.enable_x64``.
        TypeError: ``x`` is boolean or complex, or holds texts, dates or objects.

    >>> fit(jnp.array([[1.0, 5.0], [3.0, jnp.nan]])).count
    Array([2, 1], dtype=int32)
    """
    _, x, rest = words(x=x)
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
    least_rest = None
    if rest is not None:
        first = present & (x == jnp.expand_dims(least, over))
        least_rest = jnp.min(rest, over, initial=jnp.inf, where=first)
        least_rest = jnp.where(count == 0, 0, least_rest)
        above = above + (rest - jnp.expand_dims(least_rest, over))
    unit = _unit(jnp.max(lax.stop_gradient(above), over, initial=0, where=present))
    above = above * jnp.expand_dims(1 / unit, over)
    shift = total(above) / n
    var = total(jnp.square(above - jnp.expand_dims(shift, over))) / n
    spread = shift > 0
    lost = (spread & (var == 0)) | ~jnp.isfinite(var)
    return Scale(count, *_three_sum(least, shift * unit, least_rest), jnp.where(lost, jnp.nan, var), unit)


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
    deviations = [_root(s.var) * s.unit for s in (a, b)]
    unit = _unit(lax.stop_gradient(jnp.maximum(jnp.maximum(*deviations), jnp.abs(apart))))
    var_a, var_b = (jnp.where(s.unit == unit, s.var, jnp.square(_root(s.var) * (s.unit / unit))) for s in (a, b))
    apart = apart / unit
    var = n_a * var_a + n_b * var_b + (n_a * apart) * (n_b * apart)
    bad = (count < 0) | ~jnp.isfinite(var)
    return Scale(count, *two_sum(high, low), jnp.where(bad, jnp.nan, var), unit)


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
        ValueError: The feature axes of ``x`` have another shape than ``scale``; NumPy integers as for `fit`.

    >>> train, test = jnp.array([[1.0], [3.0]]), jnp.array([[5.0]])
    >>> apply(fit(train), test)
    Array([[3.]], dtype=float32)
    """
    dtype, x, rest, (mean, low, root, unit) = _prepare(scale, axis, x=x)
    above = (x - mean) + (-low if rest is None else rest - low)
    return (above * (1 / unit) / root).astype(dtype)


def invert(scale: Scale, y: ArrayLike, *, axis: _Axes = -1) -> jax.Array:
    """The values that `apply` maps to ``y``: ``y * sqrt(var) + mean``, rounded to the result's dtype.

    ``y`` may have any size for which that is neither infinite nor, beside a mean of 0, below 1e-38 in float32.

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
    dtype, y, rest, (mean, low, root, unit) = _prepare(scale, axis, y=y)
    y = y if rest is None else y + rest
    return ((y * (root * unit) + low) + mean).astype(dtype)  # y * root alone could overflow, or vanish


def _prepare(scale: Scale, axis: _Axes, **named: ArrayLike) -> tuple[Any, ...]:
    """The dtype of the result, the named array in two words, and mean, low part, root of variance and unit for it."""
    dtype, x, rest = words(**named)
    features = _feature_axes(x.ndim, axis)
    shape = tuple(x.shape[a] for a in features)
    if shape != scale.mean.shape:
        (name,) = named
        raise ValueError(f"`{name}` must have features of shape {scale.mean.shape} on axes {features}; got {shape}")
    over = tuple(a for a in range(x.ndim) if a not in features)
    root = jnp.sqrt(jnp.where(scale.var == 0, 1, scale.var))
    root = jnp.where(scale.count > 0, root, jnp.nan)
    wide = np.promote_types(x.dtype, scale.mean.dtype)
    unit = jnp.broadcast_to(jnp.asarray(scale.unit, root.dtype), root.shape)
    parts = [jnp.expand_dims(part, over).astype(wide) for part in (scale.mean, scale.low, root, unit)]
    return dtype, x.astype(wide), None if rest is None else rest.astype(wide), parts


def _feature_axes(ndim: int, axis: _Axes) -> tuple[int, ...]:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"`axis` must satisfy {-ndim} <= axis < {ndim} for {ndim} axes; got {a}")
    features = tuple(sorted(a % ndim for a in axes))
    if len(set(features)) < len(features):
        raise ValueError(f"`axis` must name each axis once; got {axis}")
    return features


def _root(var: jax.Array) -> jax.Array:
    """The standard deviation, whose slope at 0 is 0."""
    return jnp.where(var == 0, 0, jnp.sqrt(jnp.where(var == 0, 1, var)))


def _unit(size: jax.Array) -> jax.Array:
    """A power of two in which the squares of deviations of this size, and their sums, are ordinary numbers."""
    exponents = jnp.finfo(size.dtype).maxexp
    large, step = 2.0 ** (exponents // 2 - 16), 2.0 ** (exponents // 4 * 3)
    unit = jnp.where(size > large, step, jnp.where((size > 0) & (size < 1 / large), 1 / step, jnp.ones_like(size)))
    return unit


def _three_sum(a: jax.Array, b: jax.Array, small: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The sum in two words."""
    high, low = two_sum(a, b)
    return (high, low) if small is None else two_sum(high, low + small)
