"""Running statistics: debiased averages over the batches so far."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn import _params
from jnorm.nn._axes import lengths, other_axes
from jnorm.nn._moments import BatchMoments
from jnorm.nn._params import Params, per_feature

WARM = 2.0**100
"""The count of statistics that are fully warmed up, from wherever they come: the next batch weighs 1 - decay. More than
batches hold, and finite, so that states may be averaged; the average of warm and other ones is warm."""

_FULL = 2.0**60
"""From this count on statistics are warm."""


class State(NamedTuple):
    """Running statistics, already debiased: use ``mean`` and ``var`` as they are.

    Attributes:
        mean: Average of the batches' means, of the features' shape.
        var: Average of their variances, of the same shape.
        count: The entries behind them, the sum of n * decay^age over batches of n entries, a floating number: 0 for
            none, `WARM` for statistics from elsewhere (a checkpoint without a count), which the next batch turns into
            the n / (1 - decay) of endless batches of its size. Of shape (), or of the features' shape where masks
            differ between features or a bad feature is not to keep the others back. A count of updates, as
            states had before they counted entries, is taken for entries: then the averages move faster at first.
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


def init(
    features: int | Sequence[int], *, scale: bool = True, shift: bool = True, dtype: Any = None
) -> tuple[Params, State]:
    """Parameters (ones and zeros) and a state that evaluates to the identity up to eps: mean 0, variance 1, count 0.

    Args:
        features: Length of the feature axis, or of several in ascending order of the axes.
        scale: Whether the parameters have a scale; without one it is None.
        shift: Likewise for the shift.
        dtype: Of the parameters; None is the default float (float64 under ``jax.enable_x64``), as for initializers. The
            state has at least float32.

    Returns:
        The parameters, and the state.

    Raises:
        ValueError: For a length below 1.

    >>> params, state = init(2, shift=False)
    >>> params.scale.tolist(), params.shift, state.mean.tolist(), state.var.tolist(), float(state.count)
    ([1.0, 1.0], None, [0.0, 0.0], [1.0, 1.0], 0.0)
    """
    params = _params.init(features, scale=scale, shift=shift, dtype=dtype)
    wide = checks.wide(jnp.result_type(float) if dtype is None else dtype)
    mean = jnp.zeros(features, wide)
    return params, State(mean, jnp.ones(mean.shape, wide), jnp.zeros((), wide))


def broadcast_state(state: State, x: jax.Array, axes: Sequence[int]) -> State:
    """The state, broadcast against ``x`` with features on ``axes``, at least float32.

    Raises ``ValueError`` where the features of ``x`` are not those of the state.

    >>> broadcast_state(State(jnp.zeros(2), jnp.ones(2), jnp.zeros(())), jnp.zeros((3, 2)), (1,)).mean.shape
    (1, 2)
    """
    shape, reduced = lengths(x, axes), other_axes(x, axes)
    wide = checks.wide(x.dtype)
    mean = per_feature("state.mean", state.mean, 0.0, shape, reduced, wide)
    var = per_feature("state.var", state.var, 1.0, shape, reduced, wide)
    count = jnp.asarray(state.count)
    count = jnp.full((1,) * x.ndim, count) if count.ndim == 0 else jnp.expand_dims(count, reduced)
    return State(mean, var, count.astype(wide))


def or_running(batch: BatchMoments, running: State) -> BatchMoments:
    """The batch's moments, or the running ones for features without a valid entry; all broadcast alike.

    >>> batch = BatchMoments(jnp.array([7.0, 7.0]), jnp.array([1.0, 1.0]), jnp.array([0.0, 3.0]))
    >>> or_running(batch, State(jnp.zeros(2), jnp.ones(2), jnp.zeros(()))).mean.tolist()
    [0.0, 7.0]
    """
    counted = batch.count > 0
    mean, var = jnp.where(counted, batch.mean, running.mean), jnp.where(counted, batch.var, running.var)
    return BatchMoments(mean, var, batch.count)


def update(state: State, batch: BatchMoments, *, decay: ArrayLike = 0.99, freedom: jax.Array | None = None) -> State:
    """The debiased running statistics after one more batch, by the rule of `jnorm.nn.batch_norm.apply`.

    ``freedom`` is the number of degrees of freedom, n - 1 for one batch: then the state takes ``var * n / freedom``,
    otherwise ``var`` as it is. Without freedom the mean moves and the variance stays; a state that counts none stays
    altogether, so that its placeholder of a variance never becomes part of an average. Where there is no entry, or the
    mean or the variance is not finite, the state stays: of that feature where it has a count of its own, otherwise of
    all. A traced ``decay`` outside [0, 1) gives NaN.

    Both averages weigh a batch by n. For the variance n - 1 would be as free of bias and a little less noisy (2.5 % for
    batches of 32 and 2), but would need a count of its own.

    >>> batch = BatchMoments(jnp.array([5.0]), jnp.array([3.0]), jnp.array([8.0]))
    >>> update(State(jnp.zeros(1), jnp.ones(1), jnp.zeros(())), batch, freedom=jnp.array([6.0])).var.tolist()
    [4.0]
    >>> float(update(State(jnp.zeros(1), jnp.ones(1), jnp.zeros(())), batch._replace(mean=batch.mean * jnp.inf)).count)
    0.0
    """
    if batch.count.size > 1 and jnp.ndim(state.count) == 0:
        raise ValueError(
            "a `mask` that differs between features needs a `state.count` for each of them: "
            f"state._replace(count=jnp.zeros({state.mean.shape})); got a scalar"
        )
    return _updated(state, batch, decay, 1 - decay, freedom)


@functools.partial(jax.jit, inline=True)
def _updated(
    state: State, batch: BatchMoments, decay: ArrayLike, new_share: ArrayLike, freedom: jax.Array | None
) -> State:
    """`update` as one program, with 1 - decay as exact as it comes."""
    shape, dtype = state.mean.shape, state.mean.dtype

    def as_counts(v: jax.Array) -> jax.Array:
        # A mask may vary over some of several feature axes only.
        return jnp.broadcast_to(v, batch.mean.shape).reshape(shape) if jnp.ndim(state.count) else v.reshape(())

    var = batch.var if freedom is None else batch.var * (batch.count / jnp.maximum(freedom, 1))
    finite = jnp.isfinite(batch.mean) & jnp.isfinite(var)
    n, count = as_counts(batch.count).astype(dtype), state.count.astype(dtype)
    free = valid = (n > 0) & (as_counts(finite) if jnp.ndim(state.count) else jnp.all(finite))
    if freedom is not None:
        free = valid & (as_counts(freedom) > 0)
        valid = free | (valid & (count > 0))

    # A decay out of range is NaN, on the first step too, where a good one does not matter.
    rate = jnp.asarray(decay, dtype)
    good = (rate >= 0) & (rate < 1)
    before = jnp.where(good, rate, jnp.nan) * jnp.where(count < _FULL, count, n / jnp.asarray(new_share, dtype))
    weight = n / jnp.where(valid, before + n, 1)
    first = (count == 0) & good

    def moved(enters: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
        new = new.astype(dtype).reshape(shape)
        return jnp.where(enters, jnp.where(first, new, old + weight * (new - old)), old)

    count = jnp.where(valid, before + n, count).astype(state.count.dtype)
    return State(moved(valid, state.mean, batch.mean), moved(free, state.var, var), count)
