"""Dynamical isometry: can the singular values stay together however deep the network is, and with which weights."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._parts import Activation
from jnorm.theory.meanfield import Dense, dense
from jnorm.theory.spectra._law import law, prepared
from jnorm.theory.spectra._moments import scatter

SHORTEST, LONGEST, POINTS = 1e-8, 1e2, 81
NOTHING = 1e-6
TURNS = 60


class Isometry(NamedTuple):
    """Whether singular values can stay together, arrays of one shape.

    Attributes:
        possible: Whether they can: ``variance`` is zero.
        variance: The least variance of squared singular values that a critical layer adds, of a mean of one.
        length: Variance of the pre-activations at which it does; zero for the limit of short ones.
    """

    possible: jax.Array
    variance: jax.Array
    length: jax.Array


class CriticalPoint(NamedTuple):
    """Weights for which a network is critical, arrays of one shape.

    Attributes:
        sigma_w: Standard deviation of the weights times the root of the width; of orthogonal ones all singular values.
        sigma_b: Standard deviation of the biases.
        length: Variance of the pre-activations.
        attracts: Whether networks come to this length by themselves.
        converged: Whether there is such a point; the numbers are NaN where not.
    """

    sigma_w: jax.Array
    sigma_b: jax.Array
    length: jax.Array
    attracts: jax.Array
    converged: jax.Array


class _Layer(NamedTuple):
    """A critical layer at a length."""

    sigma_w: jax.Array
    bias: jax.Array  # sigma_b^2
    variance: jax.Array  # of the squared singular values that it adds
    exists: jax.Array


def isometry(phi: Activation, *, weights: str = "orthogonal", kinks: Sequence[float] | None = None) -> Isometry:
    """Whether critical points exist at which all singular values stay near one however deep the network is.

    At a critical point, ``sigma_w^2 E[phi'(z)^2] = 1``, a layer adds ``E[x^2] / E[x]^2 - 1 + g`` to the variance of the
    squared singular values, ``x = phi'(z)^2``, ``g = 1`` for Gaussian weights and 0 for orthogonal ones. With the
    length as a function of depth the variance at depth L can be held, and the largest singular value with it, if and
    only if this comes down to zero. For Gaussian weights it does not, nor for activations with a kink at zero, `relu`
    and `selu` among them; for orthogonal weights and `tanh`, `erf`, `hard_tanh` it does, as lengths go to zero.
    Lengths from 1e-8 to 100 are looked at, and less than 1e-6 counts as zero.
    Source: Pennington, Schoenholz, Ganguli 2018 (arXiv 1802.09979), section 4.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        weights: ``"gaussian"`` or ``"orthogonal"``.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The answer and what it rests on; NaN where no point is critical.

    Raises:
        ValueError: ``weights`` of another name, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu, tanh
    >>> bool(isometry(tanh).possible), bool(isometry(tanh, weights="gaussian").possible)
    (True, False)
    >>> found = isometry(relu)
    >>> bool(found.possible), round(float(found.variance), 4)
    (False, 1.0)
    """
    layer, excess = prepared(phi, 1, 1.0, 0.0, weights, 1.0, kinks)
    return _isometry(layer, excess)


def critical_point(
    phi: Activation,
    *,
    depth: ArrayLike,
    var: ArrayLike,
    weights: str = "orthogonal",
    kinks: Sequence[float] | None = None,
) -> CriticalPoint:
    """The critical weights with which the squared singular values of a deep network have a chosen variance.

    ``L (E[x^2] / E[x]^2 - 1 + g) = var`` is solved for the length, from short ones on; ``sigma_w`` and ``sigma_b`` are
    those of the critical line there. For odd smooth activations the length falls as ``1 / sqrt(L)``. Differentiable.
    Source: Pennington, Schoenholz, Ganguli 2017 (arXiv 1711.04735), section 2.5; 2018 (arXiv 1802.09979), section 4.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        depth: Layers L, at least one.
        var: The variance of squared singular values whose mean is one, positive.
        weights: ``"gaussian"`` or ``"orthogonal"``.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The point.

    Raises:
        ValueError: A known ``depth`` that is not a whole number >= 1, a known ``var <= 0``, or as `isometry`.

    >>> from jnorm.activations import relu, tanh
    >>> found = critical_point(tanh, depth=jnp.array([10, 1000]), var=0.25)
    >>> [f"{w:.5f}" for w in found.sigma_w], [f"{q:.5f}" for q in found.length]
    (['1.06519', '1.00568'], ['0.07383', '0.00575'])
    >>> bool(critical_point(relu, depth=10, var=0.25).converged)
    False
    """
    checks.whole(1, depth=depth)
    checks.choice("weights", weights, ("gaussian", "orthogonal"))
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    layer = dense(phi, 1.0, 0.0, 0.0, kinks).settled(depth=depth, var=var)
    return _critical_point(layer, depth, var, float(weights == "gaussian"))


def _critical(layer: Dense, q: jax.Array, excess: float) -> _Layer:
    slopes = law(layer, q)
    gain = jnp.exp(slopes.log_mean)
    bias = q - layer.second(q) / gain
    rounding = 64 * jnp.finfo(q.dtype).eps * q
    return _Layer(1 / jnp.sqrt(gain), jnp.maximum(bias, 0.0), scatter(slopes) + excess, bias >= -rounding)


def _scanned(layer: Dense, like: jax.Array, excess: float) -> tuple[jax.Array, _Layer]:
    """Critical layers over lengths, ``[length, ...]``."""
    lengths = jnp.geomspace(SHORTEST, LONGEST, POINTS, dtype=like.dtype)
    found = jax.lax.map(lambda q: _critical(layer, jnp.broadcast_to(q, like.shape), excess), lengths, batch_size=9)
    return lengths, found


@partial(jax.jit, static_argnames="excess")
def _isometry(layer: Dense, excess: float) -> Isometry:
    dtype, layer, _ = layer.spread()
    lengths, found = _scanned(layer, jnp.asarray(layer.sigma_w), excess)
    variance = jnp.where(found.exists, found.variance, jnp.inf)
    least, at = jnp.min(variance, 0), jnp.argmin(variance, 0)
    length = jnp.where(at == 0, 0.0, lengths[at])
    lost = jnp.where(least < jnp.inf, 0.0, jnp.nan)
    least = jnp.where(least < NOTHING, 0.0, least)
    return Isometry(least == 0, (least + lost).astype(dtype), (length + lost).astype(dtype))


@partial(jax.jit, static_argnames="excess")
def _critical_point(layer: Dense, depth: ArrayLike, var: ArrayLike, excess: float) -> CriticalPoint:
    dtype, layer, (depth, var) = layer.spread(depth=depth, var=var)
    lengths, found = _scanned(layer, var, excess)
    aim = var / depth
    below = found.variance < aim[None]
    crosses = below[:-1] & ~below[1:] & found.exists[:-1] & found.exists[1:]
    first = jnp.argmax(crosses, 0)
    there = jnp.any(crosses, 0)

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = jnp.sqrt(low * high)
        rises = scatter(law(layer, middle)) + excess > aim
        return jnp.where(rises, low, middle), jnp.where(rises, middle, high)

    ends = jax.lax.stop_gradient((lengths[first], lengths[first + 1]))
    q = jax.lax.stop_gradient(jax.lax.fori_loop(0, TURNS, halve, ends)[1])
    # By one step of Newton's the derivatives are those of an implicit function.
    variance, slope = jax.jvp(lambda q: scatter(law(layer, q)) + excess, (q,), (jnp.ones_like(q),))
    q = q + (aim - variance) / jnp.where(there, jax.lax.stop_gradient(slope), 1.0)
    point = _critical(layer, q, excess)
    tuned = Dense(layer.phi, point.sigma_w, jnp.sqrt(point.bias), layer.dropout, layer.kinks)
    attracts = there & (tuned.slopes(q).length < 1)
    lost = jnp.where(there, 0.0, jnp.nan)
    sigma_w, sigma_b, length = ((a + lost).astype(dtype) for a in (point.sigma_w, jnp.sqrt(point.bias), q))
    return CriticalPoint(sigma_w, sigma_b, length, attracts, there)
