"""Products ``g(u) h(v)`` of smooth functions at high correlations: the trapezoid rule on a lattice.

In standard units ``y = r x + c w``, with the correlation ``r`` and ``c = sqrt(1 - r^2)``. On nodes ``x = i d / r`` and
``y = j d`` the density of ``y`` given ``x`` is a number of ``j - i``, so that functions and exponentials are computed
on one dimension alone. The rule converges as fast as analytic functions are smooth, and every second node of it says
whether it has.
"""

import math

import jax
import jax.numpy as jnp

from jnorm._ground import elementary
from jnorm.gaussian._panels import at_points, density
from jnorm.gaussian._products import MODERATE, Function

SPACING = {4: 0.22, 8: 0.15}
"""Of the nodes ``y``, by bytes of the dtype."""
RANGE = {4: 7.0, 8: 8.5}
"""Standard deviations that the nodes reach: the mass outside is 3e-12 and 2e-17."""
NARROWEST = {4: 1.28, 8: 1.7}
"""Spacings that ``c`` has at least: every second node integrates a Gaussian of that to ``2 exp(-(pi c/spacing)^2/2)``,
6e-4 and 1.3e-6, and all of them to the fourth power of it."""
AGREEMENT = {4: 1e-3, 8: 5e-6}
"""How far the rule may be from that of every second node, beside ``sqrt(E[g^2] E[h^2])``: its error is the square."""

Pair = tuple[jax.Array, jax.Array]


def are_high(cov: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The lanes that the lattice can serve: beyond moderate correlations, and not too near to one."""
    cuu, cuv, cvv = cov
    size = cuu.dtype.itemsize
    inside = cuv * cuv <= (1 - (NARROWEST[size] * SPACING[size]) ** 2) * cuu * cvv
    return (cuu > 0) & (cvv > 0) & (cuv * cuv >= MODERATE**2 * cuu * cvv) & inside


def on_a_lattice(
    pair: tuple[Function, Function], mean: Pair, cov: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The expectation where correlations are high, and where it is exact; elsewhere numbers without meaning.

    Args:
        pair: The functions ``g`` and ``h``.
        mean: Of ``u`` and of ``v``.
        cov: The variance of ``u``, the covariance, the variance of ``v``.

    Returns:
        ``E[g(u) h(v)]``, and whether the rule has converged.
    """
    good = are_high(cov)
    cuu, cuv, cvv = (jnp.where(good, part, safe)[None] for part, safe in zip(cov, (1.0, 0.9, 1.0), strict=True))
    correlation = cuv / (jnp.sqrt(cuu) * jnp.sqrt(cvv))
    narrow = jnp.sqrt((1 - correlation) * (1 + correlation))
    size = cuu.dtype.itemsize
    step, reach = SPACING[size], RANGE[size]
    count, lags = math.ceil(reach / step), math.ceil(reach * math.sqrt(1 - MODERATE**2) / step)
    numbers = lambda first, last: jnp.arange(first, last + 1, dtype=cuu.dtype).reshape(-1, *(1,) * (cuu.ndim - 1))
    y = step * numbers(-count, count)
    x = y / correlation
    g, h = (at_points(pair[i], 1)(mean[i][None] + jnp.sqrt(var) * z) for i, (var, z) in enumerate(((cuu, x), (cvv, y))))
    of_x, around = g * density(x), jnp.pad(h, [(lags, lags)] + [(0, 0)] * (cuu.ndim - 1))
    beside = lambda lag: around[lags + lag : lags + lag + 2 * count + 1]
    weights = elementary.exp(-((step * numbers(0, lags) / narrow) ** 2) / 2)
    inner = [weights[:1] * h, jnp.zeros_like(h)]  # by even and by odd differences of the numbers; one kernel
    for lag in range(1, lags + 1):
        inner[lag % 2] += weights[lag : lag + 1] * (beside(lag) + beside(-lag))
    cell = step * step / (jnp.abs(correlation) * narrow * math.sqrt(2 * math.pi))[0]
    fine = cell * jnp.sum(of_x * (inner[0] + inner[1]), 0)
    coarse = 4 * cell * jnp.sum((of_x * inner[0])[count % 2 :: 2], 0)
    squares = jnp.sum(g * of_x, 0) * jnp.sum(h * h * density(y), 0) / jnp.abs(correlation)[0]
    return fine, good & (jnp.abs(fine - coarse) <= AGREEMENT[size] * step * jnp.sqrt(squares))
