"""Centred moments of a batch, over the entries of a mask and the members of a mapped axis.

They carry a derivative rule of their own, written with the mean and the centred input alone:

    d mean = E[dx],   d var = 2 E[(x - mean) dx]

It is a forward rule of differentiable parts, so every mode and order of differentiation works. Only ``x`` is kept for
the backward pass, in its own dtype. `jnorm.nn._scaling` says what the rule gains.

Mean and variance take two passes over ``x``. A reduction of triples (count, mean, sum of squares) by Chan's merge would
take one, and is not what is done: XLA for CPUs neither vectorizes it nor adds in a tree, so that it took 5 to 10 times
as long as both sums and left the mean of N(12345.6, 1) off by .05 and its variance by 2e-3, for .002 and 3e-6.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.nn._masks import valid
from jnorm.nn._members import member_count, summed
from jnorm.nn._scaling import light


class BatchMoments(NamedTuple):
    """Mean and (biased) variance over some axes, kept with length 1, and the number of entries behind them."""

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


def moments(
    x: jax.Array,
    axes: Sequence[int],
    *,
    mask: jax.Array | None = None,
    axis_name: Any = None,
    centered: bool = True,
) -> BatchMoments:
    """Mean, variance and count of ``x`` over ``axes``, centred, in at least float32.

    ``mean = sum(x) / n``, ``var = sum((x - mean)^2) / n`` over the entries where ``mask`` holds (of the rank of ``x``,
    see `jnorm.nn._masks.mask_like`), in two passes: the second is about the rounded mean of the first.
    With ``axis_name`` the counts, sums and centred squares of all members of that axis, or of a group
    (`jnorm.nn._members.Groups`), are added, so that members may hold unequal numbers of entries, or none.
    ``centered=False`` takes the variance about zero and a mean of zero. No entry at all gives mean 0, variance 1,
    count 0.

    >>> m = moments(jnp.array([[1.0, 5.0], [3.0, 5.0]]), (0,))
    >>> m.mean.tolist(), m.var.tolist(), m.count.tolist()
    ([[2.0, 5.0]], [[1.0, 0.0]], [[2.0]])
    """
    axes = tuple(axes)
    wide = checks.wide(x.dtype)
    if mask is None:
        n = member_count(axis_name) * math.prod(x.shape[a] for a in axes)
        count = jnp.full((1,) * x.ndim, n, wide)
        divisor = jnp.asarray(max(n, 1), wide)
    else:
        repeats = math.prod(x.shape[a] for a in axes if mask.shape[a] == 1)
        count = repeats * _total(axes, axis_name, mask.astype(wide))
        divisor = jnp.maximum(count, 1)
    if centered:
        mean, var = _mean_and_var(axes, axis_name, x, mask, divisor)
    else:
        mean = jnp.zeros([1 if a in axes else n for a, n in enumerate(x.shape)], wide)
        var = _total(axes, axis_name, _products(x, mask, mean, x)) / divisor
    return BatchMoments(mean, var if mask is None and x.size else jnp.where(count > 0, var, 1), count)


def _total(axes: tuple[int, ...], axis_name: Any, values: jax.Array) -> jax.Array:
    return summed(jnp.sum(values, axes, keepdims=True), axis_name)


def _scattered(axes: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an axis that stays lies between those that are summed over."""
    summed_over = [a in axes for a, n in enumerate(shape) if n > 1]
    return sum(1 for held, _ in itertools.groupby(summed_over) if held) > 1


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _mean_and_var(
    axes: tuple[int, ...], axis_name: Any, x: jax.Array, mask: jax.Array | None, divisor: jax.Array
) -> tuple[jax.Array, jax.Array]:
    wide = x.astype(divisor.dtype)
    mean = _total(axes, axis_name, valid(wide, mask)) / divisor
    centred = valid(wide - mean, mask)
    var = _total(axes, axis_name, jnp.square(centred)) / divisor
    if _scattered(axes, x.shape):
        # XLA on a CPU adds these up one by one: the mean of N(12345.6, 1) over 2^15 entries is off by .02, with some of
        # its releases by .8. That is summed in the same pass as the squares, and taken out of both.
        rest = _total(axes, axis_name, centred) / divisor
        mean, var = mean + rest, jnp.maximum(var - jnp.square(rest), 0)
    return mean, var


@_mean_and_var.defjvp
def _mean_and_var_jvp(axes: tuple[int, ...], axis_name: Any, primals: Any, tangents: Any) -> Any:
    x, mask, divisor = primals
    mean, var = _mean_and_var(axes, axis_name, x, mask, divisor)
    dx = tangents[0].astype(mean.dtype)
    d_mean = _total(axes, axis_name, valid(dx, mask)) / divisor
    d_var = _total(axes, axis_name, _products(x, mask, mean, dx)) * (2 / divisor)
    return (mean, var), (d_mean, d_var)


@light
def _products(x: jax.Array, mask: jax.Array | None, mean: jax.Array, dx: jax.Array) -> jax.Array:
    return valid(x.astype(mean.dtype) - mean, mask) * valid(dx.astype(mean.dtype), mask)
