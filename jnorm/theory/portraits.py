"""Phase portraits of layer maps as arrays: the field of one layer, paths through many, basins of attraction.

Drawing them is `jnorm.plots`. The mean is the horizontal axis (the last one of a grid), the variance the vertical one.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.theory.fixed_points import iterate
from jnorm.theory.moments import LayerMap, Moments, lift

__all__ = [
    "Basin",
    "Trajectories",
    "VectorField",
    "basin",
    "trajectories",
    "vector_field",
]


class VectorField(NamedTuple):
    """Displacement ``(dmean, dvar)`` by one layer at the grid points ``(mean, var)``, arrays of one shape."""

    mean: jax.Array
    var: jax.Array
    dmean: jax.Array
    dvar: jax.Array


class Trajectories(NamedTuple):
    """Paths ``[..., depth + 1]``, layers last, and the number of ``layers`` ``[...]`` for which each stayed finite."""

    mean: jax.Array
    var: jax.Array
    layers: jax.Array


class Basin(NamedTuple):
    """Index of the attractor that each start reaches and the layers until it stays there, -1 where there is none."""

    label: jax.Array
    layers: jax.Array


def vector_field(map: LayerMap, mean: Any, var: Any) -> VectorField:
    """The field of a layer map, ``map(x) - x``, on the grid of two axes.

    ``mean`` (``[columns]``) and ``var`` (``[rows]``) are one-dimensional; the results are ``[rows, columns]``, as
    `quiver`, `streamplot` and `pcolormesh` of matplotlib take them. Parameters that the map closes over broadcast
    against the grid: those of shape ``[k, 1, 1]`` give ``k`` fields. Where the map is not finite, its own cell is
    not.

    Raises ``ValueError`` for axes that are not one-dimensional and for a known negative variance.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> field = vector_field(layer_map(selu), [-0.1, 0.0, 0.1], [0.5, 1.5])
    >>> field.dvar.shape, [round(d, 3) for d in field.dvar[:, 1].tolist()]
    ((2, 3), [0.077, -0.128])
    """
    columns, rows = _axis("mean", mean), _axis("var", var)
    f, x, dtype = lift(map, Moments(columns[None, :], rows[:, None]))
    y = f(x)
    return VectorField(*(a.astype(dtype) for a in (*x, y.mean - x.mean, y.var - x.var)))


def trajectories(map: LayerMap, starts: Moments | Iterable[tuple[float, float]], depth: int) -> Trajectories:
    """Paths through ``depth`` layers, one line to draw for each start.

    ``starts`` is a `Moments` of any shape or a sequence of pairs ``(mean, var)``; path ``p`` is ``mean[p], var[p]``,
    with its start first. A path that leaves the finite range rests at its last finite point, and ``layers`` counts
    the layers that it went through; a start that is not finite itself stays as it is and has -1. To differentiate
    through the layers use `jnorm.theory.fixed_points.iterate`.

    Raises ``ValueError`` for a ``depth`` that is not a whole number >= 0, for starts that are not pairs and for a known
    negative variance.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> paths = trajectories(layer_map(selu), [(0.5, 3.0), (-0.5, 0.2)], 60)
    >>> paths.var.shape, [round(v, 3) for v in paths.var[:, -1].tolist()], paths.layers.tolist()
    ((2, 61), [1.0, 1.0], [60, 60])
    """
    if not isinstance(starts, Moments):
        pairs = jnp.asarray(starts if hasattr(starts, "shape") else list(starts))
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"`starts` must be a Moments or a sequence of pairs (mean, var); got shape {pairs.shape}")
        starts = Moments(pairs[:, 0], pairs[:, 1])
    rows = iterate(map, starts, depth)
    finite = jnp.cumprod((jnp.isfinite(rows.mean) & jnp.isfinite(rows.var)).astype(jnp.int32), axis=0)
    layers = jnp.sum(finite, axis=0) - 1
    layer = jnp.arange(len(finite)).reshape(-1, *(1,) * layers.ndim)
    held = jnp.minimum(layer, jnp.maximum(layers, 0)[None])
    mean, var = (jnp.moveaxis(jnp.take_along_axis(a, held, 0), 0, -1) for a in rows)
    return Trajectories(mean, var, layers)


def basin(map: LayerMap, starts: Moments, attractors: Moments, *, depth: int, tol: Any = 0.01) -> Basin:
    """Which attractor each start comes to, and in how many layers.

    A point is at attractor ``a`` where ``max(|mean - mean_a|, |var - var_a|) < tol_a``, at the nearest one (in units of
    its ``tol``) where there are several. ``label`` is the attractor at which a start is after ``depth`` layers and
    ``layers`` the first layer from which on it was there without a break; both are -1 where it is at none. What would
    come after ``depth`` is not seen.

    ``starts`` has any shape, broadcast against the parameters that the map closes over; the results have that shape.
    ``attractors`` has a leading axis that counts (a single point may do without) and may go on with axes that
    broadcast against the points, for attractors that move with the parameters: the ``solve(...).point`` of ``k``
    parameters, as ``[1, k]``, is one attractor for each of ``k`` lanes. ``tol`` is one number or one per attractor,
    in the units of mean and variance. NaN, in a start or an attractor, is at none.

    Raises ``ValueError`` for a ``depth`` that is not a whole number >= 0, ``tol <= 0``, a known negative variance, and
    shapes that do not broadcast.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> reached = basin(layer_map(selu), Moments(0.0, jnp.array([0.02, 0.5, 3.0, 16.0])), Moments(0.0, 1.0), depth=100)
    >>> reached.label.tolist(), reached.layers.tolist()
    ([0, 0, 0, 0], [27, 18, 20, 23])
    """
    checks.whole(0, depth=depth)
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tol=tol)
    f, x, _ = lift(map, starts)
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
    steps = jnp.arange(1, int(depth) + 1, dtype=jnp.int32)
    (_, (label, since)), _ = jax.lax.scan(layer, (x, Basin(first, jnp.zeros_like(first))), steps)
    return Basin(label, jnp.where(label >= 0, since, -1))


def _axis(name: str, values: Any) -> jax.Array:
    (axis,) = checks.floats(**{name: values})
    if axis.ndim != 1:
        raise ValueError(f"`{name}` must be a one-dimensional axis; got shape {axis.shape}")
    return axis
