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
from jnorm.statistics._samples import Axes, as_array, sample_last


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
    failed: ArrayLike | None = None,
    level: ArrayLike = 0.05,
    samples: int = 2000,
    key: jax.Array | None = None,
) -> Summary:
    """Mean, median and interquartile mean with BCa bootstrap intervals, variance, and the number of runs.

    A run that is not finite, or that ``failed`` names, has diverged: it is counted, and the statistics are those of the
    others (NaN where none is left; intervals and variance NaN below two). A diverged network may have a plausible
    accuracy, that of one class for all: ``summary(result["accuracy"], axis=1, failed=result.failed)``. `bootstrap` says
    how often the intervals hold: below 6 runs too seldom, and those of the mean where runs are skewed; there, report
    the interquartile mean. Results have at least float32, which holds variances from 1e-38 to 3e38, of deviations from
    1e-19 to 1e19: outside they are 0 or infinite, and right under ``jax.enable_x64``.

    Args:
        values: Values of the runs.
        axis: The axis of the runs; several are one sample.
        failed: Booleans of the shape of ``values``: the runs that diverged whatever their values say.
        level: The confidence of the intervals is ``1 - level``.
        samples: Number of resamples.
        key: Where the resamples come from, by default ``jax.random.key(0)``.

    Returns:
        One table for each lane.

    Raises:
        ValueError: For a level outside (0, 1), ``samples`` below 1, and an axis that ``values`` does not have or that
            is empty, and for ``failed`` of another shape.

    >>> summary(jnp.array([1.0, 2.0, 4.0, jnp.inf]), axis=0).median.value
    Array(2., dtype=float32)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.whole(1, samples=samples)
    key = jax.random.key(0) if key is None else key
    axis = axis if isinstance(axis, int) else tuple(axis)
    values = jnp.asarray(as_array("values", values))
    if failed is not None:
        failed = jnp.asarray(as_array("failed", failed))
        if failed.shape != values.shape:
            raise ValueError(f"`failed` must have the shape of `values`, {values.shape}; got {failed.shape}")
    return _summary(key, values, level, failed, axis=axis, samples=samples)


@partial(jax.jit, static_argnames=("axis", "samples"))
def _summary(
    key: jax.Array, values: jax.Array, level: ArrayLike, failed: jax.Array | None, *, axis: Axes, samples: int
) -> Summary:
    _, (x,) = checks.wide_floats(values=values)
    finite = jnp.isfinite(x)
    if failed is not None:
        finite = finite & ~failed.astype(bool)
    x = sample_last("values", jnp.where(finite, x, jnp.nan), axis)
    finite = ~jnp.isnan(x)
    count = jnp.sum(finite, -1)
    off = jnp.where(finite, x - mean(x, axis=-1, diverged="exclude")[..., None], 0)
    scale = jnp.max(jnp.abs(off), -1, keepdims=True)  # no square overflows, or is lost, before the sum does
    off = off / jnp.where(scale > 0, scale, 1)
    var = jnp.sum(jnp.square(off), -1) / jnp.maximum(count - 1, 1).astype(x.dtype)
    var = jnp.where(count > 1, var * scale[..., 0] * scale[..., 0], jnp.nan)
    keys = [key, *(jax.random.clone(key) for _ in range(len(ESTIMATORS) - 1))]  # all of the same resamples, knowingly
    intervals = {
        name: bootstrap(draws, x, estimator, axis=-1, level=level, samples=samples)
        for draws, (name, estimator) in zip(keys, ESTIMATORS.items(), strict=True)
    }
    return Summary(count=count, diverged=x.shape[-1] - count, var=var, **intervals)
