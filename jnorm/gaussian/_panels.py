"""Gauss-Legendre panels between kinks, all of whose nodes are evaluated together, or in blocks where they are many."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import elementary

REACH = 8.5  # standard deviations on either side of the mean: the mass outside is 2e-17
PAIR_NODES = 56  # of a panel in two dimensions, outside and inside
SIZE = 2**17  # values of an integrand (nodes times points) that are computed at a time
IN_PAIRS = 2**13, SIZE
"""The same in two dimensions, on a CPU, whose caches hold these, and elsewhere, where each time is a launch."""
Static = tuple[float, ...] | None


def static(kinks: Sequence[float] | None) -> Static:
    """Kinks as a part that is compared by value."""
    return None if kinks is None else tuple(map(float, kinks))


@lru_cache
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule on [-1, 1]."""
    return np.polynomial.legendre.leggauss(count)


def quadrature(count: int, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of the rule, ``[1, node, 1, ...]``, to go with ``[panel, node, ...]`` for panels ``like``."""
    nodes, weights = (jnp.asarray(a, like.dtype) for a in legendre(count))
    shape = (1, count, *(1,) * (like.ndim - 1))
    return nodes.reshape(shape), weights.reshape(shape)


def density(x: jax.Array) -> jax.Array:
    """The standard normal density."""
    return elementary.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def splits(places: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Sorted kinks ``[k, ...]`` in standard units, clipped to the reach; zero where the scale is zero."""
    positive = jnp.where(scale == 0, 1.0, scale)[None]
    bound = REACH * jnp.abs(positive)  # clipped before the division, so that derivatives stay finite
    return jnp.clip(places - mean[None], -bound, bound) / positive


def panels(inner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centres and half widths ``[k + 1, ...]`` of the panels that sorted points ``[k, ...]`` cut the reach into."""
    edges = jnp.pad(inner, [(1, 1)] + [(0, 0)] * (inner.ndim - 1), constant_values=((-REACH, REACH),))
    return (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2


def total(
    terms: Callable[[Any], Any], nodes: Any, each: int, *, axis: int = 1, most: tuple[int, int] = (SIZE, SIZE)
) -> Any:
    """The sum of ``terms(block)`` over blocks of arrays ``nodes`` along an axis; derivatives keep no block's values.

    A block has as many nodes as divide their number and need at most so many values, on a CPU and elsewhere, where a
    node needs ``each``: all of them, if it can.
    """
    terms = jax.checkpoint(terms, prevent_cse=False)
    count = jax.tree.leaves(nodes)[0].shape[axis]
    sizes = [max((n for n in range(1, count + 1) if count % n == 0 and n * each <= limit), default=1) for limit in most]

    def split(size: int, a: jax.Array) -> jax.Array:
        return jnp.moveaxis(a.reshape(*a.shape[:axis], -1, size, *a.shape[axis + 1 :]), axis, 0)

    def by(size: int, nodes: Any) -> Any:
        if size == count:
            return terms(nodes)
        turns = jax.tree.map(partial(split, size), nodes)
        first = jax.tree.map(lambda a: a[0], turns)
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(terms, first))
        return lax.scan(lambda sums, turn: (jax.tree.map(jnp.add, sums, terms(turn)), None), zeros, turns)[0]

    if len(set(sizes)) == 1:
        return by(sizes[0], nodes)
    return lax.platform_dependent(nodes, cpu=partial(by, sizes[0]), default=partial(by, sizes[1]))


def summed(values: jax.Array, lead: int) -> jax.Array:
    """The sum over the ``lead`` first axes, as a product: long sums take a CPU ten times as long."""
    return jnp.tensordot(jnp.ones(values.shape[:lead], values.dtype), values, lead, precision=lax.Precision.HIGHEST)


def at_points(f: Callable[..., Any], lead: int) -> Callable[..., Any]:
    """An integrand of points ``[1, *shape]`` as one of points with ``lead`` axes before ``shape``.

    It is mapped, so that one trace of it serves any number of nodes. Raises ``ValueError`` where it changes the shape.
    """

    def one(*point: jax.Array) -> Any:
        z = [a[None] for a in point]
        return jax.tree.map(lambda v: elementwise(z[0], v)[0], f(*z))

    for _ in range(lead):
        one = jax.vmap(one)
    return one


def elementwise(points: jax.Array, values: ArrayLike) -> jax.Array:
    """What an integrand made of the points, in their dtype; ``ValueError`` where it changed their shape."""
    values = jnp.asarray(values)
    if values.shape != points.shape:
        raise ValueError(f"`f` must act elementwise; got shape {values.shape} for points of shape {points.shape}")
    return values.astype(points.dtype)
