"""Batch normalization: statistics over the batch while training, running statistics afterwards.

Pure functions: `init` gives parameters and state, `apply` returns the output and the next state. The running statistics
are debiased at every step, `precise_state` replaces them by exact ones, and `fold` removes a frozen batch norm from a
network altogether.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn import _statistics as statistics
from jnorm.nn._folding import fold as fold
from jnorm.nn._running import State, broadcast_state, or_running, update
from jnorm.nn._running import precise_state as precise_state
from jnorm.nn._statistics import Params, broadcast_params

__all__ = [
    "apply",
    "fold",
    "init",
    "normalize",
    "precise_state",
]


def init(
    features: int | Sequence[int], *, scale: bool = True, shift: bool = True, dtype: Any = jnp.float32
) -> tuple[Params, State]:
    """Parameters (ones and zeros) and a state that evaluates to the identity up to eps: mean 0, variance 1, count 0.

    ``features`` is the length of the feature axis, or several lengths for several axes in ascending order.
    ``scale=False`` and ``shift=False`` leave these out. The state has at least float32.

    Raises ``ValueError`` for a length below 1.

    >>> params, state = init(2, shift=False)
    >>> params.scale.tolist(), params.shift, state.mean.tolist(), state.var.tolist(), float(state.count)
    ([1.0, 1.0], None, [0.0, 0.0], [1.0, 1.0], 0.0)
    """
    shape = tuple(np.atleast_1d(features).tolist())
    checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", features=features)
    wide = checks.wide(dtype)
    params = Params(jnp.ones(shape, dtype) if scale else None, jnp.zeros(shape, dtype) if shift else None)
    return params, State(jnp.zeros(shape, wide), jnp.ones(shape, wide), jnp.zeros((), wide))


def apply(
    params: Params,
    state: State,
    x: ArrayLike,
    *,
    train: bool,
    decay: ArrayLike = 0.99,
    eps: ArrayLike = 1e-5,
    axis: int | Sequence[int] = -1,
    axis_name: Any = None,
    mask: ArrayLike | None = None,
    unbiased: bool = False,
    ghost: int | None = None,
) -> tuple[jax.Array, State]:
    """``y = (x - mean) / sqrt(var + eps) * scale + shift`` per feature, and the next state.

    With ``train`` the mean and the (biased) variance are those of the batch, over all axes but ``axis``, and the state
    moves towards them; otherwise they are the state's and it stays. Statistics are centred, in at least float32, and
    ``y`` has the shape and dtype of ``x``.

    The t-th update is ``mean += w * (batch mean - mean)`` with ``w = (1 - decay) / (1 - decay^t)``: the average of
    the batches so far with weights decay^age, so that a constant stream gives its true statistics after any number of
    steps; likewise the variance, which is n/(n - 1) times the batch's if ``unbiased`` (y never uses that one).

    Options: ``axis`` is the feature axis, or several. ``axis_name`` adds the statistics up over that axis of
    ``shard_map`` or ``vmap``; members may hold unequal numbers of entries, or none; `jnorm.nn._statistics.Groups`
    splits them up further. ``mask`` is True where an entry counts: it has the axes of ``x``, or these without the
    features, each of the length in ``x`` or 1; entries that do not count are normalized too, and may hold anything, NaN
    too, unless gradients are taken. ``ghost`` normalizes every ``ghost`` successive examples (of axis 0) by their own
    statistics; the state then moves towards the mean over all of them and their pooled variance within the ghost
    batches (also over ``axis_name``, if given).

    Singular points: without a valid entry (for ``unbiased``, without two) the state stays as it was, and y is
    normalized by it. A single entry, or a constant feature, gives y = shift. A traced ``decay`` outside [0, 1) makes
    the state NaN.

    Raises ``TypeError`` for an integer ``x`` or a mask that is not boolean; ``ValueError`` for ``decay`` outside
    [0, 1), ``eps < 0``, an axis out of range, other feature counts, a mask of another shape, one that differs between
    features while ``state.count`` is a scalar, or a batch that ``ghost`` does not divide.

    Source: Ioffe, Szegedy 2015, algorithms 1 and 2; ghost batches: Hoffer, Hubara, Soudry 2017.

    >>> params, state = init(2)
    >>> x = jnp.array([[1.0, 3000.0], [3.0, 3001.0]])
    >>> y, state = apply(params, state, x, train=True)
    >>> y.round(3).tolist(), state.mean.tolist(), state.var.tolist()
    ([[-1.0, -1.0], [1.0, 1.0]], [2.0, 3000.5], [1.0, 0.25])
    """
    x = statistics.floating(x)
    features = statistics.axes_of(x, axis)
    mask = statistics.mask_like(x, mask, features)
    checks.require(lambda d: (d >= 0) & (d < 1), "`{}` must satisfy 0 <= {} < 1", decay=decay)
    running = broadcast_state(state, x, features)
    if not train:
        return normalize(params, running.mean, running.var, x, eps=eps, axes=features), state

    if ghost is None:
        batch = statistics.moments(x, statistics.others(x, features), mask=mask, axis_name=axis_name)
        pooled, freedom = batch, batch.count - 1
        parts, part_features = x, features
    else:
        parts, part_mask = _split(x, mask, ghost, features)
        part_features = tuple(a + 1 for a in features)
        batch = statistics.moments(parts, statistics.others(parts, (0, *part_features)), mask=part_mask)
        pooled, freedom = _pool(batch, axis_name)
        running = State(*(v[None] for v in running))
    if mask is not None:
        batch = or_running(batch, running)
    y = normalize(params, batch.mean, batch.var, parts, eps=eps, axes=part_features)
    return y.reshape(x.shape), update(state, pooled, freedom=freedom if unbiased else None, decay=decay)


def normalize(
    params: Params, mean: jax.Array, var: jax.Array, x: jax.Array, *, eps: ArrayLike, axes: Sequence[int]
) -> jax.Array:
    """``(x - mean) / sqrt(var + eps) * scale + shift`` in the dtype of ``x``, for statistics that broadcast against it.

    ``axes`` are the feature axes in ascending order. Raises ``ValueError`` for ``eps < 0`` and other feature counts.

    >>> x = jnp.array([[1.0], [3.0]])
    >>> normalize(Params(None, None), jnp.full((1, 1), 2.0), jnp.full((1, 1), 4.0), x, eps=0.0, axes=(1,)).tolist()
    [[-0.5], [0.5]]
    """
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    scale, shift = broadcast_params(params, x, axes)
    gain = lax.rsqrt(var + jnp.asarray(eps, var.dtype)) * scale
    return statistics.normalized(x, mean, gain, shift)


def _split(
    x: jax.Array, mask: jax.Array | None, ghost: int, features: Sequence[int]
) -> tuple[jax.Array, jax.Array | None]:
    """``x`` and its mask with axis 0 cut into ghost batches, (N, ...) to (N / ghost, ghost, ...)."""
    checks.require(lambda g: g >= 1, "`{}` must satisfy {} >= 1", ghost=ghost)
    if 0 in features or x.shape[0] % ghost:
        raise ValueError(f"`ghost` must divide axis 0 of `x`, which holds examples; got {ghost} for shape {x.shape}")
    if mask is not None:
        mask = jnp.broadcast_to(mask, (x.shape[0], *mask.shape[1:])).reshape(-1, ghost, *mask.shape[1:])
    return x.reshape(-1, ghost, *x.shape[1:]), mask


def _pool(batch: statistics.Moments, axis_name: Any) -> tuple[statistics.Moments, jax.Array]:
    """The mean over all ghost batches (axis 0), their variance within, and its degrees of freedom."""
    n = jnp.broadcast_to(batch.count, (batch.mean.shape[0], *batch.count.shape[1:]))
    parts = (n, n * batch.mean, n * batch.var, (n > 0).astype(n.dtype))
    n, mean, var, groups = statistics.summed([jnp.sum(v, 0, keepdims=True) for v in parts], axis_name)
    return statistics.Moments(mean / jnp.maximum(n, 1), var / jnp.maximum(n, 1), n), n - groups
