"""Hermite coefficients of activations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from jnorm import gaussian
from jnorm._ground import callables, checks, nodes
from jnorm.gaussian._panels import static
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
    >>> [round(float(a), 4) for a in hermite(relu, 4)]  # 1 / sqrt(2 pi), 1 / 2, 1 / sqrt(4 pi), 0, ...
    [0.3989, 0.5, 0.2821, -0.0, -0.0814]
    """
    checks.whole(0, degree=degree)
    checks.require(lambda n: n <= 64, "`{}` must satisfy {} <= 64", degree=degree)
    wrapped = callables.wrap(phi)
    shape = jnp.broadcast_shapes(*(jnp.shape(leaf) for leaf in jax.tree.leaves(wrapped)))
    points = jnp.zeros(shape, jnp.result_type(float, *jax.tree.leaves(wrapped)))
    known = known_kinks(phi, kinks)
    found = gaussian.expectation(_Weighted(wrapped, int(degree)), points, WIDE**2, kinks=static(known))
    return jnp.stack(found)


@nodes.register
@dataclass(frozen=True, eq=False)
class _Weighted:
    """The products with all polynomials, times the density of N(0, 1) over that of N(0, WIDE^2)."""

    phi: Activation
    degree: int = field(metadata={"static": True})

    def __call__(self, z: jax.Array) -> list[jax.Array]:
        weighted = self.phi(z) * WIDE * jnp.exp(-z * z * (1 - WIDE**-2) / 2)
        last, this, products = jnp.zeros_like(z), jnp.ones_like(z), []
        for k in range(self.degree + 1):
            products.append(weighted * this)
            last, this = this, (z * this - math.sqrt(k) * last) / math.sqrt(k + 1)
        return products
