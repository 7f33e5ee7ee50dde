"""Mean, variance and ends of the squared singular values."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm.theory._parts import Activation, Moments
from jnorm.theory.meanfield import Dense
from jnorm.theory.spectra._law import NODES, Law, law, prepared, staying
from jnorm.theory.spectra._transform import edge


class Support(NamedTuple):
    """Where squared singular values are, arrays of one shape.

    Attributes:
        smallest: The smallest one.
        largest: The largest one.
        at_zero: Share of them that is zero.
        atom: A value that a share of them has, zero where there is none.
        at_atom: This share.
    """

    smallest: jax.Array
    largest: jax.Array
    at_zero: jax.Array
    atom: jax.Array
    at_atom: jax.Array


def moments(
    phi: Activation,
    *,
    depth: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    weights: str = "gaussian",
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> Moments:
    """Mean and variance of the squared singular values of the input-output Jacobian of a wide network.

    ``J = D_L W_L ... D_1 W_1`` with slopes ``D = diag(phi'(z))``, ``z ~ N(0, q)`` at the length q that stays. With
    ``x = phi'(z)^2`` the mean is ``chi^L``, ``chi = sigma_w^2 E[x]``, and the variance
    ``chi^(2 L) L (E[x^2] / E[x]^2 - 1 + g)``, ``g = 1`` for Gaussian weights and 0 for orthogonal ones.
    Source: Pennington, Schoenholz, Ganguli 2017 (arXiv 1711.04735), section 2.3; 2018 (arXiv 1802.09979), equation 22.

    Args:
        phi: The activation, ``kinks`` as in `jnorm.theory.moments`.
        depth: Layers L, at least one.
        sigma_w: Standard deviation of the weights times the root of the width; ``W^T W = sigma_w^2`` if orthogonal.
        sigma_b: Standard deviation of the biases.
        weights: ``"gaussian"`` or ``"orthogonal"``.
        start: Length at which the walk to the one that stays begins, as for `jnorm.theory.meanfield.length`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Mean and variance, NaN where no length stays.

    Raises:
        ValueError: A known ``depth`` that is not a whole number >= 1, ``weights`` of another name, or as
            `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import relu, tanh
    >>> [round(float(m), 2) for m in moments(relu, depth=10, sigma_w=2**0.5)]
    [1.0, 20.0]
    >>> [round(float(m), 4) for m in moments(tanh, depth=10, sigma_w=1.05, weights="orthogonal")]
    [1.0291, 0.1566]
    """
    layer, excess = prepared(phi, depth, sigma_w, sigma_b, weights, start, kinks)
    return _moments(layer, depth, start, excess)


def support(
    phi: Activation,
    *,
    depth: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    weights: str = "gaussian",
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> Support:
    """The extreme squared singular values of the Jacobian of a wide network, and its atoms.

    The largest is where the inverse of the moment transform turns. Slopes of zero (`relu`) give singular values of
    zero. Under orthogonal weights a slope that more than ``1 - 1/L`` of the units share gives an atom. The law of the
    slopes is cut off at 8.5 standard deviations; where they have a zero crossing (`sin`), ``smallest`` is that of the
    quadrature's nodes instead of zero. For piecewise linear activations ``largest`` is right to rounding.
    Source: Pennington, Schoenholz, Ganguli 2018 (arXiv 1802.09979), sections 3 and 4.

    Args:
        phi: As for `moments`.
        depth: As there.
        sigma_w: As there.
        sigma_b: As there.
        weights: As there.
        start: As there.
        kinks: As there.

    Returns:
        The ends and the atoms.

    Raises:
        ValueError: As `moments`.

    >>> from jnorm.activations import identity, relu
    >>> round(float(support(identity, depth=jnp.array([1, 4]), sigma_w=1.0).largest[1]), 3)  # 5^5 / 4^4
    12.207
    >>> [round(float(a), 2) for a in support(relu, depth=4, sigma_w=2**0.5, weights="orthogonal")[:3]]
    [0.0, 9.48, 0.5]
    """
    layer, excess = prepared(phi, depth, sigma_w, sigma_b, weights, start, kinks)
    return _support(layer, depth, start, excess)


@partial(jax.jit, static_argnames="excess")
def _moments(layer: Dense, depth: ArrayLike, start: ArrayLike, excess: float) -> Moments:
    dtype, layer, (depth, start) = layer.spread(depth=depth, start=start)
    q, lost = staying(layer, start)
    mean = layer.chi(q) ** depth + lost
    return Moments(mean.astype(dtype), (mean * mean * depth * (scatter(law(layer, q)) + excess)).astype(dtype))


def scatter(slopes: Law) -> jax.Array:
    """The variance of the squared slopes, divided by the square of their mean."""
    return slopes.mean((slopes.value - 1) ** 2)


@partial(jax.jit, static_argnames="excess")
def _support(layer: Dense, depth: ArrayLike, start: ArrayLike, excess: float) -> Support:
    dtype, layer, (depth, start) = layer.spread(depth=depth, start=start)
    q, lost = staying(layer, start)
    slopes = law(layer, q, 2 * NODES)
    scale = depth * slopes.log_mean
    closed = (slopes.value == 0).any(0) | (excess > 0)
    inverse = slopes._replace(value=1 / jnp.where(closed, 1.0, slopes.value))
    smallest = jnp.where(closed, 0.0, jnp.exp(scale - edge(inverse, depth, excess)))
    value, share = shared(slopes)
    kept = 1 - depth * (1 - share)
    kept = jnp.where((excess > 0) | (share <= 0.5) | (kept <= 64 * jnp.finfo(kept.dtype).eps), 0.0, kept)
    atom = jnp.where(kept > 0, jnp.exp(scale + depth * jnp.log(jnp.where(kept > 0, value, 1.0))), 0.0)
    at_zero = slopes.mean(jnp.where(slopes.value == 0, 1.0, 0.0))
    found = smallest, jnp.exp(scale + edge(slopes, depth, excess)), at_zero, atom, kept
    return Support(*((a + lost).astype(dtype) for a in found))


def shared(slopes: Law) -> tuple[jax.Array, jax.Array]:
    """A value that more than half of the units share, if there is one, and the share that has it."""
    order = jnp.argsort(slopes.value, 0)
    value, mass = (jnp.take_along_axis(a, order, 0) for a in slopes[:2])
    middle = jnp.argmax(jnp.cumsum(mass, 0) >= 0.5, 0)[None]
    median = jnp.take_along_axis(value, middle, 0)
    return median[0], jnp.sum(jnp.where(value == median, mass, 0.0), 0)
