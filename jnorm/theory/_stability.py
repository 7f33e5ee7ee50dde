"""Jacobian, spectral radius and largest singular value of a layer map at a point."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnorm.theory._lifting import lift, settle
from jnorm.theory._parts import MomentMap, Moments


class Stability(NamedTuple):
    """How a layer map acts near a point.

    Attributes:
        jacobian: Derivatives ``[..., output, input]`` in the order (mean, var).
        spectral_radius: The largest absolute eigenvalue ``[...]``; a fixed point attracts where it is below one.
        singular_value: The largest singular value ``[...]``; a layer brings all nearby points closer where it is.
    """

    jacobian: jax.Array
    spectral_radius: jax.Array
    singular_value: jax.Array


def stability(layer_map: MomentMap, point: Moments) -> Stability:
    """How a layer map acts near a point: its Jacobian ``J``, spectral radius ``max |eigenvalue|`` and 2-norm.

    For ``J = [[a, b], [c, d]]`` with ``h = (a + d) / 2`` and ``q = (a - d)^2 / 4 + b c`` the radius is
    ``|h| + sqrt(q)``, or ``sqrt(h^2 - q)`` where ``q < 0`` (a complex pair), and the largest singular value is half of
    ``sqrt((a + d)^2 + (b - c)^2) + sqrt((a - d)^2 + (b + c)^2)``: sums of like signs, which do not cancel. Their
    derivatives are finite: where a square root vanishes (a double eigenvalue, a multiple of a rotation or reflection)
    its own is taken as zero. Source: Klambauer et al. 2017, definition 1 and lemma 5.

    Args:
        layer_map: The map.
        point: Where it is judged, a fixed point or not.

    Returns:
        Jacobian, spectral radius and largest singular value.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.moments import layer_map
    >>> near = stability(layer_map(selu, omega=1.0), Moments(0.0, 1.0))
    >>> round(float(near.spectral_radius), 4), round(float(near.singular_value), 4)
    (1.0768, 1.1109)
    """
    settled, like = settle(layer_map, point)
    return _judged(settled, point, like)


@partial(jax.jit, static_argnames="like")
def _judged(layer_map: MomentMap, point: Moments, like: jax.ShapeDtypeStruct) -> Stability:
    f, x = lift(layer_map, point, like)
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
    return Stability(*(value.astype(like.dtype) for value in (jacobian, size * radius, size * norm)))


def _sqrt(x: jax.Array) -> jax.Array:
    """Square root whose derivative at zero is taken as zero."""
    return jnp.where(x == 0, 0, jnp.sqrt(jnp.where(x == 0, 1, x)))
