"""Standardization: subtract the mean and divide by the standard deviation of training data, feature by feature.

Statistics are centred sums, exact for one array, for a stream of batches and for fits that are merged in any order:

>>> stats = fit(jnp.array([[1.0, 10.0], [3.0, 10.0]]))
>>> stats = merge(stats, fit(jnp.array([[5.0, 10.0]])))  # one more batch
>>> apply(stats, jnp.array([[3.0, 10.0], [5.0, 11.0]])).round(4)
Array([[0.    , 0.    ],
       [1.2247, 1.    ]], dtype=float32)

- **Axes.** ``axis`` names the feature axes, -1 by default; statistics run over all others. ``axis=(-2, -1)`` has one
  pair for each pixel, ``axis=()`` one for all entries. Batches of any number of examples share a state.
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
    "Axes",
    "State",
    "apply",
    "fit",
    "invert",
    "merge",
]

Axes = int | Sequence[int]


class State(NamedTuple):
    """Statistics of each feature, arrays of the features' shape.

    The mean is ``mean + low``: around 1e6 float32 has steps of .06, so that ``mean`` alone would leave standardized
    data of unit variance with a mean of .03.
    """

    count: jax.Array  # type: ignore[assignment]  # integers: values seen
    mean: jax.Array  # 0 where count is 0
    low: jax.Array  # what rounding took from the mean
    var: jax.Array  # biased, the mean of the squared deviations; 0 where count is 0


def fit(x: ArrayLike, *, axis: Axes = -1) -> State:
    """Statistics of one array: count, mean and biased variance over all axes but the feature axes.

    The variance is computed in a second pass over differences from the smallest value, so that neither a large mean
    (N(1e4, 1) in float32) nor a constant leaves a trace. No examples, or none that is not missing, give count 0. A
    variance that leaves the range of the dtype (deviations above 1e19, or all below 1e-19 in float32) is NaN.

    Raises ``ValueError`` for an axis that ``x`` does not have, or that is named twice.

    >>> fit(jnp.array([[1.0, 5.0], [3.0, jnp.nan]])).count
    Array([2, 1], dtype=int32)
    """
    _, (x,) = checks.wide_floats(x=x)
    features = _feature_axes(x.ndim, axis)
    over = tuple(a for a in range(x.ndim) if a not in features)
    seen = ~jnp.isnan(x)
    count = jnp.sum(seen, over, dtype=jnp.result_type(int))
    n = jnp.maximum(count, 1).astype(x.dtype)
    least = jnp.min(x, over, initial=jnp.inf, where=seen)
    least = jnp.where(count == 0, 0, least)

    def total(values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(seen, values, 0), over)

    above = x - jnp.expand_dims(least, over)
    shift = total(above) / n
    var = total(jnp.square(above - jnp.expand_dims(shift, over))) / n
    spread = shift > 0
    lost = (spread & (var == 0)) | ~jnp.isfinite(var)
    return State(count, *_two_sum(least, shift), jnp.where(lost, jnp.nan, var))


def merge(a: State, b: State) -> State:
    """Statistics of two disjoint data sets together; with an empty one, those of the other.

    Counts add exactly up to the integer's range (2^31 - 1, or 2^63 - 1 in 64 bits: past it the feature is NaN), means
    and variances to rounding: nu = (n_a nu_a + n_b nu_b)/n + n_a n_b (mu_a - mu_b)^2/n^2.

    Raises ``ValueError`` where the features differ in shape. Source: Chan, Golub, LeVeque 1979.

    >>> merge(fit(jnp.array([1.0, 3.0]), axis=()), fit(jnp.array([5.0]), axis=())).var.round(4)
    Array(2.6667, dtype=float32)
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"states must have features of one shape; got {a.mean.shape} and {b.mean.shape}")
    count = a.count + b.count
    n_a, n_b = (s.count.astype(a.mean.dtype) / jnp.maximum(count, 1).astype(a.mean.dtype) for s in (a, b))
    apart = (b.mean - a.mean) + (b.low - a.low)
    # The larger side moves by its smaller share: so the other one may be empty, or far away, at no cost in digits.
    left = a.count >= b.count
    high = jnp.where(left, a.mean, b.mean)
    low = jnp.where(left, a.low + n_b * apart, b.low - n_a * apart)
    var = n_a * a.var + n_b * b.var + (n_a * apart) * (n_b * apart)
    bad = (count < 0) | ~jnp.isfinite(var)
    return State(count, *_two_sum(high, low), jnp.where(bad, jnp.nan, var))


def apply(state: State, x: ArrayLike, *, axis: Axes = -1) -> jax.Array:
    """Standardized values ``(x - mean) / sqrt(var)``, of the shape of ``x``.

    Floating input keeps its dtype. A constant feature is only shifted, and so 0 where it was fit; one that was never
    seen (count 0) is NaN.

    Raises ``ValueError`` where the feature axes of ``x`` have another shape than the state.

    >>> apply(fit(jnp.array([[1.0], [3.0]])), jnp.array([[5.0]]))
    Array([[3.]], dtype=float32)
    """
    dtype, x, mean, low, scale = _prepare(state, x, axis)
    return (((x - mean) - low) / scale).astype(dtype)


def invert(state: State, y: ArrayLike, *, axis: Axes = -1) -> jax.Array:
    """The values that `apply` maps to ``y``, ``y * sqrt(var) + mean``; shapes, types and errors as there.

    >>> stats = fit(jnp.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> invert(stats, apply(stats, jnp.array([[2.5, 7.0]])))
    Array([[2.5, 7. ]], dtype=float32)
    """
    dtype, y, mean, low, scale = _prepare(state, y, axis)
    return ((y * scale + low) + mean).astype(dtype)


def _prepare(state: State, x: ArrayLike, axis: Axes) -> tuple[Any, ...]:
    """The dtype of the result, and ``x``, mean, low part and scale for it."""
    dtype, (x,) = checks.wide_floats(x=x)
    features = _feature_axes(x.ndim, axis)
    shape = tuple(x.shape[a] for a in features)
    if shape != state.mean.shape:
        raise ValueError(f"`x` must have features of shape {state.mean.shape} on axes {features}; got {shape}")
    over = tuple(a for a in range(x.ndim) if a not in features)
    scale = jnp.sqrt(jnp.where(state.var == 0, 1, state.var))
    scale = jnp.where(state.count > 0, scale, jnp.nan)
    wide = np.promote_types(x.dtype, state.mean.dtype)
    parts = (jnp.expand_dims(part, over).astype(wide) for part in (state.mean, state.low, scale))
    return dtype, x.astype(wide), *parts


def _feature_axes(ndim: int, axis: Axes) -> tuple[int, ...]:
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
