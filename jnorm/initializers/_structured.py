"""Kernels with a structure: the identity, orthogonal matrices, kernels with few nonzero weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._fans import Axes, row_axes
from jnorm.initializers._protocol import Initializer, cast, initializer


def identity(scale: ArrayLike = 1.0) -> Initializer:
    """``scale`` times the identity, for dense kernels (rectangular ones too) and in a convolution's central tap.

    Raises ``ValueError`` for a shape of fewer than two axes.

    >>> identity(1.5)(jax.random.key(0), (2, 3))
    Array([[1.5, 0. , 0. ],
           [0. , 1.5, 0. ]], dtype=float32)
    """
    checks.floats(scale=scale)
    return initializer(lambda key, s, dtype: _central(jnp.eye(*_matrix(s), dtype=dtype) * cast(scale, dtype), s))


def orthogonal(scale: ArrayLike = 1.0, *, column_axis: int = -1) -> Initializer:
    """``scale`` times a uniformly distributed matrix of orthonormal columns, or rows where these are fewer.

    ``column_axis`` is the output; all other axes, the window of a convolution too, are flattened into the rows.
    W'W (or WW') is scale^2 times the identity within 1e-6 in float32.

    Raises ``ValueError`` for a shape of fewer than two axes and a ``column_axis`` that it does not have.
    Source: Saxe et al. 2014; uniform by Mezzadri 2007.

    >>> w = orthogonal()(jax.random.key(0), (5, 3))
    >>> bool(abs(w.T @ w - jnp.eye(3)).max() < 1e-6)
    True
    """
    checks.floats(scale=scale)

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        _matrix(shape)
        if not -len(shape) <= column_axis < len(shape):
            raise ValueError(f"`column_axis` must be an axis of the shape {shape}; got {column_axis}")
        rest = list(shape)
        columns = rest.pop(column_axis)
        q = jax.random.orthogonal(key, math.prod(rest), (), dtype, columns)
        return cast(scale, dtype) * jnp.moveaxis(q.reshape(*rest, columns), -1, column_axis)

    return initializer(draw)


def delta_orthogonal(scale: ArrayLike = 1.0) -> Initializer:
    """A convolution kernel that is an orthogonal matrix in its central tap and zero elsewhere.

    With SAME padding it keeps the norm of every input where the channels do not become fewer, and of every
    cotangent where they do not become more: dynamical isometry at any depth. The kernel is ``[*window, in, out]``.

    Raises ``ValueError`` for a shape without a window. Source: Xiao et al. 2018 (arXiv 1806.05393), section 2.4.

    >>> w = delta_orthogonal()(jax.random.key(0), (3, 3, 2, 4))
    >>> bool(abs(w[1, 1] @ w[1, 1].T - jnp.eye(2)).max() < 1e-6), float(abs(w).sum((0, 1, 2, 3)) - abs(w[1, 1]).sum())
    (True, 0.0)
    """
    matrix = orthogonal(scale)
    return initializer(lambda key, shape, dtype: _central(matrix(key, _matrix(shape, 3), dtype), shape))


def sparse(
    sparsity: float,
    stddev: ArrayLike | None = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
) -> Initializer:
    """Each unit has the same number of nonzero incoming weights, at random places, N(0, stddev^2).

    Of n incoming weights ``ceil(sparsity * n)`` are zero. ``stddev=None`` is 1/sqrt(k) for the k others, which keeps
    the variance of independent inputs.

    Raises ``ValueError`` unless 0 <= sparsity < 1, for ``stddev < 0``, and when called for rows left all zero.
    Source: Martens 2010, section 5.

    >>> (sparse(0.5)(jax.random.key(0), (6, 4)) != 0).sum(0)
    Array([3, 3, 3, 3], dtype=int32)
    """
    checks.require(lambda s: (s >= 0) & (s < 1), "`{}` must satisfy 0 <= {} < 1", sparsity=sparsity)
    if stddev is not None:
        checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", stddev=stddev)

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        rows = row_axes(shape, in_axis=in_axis, out_axis=out_axis, batch_axis=batch_axis)
        order = (*rows, *(axis for axis in range(len(shape)) if axis not in rows))
        n = math.prod(shape[axis] for axis in rows)
        kept = n - math.ceil(sparsity * n)
        if kept < 1:
            raise ValueError(f"`sparsity` must leave a weight to each unit of {n}; got {sparsity}")
        key_place, key_value = jax.random.split(key)
        chosen = jnp.broadcast_to((jnp.arange(n) < kept)[:, None], (n, math.prod(shape) // n))
        chosen = jax.random.permutation(key_place, chosen, independent=True)
        chosen = jnp.moveaxis(chosen.reshape([shape[axis] for axis in order]), range(len(shape)), order)
        spread = cast(kept**-0.5 if stddev is None else stddev, dtype)
        return jnp.where(chosen, jax.random.normal(key_value, shape, dtype) * spread, 0)

    return initializer(draw)


def _matrix(shape: tuple[int, ...], at_least: int = 2) -> tuple[int, int]:
    if len(shape) < at_least:
        raise ValueError(f"`shape` must have at least {at_least} axes; got {shape}")
    return shape[-2], shape[-1]


def _central(matrix: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The matrix in the tap that meets the output's own position under SAME padding."""
    return jnp.zeros(shape, matrix.dtype).at[tuple((size - 1) // 2 for size in shape[:-2])].set(matrix)
