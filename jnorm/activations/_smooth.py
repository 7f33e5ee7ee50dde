"""Smooth activations, analytic on the whole line."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnorm.activations._elementwise import bounded, derivative, elementwise
from jnorm.activations._table import register

SCALE = 1024.0  # more than the arguments in the tails, so that a factor never underflows before the product does


def _sigmoid_curvature(x: jax.Array) -> jax.Array:
    return -tanh(x / 2) * _sigmoid_slope(x)


@derivative(_sigmoid_curvature)
def _sigmoid_slope(x: jax.Array) -> jax.Array:
    """sigmoid(x)*sigmoid(-x)."""
    e = jnp.exp(-jnp.abs(x))
    return e / (1 + e) ** 2


def _scaled_sigmoid_curvature(x: jax.Array) -> jax.Array:
    return -tanh(x / 2) * _scaled_sigmoid_slope(x)


@derivative(_scaled_sigmoid_curvature)
def _scaled_sigmoid_slope(x: jax.Array) -> jax.Array:
    half = jnp.exp(-jnp.abs(x) / 2)
    return SCALE * half * half / (1 + half * half) ** 2


@derivative(_scaled_sigmoid_slope)
def _scaled_sigmoid(x: jax.Array) -> jax.Array:
    """SCALE*sigmoid(x)."""
    half = jnp.exp(-jnp.abs(x) / 2)
    return jnp.where(x <= 0, SCALE * half * half, SCALE) / (1 + half * half)


def _sech_slope(x: jax.Array) -> jax.Array:
    return -tanh(x) * _sech(x)


@derivative(_sech_slope)
def _sech(x: jax.Array) -> jax.Array:
    e = jnp.exp(-jnp.abs(x))
    return 2 * e / (1 + e * e)


def _scaled_sech2_slope(x: jax.Array) -> jax.Array:
    return -2 * tanh(x) * _scaled_sech2(x)


@derivative(_scaled_sech2_slope)
def _scaled_sech2(x: jax.Array) -> jax.Array:
    return SCALE * _sech(x) * _sech(x)


def _scaled_gauss_slope(x: jax.Array) -> jax.Array:
    return -2 * bounded(x) * _scaled_gauss(x)


@derivative(_scaled_gauss_slope)
def _scaled_gauss(x: jax.Array) -> jax.Array:
    """SCALE*exp(-x^2)."""
    half = jnp.exp(-(x * x) / 2)
    return SCALE * half * half


def _scaled_erf_slope(x: jax.Array) -> jax.Array:
    return 2 / math.sqrt(math.pi) * _scaled_gauss(x)


@derivative(lambda x: _scaled_gauss(x * math.sqrt(0.5)) / math.sqrt(2 * math.pi))
def _scaled_normal_cdf(x: jax.Array) -> jax.Array:
    """SCALE*Phi(x)."""
    y = -x * math.sqrt(0.5)
    # Beyond it the asymptotic series, before `erfc` underflows; its terms fall below eps there.
    far, terms = (8.0, 6) if x.dtype.itemsize <= 4 else (25.0, 7)
    z = jnp.maximum(y, far)
    w, series = -1 / (2 * z * z), jnp.ones_like(z)
    for k in range(terms, 0, -1):
        series = 1 + (2 * k - 1) * w * series
    tail = _scaled_gauss(bounded(z)) * (series / (2 * math.sqrt(math.pi)) / z)
    return jnp.where(y > far, tail, SCALE / 2 * jax.lax.erfc(y))


def _scaled_mish_gate(x: jax.Array) -> jax.Array:
    """SCALE*tanh(softplus(x)), in terms of s = sigmoid(x) and t = 1 - s."""
    s, t = _scaled_sigmoid(x), _scaled_sigmoid(-x) / SCALE
    fall = 1 / (1 + t * t)
    return jnp.where(x <= 0, s * (1 + t) * fall, SCALE - 2 * _scaled_sigmoid(-x) * t * fall)


@functools.cache
def _unscaled(scaled: Callable[[jax.Array], jax.Array], order: int = 0) -> Callable[[jax.Array], jax.Array]:
    """A derivative of ``scaled(x)/SCALE``, itself with derivatives of every order.

    Each is a sum of products at the larger scale, and divided at the end: what underflows is the result alone.
    """

    def compute(x: jax.Array) -> jax.Array:
        function = scaled
        for _ in range(order):
            function = _along(function)
        return function(x) * (1 / SCALE)

    return derivative(lambda x: _unscaled(scaled, order + 1)(x))(compute)


def _along(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


@derivative(_unscaled(_scaled_sech2, 1))
def _sech2(x: jax.Array) -> jax.Array:
    return 4 * _sigmoid_slope(2 * x)


def _times_x(gate: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The slope of x*gate(x) for a gate that rises from 0 faster than any power."""

    def slope(x: jax.Array) -> jax.Array:
        value, gate_slope = jax.jvp(gate, (x,), (jnp.ones_like(x),))
        return value + bounded(x) * gate_slope

    return slope


_scaled_silu_slope = _times_x(_scaled_sigmoid)
_scaled_gelu_slope = _times_x(_scaled_normal_cdf)
_scaled_mish_slope = _times_x(_scaled_mish_gate)


def _one_and_growth(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """1 and exp(-x), and far down both over `SCALE`, where exp(-x) overflows before x*exp(x) underflows."""
    far = x < -80
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)  # of two Python numbers `where` makes float64 under enable_x64
    return jnp.where(far, 1 / SCALE, one), jnp.exp(-x - jnp.where(far, math.log(SCALE), zero))


@derivative(_unscaled(_scaled_silu_slope, 1))
def _silu_slope(x: jax.Array) -> jax.Array:
    one, growth = _one_and_growth(x)
    other = jnp.minimum(growth, float(jnp.finfo(x.dtype).max)) / (one + growth)  # sigmoid(-x)
    return one * (1 + bounded(x) * other) / (one + growth)  # divided last: sigmoid(x) may underflow before it


@derivative(_unscaled(_scaled_gelu_slope, 1))
def _gelu_slope(x: jax.Array) -> jax.Array:
    rise = bounded(x) * _scaled_gauss(x * math.sqrt(0.5)) * (2 / SCALE / math.sqrt(2 * math.pi))
    return (jax.lax.erfc(-x * math.sqrt(0.5)) + rise) / 2  # halved last: half of erfc may underflow before it


@derivative(_silu_slope)
def _silu(x: jax.Array) -> jax.Array:
    one, growth = _one_and_growth(x)
    return one * jnp.maximum(x, -1e6) / (one + growth)


@derivative(_gelu_slope)
def _gelu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, -1e6) / 2 * jax.lax.erfc(-x * math.sqrt(0.5))


@derivative(_unscaled(_scaled_mish_slope))
def _mish(x: jax.Array) -> jax.Array:
    gate = _scaled_mish_gate(x)
    return jnp.where(x <= 0, jnp.maximum(x, -1e6) * gate * (1 / SCALE), x * (gate * (1 / SCALE)))


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
    return _silu(x)


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
    return _gelu(x)


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
    return _mish(x)


@register(kinks=(0.0,))
@elementwise
@derivative(_unscaled(_scaled_erf_slope))
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


@register(kinks=(), same=(jnp.sin,))
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
