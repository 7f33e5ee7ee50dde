"""Phase portraits of layer maps as arrays: the field of one layer, paths through many, basins of attraction.

Drawing them is `jnorm.plots`. The mean is the horizontal axis (the last one of a grid), the variance the vertical one.
Layer maps, what is compiled, shapes, types and errors are as in `jnorm.theory.fixed_points`.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._lifting import lift, settle
from jnorm.theory._parts import MomentMap, Moments
from jnorm.theory.fixed_points import iterate

__all__ = [
    "Basin",
    "Trajectories",
    "VectorField",
    "basin",
    "trajectories",
    "vector_field",
]


class VectorField(NamedTuple):
    """Displacement by one layer at the points of a grid, arrays of one shape.

    Attributes:
        mean: Mean of each point.
        var: Variance of each point.
        dmean: What a layer adds to the mean.
        dvar: What a layer adds to the variance.
    """

    mean: jax.Array
    var: jax.Array
    dmean: jax.Array
    dvar: jax.Array


class Trajectories(NamedTuple):
    """Paths through layers.

    Attributes:
        mean: Means ``[..., depth + 1]``, layers last and the start first.
        var: Variances, likewise.
        layers: Layers ``[...]`` through which each path stayed finite.
    """

    mean: jax.Array
    var: jax.Array
    layers: jax.Array


class Basin(NamedTuple):
    """Where starts come to, integer arrays of their shape.

    Attributes:
        label: Index of the attractor that each start reaches, -1 where there is none.
        layers: Layers until it stays there, -1 where there is none.
    """

    label: jax.Array
    layers: jax.Array


def vector_field(
    layer_map: MomentMap, mean: ArrayLike | Iterable[float], var: ArrayLike | Iterable[float]
) -> VectorField:
    """The field of a layer map, ``layer_map(x) - x``, on the grid of two axes.

    Where the map is not finite, its own cell is not.

    Args:
        layer_map: The map; arrays that it holds broadcast against the grid: those of shape ``[k, 1, 1]`` give ``k``
            fields.
        mean: The horizontal axis, ``[columns]``.
        var: The vertical axis, ``[rows]``.

    Returns:
        Grid and field, ``[rows, columns]``, as `quiver`, `streamplot` and `pcolormesh` of matplotlib take them.

    Raises:
        ValueError: Axes that are not one-dimensional, or a known negative variance.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> field = vector_field(layer_map(selu), [-0.1, 0.0, 0.1], [0.5, 1.5])
    >>> field.dvar.shape, [round(d, 3) for d in field.dvar[:, 1].tolist()]  # up below the fixed point, down above it
    ((2, 3), [0.077, -0.128])
    """
    columns, rows = _axis("mean", mean), _axis("var", var)
    grid = Moments(columns[None, :], rows[:, None])
    settled, like = settle(layer_map, grid)
    return _field(settled, grid, like)


def trajectories(layer_map: MomentMap, starts: Moments | Iterable[tuple[float, float]], depth: int) -> Trajectories:
    """Paths through ``depth`` layers, one line to draw for each start.

    A path that leaves the finite range rests at its last finite point, and ``layers`` counts the layers that it went
    through; a start that is not finite itself stays as it is and has -1. To differentiate through the layers use
    `jnorm.theory.fixed_points.iterate`.

    Args:
        layer_map: The map.
        starts: Moments of any shape, or a sequence of pairs ``(mean, var)``: path ``p`` is then ``mean[p], var[p]``.
        depth: Layers.

    Returns:
        The paths and their lengths.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0, starts that are not pairs, or a known negative
            variance.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> paths = trajectories(layer_map(selu), [(0.5, 3.0), (-0.5, 0.2)], 60)
    >>> paths.var.shape, [round(v, 3) for v in paths.var[:, -1].tolist()]
    ((2, 61), [1.0, 1.0])
    """
    if not isinstance(starts, Moments):
        pairs = _array(starts if hasattr(starts, "shape") else list(starts))
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"`starts` must be a Moments or a sequence of pairs (mean, var); got shape {pairs.shape}")
        starts = Moments(pairs[:, 0], pairs[:, 1])
    return _held(iterate(layer_map, starts, depth))


def basin(layer_map: MomentMap, starts: Moments, attractors: Moments, *, depth: int, tol: ArrayLike = 0.01) -> Basin:
    """Which attractor each start comes to, and in how many layers.

    A point is at attractor ``a`` where ``max(|mean - mean_a|, |var - var_a|) < tol_a``, at the nearest one (in units of
    its ``tol``) where there are several. A start belongs to the attractor at which it is after ``depth`` layers, and
    ``layers`` is the first layer from which on it was there without a break. What would come after ``depth`` is not
    seen. NaN, in a start or an attractor, is at none.

    Args:
        layer_map: The map.
        starts: Moments of any shape, broadcast against the arrays that the map holds.
        attractors: Moments with a leading axis that counts (a single point may do without). Further axes broadcast
            against the points, for attractors that move with the parameters: the ``solve(...).point`` of ``k``
            parameters, as ``[1, k]``, is one attractor for each of ``k`` lanes.
        depth: Layers.
        tol: Half the width of an attractor in units of mean and variance, one number or one for each attractor.

    Returns:
        Label and layers, of the shape of the points.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0, ``tol <= 0``, a known negative variance, or shapes that
            do not broadcast.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> reached = basin(layer_map(selu), Moments(0.0, jnp.array([0.02, 0.5, 3.0, 16.0])), Moments(0.0, 1.0), depth=100)
    >>> reached.label.tolist(), reached.layers.tolist()
    ([0, 0, 0, 0], [27, 18, 20, 23])
    """
    checks.whole(0, depth=depth)
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tol=tol)
    settled, like = settle(layer_map, starts)
    return _basin(settled, starts, like, attractors, tol, int(depth))


@partial(jax.jit, static_argnames="like")
def _field(layer_map: MomentMap, grid: Moments, like: jax.ShapeDtypeStruct) -> VectorField:
    f, x = lift(layer_map, grid, like)
    y = f(x)
    return VectorField(*(a.astype(like.dtype) for a in (*x, y.mean - x.mean, y.var - x.var)))


@jax.jit
def _held(rows: Moments) -> Trajectories:
    """Paths that rest where they leave the finite range."""
    finite = jnp.cumprod((jnp.isfinite(rows.mean) & jnp.isfinite(rows.var)).astype(jnp.int32), axis=0)
    layers = jnp.sum(finite, axis=0) - 1
    layer = jnp.arange(len(finite)).reshape(-1, *(1,) * layers.ndim)
    held = jnp.minimum(layer, jnp.maximum(layers, 0)[None])
    mean, var = (jnp.moveaxis(jnp.take_along_axis(a, held, 0), 0, -1) for a in rows)
    return Trajectories(mean, var, layers)


@partial(jax.jit, static_argnames=("like", "depth"))
def _basin(
    layer_map: MomentMap,
    starts: Moments,
    like: jax.ShapeDtypeStruct,
    attractors: Moments,
    tol: ArrayLike,
    depth: int,
) -> Basin:
    f, x = lift(layer_map, starts, like)
    goals = [jnp.atleast_1d(a) for a in checks.floats(mean=attractors[0], var=attractors[1], tol=tol)]
    count, *rest = goals[0].shape
    shape = (1,) * (x.mean.ndim - len(rest)) + tuple(rest)
    if len(shape) != x.mean.ndim or any(n not in (1, m) for n, m in zip(shape, x.mean.shape, strict=True)):
        points = ", ".join(["count", *(str(n) for n in x.mean.shape)])
        raise ValueError(f"`attractors` must broadcast to ({points}); got shape {goals[0].shape}")
    mean, var, unit = (a.reshape(count, *shape).astype(x.mean.dtype) for a in goals)

    def place(x: Moments) -> jax.Array:
        far = jnp.maximum(jnp.abs(x.mean[None] - mean), jnp.abs(x.var[None] - var)) / unit
        far = jnp.where(jnp.isnan(far), jnp.inf, far)
        return jnp.where(jnp.min(far, 0) < 1, jnp.argmin(far, 0), -1).astype(jnp.int32)

    def layer(carry: tuple[Moments, Basin], index: jax.Array) -> tuple[tuple[Moments, Basin], None]:
        x, (label, since) = carry
        x = f(x)
        now = place(x)
        return (x, Basin(now, jnp.where(now == label, since, index))), None

    first = place(x)
    steps = jnp.arange(1, depth + 1, dtype=jnp.int32)
    (_, (label, since)), _ = jax.lax.scan(layer, (x, Basin(first, jnp.zeros_like(first))), steps)
    return Basin(label, jnp.where(label >= 0, since, -1))


def _axis(name: str, values: Any) -> Any:
    axis = _array(values)
    if axis.ndim != 1:
        raise ValueError(f"`{name}` must be a one-dimensional axis; got shape {axis.shape}")
    return axis


def _array(values: Any) -> Any:
    """An array as it is; what was known as numbers as a NumPy array."""
    if hasattr(values, "shape"):
        return values
    traced = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values))
    return jnp.asarray(values) if traced else np.asarray(values)
