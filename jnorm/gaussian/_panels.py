"""Gauss-Legendre panels between kinks, in blocks of nodes that a loop visits one after the other."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

REACH = 8.5  # standard deviations on either side of the mean: the mass outside is 2e-17


@lru_cache
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule on [-1, 1]."""
    return np.polynomial.legendre.leggauss(count)


def blocks(count: int, size: int, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of a rule, ``[turn, size, 1, ...]`` to go with arrays ``[size, *like.shape]``."""
    shape = (-1, size, *(1,) * like.ndim)
    nodes, weights = legendre(count)
    return jnp.asarray(nodes, like.dtype).reshape(shape), jnp.asarray(weights, like.dtype).reshape(shape)


def density(x: jax.Array) -> jax.Array:
    """The standard normal density."""
    return jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def splits(kinks: Sequence[float], mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Kinks in standard units, ``[k, ...]``, clipped to the reach; zero where the scale is zero."""
    positive = jnp.where(scale == 0, 1.0, scale)[None]
    bound = REACH * jnp.abs(positive)  # clipped before the division, so that derivatives stay finite
    places = jnp.asarray(sorted(kinks), mean.dtype).reshape(-1, *(1,) * mean.ndim)
    return jnp.clip(places - mean[None], -bound, bound) / positive


def panels(inner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centres and half widths ``[k + 1, ...]`` of the panels that sorted points ``[k, ...]`` cut the reach into."""
    edges = jnp.pad(inner, [(1, 1)] + [(0, 0)] * (inner.ndim - 1), constant_values=((-REACH, REACH),))
    return (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2


def total(terms: Callable[[Any], Any], turns: Any) -> Any:
    """The sum of ``terms(turn)`` over the leading axis of ``turns``; its derivatives keep no turn's values."""
    terms = jax.checkpoint(terms, prevent_cse=False)
    like = jax.eval_shape(terms, jax.tree.map(lambda a: a[0], turns))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    return lax.scan(lambda sums, turn: (jax.tree.map(jnp.add, sums, terms(turn)), None), zeros, turns)[0]


def elementwise(points: jax.Array, values: ArrayLike) -> jax.Array:
    """What an integrand made of the points, in their dtype; ``ValueError`` where it changed their shape."""
    values = jnp.asarray(values)
    if values.shape != points.shape:
        raise ValueError(f"`f` must act elementwise; got shape {values.shape} for points of shape {points.shape}")
    return values.astype(points.dtype)
