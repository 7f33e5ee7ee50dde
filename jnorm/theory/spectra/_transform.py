"""The transform of a product of free factors, by the law of one of them.

With ``m(w) = E[x / (w - x)]`` of a layer's squared slopes, the moment transform of ``J J^T`` is ``m(w)`` at
``z(w) = w^L (m / (1 + m))^(L - 1) (1 + m)^(g L)``, ``g = 1`` for Gaussian weights and 0 for orthogonal ones, since
S-transforms multiply. All is done with logarithms, of ``-w`` and ``-z``, which are real on the negative axis.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnorm.theory.spectra._law import Law


class Image(NamedTuple):
    """What the transform makes of a point, arrays of one shape.

    Attributes:
        place: ``log(-z)``.
        slope: Its derivative by ``log(-w)``.
        total: ``1 + m``, which is ``z`` times the Green's function at ``z``.
        fall: Its derivative by ``-log(-w)``.
    """

    place: jax.Array
    slope: jax.Array
    total: jax.Array
    fall: jax.Array


def image(law: Law, at: jax.Array, depth: jax.Array, excess: float) -> Image:
    """The image of ``-exp(at)``, imaginary part of ``at`` from 0 to -pi.

    Args:
        law: The law of the slopes.
        at: ``log(-w)``, complex.
        depth: Layers L.
        excess: g.

    Returns:
        The image.
    """
    value, weight, depth = (a.astype(at.dtype) for a in (law.value, law.weight, depth))
    mean, w = lambda f: jnp.sum(weight * f, 0), -jnp.exp(at)
    pole = 1 / (w[None] - value)
    m, total, push = mean(value * pole), w * mean(pole), w * mean(value * pole * pole)
    # -m is in the upper half plane and 1 + m in the lower one, the real axis included: the cut is turned away.
    quarter = 1j * math.pi / 2
    log_m, log_total = jnp.log(1j * m) + quarter, jnp.log(1j * total) - quarter
    place = depth * at + (depth - 1) * (log_m - log_total) + excess * depth * log_total
    slope = depth - (depth - 1) * push / (m * total) - excess * depth * push / total
    return Image(place, slope, total, push)


def edge(law: Law, depth: jax.Array, excess: float, turns: int = 44) -> jax.Array:
    """The logarithm of the largest ``z`` that is reached: where ``z(w)`` turns, to the right of all values.

    Differentiable: at a minimum the motion of the point does not count. Where ``z`` falls nowhere, the largest value
    itself is mapped, an atom or the thin end of the law.

    Args:
        law: The law; its mean does not have to be one.
        depth: Layers.
        excess: g.
        turns: Halvings.

    Returns:
        ``log z``.
    """
    most = jnp.max(law.value, 0)
    gap = most[None] - law.value

    def beside(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``log z`` and its slope at ``w = most (1 + exp(place))``, where all terms are positive."""
        ratio = law.value / (gap + (most * jnp.exp(place))[None])
        m, push = law.mean(ratio), law.mean(ratio * (1 + ratio))
        log_total = jnp.log1p(m)
        log_z = depth * (jnp.log(most) + jnp.log1p(jnp.exp(place)))
        log_z += (depth - 1) * (jnp.log(m) - log_total) + excess * depth * log_total
        return log_z, depth - ((depth - 1) / m + excess * depth) * push / (1 + m)

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = (low + high) / 2
        rises = beside(middle)[1] > 0
        return jnp.where(rises, low, middle), jnp.where(rises, middle, high)

    ends = jnp.full_like(most, -40.0), jnp.log(64 * (depth + 1))
    place = jax.lax.fori_loop(0, turns, halve, jax.lax.stop_gradient(ends))[1]
    return beside(jax.lax.stop_gradient(place))[0]
