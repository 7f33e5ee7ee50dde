"""Effect sizes: how large a difference is against the spread of single runs.

A NaN makes its lane NaN.

>>> x, y = jnp.array([3.0, 4.0, 5.0, 6.0]), jnp.array([1.0, 2.0, 3.0, 4.0])
>>> f"{cohen_d(x, y, axis=0):.3f} {hedges_g(x, y, axis=0):.3f} {probability_of_superiority(x, y, axis=0):.3f}"
'1.549 1.346 0.875'
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm.statistics._samples import Axes, both, compiled, differences


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
    squares = jnp.sum(_centred(left) ** 2, -1) + jnp.sum(_centred(right) ** 2, -1)
    d = (jnp.mean(left, -1) - jnp.mean(right, -1)) / jnp.sqrt(squares / (left.shape[-1] + right.shape[-1] - 2))
    return d.astype(dtype)


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
    return (jnp.mean(d, -1) / jnp.sqrt(jnp.sum(_centred(d) ** 2, -1) / (d.shape[-1] - 1))).astype(dtype)


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
    m = left.shape[-1] + right.shape[-1] - 2
    factor = math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2)) / math.sqrt(m / 2) if m > 1 else (math.inf, 0.0)[m]
    return (factor * cohen_d(left, right, axis=-1)).astype(dtype)


@compiled
def probability_of_superiority(x: ArrayLike, y: ArrayLike, *, axis: Axes) -> jax.Array:
    """``P(x > y) + P(x = y)/2`` over all pairs of one run of each side, from independent samples.

    1/2 where neither is better. Times the number of pairs it is the Mann-Whitney statistic. Piecewise constant.

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
    dtype, left, right = both(x, y, axis)
    sign = jnp.sign(left[..., :, None] - right[..., None, :])
    return (0.5 + jnp.mean(sign, (-2, -1)) / 2).astype(dtype)


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
    return 2 * probability_of_superiority(x, y, axis=axis) - 1


def _centred(x: jax.Array) -> jax.Array:
    return x - jnp.mean(x, -1, keepdims=True)
