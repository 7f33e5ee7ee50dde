"""Batch normalization: statistics over the batch while training, running statistics afterwards.

Pure functions: `init` gives parameters and state, `apply` returns the output and the next state. The running statistics
are debiased at every step, `precise_state` replaces them by exact ones, and `fold` removes a frozen batch norm from a
network altogether.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm import checks
from jnorm.nn import statistics


class Params(NamedTuple):
    """What is learned, of the features' shape; None where it is left out (scale 1, shift 0)."""

    scale: jax.Array | None
    shift: jax.Array | None


class State(NamedTuple):
    """Running statistics, already debiased: use ``mean`` and ``var`` as they are.

    ``count`` is the number of updates behind them, a floating number: 0 for none, ``inf`` for fully warmed up, which
    suits statistics from elsewhere (a checkpoint without a count). It has shape () or, for masks that differ between
    features, the features' shape.
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


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
    wide = statistics.widened(dtype)
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
    ``shard_map`` or ``vmap``; members may hold unequal numbers of entries, or none. ``mask`` is True where an entry
    counts: it has the axes of ``x``, or these without the features, each of the length in ``x`` or 1; entries that do
    not count are normalized too, and may hold anything, NaN too, unless gradients are taken. ``ghost`` normalizes
    every ``ghost`` successive examples (of axis 0) by their own statistics; the state then moves towards the mean over
    all of them and their pooled variance within the ghost batches (also over ``axis_name``, if given).

    Singular points: without a valid entry (for ``unbiased``, without two) the state stays as it was, and y is
    normalized by it. A single entry, or a constant feature, gives y = shift.

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


def or_running(batch: statistics.Moments, running: State) -> statistics.Moments:
    """The batch's moments, or the running ones for features without a valid entry; all broadcast alike.

    >>> batch = statistics.Moments(jnp.array([7.0, 7.0]), jnp.array([1.0, 1.0]), jnp.array([0.0, 3.0]))
    >>> or_running(batch, init(2)[1]).mean.tolist()
    [0.0, 7.0]
    """
    some = batch.count > 0
    mean, var = jnp.where(some, batch.mean, running.mean), jnp.where(some, batch.var, running.var)
    return statistics.Moments(mean, var, batch.count)


def broadcast_params(params: Params, x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Scale and shift (1 and 0 where left out), broadcast against ``x`` with features on ``axes``, at least float32.

    >>> [a.tolist() for a in broadcast_params(Params(jnp.array([1.0, 2.0]), None), jnp.zeros((3, 2)), (1,))]
    [[[1.0, 2.0]], [[0.0]]]
    """
    shape, reduced = tuple(x.shape[a] for a in axes), statistics.others(x, axes)
    wide = statistics.widened(x.dtype)
    scale = statistics.parameter("params.scale", params.scale, 1.0, shape, reduced, wide)
    return scale, statistics.parameter("params.shift", params.shift, 0.0, shape, reduced, wide)


def broadcast_state(state: State, x: jax.Array, axes: Sequence[int]) -> State:
    """The state, broadcast against ``x`` with features on ``axes``, at least float32.

    Raises ``ValueError`` where the features of ``x`` are not those of the state.

    >>> broadcast_state(init(2)[1], jnp.zeros((3, 2)), (1,)).mean.shape
    (1, 2)
    """
    shape, reduced = tuple(x.shape[a] for a in axes), statistics.others(x, axes)
    wide = statistics.widened(x.dtype)
    mean = statistics.parameter("state.mean", state.mean, 0.0, shape, reduced, wide)
    var = statistics.parameter("state.var", state.var, 1.0, shape, reduced, wide)
    count = jnp.asarray(state.count)
    count = jnp.full((1,) * x.ndim, count) if count.ndim == 0 else jnp.expand_dims(count, reduced)
    return State(mean, var, count.astype(wide))


def update(
    state: State, batch: statistics.Moments, *, decay: ArrayLike = 0.99, freedom: jax.Array | None = None
) -> State:
    """The debiased running statistics after one more batch, by the rule of `apply`.

    ``freedom`` is the number of degrees of freedom, n - 1 for one batch: then the state takes ``var * n / freedom``,
    otherwise ``var`` as it is. Where there is no entry, or no freedom, the state stays.

    >>> batch = statistics.Moments(jnp.array([5.0]), jnp.array([3.0]), jnp.array([8.0]))
    >>> update(init(1)[1], batch, freedom=jnp.array([6.0])).var.tolist()
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
    valid = valid.reshape(shape if varies else ())

    def moved(old: jax.Array, new: jax.Array) -> jax.Array:
        new = new.astype(dtype).reshape(shape)
        return jnp.where(valid, jnp.where(state.count == 0, new, old + weight * (new - old)), old)

    log_decay = jnp.log(jnp.asarray(decay, dtype))
    weight = jnp.asarray(1 - decay, dtype) / -jnp.expm1((state.count.astype(dtype) + 1) * log_decay)
    return State(moved(state.mean, batch.mean), moved(state.var, var), jnp.where(valid, state.count + 1, state.count))


def precise_state(
    batches: Iterable[ArrayLike | tuple[ArrayLike, ArrayLike]],
    *,
    axis: int | Sequence[int] = -1,
    unbiased: bool = False,
) -> State:
    """The exact statistics of a whole data set in one pass, whatever the batches it comes in.

    Each batch is the layer's input ``x``, or ``(x, mask)`` with a mask as in `apply`. The moments of the batches are
    centred and merged in float64 on the host, ``M += m + (mean difference)^2 * n * n_batch / (n + n_batch)``, so the
    result does not depend on their number, order or sizes beyond the rounding of one batch. ``count`` is ``inf``.
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


def fold(
    params: Params,
    state: State,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    norm: str,
    eps: ArrayLike = 1e-5,
    linear: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    shape: Sequence[int] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Kernel and bias of one dense or convolution layer that does what it and a frozen batch norm did.

    With ``a = scale / sqrt(var + eps)`` and ``b = shift - mean * a``, the layer being ``x * kernel + bias``:

        norm="after":   kernel * a[out],  (bias - mean) * a + shift
        norm="before":  kernel * a[in],   bias + b * kernel

    ``kernel`` is (..., in, out), as in Flax and `jax.lax`; a grouped convolution has (..., in / groups, out). ``bias``
    is (out,), or a map from an earlier fold. The new one is (out,) too, with one exception: a convolution that pads
    with zeros pads behind the norm, where zero means zero, but the folded layer pads in front of it, so that the bias
    must differ along the border. Pass the layer without bias as ``linear(x, kernel)`` and the ``shape`` (..., in) of
    its input without the batch: the bias is then the map ``bias + linear(b everywhere, kernel)`` of the output's shape,
    exact for every padding, stride and dilation.

    Raises ``ValueError`` for another ``norm``, ``eps < 0``, feature counts that do not fit the kernel, and ``linear``
    without ``shape`` or the other way round; ``TypeError`` for an integer kernel.

    >>> params, state = init(1)
    >>> state = state._replace(mean=jnp.array([2.0]), var=jnp.array([4.0]))
    >>> kernel, bias = fold(params, state, jnp.ones((1, 1)), norm="before", eps=0.0)
    >>> kernel.tolist(), bias.tolist()
    ([[0.5]], [-1.0])
    """
    checks.choice("norm", norm, ("before", "after"))
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    kernel = statistics.floating(kernel, "kernel")
    wide = max(statistics.widened(kernel.dtype), state.mean.dtype, key=lambda d: jnp.finfo(d).bits)
    features = state.mean.shape
    inputs, outputs = kernel.shape[-2:]
    groups = 1 if norm == "after" else math.prod(features) // inputs
    if len(features) != 1 or features[0] != (outputs if norm == "after" else groups * inputs) or outputs % groups:
        raise ValueError(f"`kernel` (..., in, out) must fit the {features} features {norm} it; got {kernel.shape}")
    if (linear is None) != (shape is None):
        raise ValueError("`linear` and `shape` must be given together; got one of them")

    x = jnp.zeros(features, wide)
    mean, var, _ = broadcast_state(state, x, (0,))
    scale, shift = broadcast_params(params, x, (0,))
    gain = jnp.broadcast_to(lax.rsqrt(var + jnp.asarray(eps, wide)) * scale, features)
    old = jnp.zeros(outputs, wide) if bias is None else jnp.asarray(bias).astype(wide)
    weights = kernel.astype(wide)

    def ranked(value: jax.Array, like: jax.Array) -> jax.Array:
        return jnp.expand_dims(value, range(max(0, like.ndim - value.ndim)))

    if norm == "after":
        folded = (old - ranked(mean, old)) * ranked(gain, old) + ranked(shift, old)
        return (weights * ranked(gain, weights)).astype(kernel.dtype), folded.astype(kernel.dtype)

    def per_weight(value: jax.Array) -> jax.Array:
        """From (groups * in,) to the axes of the kernel: output channels go by groups."""
        value = jnp.repeat(value.reshape(groups, inputs).T, outputs // groups, axis=1)
        return ranked(value, weights)

    offset = shift - mean * gain
    if linear is None:
        added = jnp.sum(weights * per_weight(offset), tuple(range(kernel.ndim - 1)))
    else:
        added = linear(jnp.broadcast_to(offset, (1, *(shape or ()))), weights)[0]
    folded = ranked(old, added) + ranked(added, old)
    return (weights * per_weight(gain)).astype(kernel.dtype), folded.astype(kernel.dtype)


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
    sums = [jnp.sum(v, 0, keepdims=True) for v in (n, n * batch.mean, n * batch.var, (n > 0).astype(n.dtype))]
    if axis_name is not None:
        sums = lax.psum(sums, axis_name)
    n, mean, var, groups = sums
    return statistics.Moments(mean / jnp.maximum(n, 1), var / jnp.maximum(n, 1), n), n - groups
