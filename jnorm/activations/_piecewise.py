"""Activations with kinks: linear or exponential pieces."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground.callables import settled
from jnorm._ground.checks import require
from jnorm.activations._elementwise import elementwise, expm1, left, pick, straight
from jnorm.activations._table import register

SELU_LAMBDA = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772  # within .02 ulp of the middle between two doubles
"""The constants for which E[selu(z)] = 0 and E[selu(z)^2] = 1 under z ~ N(0, 1)."""


@register(kinks=(), same=(jax.nn.identity,))
@straight
def identity(x: jax.Array) -> jax.Array:
    """The identity, f(x) = x.

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> identity(3)
    Array(3., dtype=float32, weak_type=True)
    """
    return x


@register(kinks=(0.0,), same=(jax.nn.relu,))
@straight
def relu(x: jax.Array) -> jax.Array:
    """Rectifier, f(x) = max(x, 0), with f'(0) = 0 (Nair, Hinton 2010).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> relu(jnp.array([-1.0, 2.0]))
    Array([0., 2.], dtype=float32)
    """
    return pick(x <= 0, 0, x)


@register(kinks=(0.0,), same=(jax.nn.leaky_relu,))
@straight
def leaky_relu(x: jax.Array, *, negative_slope: ArrayLike = 0.01) -> jax.Array:
    """Leaky rectifier, f(x) = negative_slope*x for x <= 0, else x; f'(0) = negative_slope (Maas et al. 2013).

    Args:
        x: Real array of any shape.
        negative_slope: Slope for x <= 0; broadcasts against ``x``.

    Returns:
        f(x), of the shape and floating dtype of ``x`` and the parameters.

    >>> leaky_relu(jnp.array([-1.0, 2.0]), negative_slope=0.5)
    Array([-0.5,  2. ], dtype=float32)
    """
    below = x <= 0
    return pick(below, negative_slope * pick(below, x, 0), x)


def _elu(x: jax.Array, alpha: ArrayLike) -> jax.Array:
    return jnp.where(x <= 0, alpha * expm1(left(x)), x)


@register(kinks=(0.0,), same=(jax.nn.elu,))
@elementwise
def elu(x: jax.Array, *, alpha: ArrayLike = 1.0) -> jax.Array:
    """Exponential linear unit, f(x) = alpha*(exp(x) - 1) for x <= 0, else x (Clevert et al. 2016, eq. 15).

    At the kink f'(0) = f''(0) = alpha.

    Args:
        x: Real array of any shape.
        alpha: Minus the limit at -inf; broadcasts against ``x``.

    Returns:
        f(x), of the shape and floating dtype of ``x`` and the parameters.

    >>> f"{elu(-1.0):.4f}"
    '-0.6321'
    """
    return _elu(x, alpha)


@elementwise
def _celu(x: jax.Array, alpha: Any) -> jax.Array:
    # exp(-1000) = 0 in every dtype, so the bound changes no value; it keeps the derivative in alpha finite.
    ratio = jnp.maximum(left(x), -1000 * alpha) / alpha
    return jnp.where(x <= 0, alpha * expm1(ratio), x)


@register(kinks=(0.0,), same=(jax.nn.celu,))
@settled
def celu(x: ArrayLike, *, alpha: ArrayLike = 1.0) -> jax.Array:
    """Continuously differentiable ELU, f(x) = alpha*(exp(x/alpha) - 1) for x <= 0, else x (Barron 2017, eq. 2).

    Only from the second derivative on is 0 a kink: f'(0) = 1, f''(0) = 1/alpha.

    Args:
        x: Real array of any shape.
        alpha: Minus the limit at -inf, positive; broadcasts against ``x``.

    Returns:
        f(x), of the shape and floating dtype of ``x`` and the parameters.

    Raises:
        ValueError: ``alpha`` is a number or NumPy array and not positive.

    >>> f"{celu(-1.0, alpha=2.0):.4f}"
    '-0.7869'
    """
    if not (isinstance(alpha, float) and alpha > 0):  # else nothing is left to check, in half of the time
        require(lambda v: v > 0, "`{}` must satisfy {} > 0", alpha=alpha)
    return _celu(x, alpha)


@register(kinks=(0.0,))
@elementwise
def scaled_elu(x: jax.Array, lam: ArrayLike, alpha: ArrayLike) -> jax.Array:
    """SELU with free constants, f(x) = lam*alpha*(exp(x) - 1) for x <= 0, else lam*x; f'(0) = lam*alpha.

    The constants for other fixed points than (0, 1) come from ``jnorm.theory.fixed_points.selu_constants``
    (Klambauer et al. 2017, eq. 2).

    Args:
        x: Real array of any shape.
        lam: Slope for x > 0; broadcasts against ``x``.
        alpha: Minus the limit at -inf, over ``lam``; broadcasts against ``x``.

    Returns:
        f(x), of the shape and floating dtype of ``x`` and the parameters.

    >>> f"{scaled_elu(-1.0, 2.0, 1.0):.4f}"
    '-1.2642'
    """
    return _elu(x, alpha) * lam


@register(kinks=(0.0,), same=(jax.nn.selu,))
@elementwise
def selu(x: jax.Array) -> jax.Array:
    """Self-normalizing ELU, ``scaled_elu(x, SELU_LAMBDA, SELU_ALPHA)`` (Klambauer et al. 2017, eq. 2).

    It maps N(0, 1) to mean 0 and variance 1, and saturates at -lam*alpha = -1.758.

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{selu(-1.0):.4f} {jax.grad(selu)(-20.0):.4e}"
    '-1.1113 3.6237e-09'
    """
    return _elu(x, SELU_ALPHA) * SELU_LAMBDA


@register(kinks=(-1.0, 1.0))
@straight
def hard_tanh(x: jax.Array) -> jax.Array:
    """Identity clipped to [-1, 1], with f'(-1) = 0 and f'(1) = 1 (Collobert 2004).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> hard_tanh(jnp.array([-2.0, 0.5, 3.0]))
    Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return pick((x <= -1) | (x > 1), jnp.sign(lax.stop_gradient(x)), x)
