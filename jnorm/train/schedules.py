"""Learning-rate schedules that Optax lacks, as functions of the step count; every coefficient may be traced.

A schedule goes where Optax takes one: ``optax.sgd(inverse_time(rate, decay))``. Steps count from 0; ``steps`` is the
unit of time, with the steps of an epoch (`jnorm.data.batches.steps`) the epoch, and ``staircase`` keeps the value
constant within it. Optax has linear, polynomial, cosine and one-cycle schedules, and ``join_schedules`` for a warmup,
but its exponential and its piecewise constant one cannot be traced in all coefficients;
`jnorm.nn.batch_renorm.schedule` has the ramps of batch renorm.

Rules for numbers hold for Python numbers and NumPy arrays. In a JAX array, ``steps`` of 0 give NaN or the limit.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "piecewise",
]

_Schedule = Callable[[ArrayLike], jax.Array]


def inverse_time(init_value: ArrayLike, rate: ArrayLike, *, steps: ArrayLike = 1, staircase: bool = False) -> _Schedule:
    """``init_value / (1 + rate * t)``, t = count / steps.

    Source: Robbins, Monro 1951, whose conditions it meets.

    Args:
        init_value: The value at the start.
        rate: How fast it falls, by the unit of time; at least 0.
        steps: The unit of time.
        staircase: Whether the value is constant within a unit.

    Returns:
        A function of the step count.

    Raises:
        ValueError: ``rate < 0`` or ``steps <= 0``.

    >>> [round(float(inverse_time(0.3, 0.5, steps=10, staircase=True)(t)), 6) for t in (0, 9, 10, 20)]
    [0.3, 0.3, 0.2, 0.15]
    """
    _check(steps, rate=rate)
    return lambda count: _float(init_value) / (1 + _float(rate) * _time(count, steps, staircase))


def inverse_sqrt(init_value: ArrayLike, *, steps: ArrayLike = 1, staircase: bool = False) -> _Schedule:
    """``init_value / sqrt(1 + t)``, t = count / steps: k / sqrt(n) in the n-th unit of time, counted from 1.

    Args:
        init_value: The value at the start.
        steps: The unit of time.
        staircase: Whether the value is constant within a unit.

    Returns:
        A function of the step count.

    Raises:
        ValueError: ``steps <= 0``.

    >>> [round(float(inverse_sqrt(0.6)(t)), 6) for t in (0, 3, 8)]
    [0.6, 0.3, 0.2]
    """
    _check(steps)
    return lambda count: _float(init_value) / jnp.sqrt(1 + _time(count, steps, staircase))


def exponential(init_value: ArrayLike, decay: ArrayLike, *, steps: ArrayLike = 1, staircase: bool = False) -> _Schedule:
    """``init_value * decay^t``, t = count / steps.

    Args:
        init_value: The value at the start.
        decay: The factor by the unit of time; at least 0.
        steps: The unit of time.
        staircase: Whether the value is constant within a unit.

    Returns:
        A function of the step count.

    Raises:
        ValueError: ``decay < 0`` or ``steps <= 0``.

    >>> [round(float(exponential(1.0, 0.95, steps=100, staircase=True)(t)), 6) for t in (0, 99, 100, 200)]
    [1.0, 1.0, 0.95, 0.9025]
    """
    _check(steps, decay=decay)
    return lambda count: _float(init_value) * _float(decay) ** _time(count, steps, staircase)


def piecewise(values: ArrayLike, boundaries: ArrayLike) -> _Schedule:
    """``values[i]``, with i the number of ``boundaries`` that the count has reached.

    Args:
        values: The values [n + 1].
        boundaries: Step counts [n], ascending, at which the next value begins.

    Returns:
        A function of the step count.

    Raises:
        ValueError: Other lengths; boundaries that do not ascend.

    >>> [round(float(piecewise([0.1, 0.01], [100])(t)), 6) for t in (0, 99, 100)]
    [0.1, 0.1, 0.01]
    """
    levels, edges = _float(values), _float(boundaries)
    if levels.ndim != 1 or edges.shape != (len(levels) - 1,):
        raise ValueError(
            f"`values` must be a list of one more than `boundaries`; got shapes {levels.shape} and {edges.shape}"
        )
    if not any(isinstance(edge, jax.Array) for edge in jax.tree.leaves(boundaries)):
        checks.require(lambda gap: gap >= 0, "`{}` must ascend: steps of {} >= 0", boundaries=np.diff(boundaries))
    return lambda count: levels[jnp.sum(_float(count) >= edges)]


def _check(steps: ArrayLike, **rates: ArrayLike) -> None:
    checks.require(lambda n: n > 0, "`{}` must satisfy {} > 0", steps=steps)
    checks.require(lambda r: r >= 0, "`{}` must satisfy {} >= 0", **rates)


def _float(value: ArrayLike) -> jax.Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _time(count: ArrayLike, steps: ArrayLike, staircase: bool) -> jax.Array:
    time = _float(count) / _float(steps)
    return jnp.floor(time) if staircase else time
