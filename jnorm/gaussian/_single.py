"""Expectations under one Gaussian."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.gaussian._kinks import fixed, located, read
from jnorm.gaussian._limits import at_a_point, root
from jnorm.gaussian._panels import (
    Static,
    at_points,
    density,
    elementwise,
    panels,
    quadrature,
    splits,
    static,
    summed,
    total,
)
from jnorm.gaussian._pieces import DEGREE, expected, pieces

NODES = 256  # shared out over the panels, evenly and in sixteens
LEAST = 48  # of a panel, however many there are: most of them may be empty


def expectation(
    f: Callable[[jax.Array], Any], mean: ArrayLike, var: ArrayLike, *, kinks: Sequence[float] | None = None
) -> Any:
    """Mean of a function of a Gaussian, ``E[f(z)]``, ``z ~ N(mean, var)``.

    Every panel of the rule ends at a kink, and kinks are found if they are not given; 256 nodes are shared out evenly
    over the panels, and each has 48 at least. A polynomial of degree two at most between its kinks is recognized, and
    its expectation computed in closed form.

    The error is below ``1e-10 * max(E[f^2], 1e-3)`` in float64 for each elementwise function of `jnorm.activations`,
    its square and the square of its derivative, on the domain ``|mean| <= 10``, ``sqrt(var) <= 10``; in float32 it is a
    few roundings of ``max |f|`` over the points. Derivatives by ``mean``, ``var`` and whatever ``f`` closes over are
    those of the integral, the motion of the kinks through the density included. ``var = 0`` gives ``f(mean)`` to
    rounding, and the derivative by ``var`` there is its limit ``f''(mean)/2``, infinite where ``f'`` jumps at the mean.

    Args:
        f: The integrand; it may return several arrays, in any pytree, and then so does the expectation.
        mean: Mean of ``z``.
        var: Variance of ``z``.
        kinks: Where ``f`` is not analytic. ``None`` reads them from the program of ``f``, as `kinks` does, those at
            traced places too.

    Returns:
        The expectation, of the shape of ``mean`` broadcast against ``var``.

    Raises:
        ValueError: A known negative ``var``, shapes that do not broadcast, or an ``f`` that is not elementwise.
        TypeError: Complex or boolean input, or an ``f`` that needs concrete numbers.

    >>> expectation(lambda z: jnp.maximum(z, 0.0), 0.0, 1.0).round(6)  # 1 / sqrt(2 pi)
    Array(0.398942, dtype=float32)
    """
    settled = callables.settle(f, _points(mean, var))
    return _expectation(settled, mean, var, static(kinks))


def moments(
    f: Callable[[jax.Array], jax.Array], mean: ArrayLike, var: ArrayLike, *, kinks: Sequence[float] | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of a function of a Gaussian, ``E[f(z)]`` and ``E[(f(z) - E[f(z)])^2]``, ``z ~ N(mean, var)``.

    One pass of `expectation`, centred on values that ``f`` takes. Never negative; what rounds in ``f`` itself stays, so
    that a variance far below ``(eps max |f|)^2`` is lost.

    Args:
        f: The integrand.
        mean: Mean of ``z``.
        var: Variance of ``z``.
        kinks: Where ``f`` is not analytic. ``None`` reads them from the program of ``f``, as `kinks` does, those at
            traced places too.

    Returns:
        Mean and variance, of the shape of ``mean`` broadcast against ``var``.

    Raises:
        ValueError: As `expectation`.
        TypeError: As `expectation`.

    >>> first, second = moments(lambda z: 1e3 + z, 1.0, 4.0)
    >>> f"{first:.2f} {second:.3f}"
    '1001.00 4.000'
    """
    settled = callables.settle(f, _points(mean, var))
    return _moments(settled, mean, var, static(kinks))


def _points(mean: ArrayLike, var: ArrayLike) -> jax.ShapeDtypeStruct:
    """What the points look like that an integrand is called with."""
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=var)
    like = jax.eval_shape(_wide, mean, var)[0]
    return jax.ShapeDtypeStruct((1, *like.shape), like.dtype)


@jax.jit  # whose traces are kept, so that the second look costs nothing
def _wide(mean: ArrayLike, var: ArrayLike) -> tuple[jax.Array, ...]:
    return checks.wide_floats(mean=mean, var=var)[1]


@partial(jax.jit, static_argnames="kinks")
def _expectation(f: Callable[[jax.Array], Any], mean: ArrayLike, var: ArrayLike, kinks: Static) -> Any:
    dtype, (mean, var) = checks.wide_floats(mean=mean, var=var)
    return jax.tree.map(lambda a: a.astype(dtype), _integral(f, f, mean, var, kinks))


@partial(jax.jit, static_argnames="kinks")
def _moments(f: Any, mean: ArrayLike, var: ArrayLike, kinks: Static) -> Any:
    dtype, (mean, var) = checks.wide_floats(mean=mean, var=var)
    # Any center gives the same result; this one is within a few deviations of E[f], so that nothing cancels.
    sides = [mean - jnp.sqrt(var), mean + jnp.sqrt(var)]
    center = jax.lax.stop_gradient(sum(at_points(f, 0)(z) for z in sides) / 2)

    first, second = _integral(jax.tree_util.Partial(_centred, f, center), f, mean, var, kinks, power=2)
    spread = second - first * first
    # Not a maximum, whose derivative is halved where the variance is zero.
    return (center + first).astype(dtype), jnp.where(spread < 0, 0.0, spread).astype(dtype)


def _centred(f: Callable[[jax.Array], jax.Array], center: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    gap = elementwise(z, f(z)) - jnp.broadcast_to(center, z.shape)
    return gap, gap * gap


def _integral(f: Any, kinked: Any, mean: jax.Array, var: jax.Array, kinks: Static, power: int = 1) -> Any:
    """The expectation of ``f``, whose kinks, if they are not given, are those of ``kinked``, and degree its power."""
    scale, degree = root(var), None
    if kinks is None:
        point = jax.ShapeDtypeStruct((1, *mean.shape), mean.dtype)
        found = read(kinked, (point,))
        at, degree = located(found, point, mean, scale), found.degree
    else:
        at = fixed(kinks, mean)
    edge = at_a_point(at, f, mean, var)
    if degree is not None and degree * power <= DEGREE:
        parts, tree = pieces(f, at, mean, scale, degree * power)
        within = jax.tree.unflatten(tree, expected(parts, mean, scale))
        at_mean = at_points(f, 0)(mean)
        return jax.tree.map(lambda a, b, zero: jnp.where(scale == 0, b, a) + zero, within, at_mean, edge)
    center, radius = panels(splits(at, mean, scale))

    def terms(block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        """Weights and weighted values, summed over a block [panel, node, ...]."""
        nodes, weights = block
        x = center[:, None] + radius[:, None] * nodes
        weights = radius[:, None] * weights * density(x)
        values = at_points(f, 2)(mean[None, None] + scale[None, None] * x)
        return summed(weights, 2), jax.tree.map(lambda a: summed(weights * a, 2), values)

    count = max(NODES // (len(at) + 1) // 16 * 16, LEAST)
    mass, sums = total(terms, quadrature(count, center), center.size)
    return jax.tree.map(lambda a, zero: a / mass + zero, sums, edge)
