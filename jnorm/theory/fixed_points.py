"""Fixed points of layer maps: find them, walk towards them, judge them, differentiate them.

A layer map takes the mean and variance of a layer's input to those of its output, each point of the arrays by itself.
Common to the functions:

- **Layer maps.** `jnorm.theory.moments.layer_map`, `jnorm.theory.meanfield.layer_map`, or the caller's own: any
  callable of `jax.numpy` operations from `Moments` to `Moments`. Arrays that it holds or closes over broadcast against
  the points, so that one call solves a whole plane of parameters.
- **Compiling.** Each function is one program for each kind of map, shape and dtype, under ``jit`` or not: maps that
  differ in numbers alone share it, and so do a lambda and the same lambda written anew.
- **Shapes and types.** Those of ``layer_map(start)``; half precision is computed in float32.
- **Errors.** ``ValueError`` for a negative variance among Python numbers and NumPy arrays and for shapes that do not
  broadcast, ``TypeError`` for a map that needs concrete numbers. A NaN stays in its own lane.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.theory import _cells
from jnorm.theory._constants import SeluConstants as SeluConstants
from jnorm.theory._constants import selu_constants as selu_constants
from jnorm.theory._lifting import lift, settle
from jnorm.theory._newton import FixedPoint as FixedPoint
from jnorm.theory._newton import newton
from jnorm.theory._parts import MomentMap, Moments, cast
from jnorm.theory._stability import Stability as Stability
from jnorm.theory._stability import stability as stability

__all__ = [
    "FixedPoint",
    "SeluConstants",
    "Stability",
    "iterate",
    "selu_constants",
    "solve",
    "solve_all",
    "stability",
]


def solve(layer_map: MomentMap, start: Moments, *, tol: float | None = None, max_steps: int = 64) -> FixedPoint:
    """The fixed point that a damped Newton iteration reaches from ``start``, attracting or not.

    Solves ``layer_map(x) = x`` for ``x.var > 0`` in the unknowns ``mean / sd`` and ``log(var)``, by Newton steps that
    are bounded (2 in ``log(var)``) and shortened until the gap between ``x`` and its image ``y``,
    ``((y.mean - x.mean) / sd, log(y.var / x.var))``, comes closer to zero; where no shorter step does, the lane goes on
    from ``y``. All points advance together, each until its residual

        ``max(|y.mean - x.mean| / sqrt(x.var + x.mean^2), |y.var / x.var - 1|)``

    is at most ``tol`` and has stopped falling: the point is then as good as the rounding of the map allows, times the
    condition number of ``I - jacobian``.

    The derivatives of the point by the numbers of the map, and by what it closes over, are those of the implicit
    function theorem, ``dx/dp = (I - jacobian)^-1 dmap/dp``, in forward and reverse mode and of any order. They are zero
    by ``start``, in lanes that have not converged, and for ``residual``.

    Where the iteration runs away, rests at a least residual above ``tol`` or meets NaN, the lane alone has
    ``converged`` False and a NaN point: always where no fixed point exists, and where a far start misses one
    (`solve_all` looks everywhere). Point masses (``var = 0``) are not looked for. Of a continuum of fixed points one
    is returned; its derivative does not exist.
    Source: Nocedal and Wright, Numerical Optimization (2006), section 11.2; the implicit function theorem.

    Args:
        layer_map: The map.
        start: Where the iteration begins, with positive variances.
        tol: Largest residual of a fixed point; None is 128 eps, 2.8e-14 in float64 and 1.5e-5 in float32.
        max_steps: Most points that are tried after ``start``.

    Returns:
        The fixed points and how they were found.

    Raises:
        ValueError: A known ``var <= 0``, ``tol <= 0`` or a ``max_steps`` that is not a whole number >= 1.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> fixed = solve(layer_map(selu, tau=jnp.array([0.9, 1.0, 2.7])), Moments(0.0, 1.5))
    >>> fixed.converged.tolist(), [round(v, 4) for v in fixed.point.var.tolist()]
    ([True, True, False], [0.6743, 1.0, nan])
    """
    settled, like = settle(layer_map, start)
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=start[1])
    checks.whole(1, max_steps=max_steps)
    return newton(settled, start, like, _tolerance(tol, like.dtype), max_steps)[0]


def solve_all(
    layer_map: MomentMap,
    box: tuple[Moments, Moments],
    *,
    cells: int = 48,
    tol: float | None = None,
    max_steps: int = 64,
) -> FixedPoint:
    """Every fixed point that a search over the cells of a box finds, in order of variance and then of mean.

    The box is cut into ``cells x cells`` cells, even in the mean and in the logarithm of the variance (in the standard
    deviation where ``low.var = 0``). `solve` starts from the centre of every cell where both components of
    ``layer_map(x) - x``, bilinear between the corners, may vanish within twice the cell, and of every fourth in each
    direction. Cells where both change sign but nothing was found are quartered and tried again, five times over. Points
    inside the box (to ``tol``) are kept, but one that lies within ``4 sqrt(tol)`` of a better one, or within twice
    Newton's next step, in ``mean / sd`` and ``log(var)``, is the same: a residual of ``tol`` cannot tell it from a
    double point.

    So a point can be missed only where a component keeps its sign at all corners of its cell and is no smaller there
    than it varies, which asks for structure finer than the cells: more ``cells`` resolve it. Even then an iteration
    from elsewhere may end there. A continuum comes back as a sample of it.

    Works on the host, for one set of parameters: the map must keep the shape of its points. For derivatives pass
    ``.point`` to `solve` as the start.

    Args:
        layer_map: The map.
        box: The pair ``(low, high)`` of corners.
        cells: Cells along each side.
        tol: As for `solve`.
        max_steps: As for `solve`.

    Returns:
        The fixed points along one axis, which may be empty; half precision gives float32.

    Raises:
        ValueError: A box that is inverted, flat or not finite or has ``low.var < 0``, a map that changes the shape of
            its points, and what `solve` raises.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> fixed = solve_all(layer_map(selu, omega=0.9), (Moments(-1.0, 0.01), Moments(1.0, 10.0)))
    >>> [round(v, 2) for v in fixed.point.var.tolist()]
    [0.95, 1.0]
    """
    checks.whole(1, cells=cells, max_steps=max_steps)
    edges = _cells.Box.of(box)
    _, like = settle(layer_map, edges.corner(3))
    if like.shape != (3,):
        raise ValueError(f"`layer_map` must keep the shape of its points; it takes (3,) to {like.shape}")
    settled, like = settle(layer_map, edges.corner(_cells.CHUNK))
    limit = _tolerance(tol, edges.dtype)
    search = _cells.Search(
        edges,
        lambda x: _gap(settled, x, like),
        lambda x: newton(settled, x, like, limit, max_steps),
        limit,
    )
    return jax.device_put(search.run(int(cells)))  # `jnp.asarray` compiles a program for each number of points


def iterate(layer_map: MomentMap, start: Moments, depth: int) -> Moments:
    """The moments layer after layer: ``x_0 = start``, ``x_{l+1} = layer_map(x_l)``.

    A point that overflows goes on as the inf and NaN of the map, in its own lane. Differentiable by ``start`` and by
    the numbers of the map, through every layer.

    Args:
        layer_map: The map.
        start: Moments of the first layer's input.
        depth: Layers; each number of them is a program of its own.

    Returns:
        ``depth + 1`` rows along a leading axis, ``start`` first.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> [round(v, 3) for v in iterate(layer_map(selu), Moments(0.0, 4.0), 3).var.tolist()]
    [4.0, 2.941, 2.313, 1.919]
    """
    checks.whole(0, depth=depth)
    settled, like = settle(layer_map, start)
    return _rows(settled, start, like, int(depth))


@partial(jax.jit, static_argnames="like")
def _gap(layer_map: MomentMap, x: Moments, like: jax.ShapeDtypeStruct) -> jax.Array:
    """``layer_map(x) - x``, ``[..., component]``."""
    f, x = lift(layer_map, x, like)
    y = f(x)
    return jnp.stack([y.mean - x.mean, y.var - x.var], -1)


@partial(jax.jit, static_argnames=("like", "depth"))
def _rows(layer_map: MomentMap, start: Moments, like: jax.ShapeDtypeStruct, depth: int) -> Moments:
    f, x = lift(layer_map, start, like)

    def layer(x: Moments, _: None) -> tuple[Moments, Moments]:
        y = f(x)
        return y, y

    _, rows = jax.lax.scan(layer, x, length=depth)
    return cast(Moments(*(jnp.concatenate([a[None], b]) for a, b in zip(x, rows, strict=True))), like.dtype)


def _tolerance(tol: float | None, dtype: Any) -> float:
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tol=1.0 if tol is None else tol)
    return 128 * float(jnp.finfo(checks.wide(dtype)).eps) if tol is None else tol
