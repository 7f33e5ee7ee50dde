"""Directions of parameters: random ones of a size that means something, and those that an optimizer took."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnorm._ground import checks, keys
from jnorm.measure.curvature._operators import real

NORMALIZATIONS = ("filter", "layer", "none")
"""How long random directions are."""


def random_direction(
    key: jax.Array, params: Any, *, normalize: str = "filter", axis: int = -1, vectors: bool = False
) -> Any:
    """A random direction of parameters, as long as they are.

    ``d = g |w| / |g|`` with g normal, for each slice along the axis of units ("filter"), for each array ("layer"), or
    ``d = g`` ("none"). The weights into a unit are a slice: of a kernel ``[..., in, out]``, dense or convolutional, the
    last axis counts units. What is zero has a direction that is zero.

    Scaling an array of weights scales its direction: where a network does not care (relu layers of which one is doubled
    and another halved, weights in front of batch norm), its picture does not.

    Args:
        key: A random key.
        params: A tree of floating arrays.
        normalize: One of `NORMALIZATIONS`.
        axis: The axis of units of arrays with two axes and more; 0 for PyTorch's and Equinox' layout.
        vectors: Whether arrays of one axis or none, biases and the scales of norms, move too; each is then one slice.

    Returns:
        A tree like the parameters.

    Raises:
        ValueError: An unknown normalization, or an axis that an array does not have.
        TypeError: ``params`` is no tree of floating arrays.

    >>> w = jnp.array([[3.0, 0.0], [4.0, 0.0], [0.0, 1.0]])
    >>> jnp.linalg.norm(random_direction(jax.random.key(0), w), axis=0).round(4).tolist()  # by units: columns
    [5.0, 1.0]
    """
    checks.choice("normalize", normalize, NORMALIZATIONS)
    leaves, structure = jax.tree.flatten(real(params=params))
    for leaf in leaves:
        if leaf.ndim > 1 and not -leaf.ndim <= axis < leaf.ndim:
            raise ValueError(f"`axis` must be one of every kernel; got {axis} for shape {leaf.shape}")
    drawn = jax.random.split(keys.typed(key), len(leaves))
    directions = [_direction(k, leaf, normalize, axis, vectors) for k, leaf in zip(drawn, leaves, strict=True)]
    return jax.tree.unflatten(structure, directions)


def _direction(key: jax.Array, leaf: jax.Array, normalize: str, axis: int, vectors: bool) -> jax.Array:
    if leaf.ndim < 2 and not vectors:
        return jnp.zeros_like(leaf)
    noise = jax.random.normal(key, leaf.shape, leaf.dtype)
    if normalize == "none":
        return noise
    units = {axis % leaf.ndim} if normalize == "filter" and leaf.ndim > 1 else set[int]()
    along = tuple(i for i in range(leaf.ndim) if i not in units)
    length = lambda a: jnp.sqrt(jnp.sum(jnp.square(a), along, keepdims=True))
    return noise * (length(leaf) / length(noise))


class PathPlane(NamedTuple):
    """The plane in which most of a path lies; its point (0, 0) is the end of the path.

    Attributes:
        center: The last parameters.
        first: The first principal direction, of length one; a tree.
        second: The second one.
        coordinates: Of each point of the path [points, 2].
        shares: Of the squared distances from the end, the part along each direction [2].
        walk: What a long random walk in many dimensions would have, (.81, .09): shares beside these say nothing.
    """

    center: Any
    first: Any
    second: Any
    coordinates: jax.Array
    shares: jax.Array
    walk: jax.Array


def path_plane(path: Any) -> PathPlane:
    """The plane of an optimizer's path: the end, and the two principal components of the distances from it.

    The eigenvectors of ``G_st = (w_s - w_T) . (w_t - w_T)``, of as many rows as there are points. The path's picture is
    its projection; a point lies on the surface that `plane` draws as far as the shares sum to one.

    High shares are not news: of a random walk that ends at the center they are ``2 / ((k - 1/2)^2 pi^2)``, which is
    81 % and 9 %. Source: Antognini, Sohl-Dickstein 2018 (arXiv 1806.08805), for walks about their mean.

    Args:
        path: A tree of floating arrays with the points of the path first, three at least.

    Returns:
        The plane.

    Raises:
        TypeError: ``path`` is no tree of floating arrays.
        ValueError: Fewer than three points, or leaves that have several numbers of them.

    >>> t = jnp.linspace(0.0, 1.0, 5)[:, None]
    >>> found = path_plane(jnp.concatenate([3 * (1 - t), 4 * (1 - t), 0 * t], 1))  # a straight path of length 5
    >>> [f"{abs(c):.2f}" for c in found.coordinates[:, 0]], f"{found.shares[0]:.2f}"
    (['5.00', '3.75', '2.50', '1.25', '0.00'], '1.00')
    """
    path = real(path=path)
    leaves = jax.tree.leaves(path)
    counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(counts) != 1 or min(counts) < 3:
        raise ValueError(f"`path` must hold three points at least, first in all leaves; got {sorted(counts)}")
    away = [(leaf - leaf[-1:]).reshape(len(leaf), -1) for leaf in leaves]
    product = lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
    gram = sum((product(a, a.T) for a in away), jnp.zeros((len(away[0]),) * 2, away[0].dtype))
    values, vectors = jnp.linalg.eigh(gram)
    values, vectors = jnp.maximum(values[::-1], 0), vectors[:, ::-1]
    roots = jnp.sqrt(values[:2])
    # A direction is what the points have along it; of what no point has, nothing is left but roundings.
    there = values[:2] > len(gram) * jnp.finfo(gram.dtype).eps * values[0]
    weights = jnp.where(there[None], vectors[:, :2] / jnp.where(there, roots, 1)[None], 0)
    of = lambda k: jax.tree.unflatten(
        jax.tree.structure(path),
        [product(weights[:, k], a).reshape(leaf.shape[1:]) for a, leaf in zip(away, leaves, strict=True)],
    )
    total = jnp.sum(values)
    shares = values[:2] / jnp.where(total == 0, 1, total)
    walk = jnp.asarray([8 / math.pi**2, 8 / (9 * math.pi**2)], gram.dtype)
    center = jax.tree.map(lambda leaf: leaf[-1], path)
    return PathPlane(center, of(0), of(1), vectors[:, :2] * jnp.where(there, roots, 0)[None], shares, walk)
