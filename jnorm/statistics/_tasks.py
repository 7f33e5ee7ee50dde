"""Scores over several tasks: what share of the runs passes a threshold, how far they are from a target, which wins.

Each has an axis of tasks and an axis of seeds. Scores of different tasks must be on one scale, such as accuracies or
scores normalized by those of a reference. Intervals: `stratified_bootstrap`.

>>> scores = jnp.array([[0.2, 0.4, 0.9], [0.5, 0.7, 0.8]])  # [task, seed]
>>> performance_profile(scores, (0.1, 0.6), axis=(0, 1))
Array([1. , 0.5], dtype=float32)
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.statistics._bca import Interval, batched, expanded_tail
from jnorm.statistics._effects import probability_of_superiority
from jnorm.statistics._samples import Axes, as_array, compiled, sample_last


@compiled
def performance_profile(x: ArrayLike, thresholds: ArrayLike, *, axis: Axes) -> jax.Array:
    """The share of the runs whose score is above each threshold: one less the distribution function.

    Over tasks and seeds at once it is the mean over the tasks of the share of their seeds. A NaN is above none.
    Piecewise constant.

    Args:
        x: Scores.
        thresholds: What they are compared with, ``[thresholds]``.
        axis: The axis or axes of the runs.

    Returns:
        Shares, ``[..., thresholds]``.

    Raises:
        ValueError: For thresholds that are no vector, and an axis that ``x`` does not have or that is empty.

    Source: Agarwal et al. 2021, "score distributions"; Dolan, More 2002.

    >>> performance_profile(jnp.array([0.1, 0.5, 0.9, jnp.nan]), (0.0, 0.5), axis=0)
    Array([0.75, 0.25], dtype=float32)
    """
    dtype, (x,) = checks.wide_floats(x=x)
    _, (at,) = checks.wide_floats(thresholds=thresholds)
    if at.ndim != 1:
        raise ValueError(f"`thresholds` must be a vector; got shape {at.shape}")
    sample = sample_last("x", x, axis)[..., None, :]
    above = sample > at.astype(x.dtype).reshape(*[1] * (sample.ndim - 2), -1, 1)
    return jnp.mean(above.astype(x.dtype), -1).astype(dtype)


@compiled
def optimality_gap(x: ArrayLike, target: ArrayLike = 1.0, *, axis: Axes) -> jax.Array:
    """How far runs stay below a target on average, ``mean(max(target - x, 0))``: what is beyond it counts for nothing.

    The derivative at the target is 0. A NaN makes its lane NaN.

    Args:
        x: Scores.
        target: The score that is good enough.
        axis: The axis or axes of the runs.

    Returns:
        The gaps, of the shape of the other axes.

    Raises:
        ValueError: For an axis that ``x`` does not have or that is empty.

    Source: Agarwal et al. 2021.

    >>> optimality_gap(jnp.array([0.5, 0.75, 1.5]), axis=0)
    Array(0.25, dtype=float32)
    """
    dtype, (x, target) = checks.wide_floats(x=x, target=target)
    below = jnp.where(x < target, target - x, jnp.where(jnp.isnan(x), x, 0))
    return jnp.mean(sample_last("x", below, axis), -1).astype(dtype)


@compiled
def probability_of_improvement(x: ArrayLike, y: ArrayLike, *, axis: int, over: int) -> jax.Array:
    """The mean over tasks of `probability_of_superiority`: that a run of x beats one of y on a task drawn at random.

    Args:
        x: Scores of one method.
        y: Scores of the other, on the same tasks; the number of seeds may differ.
        axis: The axis of the seeds.
        over: The axis of the tasks.

    Returns:
        The probability, of the shape of the other axes.

    Raises:
        ValueError: For ``axis`` and ``over`` that are the same, and as `cohen_d`.

    Source: Agarwal et al. 2021.

    >>> probability_of_improvement(jnp.array([[1.0, 2.0], [5.0, 5.0]]), jnp.array([[0.0], [5.0]]), axis=1, over=0)
    Array(0.75, dtype=float32)
    """
    ndim = jnp.ndim(x)
    _check_apart(axis, over, ndim)
    wins = probability_of_superiority(x, y, axis=axis)
    return jnp.mean(wins, over % ndim - (over % ndim > axis % ndim))


def stratified_bootstrap(
    key: jax.Array,
    scores: ArrayLike | tuple[ArrayLike, ...],
    estimator: Callable[..., jax.Array],
    *,
    axis: int,
    over: int,
    level: ArrayLike = 0.05,
    samples: int = 2000,
) -> Interval:
    """An estimate over tasks with its percentile interval: seeds are resampled within each task, tasks are kept.

    The tasks are those of the benchmark, not a sample of tasks: the interval says what other seeds would give on them.
    Percentiles are expanded for few seeds, as in `bootstrap`. Intervals of 95 % over five tasks hold in 92 to 98 % for
    the interquartile mean and for the probability of improvement from three seeds on, and for the mean but of skewed
    scores (of lognormal ones 81 to 93 %); differences of two arms on one task from five seeds on, one task's mean as in
    `bootstrap`: ``python -m benchmarks coverage``. A share at which all seeds or none lie, as at the ends of a
    performance profile, has an interval without width, which says nothing.

    Args:
        key: Where the resamples come from.
        scores: Scores of one method, or a tuple with those of several, which are drawn
            independently; all on the same tasks.
        estimator: ``estimator(x)`` or ``estimator(x, y, ...)`` of arrays ``[..., task, seed]``, such as
            ``partial(iqm, axis=(-2, -1))``. A lambda written anew in each call compiles anew.
        axis: The axis of the seeds.
        over: The axis of the tasks.
        level: The confidence is ``1 - level``.
        samples: Number of resamples.

    Returns:
        Estimate and ends.

    Raises:
        ValueError: For a level outside (0, 1), ``samples`` below 1, axes that the scores do not have or that are the
            same.

    Source: Agarwal et al. 2021; Hesterberg 2015 (expansion).

    >>> x = jnp.array([[0.2, 0.4, 0.3], [0.6, 0.5, 0.9]])  # [task, seed]
    >>> wins = partial(probability_of_improvement, axis=-1, over=-2)
    >>> interval = stratified_bootstrap(jax.random.key(0), (x, x - 0.25), wins, axis=1, over=0)
    >>> f"{interval.value:.2f}", bool(interval.low < interval.value < interval.high)
    ('0.89', True)
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.whole(1, samples=samples)
    parts = scores if isinstance(scores, tuple) else (scores,)
    arrays = tuple(jnp.asarray(as_array("scores", x)) for x in parts)
    for x in arrays:
        for name, a in (("axis", axis), ("over", over)):
            if not -x.ndim <= a < x.ndim:
                raise ValueError(f"`{name}` must satisfy {-x.ndim} <= {name} < {x.ndim}; got {a}")
        _check_apart(axis, over, x.ndim)
    if isinstance(estimator, partial):  # equal to another one of the same function and options
        estimator = callables.Bound(estimator.func, estimator.args, estimator.keywords)
    arrays = tuple(jnp.moveaxis(x, (over, axis), (-2, -1)) for x in arrays)
    return _stratified(key, arrays, level, estimator=estimator, samples=samples)


def _check_apart(axis: int, over: int, ndim: int) -> None:
    if axis % ndim == over % ndim:
        raise ValueError(f"`over` must not name the axis of the seeds; got axis {axis} and over {over}")


@partial(jax.jit, static_argnames=("estimator", "samples"))
def _stratified(
    key: jax.Array,
    arrays: tuple[jax.Array, ...],
    level: ArrayLike,
    *,
    estimator: Callable[..., jax.Array],
    samples: int,
) -> Interval:
    arrays = tuple(checks.wide_floats(scores=x)[1][0] for x in arrays)

    def again(key: jax.Array) -> jax.Array:
        drawn = []
        for x, stream in zip(arrays, jax.random.split(key, len(arrays)), strict=True):
            at = jax.random.randint(stream, x.shape[-2:], 0, x.shape[-1])
            drawn.append(jnp.take_along_axis(x, jnp.broadcast_to(at, x.shape), -1))
        return estimator(*drawn)

    draws = batched(again, jax.random.split(key, samples), sum(x.size for x in arrays))
    seeds, freedom = min(x.shape[-1] for x in arrays), sum(x[..., 0].shape[-1] * (x.shape[-1] - 1) for x in arrays)
    tail = ndtr(expanded_tail(level, seeds, freedom)).astype(draws.dtype)
    low, high = jnp.quantile(draws, jnp.stack([tail, 1 - tail]), axis=0)
    return Interval(estimator(*arrays), low, high)
