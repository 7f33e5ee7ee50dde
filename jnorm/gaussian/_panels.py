"""Gauss-Legendre panels between kinks, all of whose nodes are evaluated together, or in blocks where they are many."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
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
Static = tuple[float, ...] | None


def static(kinks: Sequence[float] | None) -> Static:
    """Kinks as a part that is compared by value."""
    return None if kinks is None else tuple(map(float, kinks))


@lru_cache
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule on [-1, 1]."""
    return np.polynomial.legendre.leggauss(count)


def blocks(count: int, like: jax.Array, each: int) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of a rule, ``[turn, 1, node, 1, ...]``, to go with ``[panel, node, ...]`` for panels ``like``.

    A turn takes as many nodes as divide ``count`` and need at most `SIZE` values, where a node needs ``each``: all of
    them, if it can.
    """
    size = max((n for n in range(1, count + 1) if count % n == 0 and n * each <= SIZE), default=1)
    nodes, weights = (jnp.asarray(a, like.dtype) for a in legendre(count))
    shape = (count // size, 1, size, *(1,) * (like.ndim - 1))
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


def total(terms: Callable[[Any], Any], turns: Any) -> Any:
    """The sum of ``terms(turn)`` over the leading axis of ``turns``; its derivatives keep no turn's values."""
    terms = jax.checkpoint(terms, prevent_cse=False)
    first = jax.tree.map(lambda a: a[0], turns)
    if len(jax.tree.leaves(turns)[0]) == 1:
        return terms(first)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(terms, first))
    return lax.scan(lambda sums, turn: (jax.tree.map(jnp.add, sums, terms(turn)), None), zeros, turns)[0]


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
