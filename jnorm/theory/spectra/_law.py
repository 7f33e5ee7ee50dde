"""The law of a layer's squared slopes ``sigma_w^2 phi'(z)^2`` where its length stays, as nodes and weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.gaussian import places
from jnorm.gaussian._panels import REACH, at_points, density, panels, quadrature, splits
from jnorm.theory._leaps import leaps
from jnorm.theory._parts import Activation
from jnorm.theory.meanfield import Dense, dense, inner

PANELS = 8  # besides those that end at kinks
BENDS = (4.0, 8.0)  # within which activations bend, panels of their own where the length is large
NODES = 32  # of a panel
WEIGHTS = ("gaussian", "orthogonal")


class Law(NamedTuple):
    """Values and their probabilities.

    Attributes:
        value: Squared slopes divided by their mean, ``[node, ...]``.
        weight: Probabilities, alike.
        log_mean: Logarithm of the mean, ``[...]``.
    """

    value: jax.Array
    weight: jax.Array
    log_mean: jax.Array

    def mean(self, f: jax.Array) -> jax.Array:
        """The mean of a function of the value that is given at the nodes."""
        return jnp.sum(self.weight * f, 0)


def law(layer: Dense, q: jax.Array, nodes: int = NODES) -> Law:
    """Inside a program: the law at a length, of so many nodes a panel.

    Args:
        layer: The layer, spread.
        q: Its length.
        nodes: Of a panel.

    Returns:
        The law; where the mean slope is zero, that of a slope of one, with this mean.
    """
    zero, scale = jnp.zeros_like(q), jnp.sqrt(q)
    like = jax.ShapeDtypeStruct((1, *q.shape), q.dtype)
    at = splits(places(layer.phi, like, zero, scale, layer.kinks), zero, scale)
    even = jnp.linspace(-REACH, REACH, PANELS + 1, dtype=q.dtype)[1:-1].reshape(-1, *(1,) * q.ndim)
    bends = jnp.array([*BENDS, *(-z for z in BENDS)], q.dtype).reshape(-1, *(1,) * q.ndim)
    bends = jnp.clip(bends / jnp.where(scale > 0, scale, 1.0)[None], -REACH, REACH)
    edges = [at, jnp.broadcast_to(even, (PANELS - 1, *q.shape)), bends]
    center, radius = panels(jnp.sort(jnp.concatenate(edges), 0))
    points, weights = quadrature(nodes, center)
    x = center[:, None] + radius[:, None] * points
    flat = lambda a: a.reshape(-1, *q.shape)
    slope = _slope(layer.phi, flat(scale[None, None] * x))
    mass = flat(radius[:, None] * weights * density(x))
    mass = mass / jnp.sum(mass, 0)[None]
    square = slope * slope
    mean = jnp.sum(mass * square, 0)
    flatten = mean == 0
    value = jnp.where(flatten[None], 1.0, square / jnp.where(flatten, 1.0, mean)[None])
    log_mean = 2 * jnp.log(layer.sigma_w) + jnp.log(mean)
    jumps = leaps(layer.phi, zero, scale, layer.kinks)
    return Law(value, mass, log_mean if jumps is None else jnp.where(jumps, jnp.nan, log_mean))


def prepared(
    phi: Activation,
    depth: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike,
    weights: str,
    start: ArrayLike,
    kinks: Sequence[float] | None,
    **others: Any,
) -> tuple[Dense, ArrayLike]:
    """The layer that is settled for its numbers, and how much more than orthogonal weights Gaussian ones scatter."""
    checks.whole(1, depth=depth)
    checks.choice("weights", weights, WEIGHTS)
    layer = dense(phi, sigma_w, sigma_b, 0.0, kinks, start)
    return layer.settled(depth=depth, start=start, **others), float(weights == "gaussian")


def staying(layer: Dense, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inside a program: the length that stays, limits taken as `slopes` does, and zero, or NaN where it is NaN."""
    q = layer.stays(start)
    return inner(q), jnp.where(jnp.isnan(q), q, 0.0)


def _slope(phi: Activation, z: jax.Array) -> jax.Array:
    """The derivative at points ``[node, *shape]``."""
    return jax.jvp(at_points(phi, 1), (z,), (jnp.ones_like(z),))[1]
