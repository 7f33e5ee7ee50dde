"""Fans and rows: what the axes of a kernel mean to the weights that lead into a unit, and out of it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks

Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many weights lead into a unit, and out of one."""

    fan_in: int
    fan_out: int


def fans(shape: Sequence[int], *, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Fans:
    """Weights into and out of a unit: the window times the sizes of ``in_axis`` and of ``out_axis``.

    ``in_axis`` and ``out_axis`` hold the units, ``batch_axis`` independent kernels; the axes that are left are the
    window of a convolution, which counts in both fans.

    Raises ``ValueError`` for an axis that the shape does not have and for one that is named twice.

    >>> fans((3, 3, 16, 32)), fans((8, 100, 10), batch_axis=0)
    (Fans(fan_in=144, fan_out=288), Fans(fan_in=100, fan_out=10))
    """
    ins, outs, batch = _roles(shape, in_axis, out_axis, batch_axis)
    window = math.prod(size for axis, size in enumerate(shape) if axis not in ins + outs + batch)
    return Fans(*(math.prod(shape[axis] for axis in axes) * window for axes in (ins, outs)))


def row_axes(
    shape: Sequence[int], *, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()
) -> tuple[int, ...]:
    """The axes along which one unit's incoming weights, its row, lie: all but ``out_axis`` and ``batch_axis``.

    Raises as `fans`.

    >>> row_axes((3, 3, 16, 32)), row_axes((8, 100, 10), batch_axis=0)
    ((0, 1, 2), (1,))
    """
    _, outs, batch = _roles(shape, in_axis, out_axis, batch_axis)
    return tuple(axis for axis in range(len(shape)) if axis not in outs + batch)


def with_row_sums(w: jax.Array, axes: tuple[int, ...], *, omega: Any = None, tau: Any = None) -> jax.Array:
    """The rows of ``w`` along ``axes``, shifted to the sum ``omega`` and then scaled to the sum of squares ``tau``.

    ``None`` leaves a sum alone. Without ``tau`` the deviations grow by sqrt(n/(n - 1)), which restores the variance
    that subtracting the mean of n independent weights takes; with it, what scales is the part about the mean.

    Raises ``ValueError`` for an ``omega`` with rows of one weight, and unless ``tau > omega^2 / n``.

    >>> with_row_sums(jnp.array([[3.0, 1.0]]), (1,), omega=0.0, tau=8.0)
    Array([[ 2., -2.]], dtype=float32)
    """
    n, squares, mean = math.prod(w.shape[axis] for axis in axes), tau, None
    if omega is not None:
        if n < 2:
            raise ValueError(f"`omega` needs at least two weights to a unit; got {n}")
        for _ in range(2):  # once leaves n times the rounding of the mean
            w = w - jnp.mean(w, axes, keepdims=True)
        w = w * math.sqrt(n / (n - 1))
        mean = jnp.asarray(omega).astype(w.dtype) / n
    if omega is not None and tau is not None:
        squares = tau - omega * omega / n
        checks.require(lambda s: s > 0, f"`tau` must satisfy tau - omega^2/n > 0 for n = {n} weights", tau=squares)
    if squares is not None:
        w = w * jnp.sqrt(jnp.asarray(squares).astype(w.dtype) / jnp.sum(w * w, axes, keepdims=True))
    return w if mean is None else w + mean


def _roles(shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[tuple[int, ...], ...]:
    """The three sets of axes, counted from the left and disjoint."""
    ndim, roles = len(shape), []
    for name, axes in {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}.items():
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        for axis in axes:
            if not -ndim <= axis < ndim:
                raise ValueError(f"`{name}` must name an axis of the shape {tuple(shape)}; got {axis}")
        roles.append(tuple(axis % ndim for axis in axes))
    taken = [axis for axes in roles for axis in axes]
    for axis in taken:
        if taken.count(axis) > 1:
            raise ValueError(f"`in_axis`, `out_axis` and `batch_axis` must be distinct; axis {axis} is named twice")
    return tuple(roles)
