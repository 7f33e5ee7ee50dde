"""Effect sizes: how large a difference is against the spread of single runs.

A NaN makes its lane NaN. Effects in standard deviations know no units: values near 1e-30 or 1e30, whose squares single
precision does not hold, give what the same values near 1 give.

>>> x, y = jnp.array([3.0, 4.0, 5.0, 6.0]), jnp.array([1.0, 2.0, 3.0, 4.0])
>>> f"{cohen_d(x, y, axis=0):.3f} {hedges_g(x, y, axis=0):.3f} {probability_of_superiority(x, y, axis=0):.3f}"
'1.549 1.346 0.875'
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground.elementary import power_below
from jnorm.statistics._gammas import unbiasing
from jnorm.statistics._samples import Axes, both, compiled, differences, greater, is_exact


@compiled
def cohen_d(x: ArrayLike, y: ArrayLike, *, axis: Axes) -> jax.Array:
    """Cohen's d of two independent samples: ``(mean x - mean y) / s``, s the root of the pooled unbiased variance.

    Without spread it is infinite, or NaN where the means agree, and so it is for a single run on both sides.

    Args:
        x: One sample.
        y: The other one, possibly of another size.
        axis: The axis of the runs; several are one sample.

    Returns:
        The effect in standard deviations, of the shape of the other axes.

    Raises:
        ValueError: Where the other axes differ, and for an axis that an array does not have or that is empty.

    Source: Cohen 1988, section 2.5.

    >>> cohen_d(jnp.array([1.0, 3.0]), jnp.array([0.0, 2.0]), axis=0).round(4)
    Array(0.7071, dtype=float32)
    """
    dtype, left, right = both(x, y, axis)
    return _standardized(left, right).astype(dtype)


@compiled
def cohen_d_paired(x: ArrayLike, y: ArrayLike = 0.0, *, axis: Axes) -> jax.Array:
    """Cohen's d of paired samples: the mean of ``x - y`` over the root of its unbiased variance (d_z).

    Singular as `cohen_d`.

    Args:
        x: One sample, or the differences.
        y: The other one; it broadcasts.
        axis: The axis of the pairs; several are one sample.

    Returns:
        The effect in standard deviations of the difference, of the shape of the other axes.

    Raises:
        ValueError: For shapes that do not broadcast, and an axis that the arrays do not have or that is empty.

    Source: Cohen 1988, section 2.3.5.

    >>> cohen_d_paired(jnp.array([1.0, 2.0, 3.0]), axis=0)
    Array(2., dtype=float32)
    """
    dtype, d = differences(x, y, axis)
    d = d / _scale(d)
    first = d[..., :1]
    center = jnp.mean(d - first, -1, keepdims=True)  # of equal values exactly 0
    var = jnp.sum((d - first - center) ** 2, -1) / (d.shape[-1] - 1)
    return ((first + center)[..., 0] / jnp.sqrt(var)).astype(dtype)


@compiled
def hedges_g(x: ArrayLike, y: ArrayLike, *, axis: Axes) -> jax.Array:
    """Hedges' g: `cohen_d` without its bias, ``J d`` with ``J = G(m/2) / (sqrt(m/2) G((m - 1)/2))``.

    G is the gamma function, m = n_x + n_y - 2; J is about 1 - 3/(4 m - 1), and 0 at m = 1.

    Args:
        x: One sample.
        y: The other one, possibly of another size.
        axis: The axis of the runs; several are one sample.

    Returns:
        The effect in standard deviations, of the shape of the other axes.

    Raises:
        ValueError: As `cohen_d`.

    Source: Hedges 1981.

    >>> hedges_g(jnp.array([1.0, 3.0]), jnp.array([0.0, 2.0]), axis=0).round(4)
    Array(0.3989, dtype=float32)
    """
    dtype, left, right = both(x, y, axis)
    factor = unbiasing(left.shape[-1] + right.shape[-1] - 2)
    return (factor * _standardized(left, right)).astype(dtype)


@compiled
def probability_of_superiority(x: ArrayLike, y: ArrayLike, *, axis: Axes) -> jax.Array:
    """``P(x > y) + P(x = y)/2`` over all pairs of one run of each side, from independent samples.

    1/2 where neither is better. Times the number of pairs it is the Mann-Whitney statistic. Piecewise constant.
    Infinities are values like others: equal to their like. Values within rounding of each other are equal, as for
    `ranks`.

    Args:
        x: One sample.
        y: The other one, possibly of another size.
        axis: The axis of the runs; several are one sample.

    Returns:
        The probability, of the shape of the other axes.

    Raises:
        ValueError: As `cohen_d`.

    Source: Agarwal et al. 2021, "probability of improvement".

    >>> probability_of_superiority(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), axis=0)
    Array(0.875, dtype=float32)
    """
    dtype, delta = _ahead(x, y, axis)
    return (0.5 + delta / 2).astype(dtype)


@compiled
def cliffs_delta(x: ArrayLike, y: ArrayLike, *, axis: Axes) -> jax.Array:
    """Cliff's delta, ``P(x > y) - P(x < y)``: `probability_of_superiority` on the scale from -1 to 1.

    Args:
        x: One sample.
        y: The other one, possibly of another size.
        axis: The axis of the runs; several are one sample.

    Returns:
        The difference of the two probabilities, of the shape of the other axes.

    Raises:
        ValueError: As `cohen_d`.

    Source: Cliff 1993.

    >>> cliffs_delta(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), axis=0)
    Array(0.75, dtype=float32)
    """
    dtype, delta = _ahead(x, y, axis)
    return delta.astype(dtype)


def _ahead(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array]:
    """The dtype of the result, and P(x > y) - P(x < y)."""
    dtype, left, right = both(x, y, axis)
    exact = is_exact(x) and is_exact(y)
    left, right = left[..., :, None], right[..., None, :]
    above, below = greater(left, right, exact=exact), greater(right, left, exact=exact)
    sign = above.astype(left.dtype) - below.astype(left.dtype)
    return dtype, jnp.mean(jnp.where(jnp.isnan(left) | jnp.isnan(right), jnp.nan, sign), (-2, -1))


def _standardized(left: jax.Array, right: jax.Array) -> jax.Array:
    """The difference of the means over the root of the pooled unbiased variance."""
    scale = jnp.maximum(_scale(left), _scale(right))
    left, right = left / scale, right / scale
    means, squares = [], []
    for x in (left, right):
        off = x - x[..., :1]  # of equal values exactly 0, and so is its mean
        mean = jnp.mean(off, -1, keepdims=True)
        squares.append(jnp.sum((off - mean) ** 2, -1))
        means.append(((x[..., :1] - left[..., :1]) + mean)[..., 0])
    freedom = left.shape[-1] + right.shape[-1] - 2
    return (means[0] - means[1]) / jnp.sqrt((squares[0] + squares[1]) / freedom)


def _scale(x: jax.Array) -> jax.Array:
    """A power of two near the largest size in each lane, 1 where that is 0. No part of any derivative."""
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), -1, keepdims=True)
    return power_below(jnp.where(largest > 0, largest, 1))
