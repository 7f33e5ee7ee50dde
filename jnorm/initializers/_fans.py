"""Fans and rows: what the axes of a kernel mean to the weights that lead into a unit, and out of it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks

Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many weights lead into a unit, and out of one.

    Attributes:
        fan_in: Weights into a unit.
        fan_out: Weights out of one.
    """

    fan_in: int
    fan_out: int


class Roles(NamedTuple):
    """The axes of the units below, of the units above and of independent kernels; the rest is a window."""

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...]

    def at(self, shape: Sequence[int]) -> "Roles":
        """The axes counted from the left of a shape.

        Raises ``ValueError`` for an axis that the shape does not have and for one that is named twice.
        """
        ndim = len(shape)
        for name, axes in self._asdict().items():
            for axis in axes:
                if not -ndim <= axis < ndim:
                    raise ValueError(f"`{name}` must name an axis of the shape {tuple(shape)}; got {axis}")
        counted = Roles(*(tuple(axis % ndim for axis in axes) for axes in self))
        taken = [axis for axes in counted for axis in axes]
        for axis in taken:
            if taken.count(axis) > 1:
                raise ValueError(f"`in_axis`, `out_axis` and `batch_axis` must be distinct; axis {axis} is named twice")
        return counted

    def fans(self, shape: Sequence[int], groups: int = 1) -> Fans:
        """The fans of a kernel of this shape; see `fans`."""
        ins, outs, batch = self.at(shape)
        units = math.prod(shape[axis] for axis in outs)
        if units % groups:
            raise ValueError(f"`groups` must divide the {units} units of `out_axis`; got {groups}")
        window = math.prod(size for axis, size in enumerate(shape) if axis not in ins + outs + batch)
        return Fans(math.prod(shape[axis] for axis in ins) * window, units // groups * window)

    def rows(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The axes along which one unit's incoming weights, its row, lie: all but ``out_axis`` and ``batch_axis``.

        >>> roles().rows((3, 3, 16, 32)), roles(batch_axis=0).rows((8, 100, 10))
        ((0, 1, 2), (1,))
        """
        _, outs, batch = self.at(shape)
        return tuple(axis for axis in range(len(shape)) if axis not in outs + batch)


def roles(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Roles:
    """The axes as tuples, which hash."""
    return Roles(*((axes,) if isinstance(axes, int) else tuple(axes) for axes in (in_axis, out_axis, batch_axis)))


def fans(
    shape: Sequence[int], *, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), groups: int = 1
) -> Fans:
    """Weights into and out of a unit: the window times the sizes of ``in_axis`` and of ``out_axis``.

    The axes that none of the three names are the window of a convolution, which counts in both fans. Of a grouped
    convolution's kernel, ``[*window, in/groups, out]``, only out/groups units see a unit below. The shape cannot say
    so: a depthwise kernel of 64 channels looks like a dense one from one channel to 64. Other layouts:

    - PyTorch's ``[out, in, *window]``: ``in_axis=1, out_axis=0``, and its ``groups``;
    - Keras's depthwise ``[*window, channels, multiplier]``: ``in_axis=(), batch_axis=-2``, each channel a kernel;
    - heads, ``[heads, width, out]``: ``in_axis=(0, 1)``.

    Args:
        shape: The shape of a kernel.
        in_axis: The axis or axes of the units below.
        out_axis: The axis or axes of the units above.
        batch_axis: The axis or axes of independent kernels.
        groups: The ``feature_group_count`` of the convolution; for a depthwise one, the number of its channels.

    Returns:
        Both fans.

    Raises:
        ValueError: For an axis that the shape does not have, for one that is named twice, and for ``groups`` that do
            not divide the units above.

    >>> fans((3, 3, 16, 32)), fans((8, 100, 10), batch_axis=0)
    (Fans(fan_in=144, fan_out=288), Fans(fan_in=100, fan_out=10))
    >>> fans((3, 3, 1, 64)), fans((3, 3, 1, 64), groups=64)  # from one channel; depthwise
    (Fans(fan_in=9, fan_out=576), Fans(fan_in=9, fan_out=9))
    """
    checks.whole(1, groups=groups)
    return roles(in_axis, out_axis, batch_axis).fans(shape, groups)


def row_sums(n: int, omega: ArrayLike | None, tau: ArrayLike | None) -> tuple[Any, Any]:
    """What `with_row_sums` takes, from the sum and the sum of squares of rows of n weights.

    Raises ``ValueError`` for an ``omega`` with rows of one weight, and unless ``tau > omega^2 / n``.
    """
    if omega is None:
        return omega, tau
    if n < 2:
        raise ValueError(f"`omega` needs at least two weights to a unit; got {n}")
    if tau is not None:
        tau = tau - omega * omega / n
        checks.require(lambda s: s > 0, f"`tau` must satisfy tau - omega^2/n > 0 for n = {n} weights", tau=tau)
    return omega, tau


def with_row_sums(w: jax.Array, axes: tuple[int, ...], omega: Any, squares: Any) -> jax.Array:
    """The rows of ``w`` along ``axes``, with the sum ``omega`` and the sum ``squares`` of squares about their mean.

    ``None`` leaves a sum alone; without ``omega`` the squares are those of the weights. Without ``squares`` the
    deviations grow by sqrt(n/(n - 1)), which restores the variance that subtracting the mean of n independent weights
    takes.

    >>> with_row_sums(jnp.array([[3.0, 1.0]]), (1,), *row_sums(2, 0.0, 8.0))
    Array([[ 2., -2.]], dtype=float32)
    """
    n = math.prod(w.shape[axis] for axis in axes)
    if omega is not None:
        for _ in range(2):  # once leaves n times the rounding of the mean
            w = w - jnp.mean(w, axes, keepdims=True)
        w = w * math.sqrt(n / (n - 1))
    if squares is not None:
        w = w * jnp.sqrt(jnp.asarray(squares).astype(w.dtype) / jnp.sum(w * w, axes, keepdims=True))
    return w if omega is None else w + jnp.asarray(omega).astype(w.dtype) / n
