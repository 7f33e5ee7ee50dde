"""Fixed points of layer maps: find them, walk towards them, judge them, differentiate them.

A layer map takes the mean and variance of a layer's input to those of its output, each point of the arrays by itself
(`jnorm.theory.moments.layer_map`, `jnorm.theory.meanfield.layer_map`, or the caller's own). Arrays that the map closes
over broadcast against the points, so that one call solves a whole plane of parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import checks
from jnorm.theory._constants import SeluConstants as SeluConstants
from jnorm.theory._constants import selu_constants as selu_constants
from jnorm.theory._newton import descend, solve_2x2, where
from jnorm.theory.moments import LayerMap, Moments, cast, lift

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


class FixedPoint(NamedTuple):
    """What `solve` found, arrays of one shape; ``point`` is NaN in the lanes that have not ``converged``."""

    point: Moments
    converged: jax.Array
    residual: jax.Array
    steps: jax.Array


class Stability(NamedTuple):
    """Jacobian ``[..., output, input]`` in the order (mean, var), its spectral radius and largest singular value."""

    jacobian: jax.Array
    spectral_radius: jax.Array
    singular_value: jax.Array


def solve(map: LayerMap, start: Moments, *, tol: float | None = None, max_steps: int = 64) -> FixedPoint:
    """The fixed point that a damped Newton iteration reaches from ``start``, attracting or not.

    Solves ``map(x) = x`` for ``x.var > 0`` in the unknowns ``mean / sd`` and ``log(var)``, by Newton steps that are
    bounded (2 in ``log(var)``) and shortened until ``((map(x) - x).mean / sd, log(map(x).var / x.var))`` comes closer
    to zero; where no shorter step does, the lane goes on from ``map(x)``. All points advance together, each until its
    residual

        ``max(|map(x).mean - x.mean| / sqrt(x.var + x.mean^2), |map(x).var / x.var - 1|)``

    is at most ``tol`` (``None``: 128 eps, 2.8e-14 in float64 and 1.5e-5 in float32) and has stopped falling: the
    point is then as good as the rounding of the map allows, times the condition number of ``I - jacobian``. ``steps``
    counts the points that were tried after ``start``.

    Shape and dtype are those of ``map(start)``; half precision is solved in float32. The derivatives of the point by
    anything that the map closes over are those of the implicit function theorem, ``dx/dp = (I - jacobian)^-1 dmap/dp``,
    in forward and reverse mode and of any order. They are zero by ``start``, in lanes that have not converged, and for
    ``residual``.

    Where the iteration runs away, rests at a least residual above ``tol`` or meets NaN, the lane alone has
    ``converged`` False and a NaN point: always where no fixed point exists, and where a far start misses one
    (`solve_all` looks everywhere). Point masses (``var = 0``) are not looked for. Of a continuum of fixed points one
    is returned; its derivative does not exist.

    Raises ``ValueError`` for a known ``var <= 0``, ``tol <= 0`` or ``max_steps`` that is not a whole number >= 1.
    Source: Nocedal and Wright, Numerical Optimization (2006), section 11.2; the implicit function theorem.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> found = solve(layer_map(selu, tau=jnp.array([0.9, 1.0, 2.7])), Moments(0.0, 1.5))
    >>> found.converged.tolist(), [round(v, 4) for v in found.point.var.tolist()]
    ([True, True, False], [0.6743, 1.0, nan])
    """
    return _search(map, start, tol, max_steps)[0]


def solve_all(
    map: LayerMap, box: tuple[Moments, Moments], *, cells: int = 48, tol: float | None = None, max_steps: int = 64
) -> FixedPoint:
    """Every fixed point that a search over the cells of a box finds, in order of variance and then of mean.

    ``box`` is the pair ``(low, high)`` of corners. It is cut into ``cells x cells`` cells, even in the mean and in
    the logarithm of the variance (in the standard deviation where ``low.var = 0``). `solve` starts from the centre of
    every cell where both components of ``map(x) - x``, bilinear between the corners, may vanish within twice the
    cell, and of every fourth in each direction. Cells where both change sign but nothing was found are quartered and
    tried again, five times over. Points inside the box (to ``tol``) are kept, but one that lies within
    ``4 sqrt(tol)`` of a better one, or within twice Newton's next step, in ``mean / sd`` and ``log(var)``, is the same:
    a residual of ``tol`` cannot tell it from a double point.

    So a point can be missed only where a component keeps its sign at all corners of its cell and is no smaller there
    than it varies, which asks for structure finer than the cells: more ``cells`` resolve it. Even then an iteration
    from elsewhere may end there. A continuum comes back as a sample of it.

    Runs eagerly, for one set of parameters: the map must keep the shape of its points. For derivatives pass ``.point``
    to `solve` as the start. Arrays have one axis, which counts the points and may be empty; half precision gives
    float32.

    Raises ``ValueError`` for a box that is inverted, flat or not finite or has ``low.var < 0``, for a map that changes
    the shape of its points, and as `solve` does.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> found = solve_all(layer_map(selu, omega=0.9), (Moments(-1.0, 0.01), Moments(1.0, 10.0)))
    >>> [round(v, 2) for v in found.point.var.tolist()]
    [0.95, 1.0]
    """
    checks.whole(1, cells=cells, max_steps=max_steps)
    low, high = (np.stack([np.asarray(a) for a in checks.floats(mean=corner[0], var=corner[1])]) for corner in box)
    if not np.all(np.isfinite([low, high])):
        raise ValueError(f"`box` must be finite; got {low.tolist()} to {high.tolist()}")
    checks.require(lambda v: v >= 0, "`box` must satisfy {} >= 0", **{"low.var": low[1]})
    checks.require(
        lambda w: w > 0, "`box` must satisfy high.{} - low.{} > 0", mean=high[0] - low[0], var=high[1] - low[1]
    )
    dtype = checks.wide(low.dtype)
    limit = _tolerance(tol, dtype)
    into, out = (np.log, np.exp) if low[1] > 0 else (np.sqrt, np.square)

    def points(chart: np.ndarray) -> Any:
        return Moments(jnp.asarray(chart[:, 0], dtype), jnp.asarray(out(chart[:, 1]), dtype))

    @jax.jit
    def gap(x: Moments) -> jax.Array:
        f, x, _ = lift(map, x)
        y = f(x)
        return jnp.stack([y.mean - x.mean, y.var - x.var], -1)

    shape = lift(map, points(np.ones((3, 2))))[1].mean.shape
    if shape != (3,):
        raise ValueError(f"`map` must keep the shape of its points; it takes (3,) to {shape}")
    newton = jax.jit(lambda x: _search(map, x, tol, max_steps))

    def may_hold(centres: np.ndarray, half: np.ndarray, reach: float) -> np.ndarray:
        """The cells over ``reach`` times which the values at the corners let both components vanish."""
        values = _in_chunks(gap, points(_around(centres, half))).reshape(-1, 4, 2)
        a, b = _CORNERS.T
        level, *change = np.abs(np.einsum("kc,nci->kni", np.stack([0 * a + 1, a, b, a * b]), values))
        return np.all(level <= reach * sum(change), -1)

    def search(known: Any, starts: np.ndarray) -> Any:
        new, error = _in_chunks(newton, points(starts))
        mean, var = new.point
        slack = limit * np.hypot(mean, np.sqrt(var))
        inside = (low[0] - slack <= mean) & (mean <= high[0] + slack)
        inside &= (low[1] - limit * var <= var) & (var <= high[1] + limit * var)
        new = jax.tree.map(lambda a: a[inside], (new, 4 * limit**0.5 + 2 * error))
        return _distinct(*(new if known is None else jax.tree.map(lambda *a: np.concatenate(a), known, new)))

    base = np.array([low[0], into(low[1])])
    half = (np.array([high[0], into(high[1])]) - base) / (2 * cells)
    index = np.indices((cells, cells)).reshape(2, -1).T
    grid = base + (2 * index + 1) * half
    known = search(None, grid[may_hold(grid, half, 2) | np.all(index % 4 == 0, -1)])
    centres = grid[may_hold(grid, half, 1)]
    for _ in range(5):
        spots = np.stack([known[0].point.mean, into(known[0].point.var)], -1)
        holds = np.any(np.all(np.abs(spots - centres[:, None]) <= half, -1), -1)
        half = half / 2
        centres = _around(centres[~holds], half)
        centres = centres[may_hold(centres, half, 1)]
        if not len(centres):
            break
        known = search(known, centres)
    found = known[0]
    order = np.lexsort((found.point.mean, np.round(np.log(found.point.var) / (4 * limit**0.5))))
    return jax.tree.map(lambda a: jnp.asarray(a[order]), found)


def iterate(map: LayerMap, start: Moments, depth: int) -> Moments:
    """The moments layer after layer: ``x_0 = start``, ``x_{l+1} = map(x_l)``, as ``depth + 1`` rows.

    Behind the leading axis the shape is that of ``map(start)``, and so is the dtype (half precision works in
    float32). A point that overflows goes on as the inf and NaN of the map, in its own lane. Differentiable by
    ``start`` and by what the map closes over, through every layer.

    Raises ``ValueError`` for a ``depth`` that is not a whole number >= 0 and for a known negative variance.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> [round(v, 3) for v in iterate(layer_map(selu), Moments(0.0, 4.0), 3).var.tolist()]
    [4.0, 2.941, 2.313, 1.919]
    """
    checks.whole(0, depth=depth)
    f, x, dtype = lift(map, start)

    def layer(x: Moments, _: None) -> tuple[Moments, Moments]:
        y = f(x)
        return y, y

    _, rows = jax.lax.scan(layer, x, length=int(depth))
    return cast(Moments(*(jnp.concatenate([a[None], b]) for a, b in zip(x, rows, strict=True))), dtype)


def stability(map: LayerMap, point: Moments) -> Stability:
    """How a layer map acts near a point: its Jacobian ``J``, spectral radius ``max |eigenvalue|`` and 2-norm.

    For ``J = [[a, b], [c, d]]`` with ``h = (a + d) / 2`` and ``q = (a - d)^2 / 4 + b c`` the radius is
    ``|h| + sqrt(q)``, or ``sqrt(h^2 - q)`` where ``q < 0`` (a complex pair), and the largest singular value is half of
    ``sqrt((a + d)^2 + (b - c)^2) + sqrt((a - d)^2 + (b + c)^2)``: sums of like signs, which do not cancel. A fixed
    point attracts where the radius is below one; where the singular value is, a layer brings all nearby points
    closer.

    Shapes: ``jacobian[..., 2, 2]``, the others ``[...]``, that of ``map(point)``. Their derivatives are finite: where
    a square root vanishes (a double eigenvalue, a multiple of a rotation or reflection) its own is taken as zero. NaN
    gives NaN in its lane. Raises ``ValueError`` for a known negative variance.
    Source: Klambauer et al. 2017, definition 1 and lemma 5.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> near = stability(layer_map(selu, omega=1.0), Moments(0.0, 1.0))
    >>> round(float(near.spectral_radius), 4), round(float(near.singular_value), 4)
    (1.0768, 1.1109)
    """
    f, x, dtype = lift(map, point)
    one, zero = jnp.ones_like(x.mean), jnp.zeros_like(x.mean)
    _, push = jax.linearize(f, x)
    (a, c), (b, d) = push(Moments(one, zero)), push(Moments(zero, one))
    jacobian = jnp.stack([jnp.stack([a, b], -1), jnp.stack([c, d], -1)], -2)
    # Both results are homogeneous in J: a constant scale keeps the squares in range and leaves the derivatives exact.
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(jacobian), (-2, -1)))
    size = jnp.where(size == 0, 1, size)
    a, b, c, d = a / size, b / size, c / size, d / size
    half, disc = (a + d) / 2, ((a - d) / 2) ** 2 + b * c
    twist = disc < 0
    radius = jnp.where(
        twist, _sqrt(jnp.where(twist, half**2 - disc, 0)), jnp.abs(half) + _sqrt(jnp.where(twist, 0, disc))
    )
    norm = (_sqrt((a + d) ** 2 + (b - c) ** 2) + _sqrt((a - d) ** 2 + (b + c) ** 2)) / 2
    return Stability(jacobian.astype(dtype), (size * radius).astype(dtype), (size * norm).astype(dtype))


def _search(map: LayerMap, start: Moments, tol: float | None, max_steps: int) -> tuple[FixedPoint, jax.Array]:
    """`solve`, and the size of Newton's next step: an estimate of the point's error."""
    f, x, dtype = lift(map, start)
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=start[1])
    limit = _tolerance(tol, x.mean.dtype)
    checks.whole(1, max_steps=max_steps)

    def newton(_: Any, x: Moments) -> tuple[Moments, tuple[jax.Array, ...]]:
        last = descend(f, x, limit, max_steps)
        # A lane without a root still passes through the derivative rule: rest it where the map is harmless, so that its
        # zero cotangent does not turn into NaN for the parameters that it shares with other lanes.
        usable = jnp.isfinite(x.mean) & jnp.isfinite(x.var) & (x.var > 0)
        harmless = Moments(jnp.where(usable, x.mean, 0), jnp.where(usable, x.var, 1))
        error = jnp.maximum(jnp.abs(last.step.mean), jnp.abs(last.step.var))
        return where(last.residual <= limit, last.x, harmless), (last.residual, last.steps, error)

    def gap(x: Moments) -> Moments:
        y = f(x)
        return Moments(y.mean - x.mean, y.var - x.var)

    def solve_tangent(g: LayerMap, y: Moments) -> Moments:
        one, zero = jnp.ones_like(y.mean), jnp.zeros_like(y.mean)
        return solve_2x2(g(Moments(one, zero)), g(Moments(zero, one)), y)

    root, (residual, steps, error) = jax.lax.custom_root(gap, x, newton, solve_tangent, has_aux=True)
    converged = residual <= limit
    nowhere = jnp.full_like(residual, jnp.nan)
    point = cast(where(converged, root, Moments(nowhere, nowhere)), dtype)
    return FixedPoint(point, converged, residual.astype(dtype), steps.astype(jnp.int32)), error


_CORNERS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])


def _around(centres: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The four points ``half`` off each centre, one after the other."""
    return (centres[:, None] + half * _CORNERS).reshape(-1, 2)


def _in_chunks(f: Callable[[Moments], Any], x: Moments, size: int = 512) -> Any:
    """``f`` over one axis of points as NumPy arrays, in chunks of one shape so that it compiles once."""
    count = len(x.mean)
    padded = (np.pad(a, (0, size - count % size), constant_values=1).reshape(-1, size) for a in x)
    parts = [f(Moments(m, v)) for m, v in zip(*padded, strict=True)]
    return jax.tree.map(lambda *a: np.concatenate(a)[:count], *parts)


def _distinct(found: Any, radius: np.ndarray) -> Any:
    """The points of least radius, without those that lie within their own radius of a better one."""
    (mean, var), kept = found.point, np.zeros(0, int)
    for k in np.lexsort((found.residual, radius)):
        near = np.abs(mean[k] - mean[kept]) <= radius[k] * np.sqrt(var[k])
        if not np.any(near & (np.abs(np.log(var[k] / var[kept])) <= radius[k])):
            kept = np.append(kept, k)
    return jax.tree.map(lambda a: a[kept], (found, radius))


def _tolerance(tol: float | None, dtype: Any) -> float:
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", tol=1.0 if tol is None else tol)
    return 128 * float(jnp.finfo(dtype).eps) if tol is None else tol


def _sqrt(x: jax.Array) -> jax.Array:
    """Square root whose derivative at zero is taken as zero."""
    return jnp.where(x == 0, 0, jnp.sqrt(jnp.where(x == 0, 1, x)))
