"""Piecewise polynomials, of degree two at most: their expectations in closed form.

What a piecewise polynomial adds beyond a kink ``t``, to the one that it is around the mean, is ``J + B (z - t) +
C (z - t)^2`` on a half-line, where with ``d = |t - mean|/s``, the normal density ``phi`` and Mills' ratio ``R``

    P(z > t) = phi(d) R(d),    E[z - t; z > t] = -s phi(d) R'(d),    E[(z - t)^2; z > t] = s^2 phi(d) R''(d).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm import jaxprs
from jnorm._ground import elementary
from jnorm._ground.mills import differences
from jnorm.gaussian._panels import at_points
from jnorm.gaussian._roots import ends

DEGREE = 2


class Pieces(NamedTuple):
    """A piecewise polynomial around where it was looked at, each coefficient ``[piece, *shape]``.

    Attributes:
        at: The kinks, sorted, ``[k, *shape]``.
        anchor: Points inside of the pieces, ``[k + 1, *shape]``.
        value: The function there.
        slope: Its first derivative there.
        curve: Half the second derivative there.
    """

    at: jax.Array
    anchor: jax.Array
    value: jax.Array
    slope: jax.Array
    curve: jax.Array

    def expected(self, mean: jax.Array, scale: jax.Array) -> jax.Array:
        """The expectation under ``N(mean, scale^2)``, arrays ``[..., *shape]``; a deviation may be zero."""
        lead = (1,) * (mean.ndim - self.at.ndim + 1)
        at, anchor, value, slope, curve = (a.reshape(len(a), *lead, *a.shape[1:]) for a in self)
        beyond = at - anchor[1:], at - anchor[:-1]
        right, left = (
            (value[own] + x * (slope[own] + x * curve[own]), slope[own] + 2 * x * curve[own], curve[own])
            for x, own in zip(beyond, (slice(1, None), slice(-1)), strict=True)
        )
        jump, bend, turn = (a - b for a, b in zip(right, left, strict=True))
        gap, wide = at - mean[None], jnp.where(scale == 0, 1.0, scale)[None]
        side = jnp.where(gap >= 0, 1.0, -1.0)
        d = jnp.clip(side * gap, 0.0, reach(mean.dtype) * wide) / wide
        density = jnp.where(scale == 0, 0.0, elementary.exp(-d * d / 2) / math.sqrt(2 * math.pi))
        ratio = differences(d, d, d)
        terms = side * (jump * ratio.r0 + turn * (2 * scale * scale * ratio.r000)) - bend * (scale * ratio.r00)
        here = jnp.sum(gap < 0, 0)[None] == jnp.arange(len(anchor)).reshape(-1, *(1,) * mean.ndim)
        x = mean[None] - anchor
        around = jnp.where(here, value + x * (slope + x * curve) + curve * scale * scale, 0.0)
        return jnp.sum(around, 0) + jnp.sum(density * terms, 0) + 0 * scale


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
    wide = jnp.where(scale == 0, 1.0, scale)
    bound = reach(mean.dtype) * wide
    at = jnp.clip(at, mean - bound, mean + bound)
    low, high = ends(at)
    # The point next to the mean that keeps a deviation from the ends, or is in the middle.
    room = jnp.minimum(high / 2 - low / 2, wide)
    anchor = jax.lax.stop_gradient(jnp.clip(mean, low + room, high - room))
    program, like = jax.make_jaxpr(f, return_shape=True)(jax.ShapeDtypeStruct((1, *mean.shape), mean.dtype))
    tree = jax.tree.structure(like)
    opened = lambda z: tree.unflatten(jaxprs.evaluate(program, z, opens=jaxprs.CALLS))
    jet = at_points(opened, 1)
    rows = []
    for order in range(DEGREE + 1):
        rows.append(jax.tree.leaves(jet(anchor)) if order <= degree else [jnp.zeros_like(a) for a in rows[0]])
        jet = _derivative(jet)
    return [Pieces(at, anchor, value, slope, curve / 2) for value, slope, curve in zip(*rows, strict=True)], tree


def _derivative(f: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]
