"""The layer map: how mean and variance travel through one layer with fixed weights.

A unit whose weights have sum ``omega`` and sum of squares ``tau`` turns independent inputs of mean ``mu`` and variance
``nu`` into a pre-activation of mean ``mu * omega`` and variance ``nu * tau``, normal for many inputs, and that into the
mean and variance of its activation. Random weights follow another map: `jnorm.theory.meanfield`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations, gaussian
from jnorm._ground import checks
from jnorm.theory import closed_forms

__all__ = [
    "Activation",
    "LayerMap",
    "Moments",
    "activation_moments",
    "cast",
    "gradient_factor",
    "layer_map",
    "lift",
]

Activation = Callable[[jax.Array], jax.Array]


class Moments(NamedTuple):
    """Mean and variance, arrays of one shape."""

    mean: jax.Array
    var: jax.Array


LayerMap = Callable[[Moments], Moments]
"""Moments of a layer's input to moments of its output, each point of the arrays by itself."""


def activation_moments(
    phi: Activation, mean: ArrayLike, var: ArrayLike, *, kinks: Sequence[float] | None = None
) -> Moments:
    """Mean and variance of an activation, ``E[phi(z)]`` and ``E[(phi(z) - E[phi(z)])^2]``, ``z ~ N(mean, var)``.

    Exact for `identity`, `relu`, `leaky_relu`, `elu`, `celu`, `selu`, `scaled_elu` and `sin` of `jnorm.activations`,
    with or without parameters bound by ``functools.partial`` (see `jnorm.theory.closed_forms`); for any other
    elementwise callable by the quadrature of `jnorm.gaussian`, on its domain, where the variance is centred but carries
    the rounding of ``phi`` itself: a relative error of about ``eps * max |phi| / sqrt(var)`` with the result's ``var``,
    so use float64 for narrow inputs.

    ``kinks=None`` means: the library's own activations know theirs, others are split at 0. Giving ``kinks`` forces the
    quadrature. Shapes broadcast, the dtype is kept; ``var = 0`` gives ``(phi(mean), 0)``, a negative or NaN ``var``
    inside ``jit`` gives NaN in its lane.

    Raises ``ValueError`` for a known negative ``var``, shapes that do not broadcast, or a ``phi`` not elementwise.

    >>> from jnorm.activations import selu, tanh
    >>> m = activation_moments(selu, 0.0, 1.0)
    >>> round(float(m.mean), 5), round(float(m.var), 5)
    (0.0, 1.0)
    >>> round(float(activation_moments(tanh, 0.0, 1.0).var), 5)
    0.39429
    """
    closed = closed_forms.lookup(phi) if kinks is None else None
    if closed is not None:
        return Moments(*closed(mean, var)[:2])
    return Moments(*gaussian.moments(phi, mean, var, kinks=_kinks(phi, kinks)))


def gradient_factor(
    phi: Activation,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    tau: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """What one layer back multiplies the squared gradient by, ``tau * E[phi'(z)^2]``, ``z ~ N(mean, var)``.

    ``mean`` and ``var`` are the moments of the pre-activation, ``tau`` the sum of squares of the weights that lead to
    it. Exact where `activation_moments` is, by quadrature over the derivative of ``phi`` elsewhere. Shapes broadcast;
    at ``var = 0`` it is ``tau * phi'(mean)^2``, with the activation's own convention at a kink.

    Raises ``ValueError`` for a known negative ``var`` or ``tau`` and for shapes that do not broadcast.
    Source: Klambauer et al. 2017, section 2; Schoenholz et al. 2017 (arXiv 1611.01232), chi_1.

    >>> from jnorm.activations import relu, selu
    >>> round(float(gradient_factor(selu, 0.0, 1.0)), 4), round(float(gradient_factor(relu, 0.0, 1.0, tau=2.0)), 4)
    (1.0716, 1.0)
    """
    checks.require(lambda t: t >= 0, "`{}` must satisfy {} >= 0", tau=tau)
    mean, var, tau = checks.floats(mean=mean, var=var, tau=tau)
    closed = closed_forms.lookup(phi) if kinks is None else None
    if closed is not None:
        return tau * closed(mean, var).slope

    def squared_slope(z: jax.Array) -> jax.Array:
        return jax.jvp(lambda x: gaussian.elementwise(phi, x), (z,), (jnp.ones_like(z),))[1] ** 2

    return tau * gaussian.expectation(squared_slope, mean, var, kinks=_kinks(phi, kinks))


def layer_map(
    phi: Activation,
    *,
    omega: ArrayLike = 0.0,
    tau: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> LayerMap:
    """The map of one layer with fixed weights, ``(mu, nu) -> moments of phi(z)``, ``z ~ N(mu * omega, nu * tau)``.

    ``omega`` is the sum of a unit's weights and ``tau`` the sum of their squares; arrays of them broadcast against the
    points. The map is a plain function of `Moments`, for `jax.jit`, `jax.vmap`, `jax.grad` and
    `jnorm.theory.fixed_points`.

    Raises ``ValueError`` for a known ``tau < 0``; the map itself for a known negative variance.
    Source: Klambauer et al. 2017, equations 2 and 3.

    >>> from jnorm.activations import selu
    >>> out = layer_map(selu)(Moments(1.0, 0.5))
    >>> round(float(out.mean), 3), round(float(out.var), 3)
    (-0.041, 0.577)
    """
    checks.require(lambda t: t >= 0, "`{}` must satisfy {} >= 0", tau=tau)

    def apply(x: Moments) -> Moments:
        checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=x.var)
        mean, var, w, w2 = checks.floats(mean=x.mean, var=x.var, omega=omega, tau=tau)
        return activation_moments(phi, mean * w, var * w2, kinks=kinks)

    return apply


def lift(map: LayerMap, start: Moments) -> tuple[LayerMap, Moments, Any]:
    """The map in its working dtype, ``start`` as points of its full shape and that dtype, and the dtype of results.

    The shape is that of ``start`` broadcast against the arrays that the map closes over; results have the dtype of
    ``map(start)``, and work is done in it or in float32, whichever is wider. Raises ``ValueError`` for a known negative
    variance.
    """
    mean, var = checks.floats(mean=start[0], var=start[1])
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=start[1])

    def call(x: Moments) -> Moments:
        y = map(x)
        return Moments(*checks.floats(mean=y[0], var=y[1]))

    like = jax.eval_shape(call, Moments(mean, var)).mean
    shape = jnp.broadcast_shapes(like.shape, mean.shape)
    wide = checks.wide(like.dtype)

    def spread(x: Moments) -> Moments:
        return cast(Moments(*(jnp.broadcast_to(a, shape) for a in x)), wide)

    return lambda x: spread(call(x)), spread(Moments(mean, var)), like.dtype


def cast(x: Moments, dtype: Any) -> Moments:
    """Both parts in another dtype."""
    return Moments(*(a.astype(dtype) for a in x))


def _kinks(phi: Any, kinks: Sequence[float] | None) -> Sequence[float]:
    return activations.kinks(phi) if kinks is None else kinks
