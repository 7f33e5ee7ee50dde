"""Hermite coefficients of activations."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from jnorm._ground import callables, checks
from jnorm.gaussian._kinks import places
from jnorm.gaussian._panels import Static, at_points, density, panels, quadrature, splits
from jnorm.gaussian._single import LEAST, NODES
from jnorm.theory._parts import Activation, known_kinks

WIDE = 2.0
"""Deviation of the Gaussian that is integrated over, whose reach holds the zeros of all polynomials up to degree 64."""


def hermite(phi: Activation, degree: int, *, kinks: Sequence[float] | None = None) -> jax.Array:
    """The coefficients of an activation by normalized Hermite polynomials, ``a_k = E[phi(z) h_k(z)]``, ``z ~ N(0, 1)``.

    ``h_0 = 1``, ``h_1 = z``, ``sqrt(k + 1) h_{k+1} = z h_k - sqrt(k) h_{k-1}``, and ``E[phi^2]`` is the sum of all
    ``a_k^2``. The correlation map is the power series with the shares ``a_k^2 / E[phi^2]``: ``C(0)`` is that of the
    constant, ``C'(1)`` the mean degree and ``C''(1)`` that of ``k (k - 1)``. By quadrature split at the kinks; in
    float64 the error is below 1e-13 times ``sqrt(E[phi^2])``.
    Source: Daniely, Frostig and Singer 2016 (arXiv 1602.05897), section 4.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`. Arrays that are bound to it broadcast.
        degree: The last degree, at most 64.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Coefficients from degree 0 on, along a leading axis.

    Raises:
        ValueError: A ``degree`` that is not a whole number from 0 to 64, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu
    >>> [round(float(a), 4) for a in hermite(relu, 2)]  # 1 / sqrt(2 pi), 1 / 2, 1 / sqrt(4 pi)
    [0.3989, 0.5, 0.2821]
    """
    checks.whole(0, degree=degree)
    checks.require(lambda n: n <= 64, "`{}` must satisfy {} <= 64", degree=degree)
    leaves = jax.tree.leaves(callables.wrap(phi))
    shape, dtype = jnp.broadcast_shapes(*map(jnp.shape, leaves)), jnp.result_type(float, *leaves)
    like = jax.ShapeDtypeStruct((1, *shape), checks.wide(dtype))
    return _coefficients(callables.settle(phi, like, name="phi"), like, int(degree), known_kinks(phi, kinks)).astype(
        dtype
    )


@partial(jax.jit, static_argnames=("like", "degree", "kinks"))
def _coefficients(phi: Activation, like: jax.ShapeDtypeStruct, degree: int, kinks: Static) -> jax.Array:
    zero = jnp.zeros(like.shape[1:], like.dtype)
    at = places(phi, like, zero, zero + WIDE, kinks)
    center, radius = panels(splits(at, zero, zero + WIDE))
    nodes, weights = quadrature(max(NODES // (len(at) + 1), LEAST), center)
    z = WIDE * (center[:, None] + radius[:, None] * nodes)
    values = WIDE * radius[:, None] * weights * density(z) * at_points(phi, 2)(z)

    def next_degree(state: tuple[jax.Array, jax.Array], k: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        last, this = state
        return (this, (z * this - jnp.sqrt(k) * last) / jnp.sqrt(k + 1)), jnp.sum(values * this, (0, 1))

    start = jnp.zeros_like(z), jnp.ones_like(z)
    return jax.lax.scan(next_degree, start, jnp.arange(degree + 1, dtype=z.dtype))[1]
