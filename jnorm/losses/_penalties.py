"""Penalties of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import paths
from jnorm.losses._examples import floating, program, wide


def l1_penalty(params: Any, *, where: paths.Where = None) -> jax.Array:
    """``sum |w|`` over the chosen leaves of a pytree, in at least float32; its derivative is sign(w), 0 at 0.

    Args:
        params: A pytree.
        where: A path prefix, several, or a predicate on path and leaf (`jnorm.paths`); ``None`` takes every leaf.

    Returns:
        A scalar.

    Raises:
        ValueError: For a path that chooses no leaf.
        TypeError: For a chosen leaf that holds no floats.

    >>> l1_penalty({"dense": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.ones(3)}}, where="dense/kernel")
    Array(3., dtype=float32)
    """
    return _absolute_sum(_chosen(params, where))


@program
def _absolute_sum(leaves: list[jax.Array]) -> jax.Array:
    # JAX's abs has derivative 1 at 0, which would push exact zeros away.
    return _total([jnp.sum(w * jnp.sign(w)) for w in map(wide, leaves)])


def l2_penalty(params: Any, *, where: paths.Where = None) -> jax.Array:
    """``sum w^2 / 2`` over the chosen leaves of a pytree, in at least float32, so that its gradient is w.

    Under plain gradient descent, a rate times it is weight decay of that rate.

    Args:
        params: A pytree.
        where: A path prefix, several, or a predicate on path and leaf (`jnorm.paths`); ``None`` takes every leaf.

    Returns:
        A scalar.

    Raises:
        ValueError: For a path that chooses no leaf.
        TypeError: For a chosen leaf that holds no floats.

    >>> l2_penalty({"kernel": jnp.array([1.0, -2.0]), "bias": jnp.ones(3)}, where=lambda path, leaf: path != "bias")
    Array(2.5, dtype=float32)
    """
    return _half_square_sum(_chosen(params, where))


@program
def _half_square_sum(leaves: list[jax.Array]) -> jax.Array:
    return _total([jnp.sum(jnp.square(w) / 2) for w in map(wide, leaves)])


def _chosen(params: Any, where: paths.Where) -> list[jax.Array]:
    hits = jax.tree.leaves(paths.mask(params, where))
    return [floating(params=w) for w, hit in zip(jax.tree.leaves(params), hits, strict=True) if hit]


def _total(parts: list[jax.Array]) -> jax.Array:
    """Their sum from the left, in the widest dtype so far and in at least float32."""
    total = jnp.zeros((), jnp.float32)
    for part in parts:
        dtype = np.promote_types(total.dtype, part.dtype)
        total = total.astype(dtype) + part.astype(dtype)
    return total
