"""Centred moments of a batch and the map that applies them: what all normalizers share.

Both carry their own derivative rule, written with the mean and the centred input alone:

    d var = 2 E[(x - mean) dx],        dy = gain * dx + (x - mean) * d gain - gain * d mean,   y = (x - mean) * gain

The gradient of a normalized batch then is ``dx = A * dy + B * x + C`` with one A, B, C a feature: two reductions, where
the automatic rule sums the gradient of ``x - mean`` once more in each place. The rules are forward rules of
differentiable parts, so every mode and order of differentiation works. Only ``x`` is kept for the backward pass, in its
own dtype.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm._ground import checks

# Recomputes `x - c` in the backward pass, where the compiler fuses it, instead of storing it in float32.
light = functools.partial(jax.checkpoint, prevent_cse=False)


class Params(NamedTuple):
    """What is learned, of the features' shape; None where it is left out (scale 1, shift 0)."""

    scale: jax.Array | None
    shift: jax.Array | None


class Moments(NamedTuple):
    """Mean and (biased) variance over some axes, kept with length 1, and the number of entries behind them."""

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


class Groups(NamedTuple):
    """An ``axis_name`` whose members form groups of one size with statistics of their own, ((0, 1), (2, 3)) say."""

    axis_name: Any
    groups: tuple[tuple[int, ...], ...]


def members(axis_name: Any) -> int:
    """How many members of an axis share their statistics: 1 without an axis, for `Groups` the size of a group."""
    if isinstance(axis_name, Groups):
        return len(axis_name.groups[0])
    return 1 if axis_name is None else lax.psum(1, axis_name)


def summed(values: Any, axis_name: Any) -> Any:
    """The sum of a pytree over the members that share their statistics; each of them gets it.

    Raises ``ValueError`` for `Groups` of several sizes, or that leave a member out or name it twice.

    >>> pairs = Groups("i", ((0, 3), (1, 2)))
    >>> jax.vmap(lambda v: summed(v, pairs), axis_name="i")(jnp.array([1.0, 2.0, 3.0, 5.0])).tolist()
    [6.0, 5.0, 5.0, 6.0]
    """
    if not isinstance(axis_name, Groups):
        return values if axis_name is None else lax.psum(values, axis_name)
    name, groups = axis_name
    n = lax.psum(1, name)
    if len(set(map(len, groups))) != 1 or sorted(itertools.chain(*groups)) != list(range(n)):
        raise ValueError(f"`groups` must split the {n} members of the axis into groups of one size; got {groups}")
    # No option of psum under vmap, nor under shard_map with checked types: each member adds to its group's row instead.
    mine = jnp.any(jnp.asarray(groups) == lax.axis_index(name), 1)
    rows = lambda v: jnp.where(mine.reshape(-1, *(1,) * v.ndim), v[None], 0)
    return jax.tree.map(lambda v: lax.psum(rows(v), name)[jnp.argmax(mine)], values)


def moments(
    x: jax.Array,
    axes: Sequence[int],
    *,
    mask: jax.Array | None = None,
    axis_name: Any = None,
    centered: bool = True,
) -> Moments:
    """Mean, variance and count of ``x`` over ``axes``, centred, in at least float32.

    ``mean = sum(x) / n``, ``var = sum((x - mean)^2) / n`` over the entries where ``mask`` holds (as `mask_like` returns
    it), in two passes; a third improves the mean where an axis that stays lies between. With ``axis_name`` the counts,
    sums and centred squares of all members of that axis, or of a group (`Groups`), are added, so that they may hold
    unequal numbers of entries, or none. ``centered=False`` takes the variance about zero and a mean of zero. No entry
    at all gives mean 0, variance 1, count 0.

    >>> m = moments(jnp.array([[1.0, 5.0], [3.0, 5.0]]), (0,))
    >>> m.mean.tolist(), m.var.tolist(), m.count.tolist()
    ([[2.0, 5.0]], [[1.0, 0.0]], [[2.0]])
    """
    axes = tuple(axes)
    wide = checks.wide(x.dtype)
    if mask is None:
        n = members(axis_name) * math.prod(x.shape[a] for a in axes)
        count = jnp.full((1,) * x.ndim, n, wide)
        divisor = jnp.asarray(max(n, 1), wide)
    else:
        repeats = math.prod(x.shape[a] for a in axes if mask.shape[a] == 1)
        count = repeats * _total(axes, axis_name, mask.astype(wide))
        divisor = jnp.maximum(count, 1)
    if centered:
        mean, var = _mean_and_var(axes, axis_name, x, mask, divisor)
    else:
        var = _total(axes, axis_name, _valid(x.astype(wide), mask) ** 2) / divisor
        mean = jnp.zeros_like(var)
    return Moments(mean, var if mask is None and x.size else jnp.where(count > 0, var, 1), count)


def _total(axes: tuple[int, ...], axis_name: Any, values: jax.Array) -> jax.Array:
    return summed(jnp.sum(values, axes, keepdims=True), axis_name)


def _valid(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    return values if mask is None else jnp.where(mask, values, 0)


def _scattered(axes: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an axis that stays lies between those that are summed over."""
    summed_over = [a in axes for a, n in enumerate(shape) if n > 1]
    return sum(1 for held, _ in itertools.groupby(summed_over) if held) > 1


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _mean_and_var(
    axes: tuple[int, ...], axis_name: Any, x: jax.Array, mask: jax.Array | None, divisor: jax.Array
) -> tuple[jax.Array, jax.Array]:
    wide = x.astype(divisor.dtype)
    mean = _total(axes, axis_name, _valid(wide, mask)) / divisor
    if _scattered(axes, x.shape):
        # XLA on a CPU adds these up one by one, and the mean of N(12345.6, 1) over 2^15 entries would be off by .8.
        mean = mean + _total(axes, axis_name, _valid(wide - mean, mask)) / divisor
    return mean, _total(axes, axis_name, jnp.square(_valid(wide - mean, mask))) / divisor


@_mean_and_var.defjvp
def _mean_and_var_jvp(axes: tuple[int, ...], axis_name: Any, primals: Any, tangents: Any) -> Any:
    x, mask, divisor = primals
    mean, var = _mean_and_var(axes, axis_name, x, mask, divisor)

    @light
    def products(x: jax.Array, mean: jax.Array, dx: jax.Array) -> jax.Array:
        return _valid(x.astype(mean.dtype) - mean, mask) * dx

    dx = tangents[0].astype(mean.dtype)
    d_mean = _total(axes, axis_name, _valid(dx, mask)) / divisor
    return (mean, var), (d_mean, _total(axes, axis_name, products(x, mean, dx)) * (2 / divisor))


@jax.custom_jvp
def scaled(x: jax.Array, mean: jax.Array, gain: jax.Array) -> jax.Array:
    """``(x - mean) * gain``, never as ``x * gain - mean * gain``, which cancels for a large mean.

    ``mean`` and ``gain`` broadcast against ``x`` and are at least float32, and so is the result.

    >>> scaled(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0]]), jnp.array([[3.0, 3.0]])).tolist()
    [[0.0, 3.0]]
    """
    return (x.astype(mean.dtype) - mean) * gain


@scaled.defjvp
def _scaled_jvp(primals: Any, tangents: Any) -> Any:
    x, mean, gain = primals
    dx, d_mean, d_gain = tangents
    # The product with d_mean is taken before it is broadcast: its transpose is a sum of dy, as the shift's is.
    return scaled(*primals), dx.astype(mean.dtype) * gain + (x.astype(mean.dtype) - mean) * d_gain - gain * d_mean


@light
def normalized(x: jax.Array, mean: jax.Array, gain: jax.Array, shift: jax.Array) -> jax.Array:
    """``(x - mean) * gain + shift`` in the dtype of ``x``, keeping no more than its arguments for the backward pass.

    >>> one = jnp.ones((1, 1))
    >>> normalized(jnp.array([[3.0]], jnp.bfloat16), one, one, one)
    Array([[3]], dtype=bfloat16)
    """
    return (scaled(x, mean, gain) + shift).astype(x.dtype)


def floating(x: Any, name: str = "x") -> jax.Array:
    """``x`` as an array; ``TypeError`` unless it is real and floating (a normalized integer is no integer)."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"`{name}` must have a real floating dtype; got {x.dtype}")
    return x


def axes_of(x: jax.Array, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The axes named by ``axis``, counted from the front, in ascending order.

    >>> axes_of(jnp.zeros((2, 3, 4)), (-1, 1))
    (1, 2)
    """
    named = tuple(int(a) for a in np.atleast_1d(np.asarray(axis)))
    for a in named:
        if not -x.ndim <= a < x.ndim:
            raise ValueError(f"`axis` must satisfy {-x.ndim} <= axis < {x.ndim} for `x` of shape {x.shape}; got {a}")
    found = sorted({a % x.ndim for a in named})
    if len(found) != len(named) or not found:
        raise ValueError(f"`axis` must name at least one axis of `x`, and each once; got {axis}")
    return tuple(found)


def others(x: jax.Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes of ``x`` that are not in ``axes``."""
    return tuple(a for a in range(x.ndim) if a not in axes)


def mask_like(x: jax.Array, mask: Any, features: Sequence[int]) -> jax.Array | None:
    """``mask`` with the rank of ``x``: each length is that of ``x`` or 1; it may leave out all of the feature axes.

    Raises ``TypeError`` where it is not boolean and ``ValueError`` for another shape.

    >>> mask_like(jnp.zeros((2, 3, 4)), jnp.ones((2, 3), bool), (2,)).shape
    (2, 3, 1)
    """
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"`mask` must be boolean; got dtype {mask.dtype}")
    full = jnp.expand_dims(mask, tuple(features)) if mask.ndim == x.ndim - len(features) else mask
    if full.ndim != x.ndim or any(m not in (1, n) for m, n in zip(full.shape, x.shape, strict=True)):
        raise ValueError(
            f"`mask` must have the axes of `x`, or these without the features, each of the length in `x` or 1; "
            f"got {mask.shape} for `x` of shape {x.shape} with features on {tuple(features)}"
        )
    return full


def parameter(
    name: str, value: jax.Array | None, default: float, shape: tuple[int, ...], reduced: Sequence[int], dtype: Any
) -> jax.Array:
    """A scale, shift or running statistic of the features' ``shape``, ready to broadcast, or its default for None."""
    if value is None:
        return jnp.full((1,) * (len(shape) + len(reduced)), default, dtype)
    if jnp.shape(value) != shape:
        raise ValueError(f"`{name}` must have the features of `x`, {shape}; got {jnp.shape(value)}")
    return jnp.expand_dims(jnp.asarray(value).astype(dtype), tuple(reduced))


def broadcast_params(params: Params, x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Scale and shift (1 and 0 where left out), broadcast against ``x`` with features on ``axes``, at least float32.

    >>> [a.tolist() for a in broadcast_params(Params(jnp.array([1.0, 2.0]), None), jnp.zeros((3, 2)), (1,))]
    [[[1.0, 2.0]], [[0.0]]]
    """
    shape, reduced = tuple(x.shape[a] for a in axes), others(x, axes)
    wide = checks.wide(x.dtype)
    scale = parameter("params.scale", params.scale, 1.0, shape, reduced, wide)
    return scale, parameter("params.shift", params.shift, 0.0, shape, reduced, wide)
