"""Expectations under one Gaussian, or two correlated ones, by quadrature that is split at the kinks.

An integrand that is analytic between its kinks is integrated to rounding by Gauss-Legendre panels that end there: their
nodes crowd toward both ends, where a kink, or the pole of a tanh seen from ten standard deviations, has its features.
Gauss-Hermite nodes straddle the kink and are off by tenths of a unit in ``E[phi'(z)^2]``.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "NODES",
    "REACH",
    "elementwise",
    "expectation",
    "expectation2",
    "moments",
]

NODES = 256
"""Nodes of the one-dimensional rule, shared out over its panels."""

REACH = 8.5
"""Standard deviations on either side of the mean that the rule covers: the mass outside is 2e-17."""

_NODES2 = 56  # a panel of the two-dimensional rule


@lru_cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def _panels(edges: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Points and standard normal weights of `count`-node panels between sorted `edges[..., p]`, flattened."""
    nodes, weights = (jnp.asarray(a, edges.dtype) for a in _legendre(count))
    center = (edges[..., 1:] + edges[..., :-1])[..., None] / 2
    radius = (edges[..., 1:] - edges[..., :-1])[..., None] / 2
    nodes, weights = (a.reshape((1,) * (center.ndim - 1) + (count,)) for a in (nodes, weights))
    x = center + radius * nodes
    density = jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return tuple(a.reshape(*a.shape[:-2], -1) for a in (x, radius * weights * density))  # type: ignore[return-value]


def _splits(kinks: Sequence[float], mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Kinks in standard units, `[..., k]`, clipped to the reach; zero where the scale is zero."""
    positive = jnp.where(scale == 0, 1.0, scale)[..., None]
    bound = REACH * jnp.abs(positive)  # clipped before the division, so that derivatives stay finite
    at = jnp.asarray(sorted(kinks), mean.dtype).reshape((1,) * mean.ndim + (-1,))
    return jnp.clip(at - mean[..., None], -bound, bound) / positive


def _with_ends(splits: jax.Array) -> jax.Array:
    return jnp.pad(splits, [(0, 0)] * (splits.ndim - 1) + [(1, 1)], constant_values=((-REACH, REACH),))


def elementwise(f: Callable[..., jax.Array], *points: jax.Array) -> jax.Array:
    """``f(*points)`` in the dtype of the points; ``ValueError`` where ``f`` changes their shape.

    >>> elementwise(jnp.sum, jnp.ones(3))
    Traceback (most recent call last):
    ...
    ValueError: `f` must act elementwise; got shape () for points of shape (3,)
    """
    return _like(points[0], f(*points))


def _like(points: jax.Array, values: ArrayLike) -> jax.Array:
    values = jnp.asarray(values)
    if values.shape != points.shape:
        raise ValueError(f"`f` must act elementwise; got shape {values.shape} for points of shape {points.shape}")
    return values.astype(points.dtype)


def expectation(
    f: Callable[[jax.Array], Any],
    mean: ArrayLike,
    var: ArrayLike,
    *,
    kinks: Sequence[float] = (0.0,),
) -> Any:
    """Mean of a function of a Gaussian, ``E[f(z)]``, ``z ~ N(mean, var)``.

    ``f`` acts elementwise and is analytic between its ``kinks``, the static points at which it or a derivative of it
    jumps, or where a smooth one has its features. It may return several arrays, in any pytree, and then so does
    ``expectation``. Every panel of the rule ends at a kink; its `NODES` nodes are shared out evenly over the
    ``len(kinks) + 1`` panels. Inside ``jit`` they are visited one by one, so that memory does not grow with them.

    The error is below ``1e-10 * max(E[f^2], 1e-3)`` in float64 for each elementwise function of `jnorm.activations`,
    its square and the square of its derivative, on the domain ``|mean| <= 10``, ``sqrt(var) <= 10``; in float32 it is a
    few roundings of ``max |f|`` over the points. Derivatives with respect to ``mean``, ``var`` and whatever ``f``
    closes over are those of the integral, the motion of the kinks through the density included; with respect to ``var``
    at ``var = 0`` they are not defined and not finite.

    Shapes: ``mean`` and ``var`` broadcast, and the result has their shape; arrays that ``f`` closes over broadcast
    against it from the right. ``var = 0`` gives ``f(mean)`` to rounding, a negative or NaN ``var`` inside ``jit`` gives
    NaN.

    Raises ``ValueError`` for a negative ``var`` that is known, for shapes that do not broadcast, and for an ``f`` that
    is not elementwise.

    >>> import jax.numpy as jnp
    >>> expectation(lambda z: jnp.maximum(z, 0.0), 0.0, 1.0).round(6)  # 1 / sqrt(2 pi)
    Array(0.398942, dtype=float32)
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=var)
    dtype, (mean, var) = checks.wide_floats(mean=mean, var=var)
    scale = jnp.sqrt(var)
    edges = jnp.moveaxis(_with_ends(_splits(kinks, mean, scale)), -1, 0)[None]
    center, radius = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2

    def weighted(nodes: jax.Array, weights: jax.Array) -> tuple[jax.Array, Any]:
        """Weights and weighted values, [node, panel, ...]."""
        x = center + radius * nodes
        weights = radius * weights * jnp.exp(-x * x / 2)
        points = mean[None, None] + scale[None, None] * x
        return weights, jax.tree.map(lambda values: weights * _like(points, values), f(points))

    rule = [jnp.asarray(a, mean.dtype) for a in _legendre(NODES // (len(kinks) + 1))]
    if isinstance(mean, jax.core.Tracer) or isinstance(var, jax.core.Tracer):
        start, steps = ([a.reshape(-1, *[1] * edges.ndim)[part] for a in rule] for part in (0, slice(1, None)))
        sums = jax.lax.scan(lambda s, at: (jax.tree.map(jnp.add, s, weighted(*at)), None), weighted(*start), steps)[0]
    else:  # nothing to compile: all nodes at once
        sums = weighted(*(a.reshape(-1, *[1] * (edges.ndim - 1)) for a in rule))
    total, sums = jax.tree.map(lambda a: jnp.sum(a, (0, 1)), sums)
    return jax.tree.map(lambda a: (a / total).astype(dtype), sums)


def moments(
    f: Callable[[jax.Array], jax.Array], mean: ArrayLike, var: ArrayLike, *, kinks: Sequence[float] = (0.0,)
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of a function of a Gaussian, ``E[f(z)]`` and ``E[(f(z) - E[f(z)])^2]``, ``z ~ N(mean, var)``.

    One pass of `expectation`, whose terms it shares, centred on values that ``f`` takes. Never negative; what rounds in
    ``f`` itself stays, so that a variance far below ``(eps max |f|)^2`` is lost.

    >>> first, second = moments(lambda z: 1e3 + z, 1.0, 4.0)
    >>> f"{first:.2f} {second:.3f}"
    '1001.00 4.000'
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=var)
    dtype, (mean, var) = checks.wide_floats(mean=mean, var=var)
    # Any center gives the same result; this one is within a few deviations of E[f], so that nothing cancels.
    center = jax.lax.stop_gradient(sum(elementwise(f, mean + side * jnp.sqrt(var)) for side in (-1, 1)) / 2)

    def centred(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        gap = elementwise(f, z) - jnp.broadcast_to(center, z.shape)
        return gap, gap * gap

    first, second = expectation(centred, mean, var, kinks=kinks)
    return (center + first).astype(dtype), jnp.maximum(second - first * first, 0).astype(dtype)


def expectation2(
    f: Callable[[jax.Array, jax.Array], jax.Array],
    mean: jax.Array,
    cov: jax.Array,
    *,
    kinks: Sequence[float] = (0.0,),
) -> jax.Array:
    """Mean of a function of two correlated Gaussians, ``E[f(u, v)]``, ``(u, v) ~ N(mean, cov)``.

    Integrates ``v`` given ``u`` inside, ``u`` outside. Both are split at ``kinks``; the outer rule also where the
    conditional mean of ``v`` meets a kink, and on either side of that as far as the conditional spread reaches, so that
    correlations near one are as exact as small ones. The error is below ``1e-10 * max(E[f^2], 1e-3)`` in float64 for
    products ``phi(u) * phi(v)`` of the elementwise functions of `jnorm.activations` where ``|mean| <= 3`` and both
    standard deviations are at most 2.

    Shapes: ``mean[..., 2]``, ``cov[..., 2, 2]``, leading axes broadcast, result ``[...]``. Correlations of one and
    zero variances are allowed (derivatives with respect to ``cov`` are not defined there and not finite); a matrix
    that is no covariance gives NaN inside ``jit``.

    Raises ``ValueError`` for a known ``cov`` that is not symmetric and positive semidefinite, for other shapes, and for
    an ``f`` that is not elementwise.

    >>> import jax.numpy as jnp
    >>> cov = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> expectation2(lambda u, v: u * v, jnp.zeros(2), cov).round(5)
    Array(0.5, dtype=float32)
    """
    mean, cov = jnp.asarray(mean), jnp.asarray(cov)
    if mean.shape[-1:] != (2,) or cov.shape[-2:] != (2, 2):
        raise ValueError(f"`mean` must be [..., 2] and `cov` [..., 2, 2]; got {mean.shape} and {cov.shape}")
    checks.require(lambda c: _is_covariance(c)[..., None, None] | np.zeros_like(c, bool), _COVARIANCE_RULE, cov=cov)
    dtype, (mu, mv, cuu, cuv, cvv) = checks.wide_floats(
        mean_u=mean[..., 0], mean_v=mean[..., 1], cov_uu=cov[..., 0, 0], cov_uv=cov[..., 0, 1], cov_vv=cov[..., 1, 1]
    )
    su = jnp.sqrt(cuu)
    slope = cuv / jnp.where(cuu > 0, su, 1.0)  # of E[v | x] in the standard units x of u
    residual = cvv - slope * slope
    noise = 8 * jnp.finfo(mu.dtype).eps * cvv
    sv = jnp.sqrt(jnp.where((jnp.abs(residual) <= noise) & (cvv >= 0), 0.0, residual))
    crossings = _splits(kinks, mv, slope) * jnp.where(slope == 0, 0.0, 1.0)[..., None]
    spread = (REACH * sv / jnp.maximum(jnp.abs(slope), noise + jnp.finfo(mu.dtype).tiny))[..., None]
    edges = jnp.concatenate([_splits(kinks, mu, su), crossings, crossings - spread, crossings + spread], -1)
    x, outer = _panels(_with_ends(jnp.sort(jnp.clip(edges, -REACH, REACH), -1)), _NODES2)
    center = mv[..., None] + slope[..., None] * x
    sv = jnp.broadcast_to(sv[..., None], center.shape)
    y, inner = _panels(_with_ends(_splits(kinks, center, sv)), _NODES2)
    v = center[..., None] + sv[..., None] * y
    u = jnp.broadcast_to((mu[..., None] + su[..., None] * x)[..., None], v.shape)
    return jnp.sum(outer * jnp.sum(inner * elementwise(f, u, v), -1), -1).astype(dtype)


_COVARIANCE_RULE = "`{}` must be symmetric and positive semidefinite"


def _is_covariance(cov: np.ndarray) -> np.ndarray:
    a, b, c, d = cov[..., 0, 0], cov[..., 0, 1], cov[..., 1, 0], cov[..., 1, 1]
    slack = 1e-6 if cov.dtype.itemsize <= 4 else 1e-12
    return (a >= 0) & (d >= 0) & (b == c) & (b * b <= a * d * (1 + slack)) | np.isnan(cov).any((-2, -1))
