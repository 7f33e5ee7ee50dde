"""Activations whose tails fall as powers: quotients and roots."""

import jax
import jax.numpy as jnp

from jnorm.activations._elementwise import derivative, elementwise
from jnorm.activations._table import register


@register(kinks=(0.0,))
@elementwise
@derivative(lambda x: jnp.where(x <= 0, 1 - x, 1 + x) ** -2)
def softsign(x: jax.Array) -> jax.Array:
    """Slowly saturating sigmoid, f(x) = x/(1 + |x|), with f'(x) = 1/(1 + |x|)^2 (Bergstra et al. 2009).

    The second derivative jumps at 0: f''(0) = 2.

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> softsign(jnp.array([-1.0, 3.0]))
    Array([-0.5 ,  0.75], dtype=float32)
    """
    largest = float(jnp.finfo(x.dtype).max)
    x = jnp.clip(x, -largest, largest)
    return x / (1 + jnp.abs(x))


def _squareplus_root(x: jax.Array) -> jax.Array:
    """sqrt(x^2 + 4), without overflow."""
    return jnp.hypot(x, 2.0)


def _squareplus_third(x: jax.Array) -> jax.Array:
    root, largest = _squareplus_root(x), float(jnp.finfo(x.dtype).max)
    return -6 * (jnp.clip(x, -largest, largest) / jnp.minimum(root, largest)) / root**2 / root**2


@derivative(_squareplus_third)
def _squareplus_curvature(x: jax.Array) -> jax.Array:
    return 2 / _squareplus_root(x) ** 3


@derivative(_squareplus_curvature)
def _squareplus_slope(x: jax.Array) -> jax.Array:
    root, size = _squareplus_root(x), jnp.abs(x)
    small = 2 / (root * (root + size))  # of the side on which the slope goes to zero
    return jnp.where(x <= 0, small, 1 - small)


@register(kinks=(0.0,))
@elementwise
@derivative(_squareplus_slope)
def squareplus(x: jax.Array) -> jax.Array:
    """Algebraic softplus, f(x) = (x + sqrt(x^2 + 4))/2, with f'(x) = (1 + x/sqrt(x^2 + 4))/2 (Barron 2021, b = 4).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{squareplus(0.0):.4f} {squareplus(-1000.0):.4e}"
    '1.0000 1.0000e-03'
    """
    small = 2 / (_squareplus_root(x) + jnp.abs(x))
    return jnp.where(x <= 0, small, x + small)
