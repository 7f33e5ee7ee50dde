"""The share of eigenvalues below a number, with a band that holds for all numbers at once."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks, keys, nodes
from jnorm.measure.curvature._lanczos import quadrature
from jnorm.measure.curvature._operators import DENSE, Operator, flat


class Band(NamedTuple):
    """A function of x with a band around it.

    Attributes:
        value: The estimate.
        low: The lower end.
        high: The upper end.
    """

    value: jax.Array
    low: jax.Array
    high: jax.Array


@nodes.register
@dataclass(frozen=True)
class Density:
    """The distribution of an operator's eigenvalues.

    Attributes:
        nodes: Nodes [probes, order], the smallest first; or all eigenvalues [1, size].
        weights: The share of each.
        margin: What random probes may be off by, at the level that was asked for, anywhere.
        size: How many eigenvalues there are.
        exact: Whether these are the eigenvalues.
    """

    nodes: jax.Array
    weights: jax.Array
    margin: jax.Array
    size: int = field(metadata={"static": True})
    exact: bool = field(metadata={"static": True})

    def cumulative(self, x: ArrayLike) -> Band:
        """The share of eigenvalues that are at most x, of x's shape, and the band in which it is for all x at once."""
        return _cumulative(self, jnp.asarray(x, self.nodes.dtype))


def spectral_density(
    operator: Operator,
    key: jax.Array | None = None,
    *,
    probes: int = 8,
    order: int = 64,
    level: float = 0.95,
) -> Density:
    """The distribution of the eigenvalues, ``N(x) = #{eigenvalues <= x} / size``, as a function with a band.

    A random unit vector v gives the measure ``sum_i (q_i . v)^2 delta(eigenvalue_i)``, and Lanczos its Gauss quadrature
    without taking it apart. Between two nodes the measure's distribution function is at least the weights before the
    lower node, and at most those up to the upper one (Chebyshev, Markov, Stieltjes): no smoothing, no guess. What is
    left is that v is random: its measure is N with increments of a Dirichlet law, whose largest deviation is that of
    Kolmogorov's bridge, ``sqrt(2 / (size probes))`` times its quantile. The band is the mean of the brackets, widened
    by that; it holds for all x at once, at the level and slightly above. Up to 2 000 parameters N is exact.
    Source: Golub and Meurant 2010, Matrices, moments and quadrature; Ghorbani et al. 2019 (arXiv 1901.10159).

    Args:
        operator: The operator.
        key: A random key; None: ``jax.random.key(0)``.
        probes: Random vectors.
        order: Products for each, at most the size.
        level: Probability with which the whole of N is inside the band.

    Returns:
        The density.

    Raises:
        ValueError: Counts below 1, an ``order`` above the size, a level outside (0, 1).

    >>> from jnorm.measure.curvature import operator
    >>> eigenvalues = jnp.array([-1.0, 0.0, 0.0, 2.0])
    >>> spectral_density(operator(lambda v: eigenvalues * v, jnp.zeros(4)), order=4).cumulative(0.5).value
    Array(0.75, dtype=float32)
    """
    from scipy.special import kolmogi

    checks.whole(1, probes=probes, order=order)
    checks.require(lambda p: (p > 0) & (p < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    size = operator.size
    if order > size:
        raise ValueError(f"`order` must be at most the {size} parameters; got {order}")
    if size <= DENSE:
        return _exact(operator)
    margin = float(kolmogi(1 - level)) * (2 / (size * probes)) ** 0.5
    key = keys.stream(jax.random.key(0) if key is None else key, "measure.density")
    return _sampled(operator, key, margin, probes, order)


@jax.jit
def _exact(operator: Operator) -> Density:
    values = jnp.linalg.eigvalsh(operator.dense())[None]
    return Density(values, jnp.full_like(values, 1 / values.size), jnp.zeros((), values.dtype), operator.size, True)


@partial(jax.jit, static_argnames=("probes", "order"))
def _sampled(operator: Operator, key: jax.Array, margin: ArrayLike, probes: int, order: int) -> Density:
    matvec, _ = flat(operator)
    dtype = jnp.result_type(*jax.tree.leaves(operator.like))

    def probe(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, rest = jax.random.split(key)
        return quadrature(matvec, jax.random.normal(first, (operator.size,), dtype), rest, order)

    points, weights = lax.map(probe, jax.random.split(key, probes))
    return Density(points, weights, jnp.asarray(margin, dtype), operator.size, False)


@jax.jit
def _cumulative(density: Density, x: jax.Array) -> Band:
    totals = jnp.pad(jnp.cumsum(density.weights, 1), ((0, 0), (1, 0)))
    order = density.nodes.shape[1]

    def bracket(points: jax.Array, total: jax.Array) -> tuple[jax.Array, jax.Array]:
        below = jnp.searchsorted(points, x, side="right")
        step = 0 if density.exact else 1
        return total[jnp.maximum(below - step, 0)], total[jnp.minimum(below + step, order)]

    low, high = (jnp.mean(end, 0) for end in jax.vmap(bracket)(density.nodes, totals))
    bad = jnp.isnan(jnp.sum(density.nodes)) | jnp.isnan(x)
    ends = (low + high) / 2, jnp.maximum(low - density.margin, 0), jnp.minimum(high + density.margin, 1)
    return Band(*(jnp.where(bad, jnp.nan, end) for end in ends))
