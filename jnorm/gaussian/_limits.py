"""Derivatives by variances and correlations on the edge of their domain, where the square roots of the rule have none.

There the derivatives of the integral are expectations of second derivatives of the integrand, ``dE/dvar = E[f'']/2``
and ``dE/dcov = E[f_uv]`` (Price 1958), and what is left of the distribution is a point or a line. The functions here
are zeros that have these derivatives on the edge and none elsewhere: a rule adds them to a value whose own derivatives
stop there. They cost nothing unless a derivative is taken.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jnorm.gaussian._panels import PAIR_NODES, at_points, density, panels, quadrature, splits


def root(var: jax.Array) -> jax.Array:
    """The square root with derivative zero at zero."""
    return jnp.where(var == 0, 0.0, jnp.sqrt(jnp.where(var == 0, 1.0, var)))


@jax.custom_jvp
def at_a_point(kinks: jax.Array, f: Callable[[jax.Array], Any], mean: jax.Array, var: jax.Array) -> Any:
    """Zeros like ``f(mean)``; their derivative by ``var`` is ``f''(mean)/2`` where ``var = 0``.

    Args:
        kinks: Where the slope may jump, ``[k, *shape]``.
        f: The integrand of points ``[1, *shape]``, a callable pytree.
        mean: The point.
        var: Its variance.

    Returns:
        Zeros, of the structure that ``f`` returns.
    """
    like = jax.eval_shape(at_points(f, 0), mean)
    return jax.tree.map(lambda _: jnp.zeros_like(mean), like)


@at_a_point.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    kinks, f, mean, var = primals
    value, at_edge = at_a_point(kinks, f, mean, var), var == 0

    def curvature(index: int) -> jax.Array:
        part = lambda z: jax.tree.leaves(at_points(f, 0)(z))[index]
        return jnp.where(at_edge, _curvature(partial(_slope, part), mean, kinks) / 2, 0.0)

    rates = jax.tree.unflatten(jax.tree.structure(value), map(curvature, range(len(jax.tree.leaves(value)))))
    return value, jax.tree.map(lambda rate: rate * tangents[3], rates)


@jax.custom_jvp
def on_a_line(
    kinks: tuple[jax.Array, jax.Array],
    f: Callable[[jax.Array, jax.Array], Any],
    mean: tuple[jax.Array, jax.Array],
    cov: tuple[jax.Array, jax.Array, jax.Array],
) -> jax.Array:
    """Zeros like ``mean[0]``, with the derivatives of ``E[f(u, v)]`` that a rule for ``v`` given ``u`` lacks.

    These are the derivatives by a variance that is zero, by the covariance where that of ``u`` is zero, and by the
    correlation where it is one or minus one.

    Args:
        kinks: Where the integral along the line is split, in ``u`` and in ``v``, each ``[k, *shape]``.
        f: The integrand of points ``[1, *shape]``, a callable pytree.
        mean: Of ``u`` and of ``v``.
        cov: Variance of ``u``, covariance, variance of ``v``; the residual variance of ``v`` given ``u`` is zero
            where it is lost in rounding.

    Returns:
        Zeros.
    """
    return jnp.zeros_like(mean[0])


@on_a_line.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (of_u, of_v), f, (mu, mv), (cuu, cuv, cvv) = primals
    flat_u, flat_v = cuu == 0, cvv == 0
    line = is_line(cuu, cuv, cvv)
    su, sv = root(cuu), jnp.where(cuv < 0, -1.0, 1.0) * root(cvv)
    inner = jnp.sort(jnp.concatenate([splits(of_u, mu, su), splits(of_v, mv, jnp.abs(sv)) * jnp.sign(sv)[None]]), 0)
    wide_u, wide_v = (places[:, None, None] for places in (of_u, of_v))
    center, radius = panels(inner)
    nodes, weights = quadrature(PAIR_NODES, center)
    x = center[:, None] + radius[:, None] * nodes
    weights = radius[:, None] * weights * density(x)  # [panel, node, ...]

    def mean_where(mask: jax.Array, values: jax.Array) -> jax.Array:
        return jnp.where(mask, jnp.sum(weights * jnp.where(mask[None, None], values, 0.0), (0, 1)), 0.0)

    u, v = (mean[None, None] + scale[None, None] * x for mean, scale in ((mu, su), (mv, sv)))
    g = at_points(f, 2)
    by_u = lambda u, v: _slope(lambda t: g(t, v), u)
    by_v = lambda u, v: _slope(lambda t: g(u, t), v)
    twice_u = mean_where(flat_u, _curvature(lambda t: by_u(t, v), u, wide_u))
    twice_v = mean_where(flat_v, _curvature(lambda t: by_v(u, t), v, wide_v))
    mixed = mean_where(line | flat_u, _slope(lambda t: by_u(u, t), v))
    share = jnp.where(line, mixed * cuv, 0.0) / 2  # what a larger variance takes from the correlation
    by_cuu = twice_u / 2 - share / jnp.where(line, cuu, 1.0)
    by_cvv = twice_v / 2 - share / jnp.where(line, cvv, 1.0)
    duu, duv, dvv = tangents[3]
    return jnp.zeros_like(mu), by_cuu * duu + mixed * duv + by_cvv * dvv


def is_line(cuu: jax.Array, cuv: jax.Array, cvv: jax.Array) -> jax.Array:
    """Where both variances are positive and the correlation is one or minus one, to rounding."""
    positive = (cuu > 0) & (cvv > 0)
    residual = cvv - jnp.square(cuv / jnp.sqrt(jnp.where(positive, cuu, 1.0)))
    return positive & (jnp.abs(residual) <= 8 * jnp.finfo(cuu.dtype).eps * cvv)


def _slope(f: Callable[[jax.Array], jax.Array], z: jax.Array) -> jax.Array:
    """The derivative of an elementwise function."""
    value, pull = jax.vjp(f, z)
    return pull(jnp.ones_like(value))[0]


def leap(f: Callable[[jax.Array], jax.Array], z: jax.Array) -> jax.Array:
    """By how much an elementwise function jumps at points; zero where it does not, or by less than its rounding."""
    eps, size = float(jnp.finfo(z.dtype).eps), jnp.maximum(1.0, jnp.abs(z))
    gap = eps**0.75 * size  # wide enough to be exact beside z, narrower than the features of a smooth function
    far_below, below, above, far_above = (f(z + times * gap) for times in (-16.0, -1.0, 1.0, 16.0))
    near, far = above - below, far_above - far_below
    jump = (16 * near - far) / 15  # without what grows as the gap; what is left of a square is 16 times what is near
    rounding = jnp.maximum(jnp.abs(far_below), jnp.abs(far_above)) + jnp.abs(far / (32 * gap) * z)
    share = jnp.abs(jump) / jnp.where(near == 0, 1.0, jnp.abs(near))
    return jnp.where((jnp.abs(jump) > 64 * eps * rounding) & (share > 0.1) & (share < 2), jump, 0.0)


def _curvature(slope: Callable[[jax.Array], jax.Array], z: jax.Array, kinks: jax.Array) -> jax.Array:
    """The derivative of a slope; infinite at those of the kinks where the slope jumps."""
    curvature = _slope(slope, z)
    if not len(kinks):
        return curvature
    jump = leap(slope, z)
    return jnp.where((jump != 0) & jnp.any(z[None] == kinks, 0), jnp.sign(jump) * jnp.inf, curvature)
