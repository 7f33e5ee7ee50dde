"""How far the first step of an optimizer goes."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import special

from jnorm.predict._backward import moves


def first_updates(
    optimizer: Any, params: Any, names: Sequence[str], variances: Sequence[float | None], squares: Sequence[Any]
) -> dict[str, float]:
    """Root mean squares of the first update, over those of the weight.

    The optimizer is run once, with the gradients and weights that are predicted: independent normal numbers whose mean
    squares are exact.

    Args:
        optimizer: Of Optax.
        params: A pytree of arrays.
        names: Paths of its leaves.
        variances: Of each leaf that of the weights, ``None`` where they are known.
        squares: Of each leaf by which there is a gradient its mean squares, of shapes that broadcast to the leaf's.
    """
    rng = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten(params)
    weights = [
        leaf if var is None else (math.sqrt(var) * _normal(rng, leaf.shape)).astype(leaf.dtype)
        for leaf, var in zip(leaves, variances, strict=True)
    ]
    left = iter(squares)
    slopes = [_slopes(rng, leaf, next(left)) if moves(leaf) else np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    weights, slopes = (jax.tree.unflatten(tree, flat) for flat in (weights, slopes))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as Optax needs
        updates = jax.tree.leaves(_step(optimizer, weights, slopes))
    return {
        name: _ratio(update, weight)
        for name, update, weight in zip(names, updates, jax.tree.leaves(weights), strict=True)
        if moves(weight)
    }


@functools.partial(jax.jit, static_argnums=0)
def _step(optimizer: Any, weights: Any, slopes: Any) -> Any:
    return optimizer.update(slopes, optimizer.init(weights), weights)[0]


def _slopes(rng: np.random.Generator, leaf: Any, square: np.ndarray) -> np.ndarray:
    size = np.broadcast_to(np.sqrt(square), leaf.shape)
    drawn = size * _normal(rng, leaf.shape)
    there = np.mean(np.square(drawn))
    return (drawn * (np.sqrt(np.mean(np.square(size)) / there) if there else 1.0)).astype(leaf.dtype)


def _normal(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Quantiles of the normal distribution in any order, of mean square one."""
    size = math.prod(shape)
    quantiles = special.ndtri((rng.permutation(size) + 0.5) / size) if size > 1 else np.ones(size)
    return (quantiles / np.sqrt(np.mean(np.square(quantiles)))).reshape(shape)


def _ratio(update: Any, weight: Any) -> float:
    above, below = (float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))) for x in (update, weight))
    return above / below if below else math.inf if above else math.nan
