"""The statistics of many runs that every table needs.

>>> loss = jnp.array([[0.25, 0.75, 0.5, 0.5], [1.0, jnp.nan, 2.0, 3.0]])  # [configuration, seed]
>>> table = summary(loss, axis=1)
>>> table.count, table.diverged, table.iqm.value
(Array([4, 3], dtype=int32), Array([0, 1], dtype=int32), Array([0.5, 2. ], dtype=float32))
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._bca import Interval
from jnorm.statistics._bootstrap import bootstrap
from jnorm.statistics._location import ESTIMATORS, mean
from jnorm.statistics._samples import Axes, sample_last


class Summary(NamedTuple):
    """Runs that count, runs that diverged, and what the others say; each of the shape of the other axes.

    Attributes:
        count: Number of finite runs.
        diverged: Number of the others.
        var: Unbiased variance; NaN below two runs.
        mean: Mean with its interval.
        median: Median with its interval.
        iqm: Interquartile mean with its interval.
    """

    count: jax.Array  # type: ignore[assignment]  # tuples have a method of this name
    diverged: jax.Array
    var: jax.Array
    mean: Interval
    median: Interval
    iqm: Interval


def summary(
    values: ArrayLike,
    *,
    axis: Axes,
    level: ArrayLike = 0.05,
    samples: int = 2000,
    key: jax.Array | None = None,
) -> Summary:
    """Mean, median and interquartile mean with BCa bootstrap intervals, variance, and the number of runs.

    A run that is not finite has diverged: it is counted, and the statistics are those of the others (NaN where none is
    left; intervals and variance NaN below two).

    Args:
        values: Values of the runs.
        axis: The axis of the runs; several are one sample.
        level: The confidence of the intervals is ``1 - level``.
        samples: Number of resamples.
        key: Where the resamples come from, by default ``jax.random.key(0)``.

    Returns:
        One table for each lane.

    Raises:
        ValueError: For a level outside (0, 1), ``samples`` below 1, and an axis that ``values`` does not have or that
            is empty.

    >>> summary(jnp.array([1.0, 2.0, 4.0, jnp.inf]), axis=0).median.value
    Array(2., dtype=float32)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.whole(1, samples=samples)
    key = jax.random.key(0) if key is None else key
    axis = axis if isinstance(axis, int) else tuple(axis)
    return _summary(key, jnp.asarray(values), level, axis=axis, samples=samples)


@partial(jax.jit, static_argnames=("axis", "samples"))
def _summary(key: jax.Array, values: jax.Array, level: ArrayLike, *, axis: Axes, samples: int) -> Summary:
    dtype, (x,) = checks.wide_floats(values=values)
    x = sample_last("values", x, axis)
    finite = jnp.isfinite(x)
    x = jnp.where(finite, x, jnp.nan)
    count = jnp.sum(finite, -1)
    off = jnp.where(finite, x - mean(x, axis=-1, diverged="exclude")[..., None], 0)
    var = jnp.where(count > 1, jnp.sum(jnp.square(off), -1) / jnp.maximum(count - 1, 1).astype(x.dtype), jnp.nan)
    intervals = {
        name: bootstrap(key, x, estimator, axis=-1, level=level, samples=samples)
        for name, estimator in ESTIMATORS.items()
    }
    table = Summary(count=count, diverged=x.shape[-1] - count, var=var, **intervals)
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, table)
