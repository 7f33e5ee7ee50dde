"""Kernels with a structure: the identity, orthogonal matrices, kernels with few nonzero weights."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._fans import Axes, Roles, roles
from jnorm.initializers._protocol import Initializer, Shape, cast, factory, initializer


@factory
def identity(scale: ArrayLike = 1.0, *, groups: int = 1) -> Initializer:
    """``scale`` times the identity, for dense kernels (rectangular ones too) and in a convolution's central tap.

    Args:
        scale: The diagonal's entries, a real number.
        groups: Of a grouped convolution, as in `fans`: each group of outputs has a matrix of its own.

    Returns:
        The initializer, which ignores its key and raises ``ValueError`` for a shape of fewer than two axes and where
        ``groups`` do not divide the outputs.

    Raises:
        TypeError: For a complex or boolean ``scale``.

    >>> identity(1.5)(jax.random.key(0), (2, 3))
    Array([[1.5, 0. , 0. ],
           [0. , 1.5, 0. ]], dtype=float32)
    """
    checks.floats(scale=scale)
    checks.whole(1, groups=groups)
    return initializer(_Identity(groups), lambda shape: (scale,))


@dataclass(frozen=True)
class _Identity:
    groups: int

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, scale: ArrayLike) -> jax.Array:
        rows, columns = _matrix(shape)
        block = jnp.eye(rows, _per_group(columns, self.groups), dtype=dtype) * cast(scale, dtype)
        return _central(jnp.tile(block, self.groups), shape)


@factory
def orthogonal(scale: ArrayLike = 1.0, *, column_axis: int = -1, groups: int = 1) -> Initializer:
    """``scale`` times a uniformly distributed matrix of orthonormal columns, or rows where these are fewer.

    W'W (or WW') is scale^2 times the identity within 1e-6 in float32, multiplied at the highest precision.

    Args:
        scale: The common singular value, a real number.
        column_axis: The axis of the outputs; all others, the window of a convolution too, are flattened into the rows.
        groups: Of a grouped convolution, as in `fans`: each group of outputs has a matrix of its own.

    Returns:
        The initializer, which raises ``ValueError`` for a shape of fewer than two axes, for a ``column_axis`` that the
        shape does not have, and where ``groups`` do not divide the outputs.

    Raises:
        TypeError: For a complex or boolean ``scale``.

    Source: Saxe et al. 2014; uniform by Mezzadri 2007.

    >>> w = orthogonal()(jax.random.key(0), (5, 3))
    >>> bool(abs(jnp.matmul(w.T, w, precision="highest") - jnp.eye(3)).max() < 1e-6)
    True
    """
    checks.floats(scale=scale)
    checks.whole(1, groups=groups)
    return initializer(_Orthogonal(column_axis, groups), lambda shape: (scale,))


@dataclass(frozen=True)
class _Orthogonal:
    column_axis: int
    groups: int

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, scale: ArrayLike) -> jax.Array:
        _matrix(shape)
        if not -len(shape) <= self.column_axis < len(shape):
            raise ValueError(f"`column_axis` must be an axis of the shape {shape}; got {self.column_axis}")
        rest = list(shape)
        columns = rest.pop(self.column_axis)
        size, many = _per_group(columns, self.groups), () if self.groups == 1 else (self.groups,)
        q = jnp.moveaxis(jax.random.orthogonal(key, math.prod(rest), many, dtype, size), -2, 0)
        return cast(scale, dtype) * jnp.moveaxis(q.reshape(*rest, columns), -1, self.column_axis)


@factory
def delta_orthogonal(scale: ArrayLike = 1.0, *, groups: int = 1) -> Initializer:
    """A convolution kernel that is an orthogonal matrix in its central tap and zero elsewhere.

    With SAME padding it keeps the norm of every input where the channels do not become fewer, and of every
    cotangent where they do not become more: dynamical isometry at any depth.

    Args:
        scale: The common singular value, a real number.
        groups: Of a grouped convolution, as in `fans`: each group of outputs has a matrix of its own.

    Returns:
        The initializer of kernels ``[*window, in, out]``, which raises ``ValueError`` for a shape without a window and
        where ``groups`` do not divide the outputs.

    Raises:
        TypeError: For a complex or boolean ``scale``.

    Source: Xiao et al. 2018 (arXiv 1806.05393), section 2.4.

    >>> w = delta_orthogonal()(jax.random.key(0), (3, 3, 2, 4))
    >>> square = jnp.matmul(w[1, 1], w[1, 1].T, precision="highest")
    >>> bool(abs(square - jnp.eye(2)).max() < 1e-6), int((w != 0).any((2, 3)).sum())  # one tap
    (True, 1)
    """
    checks.floats(scale=scale)
    checks.whole(1, groups=groups)
    return initializer(_DeltaOrthogonal(groups), lambda shape: (scale,))


@dataclass(frozen=True)
class _DeltaOrthogonal:
    groups: int

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, scale: ArrayLike) -> jax.Array:
        return _central(_Orthogonal(-1, self.groups)(key, _matrix(shape, 3), dtype, scale), shape)


@factory
def sparse(
    sparsity: float,
    stddev: ArrayLike | None = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
) -> Initializer:
    """Each unit has the same number of nonzero incoming weights, at random places, N(0, stddev^2).

    Of n incoming weights ``ceil(sparsity * n)`` are zero.

    Args:
        sparsity: The share of the weights that is zero, from 0 to below 1.
        stddev: The standard deviation of the k others, at least 0; ``None`` is 1/sqrt(k), which keeps the variance of
            independent inputs.
        in_axis: The axis or axes of the units below, as in `fans`.
        out_axis: The axis or axes of the units above.
        batch_axis: The axis or axes of independent kernels.

    Returns:
        The initializer, which raises ``ValueError`` where all weights of a unit would be zero.

    Raises:
        ValueError: For a ``sparsity`` out of its range and a negative ``stddev``.

    Source: Martens 2010, section 5.

    >>> (sparse(0.5)(jax.random.key(0), (6, 4)) != 0).sum(0)
    Array([3, 3, 3, 3], dtype=int32)
    """
    checks.require(lambda s: (s >= 0) & (s < 1), "`{}` must satisfy 0 <= {} < 1", sparsity=sparsity)
    if stddev is not None:
        checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", stddev=stddev)
    draw = _Sparse(sparsity, roles(in_axis, out_axis, batch_axis))
    return initializer(draw, lambda shape: (draw.kept(shape) ** -0.5 if stddev is None else stddev,))


@dataclass(frozen=True)
class _Sparse:
    sparsity: float
    roles: Roles

    def kept(self, shape: Shape) -> int:
        """How many weights of a unit are not zero."""
        n = math.prod(shape[axis] for axis in self.roles.rows(shape))
        kept = n - math.ceil(self.sparsity * n)
        if kept < 1:
            raise ValueError(f"`sparsity` must leave a weight to each unit of {n}; got {self.sparsity}")
        return kept

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, stddev: ArrayLike) -> jax.Array:
        rows = self.roles.rows(shape)
        order = (*rows, *(axis for axis in range(len(shape)) if axis not in rows))
        n = math.prod(shape[axis] for axis in rows)
        key_place, key_value = jax.random.split(key)
        chosen = jnp.broadcast_to((jnp.arange(n) < self.kept(shape))[:, None], (n, math.prod(shape) // n))
        chosen = jax.random.permutation(key_place, chosen, independent=True)
        chosen = jnp.moveaxis(chosen.reshape([shape[axis] for axis in order]), range(len(shape)), order)
        return jnp.where(chosen, jax.random.normal(key_value, shape, dtype) * cast(stddev, dtype), 0)


def _matrix(shape: Shape, at_least: int = 2) -> tuple[int, int]:
    if len(shape) < at_least:
        raise ValueError(f"`shape` must have at least {at_least} axes; got {shape}")
    return shape[-2], shape[-1]


def _per_group(columns: int, groups: int) -> int:
    if columns % groups:
        raise ValueError(f"`groups` must divide the {columns} outputs; got {groups}")
    return columns // groups


def _central(matrix: jax.Array, shape: Shape) -> jax.Array:
    """The matrix in the tap that meets the output's own position under SAME padding."""
    return jnp.zeros(shape, matrix.dtype).at[tuple((size - 1) // 2 for size in shape[:-2])].set(matrix)
