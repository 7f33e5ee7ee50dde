"""Statistics of many runs: one place for `summary` and for what the modules beside it hold, but for `components`.

>>> loss = jnp.array([[0.25, 0.75, 0.5, 0.5], [1.0, jnp.nan, 2.0, 3.0]])  # [configuration, seed]
>>> found = summary(loss, axis=1)
>>> found.count, found.diverged, found.iqm.value
(Array([4, 3], dtype=int32), Array([0, 1], dtype=int32), Array([0.5, 2. ], dtype=float32))
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._estimates import ESTIMATORS, Interval, bootstrap, mean
from jnorm.statistics._samples import Axes, last


class Summary(NamedTuple):
    """Runs that count, runs that diverged, and what the others say; each of the shape of the other axes."""

    count: jax.Array  # type: ignore[assignment]  # integers: finite runs
    diverged: jax.Array  # integers: the others
    var: jax.Array  # unbiased; NaN below two runs
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
    """Mean, median and interquartile mean over the runs along ``axis``, with BCa bootstrap intervals at ``1 - level``.

    A run that is not finite has diverged: it is counted, and the statistics are those of the others (NaN where none is
    left; intervals and variance NaN below two). The resamples are those of ``key``, by default ``jax.random.key(0)``.

    Raises ``ValueError`` for a level outside (0, 1), ``samples`` below 1, and an axis that ``values`` does not have or
    that is empty.

    >>> summary(jnp.array([1.0, 2.0, 4.0, jnp.inf]), axis=0).median.value
    Array(2., dtype=float32)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    dtype, (x,) = checks.wide_floats(values=values)
    x = last("values", x, axis)
    found = _program(samples)(jax.random.key(0) if key is None else key, x, level)
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, found)


@cache
def _program(samples: int) -> Callable[[jax.Array, jax.Array, ArrayLike], Summary]:
    """One program, because a hundred small ones take seconds to compile."""

    @jax.jit
    def run(key: jax.Array, x: jax.Array, level: ArrayLike) -> Summary:
        finite = jnp.isfinite(x)
        x = jnp.where(finite, x, jnp.nan)
        count = jnp.sum(finite, -1)
        off = jnp.where(finite, x - mean(x, axis=-1, diverged="exclude")[..., None], 0)
        var = jnp.where(count > 1, jnp.sum(jnp.square(off), -1) / jnp.maximum(count - 1, 1).astype(x.dtype), jnp.nan)
        by_name = {
            name: bootstrap(key, x, estimator, axis=-1, level=level, samples=samples)
            for name, estimator in ESTIMATORS.items()
        }
        return Summary(count=count, diverged=x.shape[-1] - count, var=var, **by_name)

    return run
