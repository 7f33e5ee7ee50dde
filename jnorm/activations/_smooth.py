"""Smooth activations, analytic on the whole line."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnorm.activations._elementwise import bounded, derivative, elementwise
from jnorm.activations._table import register


def _sigmoid_curvature(x: jax.Array) -> jax.Array:
    return -tanh(x / 2) * _sigmoid_slope(x)


@derivative(_sigmoid_curvature)
def _sigmoid_slope(x: jax.Array) -> jax.Array:
    """sigmoid(x)*sigmoid(-x)."""
    e = jnp.exp(-jnp.abs(x))
    return e / (1 + e) ** 2


def _sech2(x: jax.Array) -> jax.Array:
    return 4 * _sigmoid_slope(2 * x)


def _gauss_slope(x: jax.Array) -> jax.Array:
    return -2 * bounded(x) * _gauss(x)


@derivative(_gauss_slope)
def _gauss(x: jax.Array) -> jax.Array:
    """exp(-x^2)."""
    return jnp.exp(-(x**2))


@derivative(lambda x: _gauss(x * math.sqrt(0.5)) / math.sqrt(2 * math.pi))
def _normal_cdf(x: jax.Array) -> jax.Array:
    return jax.lax.erfc(-x * math.sqrt(0.5)) / 2


def _times_x(gate: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """x*gate(x) for a gate that rises from 0 to 1 faster than any power, with the limits at +-inf."""

    def slope(x: jax.Array) -> jax.Array:
        value, gate_slope = jax.jvp(gate, (x,), (jnp.ones_like(x),))
        return value + bounded(x) * gate_slope

    return derivative(slope)(lambda x: jnp.maximum(x, -1e6) * gate(x))


@register(kinks=(0.0,))
@elementwise
@derivative(_sigmoid_slope)
def sigmoid(x: jax.Array) -> jax.Array:
    """Logistic function, f(x) = 1/(1 + exp(-x)), with f'(x) = f(x)*f(-x).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> sigmoid(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return jax.nn.sigmoid(x)


@register(kinks=(0.0,))
@elementwise
@derivative(_sech2)
def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent, with f'(x) = 1/cosh(x)^2.

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{tanh(0.5):.4f} {jax.grad(tanh)(20.0):.4e}"
    '0.4621 1.6993e-17'
    """
    return jnp.tanh(x)


@register(kinks=(0.0,))
@elementwise
@derivative(sigmoid)
def softplus(x: jax.Array) -> jax.Array:
    """Smooth rectifier, f(x) = log(1 + exp(x)), with f'(x) = sigmoid(x) (Dugas et al. 2001).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{softplus(0.0):.4f} {softplus(-20.0):.4e}"
    '0.6931 2.0612e-09'
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _squareplus_root(x: jax.Array) -> jax.Array:
    """sqrt(x^2 + 4), without overflow."""
    return jnp.hypot(x, 2.0)


@derivative(lambda x: -6 * bounded(x) / _squareplus_root(x) ** 5)
def _squareplus_curvature(x: jax.Array) -> jax.Array:
    return 2 / _squareplus_root(x) ** 3


@derivative(_squareplus_curvature)
def _squareplus_slope(x: jax.Array) -> jax.Array:
    root, size = _squareplus_root(x), jnp.abs(x)
    small = 2 / (root * (root + size))  # of the side on which the slope goes to zero
    return jnp.where(x <= 0, small, 1 - small)


@register(kinks=(0.0,))
@elementwise
@derivative(_squareplus_slope)
def squareplus(x: jax.Array) -> jax.Array:
    """Algebraic softplus, f(x) = (x + sqrt(x^2 + 4))/2, with f'(x) = (1 + x/sqrt(x^2 + 4))/2 (Barron 2021, b = 4).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{squareplus(0.0):.4f} {squareplus(-1000.0):.4e}"
    '1.0000 1.0000e-03'
    """
    small = 2 / (_squareplus_root(x) + jnp.abs(x))
    return jnp.where(x <= 0, small, x + small)


@register(kinks=(0.0,))
@elementwise
def silu(x: jax.Array) -> jax.Array:
    """Sigmoid-weighted unit or swish, f(x) = x*sigmoid(x) (Elfwing et al. 2018, eq. 5).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{silu(-1.0):.4f}"
    '-0.2689'
    """
    return _times_x(sigmoid)(x)


@register(kinks=(0.0,))
@elementwise
def gelu(x: jax.Array) -> jax.Array:
    """Gaussian error unit, f(x) = x*Phi(x), exact and not the tanh approximation (Hendrycks, Gimpel 2016).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{gelu(-1.0):.4f}"
    '-0.1587'
    """
    return _times_x(_normal_cdf)(x)


@register(kinks=(0.0,))
@elementwise
def mish(x: jax.Array) -> jax.Array:
    """Self-gated unit, f(x) = x*tanh(softplus(x)) (Misra 2020, eq. 1).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{mish(-1.0):.4f}"
    '-0.3034'
    """
    return _times_x(lambda z: tanh(softplus(z)))(x)


@register(kinks=(0.0,))
@elementwise
@derivative(lambda x: 2 / math.sqrt(math.pi) * _gauss(x))
def erf(x: jax.Array) -> jax.Array:
    """Error function, f(x) = 2/sqrt(pi) * int_0^x exp(-t^2) dt.

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{erf(1.0):.4f}"
    '0.8427'
    """
    return jax.lax.erf(x)


@register(kinks=())
@elementwise
def sin(x: jax.Array) -> jax.Array:
    """Sine; NaN at +-inf (Sitzmann et al. 2020 use it for implicit representations).

    Args:
        x: Real array of any shape.

    Returns:
        f(x), of the shape and floating dtype of ``x``.

    >>> f"{sin(1.0):.4f}"
    '0.8415'
    """
    return jnp.sin(x)
