"""Running statistics: debiased averages over the batches so far, or exact ones over a whole data set."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn import _statistics as statistics


class State(NamedTuple):
    """Running statistics, already debiased: use ``mean`` and ``var`` as they are.

    ``count`` is the number of updates behind them, a floating number: 0 for none, ``inf`` for fully warmed up, which
    suits statistics from elsewhere (a checkpoint without a count). It has shape () or, for masks that differ between
    features, the features' shape.
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


def broadcast_state(state: State, x: jax.Array, axes: Sequence[int]) -> State:
    """The state, broadcast against ``x`` with features on ``axes``, at least float32.

    Raises ``ValueError`` where the features of ``x`` are not those of the state.

    >>> broadcast_state(State(jnp.zeros(2), jnp.ones(2), jnp.zeros(())), jnp.zeros((3, 2)), (1,)).mean.shape
    (1, 2)
    """
    shape, reduced = tuple(x.shape[a] for a in axes), statistics.others(x, axes)
    wide = checks.wide(x.dtype)
    mean = statistics.parameter("state.mean", state.mean, 0.0, shape, reduced, wide)
    var = statistics.parameter("state.var", state.var, 1.0, shape, reduced, wide)
    count = jnp.asarray(state.count)
    count = jnp.full((1,) * x.ndim, count) if count.ndim == 0 else jnp.expand_dims(count, reduced)
    return State(mean, var, count.astype(wide))


def or_running(batch: statistics.Moments, running: State) -> statistics.Moments:
    """The batch's moments, or the running ones for features without a valid entry; all broadcast alike.

    >>> batch = statistics.Moments(jnp.array([7.0, 7.0]), jnp.array([1.0, 1.0]), jnp.array([0.0, 3.0]))
    >>> or_running(batch, State(jnp.zeros(2), jnp.ones(2), jnp.zeros(()))).mean.tolist()
    [0.0, 7.0]
    """
    some = batch.count > 0
    mean, var = jnp.where(some, batch.mean, running.mean), jnp.where(some, batch.var, running.var)
    return statistics.Moments(mean, var, batch.count)


def update(
    state: State, batch: statistics.Moments, *, decay: ArrayLike = 0.99, freedom: jax.Array | None = None
) -> State:
    """The debiased running statistics after one more batch, by the rule of `jnorm.nn.batch_norm.apply`.

    ``freedom`` is the number of degrees of freedom, n - 1 for one batch: then the state takes ``var * n / freedom``,
    otherwise ``var`` as it is. Where there is no entry, or no freedom, the state stays. A traced ``decay`` outside
    [0, 1) gives NaN.

    >>> batch = statistics.Moments(jnp.array([5.0]), jnp.array([3.0]), jnp.array([8.0]))
    >>> update(State(jnp.zeros(1), jnp.ones(1), jnp.zeros(())), batch, freedom=jnp.array([6.0])).var.tolist()
    [4.0]
    """
    shape, dtype = state.mean.shape, state.mean.dtype
    varies = batch.count.size > 1
    if varies and jnp.ndim(state.count) == 0:
        raise ValueError(
            "a `mask` that differs between features needs a `state.count` for each of them: "
            f"state._replace(count=jnp.zeros({shape})); got a scalar"
        )
    valid = batch.count > 0 if freedom is None else freedom > 0
    var = batch.var if freedom is None else batch.var * (batch.count / jnp.where(valid, freedom, 1))
    # A mask may vary over some of several feature axes only.
    valid = jnp.broadcast_to(valid, batch.mean.shape).reshape(shape) if varies else valid.reshape(())

    # A decay out of range is NaN, on the first step too, where a good one does not matter.
    rate = jnp.asarray(decay, dtype)
    good = (rate >= 0) & (rate < 1)
    log_decay = jnp.where(good, jnp.log(rate), jnp.nan)
    weight = jnp.asarray(1 - decay, dtype) / -jnp.expm1((state.count.astype(dtype) + 1) * log_decay)
    first = (state.count == 0) & good

    def moved(old: jax.Array, new: jax.Array) -> jax.Array:
        new = new.astype(dtype).reshape(shape)
        return jnp.where(valid, jnp.where(first, new, old + weight * (new - old)), old)

    return State(moved(state.mean, batch.mean), moved(state.var, var), jnp.where(valid, state.count + 1, state.count))


def precise_state(
    batches: Iterable[ArrayLike | tuple[ArrayLike, ArrayLike]],
    *,
    axis: int | Sequence[int] = -1,
    unbiased: bool = False,
) -> State:
    """The exact statistics of a whole data set in one pass, whatever the batches it comes in.

    Each batch is the layer's input ``x``, or ``(x, mask)`` with a mask as in `jnorm.nn.batch_norm.apply`. The moments
    of the batches are centred and merged in float64 on the host, ``M += m + (mean difference)^2 * n * n_batch / (n +
    n_batch)``, so the result does not depend on their number, order or sizes beyond the rounding of one batch.
    ``count`` is ``inf``.
    Where batch norms follow one another, take them in the order of the network: a later one's inputs depend on the
    state of the earlier ones.

    Raises ``TypeError`` for an integer ``x``, and ``ValueError`` for features that change between batches or have no
    valid entry (for ``unbiased``, less than two).

    Source: Wu, Johnson 2021 (arXiv 2105.07576), section 3; Chan, Golub, LeVeque 1979 for the merge.

    >>> state = precise_state([jnp.array([[1.0], [2.0]]), jnp.array([[6.0]])])
    >>> state.mean.tolist(), round(float(state.var[0]), 5), float(state.count)
    ([3.0], 4.66667, inf)
    """
    n: Any = 0.0
    mean: Any = 0.0
    total: Any = 0.0
    shape = dtype = None
    for batch in batches:
        x, mask = batch if isinstance(batch, tuple) else (batch, None)
        x = statistics.floating(x)
        features = statistics.axes_of(x, axis)
        found = tuple(x.shape[a] for a in features)
        if shape not in (None, found):
            raise ValueError(f"`batches` must have the same features throughout; got {shape} and {found}")
        reduced = statistics.others(x, features)
        mask = statistics.mask_like(x, mask, features)
        center = statistics.moments(x, reduced, mask=mask).mean
        # Once more about the rounded mean: what it left over counts beside a small variance.
        part = statistics.moments(x.astype(center.dtype) - center, reduced, mask=mask)
        shape, dtype = found, center.dtype
        left, part_var, part_n = (np.squeeze(np.asarray(v, np.float64), reduced) for v in part)
        part_mean = np.squeeze(np.asarray(center, np.float64), reduced) + left
        both = np.maximum(n + part_n, 1)
        gap = part_mean - mean
        total = total + part_var * part_n + gap**2 * (n * part_n / both)
        mean = mean + gap * (part_n / both)
        n = n + part_n
    least = 2 if unbiased else 1
    if shape is None or np.any(n < least):
        raise ValueError(f"`batches` must hold at least {least} valid entries of every feature; got {np.min(n):.0f}")
    var = total / (n - 1 if unbiased else n)
    return State(jnp.asarray(mean, dtype), jnp.asarray(var, dtype), jnp.asarray(math.inf, dtype))
