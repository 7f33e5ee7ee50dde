"""Piecewise polynomials, of degree two at most: their expectations in closed form.

What a piecewise polynomial adds beyond a kink ``t``, to the one that it is around the mean, is ``J + B (z - t) +
C (z - t)^2`` on a half-line, where with ``d = |t - mean|/s``, the normal density ``phi`` and Mills' ratio ``R``

    P(z > t) = phi(d) R(d),    E[z - t; z > t] = -s phi(d) R'(d),    E[(z - t)^2; z > t] = s^2 phi(d) R''(d).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm import jaxprs
from jnorm._ground.mills import differences
from jnorm.gaussian._panels import at_points, density, legendre
from jnorm.gaussian._roots import ends

DEGREE = 2
SHORT = 16  # nodes of a piece that is no longer than a deviation


class Pieces(NamedTuple):
    """A piecewise polynomial around where it was looked at.

    Attributes:
        at: The kinks, sorted, ``[k, *shape]``.
        anchor: Points inside of the pieces, ``[k + 1, *shape]``.
        jet: Taylor's coefficients there, as many as are not zero, of the shape of the anchor: the value, the slope,
            half the second derivative.
    """

    at: jax.Array
    anchor: jax.Array
    jet: tuple[jax.Array, ...]


def expected(parts: Sequence[Pieces], mean: jax.Array, scale: jax.Array) -> list[jax.Array]:
    """The expectations of piecewise polynomials of the same kinks and anchors.

    Args:
        parts: The piecewise polynomials.
        mean: Means, ``[..., *shape]``.
        scale: Deviations, of the same shape; they may be zero.

    Returns:
        Of each part the expectation under ``N(mean, scale^2)``.
    """
    lead = (1,) * (mean.ndim + 1 - parts[0].at.ndim)
    mean, scale = mean[None], scale[None]
    at = parts[0].at.reshape(-1, *lead, *parts[0].at.shape[1:])
    gap, wide = at - mean, jnp.where(scale == 0, 1.0, scale)
    side = jnp.where(gap >= 0, 1.0, -1.0)
    d = jnp.minimum(side * gap, reach(mean.dtype) * wide) / wide
    peak = jnp.where(scale == 0, 0.0, density(d))
    ratio = differences(d, d, d)
    halves = peak * ratio.r0, -side * peak * scale * ratio.r00, 2 * peak * scale * scale * ratio.r000
    here = jnp.sum(gap < 0, 0)[None] == jnp.arange(len(at) + 1).reshape(-1, *(1,) * (mean.ndim - 1))

    def one(part: Pieces) -> jax.Array:
        anchor, *jet = (a.reshape(len(a), *lead, *a.shape[1:]) for a in (part.anchor, *part.jet))
        value, *rest = _moved(jet, mean - anchor)
        around = jnp.where(here, value + rest[1] * scale * scale if len(rest) == 2 else value, 0.0)
        ends = []
        for own in (slice(1, None), slice(-1)):  # the pieces that begin at the kinks, and those that end there
            beyond = _moved([a[own] for a in jet], at - anchor[own])
            ends.append(side * sum(a * half for a, half in zip(beyond, halves, strict=False)))
        first, last = around[:1] - ends[1][:1], around[-1:] + ends[0][-1:]
        inner = around[1:-1] + ends[0][:-1] - ends[1][1:]
        if len(inner):
            inner = jnp.where(at[1:] - at[:-1] < wide, _short([a[1:-1] for a in (anchor, *jet)], at, mean, wide), inner)
        return jnp.sum(jnp.concatenate([first, inner, last]), 0) + 0 * scale[0]

    return [one(part) for part in parts]


def _short(part: Sequence[jax.Array], at: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """The integrals over pieces that are no longer than a deviation, where the differences of both ends cancel."""
    (anchor, *jet), radius, center = part, (at[1:] - at[:-1]) / 2, at[1:] / 2 + at[:-1] / 2
    nodes, weights = (jnp.asarray(a, at.dtype).reshape(-1, *(1,) * mean.ndim) for a in legendre(SHORT))
    z = center[None] + jnp.minimum(radius, scale)[None] * nodes
    values = _moved([a[None] for a in jet], z - anchor[None])[0] * density((z - mean[None]) / scale[None])
    return radius / scale * jnp.sum(weights * values, 0)


def _moved(jet: Sequence[jax.Array], x: jax.Array) -> list[jax.Array]:
    """Taylor's coefficients at a distance."""
    moved = list(jet)
    for first in range(len(jet) - 1):
        for i in range(len(jet) - 2, first - 1, -1):
            moved[i] = moved[i] + x * moved[i + 1]
    return moved


def reach(dtype: Any) -> float:
    """The distance in deviations beyond which the density underflows."""
    return math.sqrt(-2 * math.log(jnp.finfo(dtype).tiny))


def pieces(
    f: Callable[[jax.Array], Any], at: jax.Array, mean: jax.Array, scale: jax.Array, degree: int
) -> tuple[list[Pieces], Any]:
    """The pieces of a function between its kinks, as they matter for a variable of a mean and a deviation.

    Args:
        f: The function of points ``[1, *shape]``, a polynomial between the kinks. Derivatives that it declares do not
            count.
        at: The kinks, sorted, ``[k, *shape]``.
        mean: The mean.
        scale: The deviation.
        degree: Of the polynomials, at most two.

    Returns:
        The pieces of every array that it returns, and the structure of these.
    """
    around, wide = mean[None], jnp.where(scale == 0, 1.0, scale)[None]
    bound = reach(mean.dtype) * wide
    at = jnp.clip(at, around - bound, around + bound)
    low, high = ends(at)
    # The point next to the mean that keeps a deviation from the ends, or is in the middle.
    room = jnp.minimum(high / 2 - low / 2, wide)
    anchor = jax.lax.stop_gradient(jnp.clip(around, low + room, high - room))
    program, like = jax.make_jaxpr(f, return_shape=True)(jax.ShapeDtypeStruct((1, *mean.shape), mean.dtype))
    tree = jax.tree.structure(like)
    opened = lambda z: jax.tree.unflatten(tree, jaxprs.evaluate(program, z, opens=jaxprs.CALLS))
    jet = at_points(opened, 1)
    rows: list[list[jax.Array]] = []
    for order in range(degree + 1):
        rows.append([a / max(order, 1) for a in jax.tree.leaves(jet(anchor))])
        jet = _derivative(jet)
    return [Pieces(at, anchor, one) for one in zip(*rows, strict=True)], tree


def _derivative(f: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]
