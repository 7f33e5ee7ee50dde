"""The density of the squared singular values, by Newton's iteration along an arc to the real axis."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._parts import Activation
from jnorm.theory.meanfield import Dense
from jnorm.theory.spectra._law import NODES, Law, law, prepared, staying
from jnorm.theory.spectra._transform import Image, image

STAGES = 24  # of the arc, closer to each other toward the axis, where the ends of the density are close
NEAR = 0.02  # in log w, to a stage
TURNS = 160


class Density(NamedTuple):
    """A density and how well it is known, arrays of one shape.

    Attributes:
        value: The density.
        error: What twice the nodes for the law of the slopes change it by, and what is left of the equation.
        converged: Whether the equation is solved to rounding.
    """

    value: jax.Array
    error: jax.Array
    converged: jax.Array


def density(
    phi: Activation,
    squared: ArrayLike,
    *,
    depth: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    weights: str = "gaussian",
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> Density:
    """The density of the squared singular values of the Jacobian of a wide network.

    With ``m(w) = E[x / (w - x)]``, ``x = sigma_w^2 phi'(z)^2``, the Green's function ``G`` of ``J J^T`` is given by
    ``z G(z) = 1 + m(w)`` where ``z = w^L (m / (1 + m))^(L - 1) (1 + m)^(g L)``, ``g = 1`` for Gaussian weights and 0
    for orthogonal ones, and the density is ``-Im G / pi`` on the real axis. On the negative axis ``w`` is real and
    unique; from there Newton's iteration follows it on a half circle, on which nothing is singular, for every point by
    itself.

    The integral is one, less the atoms of `support`; at zero the density is infinite for more than one layer. At the
    ends it goes to zero as a square root, and Newton's iteration is slow on them.
    One layer of orthogonal weights has the law of ``x`` itself, for which nothing is computed here.
    Source: Pennington, Schoenholz, Ganguli 2018 (arXiv 1802.09979), section 3, the master equation.

    Args:
        phi: The activation, ``kinks`` as in `jnorm.theory.moments`.
        squared: Where, squares of singular values, positive.
        depth: Layers L, at least one, and two for orthogonal weights.
        sigma_w: Standard deviation of the weights times the root of the width; ``W^T W = sigma_w^2`` if orthogonal.
        sigma_b: Standard deviation of the biases.
        weights: ``"gaussian"`` or ``"orthogonal"``.
        start: Length at which the walk to the one that stays begins, as for `jnorm.theory.meanfield.length`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The density with its error, both NaN where ``converged`` is False.

    Raises:
        ValueError: A known ``squared <= 0``, a known ``depth`` that is too small or not whole, or as
            `jnorm.theory.spectra.moments`.

    >>> from jnorm.activations import identity
    >>> found = density(identity, jnp.array([0.5, 2.0, 5.0]), depth=1, sigma_w=1.0)  # Marchenko and Pastur's law
    >>> [f"{p:.4f}" for p in found.value]
    ['0.4211', '0.1592', '0.0000']
    """
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", squared=squared)
    checks.whole(2 if weights == "orthogonal" else 1, depth=depth)
    layer, excess = prepared(phi, depth, sigma_w, sigma_b, weights, start, kinks, squared=squared)
    return _density(layer, squared, depth, start, excess)


@partial(jax.jit, static_argnames="excess")
def _density(layer: Dense, squared: ArrayLike, depth: ArrayLike, start: ArrayLike, excess: float) -> Density:
    dtype, layer, (squared, depth, start) = layer.spread(squared=squared, depth=depth, start=start)
    q, lost = staying(layer, start)
    usable = (squared > 0) & (squared < jnp.inf) & (depth + excess > 1) & (lost == 0)
    squared, depth = jnp.where(usable, squared, 1.0), jnp.where(usable, depth, 2.0)
    fine, coarse = law(layer, q, 2 * NODES), law(layer, q)
    target = jax.lax.complex(jnp.log(squared) - depth * fine.log_mean, jnp.full_like(depth, -math.pi))
    at = jax.lax.stop_gradient(_followed(fine, target.real, depth, excess))
    value, residual = _value(image(fine, at, depth, excess), target)
    shift = depth * (fine.log_mean - coarse.log_mean)
    other, _ = _value(image(coarse, at, depth, excess), target + shift.astype(target.dtype))
    eps = float(jnp.finfo(squared.dtype).eps)
    good = usable & (residual <= 64 * eps * (depth + jnp.abs(target)))
    lost = jnp.where(good, 0.0, jnp.nan)
    error = (jnp.abs(value - other) + residual) / squared
    return Density((value / squared + lost).astype(dtype), (error + lost).astype(dtype), good)


def _value(found: Image, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The density by the logarithm, a step of Newton's further, and how far it was from the target.

    By that step the derivatives are those of an implicit function.
    """
    gap = target - found.place
    total = found.total - jax.lax.stop_gradient(found.fall / found.slope) * gap
    value = -total.imag / math.pi
    return jnp.where(value > 0, value, 0.0), jnp.abs(gap)


_Way = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _followed(slopes: Law, log_square: jax.Array, depth: jax.Array, excess: float) -> jax.Array:
    """``log(-w)`` on the real axis, followed from the negative one.

    A lane takes the next stage of the arc for its target when it is near that of the last one.
    """
    eps = float(jnp.finfo(log_square.dtype).eps)

    def advance(state: _Way) -> _Way:
        turn, stage, at, active = state
        found = image(slopes, at, depth, excess)
        angle = lambda stage: -math.pi * (1 - (1 - stage / STAGES) ** 2)
        toward = lambda stage: (jax.lax.complex(log_square, angle(stage)) - found.place) / found.slope
        near = jnp.abs(toward(stage)) <= NEAR
        stage = jnp.where(near & (stage < STAGES), stage + 1, stage)
        step = toward(stage)
        after = at + step / jnp.maximum(jnp.abs(step), 1.0).astype(at.dtype)
        after = jax.lax.complex(after.real, jnp.clip(after.imag, -math.pi, 0.0))
        rests = (stage == STAGES) & (jnp.abs(after - at) <= 4 * eps * (1 + jnp.abs(at)))
        return turn + 1, stage, jnp.where(active, after, at), active & ~rests

    stage = jnp.zeros_like(log_square)
    begin = jnp.zeros((), int), stage, jax.lax.complex(log_square, stage), stage == 0
    return jax.lax.while_loop(lambda s: (s[0] < TURNS) & jnp.any(s[3]), advance, begin)[2]
