"""Batch normalization: statistics over the batch while training, running statistics afterwards.

`init` gives parameters and state, `apply` returns the output and the next state. The running statistics are debiased at
every step, `precise_state` replaces them by exact ones, and `fold` removes a frozen batch norm from a network
altogether.

Common to the normalizers with a state:

- **mask** is True where an entry counts. It has the axes of ``x``, or these without the features, each of the length in
  ``x`` or 1. Entries that do not count are normalized too, and may hold anything: one that is not finite, or beyond
  1e19, is taken for 0, with a gradient of exactly 0. A mask that differs between features needs a ``state.count`` for
  each of them.
- **axis_name** is an axis of ``shard_map`` or ``vmap`` over which the statistics are added up; its members may hold
  unequal numbers of entries, or none. `Groups` splits them into groups with statistics of their own.
- **What is not finite** in a batch makes y NaN or inf as it is met, but does not enter the state: a batch whose mean or
  variance is not finite leaves it as it was, and ``state.count`` with it. With a count for each feature
  (``state._replace(count=jnp.zeros(features))``, and in the modules for Flax) this goes feature by feature; with a
  scalar one a single bad feature keeps the whole batch out.
- **Domain.** In float32, half precision too, standard deviations from 1e-16 to 1e16 (over up to 1e6 entries) have
  accurate values and gradients, whatever ``eps``; in float64 from 1e-150 to 1e150. Beyond it squares overflow, and y
  is the shift, or vanish beside ``eps=0``, and y is not finite: scale such data.
- **Singular points.** Without a valid entry the state stays as it was, and y is normalized by it. A single entry, or a
  constant feature, gives y = shift, and NaN at ``eps=0``. A single entry has no variance: of the state only the mean
  moves, and nothing before the first batch that has one (with ``unbiased=False`` it counts as a variance of 0). A
  traced ``decay`` outside [0, 1) makes the state NaN.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import axes_of, floating, other_axes
from jnorm.nn._folding import fold
from jnorm.nn._masks import mask_like, tamed
from jnorm.nn._members import Groups, summed
from jnorm.nn._moments import BatchMoments, moments
from jnorm.nn._normalizing import normalize
from jnorm.nn._params import Params
from jnorm.nn._precise import precise_state
from jnorm.nn._running import WARM, State, broadcast_state, init, or_running, update

__all__ = [
    "WARM",
    "Groups",
    "Params",
    "State",
    "apply",
    "fold",
    "init",
    "precise_state",
]


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
    unbiased: bool = True,
    ghost: int | None = None,
) -> tuple[jax.Array, State]:
    """``y = (x - mean) / sqrt(var + eps) * scale + shift`` per feature, and the next state.

    With ``train`` the mean and the (biased) variance are those of the batch, over all axes but ``axis``, and the state
    moves towards them; otherwise they are the state's and it stays. Statistics are centred, in at least float32.

    An update is ``mean += w * (batch mean - mean)``, ``w = n / (n + decay * count)`` for n entries, and likewise the
    variance; then ``count = n + decay * count``. That is the average of the batches so far with weights n * decay^age:
    a constant stream gives its true statistics after any number of steps, and the remainder of an epoch, a batch of
    one or two examples, counts as what it is. For equal batches ``w = (1 - decay) / (1 - decay^t)`` at the t-th update.
    The expected variance is that of the data, whatever the sizes. Singular points are in the module's docstring.

    Args:
        params: Scale and shift, of the features' shape.
        state: Running statistics, of the features' shape.
        x: Floating input of any shape that has the feature axes.
        train: Whether to normalize by the batch and move the state.
        decay: How much of the state stays at an update, in [0, 1); may be traced.
        eps: Added to the variance, not negative.
        axis: The feature axis, or several.
        axis_name: Mapped axis, or `Groups` of its members, whose members share their statistics.
        mask: Which entries count, as in the module's docstring; None for all.
        unbiased: Whether the state takes n/(n - 1) times the variance of the batch, as the paper does; y never does.
        ghost: Normalizes every ``ghost`` successive examples (of axis 0) by their own statistics. The state then moves
            towards the mean over all of them and their pooled variance within the ghost batches, also over
            ``axis_name``.

    Returns:
        ``y``, in the shape and dtype of ``x``, and the next state.

    Raises:
        TypeError: For an integer ``x`` or a mask that is not boolean.
        ValueError: For ``decay`` outside [0, 1), ``eps < 0``, an axis out of range, other feature counts, a mask of
            another shape, one that differs between features while ``state.count`` is a scalar, or a batch that
            ``ghost`` does not divide.

    Source: Ioffe, Szegedy 2015, algorithms 1 and 2; ghost batches: Hoffer, Hubara, Soudry 2017.

    >>> params, state = init(2)
    >>> x = jnp.array([[1.0, 3000.0], [3.0, 3001.0]])
    >>> y, state = apply(params, state, x, train=True)
    >>> y.round(3).tolist(), state.mean.tolist(), state.var.tolist()
    ([[-1.0, -1.0], [1.0, 1.0]], [2.0, 3000.5], [2.0, 0.5])
    >>> y, _ = apply(params, state, jnp.array([[2.0, 3002.0]]), train=False)
    >>> [f"{v:.3f}" for v in y[0]]
    ['0.000', '2.121']
    """
    x = floating(x)
    features = axes_of(x, axis)
    mask = mask_like(x, mask, features)
    checks.require(lambda d: (d >= 0) & (d < 1), "`{}` must satisfy 0 <= {} < 1", decay=decay)
    running = broadcast_state(state, x, features)
    if not train:
        return normalize(params, running.mean, running.var, tamed(x, mask), eps=eps, axes=features), state

    if ghost is None:
        batch = moments(x, other_axes(x, features), mask=mask, axis_name=axis_name)
        pooled, freedom = batch, batch.count - 1
        parts, part_mask, part_features = x, mask, features
    else:
        parts, part_mask = _split(x, mask, ghost, features)
        part_features = tuple(a + 1 for a in features)
        batch = moments(parts, other_axes(parts, (0, *part_features)), mask=part_mask)
        pooled, freedom = _pool(batch, axis_name)
        running = State(*(v[None] for v in running))
    if mask is not None:
        batch = or_running(batch, running)
    y = normalize(params, batch.mean, batch.var, tamed(parts, part_mask), eps=eps, axes=part_features)
    return y.reshape(x.shape), update(state, pooled, freedom=freedom if unbiased else None, decay=decay)


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


def _pool(batch: BatchMoments, axis_name: Any) -> tuple[BatchMoments, jax.Array]:
    """The mean over all ghost batches (axis 0), their variance within, and its degrees of freedom."""
    n = jnp.broadcast_to(batch.count, (batch.mean.shape[0], *batch.count.shape[1:]))
    parts = (n, n * batch.mean, n * batch.var, (n > 0).astype(n.dtype))
    n, mean, var, groups = summed([jnp.sum(v, 0, keepdims=True) for v in parts], axis_name)
    return BatchMoments(mean / jnp.maximum(n, 1), var / jnp.maximum(n, 1), n), n - groups
