"""Gaussian moments on either side of a kink at zero, from which those of ReLU, ELU and SELU are put together.

With ``z ~ N(m, v)``, ``s = sqrt(v)``, ``t = m / s``, the normal density ``phi`` and Mills' ratio ``R``,

    E[exp(k z); z <= 0] = phi(t) R(t + k s),    E[z; z <= 0] = phi(t) s R'(t),    E[z^2; z <= 0] = phi(t) v R''(t),

so the moments of ``exp(z) - 1`` on one side of the kink are the first and second *differences* of ``R`` with step
``s``, and those of ``z`` are their limits of step zero.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import elementary
from jnorm._ground.mills import differences


class Sides(NamedTuple):
    """Moments on the two sides of the kink in standard units; the far side is the one away from the mean.

    Attributes:
        scale: The standard deviation, ``s = sqrt(v)``.
        above: Whether the mean lies above the kink, or just below it.
        narrow: Whether the mean is above the kink, or narrow enough below it to continue the exponential across.
        tail: ``P(z on the far side)``.
        tail1: ``E|z|`` there, over ``s``.
        tail2: ``E[z^2]`` there, over ``v``.
        exp1: ``E[exp(z) - 1]`` there over ``s``, negated where the mean is below (steps then point away from the kink).
        exp2: ``E[(exp(z) - 1)^2]`` there, over ``v``.
        grow1: ``E[exp(z); z <= 0]``.
        grow2: ``E[exp(2 z); z <= 0]``.
    """

    scale: jax.Array
    above: jax.Array
    narrow: jax.Array
    tail: jax.Array
    tail1: jax.Array
    tail2: jax.Array
    exp1: jax.Array
    exp2: jax.Array
    grow1: jax.Array
    grow2: jax.Array


def sides(mean: jax.Array, var: jax.Array) -> Sides:
    """The moments of ``z ~ N(mean, var)`` on both sides of zero; ``var`` may be zero or NaN."""
    zero = var == 0
    safe = jnp.where(zero, 1.0, var)
    root = jnp.sqrt(safe)
    scale = jnp.where(zero, 0.0, root)
    reach = math.sqrt(-2 * math.log(jnp.finfo(var.dtype).tiny))  # beyond it the density underflows
    near = jnp.clip(mean, -reach * root, reach * root)
    density = jnp.where(zero, 0.0, elementary.exp(-near * near / (2 * safe)) / math.sqrt(2 * math.pi))
    above = mean > -scale / 4
    distance = jnp.where(zero, reach, jnp.where(above, near, -near) / root)
    narrow = above | (scale < 0.6) | ((distance >= 2 * scale) & (scale < 4))
    steps = [distance + k * jnp.where(above, scale, -scale) for k in (1, 2)]
    # A wide Gaussian below the kink takes steps far beyond -1: fold them, R(-x) = sqrt(2 pi) exp(x^2 / 2) - R(x).
    folded = [~narrow & (x < 0) for x in steps]
    ratio = differences(distance, *(jnp.where(f, -x, x) for f, x in zip(folded, steps, strict=True)))

    def grow(k: int, r: jax.Array, fold: jax.Array) -> jax.Array:
        own = above | fold
        whole = elementary.exp(k * jnp.where(own, 0.0, mean)) * elementary.exp(k * k / 2 * jnp.where(own, 0.0, var))
        return jnp.where(own, density * r, whole - density * r)

    return Sides(
        scale=scale,
        above=above,
        narrow=narrow,
        tail=density * ratio.r0,
        tail1=-density * ratio.r00,
        tail2=2 * density * ratio.r000,
        exp1=density * ratio.r01,
        exp2=2 * density * ratio.r012,
        grow1=grow(1, ratio.r1, folded[0]),
        grow2=grow(2, ratio.r2, folded[1]),
    )


def continued(p: Sides, mean: jax.Array, var: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance in the lanes whose exponential is continued across the kink, zero in the others."""
    return jnp.where(p.above, 0.0, mean), jnp.where(p.narrow & ~p.above, var, 0.0)
