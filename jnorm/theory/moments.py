"""The layer map: how mean and variance travel through one layer with fixed weights.

A unit whose weights have sum ``omega`` and sum of squares ``tau`` turns independent inputs of mean ``mu`` and variance
``nu`` into a pre-activation of mean ``mu * omega`` and variance ``nu * tau``, normal for many inputs, and that into the
mean and variance of its activation. Random weights follow another map: `jnorm.theory.meanfield`.

Common to the functions:

- **Activations.** Exact for `identity`, `relu`, `leaky_relu`, `elu`, `celu`, `selu`, `scaled_elu` and `sin` of
  `jnorm.activations` and for their like in `jax.nn`, with or without parameters bound by ``functools.partial`` (see
  `jnorm.theory.closed_forms`), and for any activation that is registered with a closed form; for every other
  elementwise callable by the quadrature of `jnorm.gaussian`, on its domain.
- **Kinks.** ``kinks=None`` means: registered activations know theirs, those of others are found, at traced places too
  (`jnorm.gaussian.kinks`). Giving ``kinks`` forces the quadrature.
- **Shapes and types.** Arguments broadcast, and the dtype is kept.
- **Singular points.** A negative or NaN variance gives NaN in its own lane; a negative one among Python numbers and
  NumPy arrays raises ``ValueError``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations, gaussian
from jnorm._ground import callables, checks, nodes
from jnorm.theory import closed_forms as closed_forms  # whose import enters them in the table of activations
from jnorm.theory._leaps import leaps
from jnorm.theory._parts import Activation as Activation
from jnorm.theory._parts import MomentMap as MomentMap
from jnorm.theory._parts import Moments as Moments
from jnorm.theory._parts import Static, known_kinks, numbers, static

__all__ = [
    "Activation",
    "FixedWeights",
    "LayerMap",
    "MomentMap",
    "Moments",
    "activation_moments",
    "gradient_factor",
    "layer_map",
]


def activation_moments(
    phi: Activation, mean: ArrayLike, var: ArrayLike, *, kinks: Sequence[float] | None = None
) -> Moments:
    """Mean and variance of an activation, ``E[phi(z)]`` and ``E[(phi(z) - E[phi(z)])^2]``, ``z ~ N(mean, var)``.

    By quadrature the variance is centred but carries the rounding of ``phi`` itself: a relative error of about
    ``eps * max |phi| / sqrt(var)`` with the result's ``var``, so use float64 for narrow inputs. ``var = 0`` gives
    ``(phi(mean), 0)``.

    Args:
        phi: The activation.
        mean: Mean of ``z``.
        var: Variance of ``z``.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        Mean and variance of ``phi(z)``.

    Raises:
        ValueError: A known negative ``var``, shapes that do not broadcast, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import selu, tanh
    >>> m = activation_moments(selu, 0.0, 1.0)
    >>> round(float(m.mean), 5), round(float(m.var), 5)
    (0.0, 1.0)
    >>> round(float(activation_moments(tanh, 0.0, 1.0).var), 5)
    0.39429
    """
    closed = activations.closed_form(phi) if kinks is None else None
    if closed is not None:
        return Moments(*closed(mean, var)[:2])
    return Moments(*gaussian.moments(phi, mean, var, kinks=known_kinks(phi, kinks)))


def gradient_factor(
    phi: Activation,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    tau: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """What one layer back multiplies the squared gradient by, ``tau * E[phi'(z)^2]``, ``z ~ N(mean, var)``.

    Exact where `activation_moments` is, by quadrature over the derivative of ``phi`` elsewhere. At ``var = 0`` it is
    ``tau * phi'(mean)^2``, with the activation's own convention at a kink. Infinite where ``phi`` itself jumps within
    8.5 standard deviations: the square of its derivative has no mean.
    Source: Klambauer et al. 2017, section 2; Schoenholz et al. 2017 (arXiv 1611.01232), chi_1.

    Args:
        phi: The activation.
        mean: Mean of the pre-activation ``z``.
        var: Variance of the pre-activation ``z``.
        tau: Sum of squares of the weights that lead to it.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The factor, of the broadcast shape.

    Raises:
        ValueError: A known negative ``var`` or ``tau``, or shapes that do not broadcast.

    >>> from jnorm.activations import relu, selu
    >>> round(float(gradient_factor(selu, 0.0, 1.0)), 4), round(float(gradient_factor(relu, 0.0, 1.0, tau=2.0)), 4)
    (1.0716, 1.0)
    """
    checks.require(lambda a: a >= 0, "`{}` must satisfy {} >= 0", var=var, tau=tau)
    center, spread, weight = _floats(mean, var, tau)
    closed = activations.closed_form(phi) if kinks is None else None
    if closed is not None:
        return weight * closed(center, spread)[2]
    points = jax.ShapeDtypeStruct((1, *center.shape), checks.wide(center.dtype))
    return _factor(callables.settle(phi, points, name="phi"), center, spread, weight, known_kinks(phi, kinks))


@nodes.register
@dataclass(frozen=True, eq=False)
class LayerMap:
    """The map of one layer, moments of its input to moments of its output; made by the two functions ``layer_map``.

    A pytree: the numbers of ``weights`` and of a ``functools.partial`` in ``phi`` are leaves, by which the map is
    mapped (`jax.vmap` over stacked ones) and differentiated; the activation itself and its kinks are static. So two
    maps that differ in numbers alone share their compiled programs.

    Attributes:
        phi: The activation, as a callable pytree.
        weights: `FixedWeights`, `jnorm.theory.meanfield.RandomWeights`, or any callable pytree that takes the moments
            of a layer's input to those of its pre-activation.
        kinks: Points at which the activation or a derivative jumps; None where they come from its table.

    >>> from jnorm.activations import selu
    >>> by = jax.grad(lambda step: step(Moments(0.0, 1.0)).var)(layer_map(selu, omega=0.1, tau=1.2))
    >>> [round(float(d), 4) for d in (by.weights.omega, by.weights.tau)]  # at mean zero their sum does not matter
    [0.0, 0.7488]
    """

    phi: Activation
    weights: MomentMap
    kinks: tuple[float, ...] | None = field(default=None, metadata={"static": True})

    def __call__(self, x: Moments) -> Moments:
        """The moments of ``phi(z)``.

        Args:
            x: Moments of the layer's input.

        Returns:
            Moments of its output, of the shape broadcast against the weights' numbers.

        Raises:
            ValueError: A known negative variance, or shapes that do not broadcast.
        """
        checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=x[1])
        return activation_moments(self.phi, *self.weights(x), kinks=self.kinks)


@nodes.register
@dataclass(frozen=True, eq=False)
class FixedWeights:
    """Weights that are given: moments of the input to those of the pre-activation, ``(mu * omega, nu * tau)``.

    Attributes:
        omega: Sum of a unit's weights.
        tau: Sum of their squares.
    """

    omega: ArrayLike
    tau: ArrayLike

    def __call__(self, x: Moments) -> Moments:
        """The moments of the pre-activation."""
        return _through_fixed(self, x)


def layer_map(
    phi: Activation,
    *,
    omega: ArrayLike = 0.0,
    tau: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> LayerMap:
    """The map of one layer with fixed weights, ``(mu, nu) -> moments of phi(z)``, ``z ~ N(mu * omega, nu * tau)``.

    Source: Klambauer et al. 2017, equations 2 and 3.

    Args:
        phi: The activation.
        omega: Sum of a unit's weights; arrays broadcast against the points.
        tau: Sum of their squares; arrays broadcast against the points.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The map, a function of `Moments` and a pytree, for `jax.jit`, `jax.vmap`, `jax.grad` and
        `jnorm.theory.fixed_points`.

    Raises:
        ValueError: A known ``tau < 0``.

    >>> from jnorm.activations import selu
    >>> out = layer_map(selu)(Moments(1.0, 0.5))
    >>> round(float(out.mean), 3), round(float(out.var), 3)
    (-0.041, 0.577)
    """
    checks.require(lambda t: t >= 0, "`{}` must satisfy {} >= 0", tau=tau)
    return LayerMap(callables.wrap(phi), FixedWeights(*numbers(omega, tau)), static(kinks))


@jax.jit
def _floats(mean: ArrayLike, var: ArrayLike, tau: ArrayLike) -> tuple[jax.Array, ...]:
    return checks.floats(mean=mean, var=var, tau=tau)


@partial(jax.jit, static_argnames="kinks")
def _factor(phi: Activation, mean: jax.Array, var: jax.Array, tau: jax.Array, kinks: Static) -> jax.Array:
    slope = gaussian.expectation(_SquaredSlope(phi), mean, var, kinks=kinks)
    wide = checks.wide(mean.dtype)
    jumps = leaps(phi, mean.astype(wide), jnp.sqrt(var.astype(wide)), kinks)
    return tau * (slope if jumps is None else jnp.where(jumps & (var > 0), jnp.inf, slope))


@jax.jit
def _through_fixed(weights: FixedWeights, x: Moments) -> Moments:
    mean, var, omega, tau = checks.floats(mean=x[0], var=x[1], omega=weights.omega, tau=weights.tau)
    return Moments(mean * omega, var * tau)


@nodes.register
@dataclass(frozen=True, eq=False)
class _SquaredSlope:
    """The square of an activation's derivative, a callable pytree as the activation is."""

    phi: Activation

    def __call__(self, z: jax.Array) -> jax.Array:
        return jax.jvp(self.phi, (z,), (jnp.ones_like(z),))[1] ** 2
