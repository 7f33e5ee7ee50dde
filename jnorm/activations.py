"""Activations: plain functions whose values and derivatives of every order are accurate over the whole range.

Common to the elementwise functions:

- **Shapes and types.** ``x`` is an array of any shape. The result has its shape and floating dtype; bfloat16 and
  float16 are computed in float32 and rounded once, in the derivatives too. Integers become floats as in
  ``jax.numpy``, and weak types stay weak. Parameters may be traced and differentiated; they broadcast against ``x``.
- **Kinks.** At a kink the function and all its derivatives take the branch on the left, x <= kink: relu'(0) = 0,
  elu'(0) = alpha, hard_tanh'(-1) = 0, hard_tanh'(1) = 1, softsign''(0) = 2.
- **Accuracy.** For |x| <= 1e4 the value and the first two derivatives f^(k) are within 8*eps*max(|f^(k)|, |x f^(k+1)|),
  a few times what rounding x does, beside underflow (flushed on the CPU); in half precision they are rounded right to
  within .51 eps. Nothing is lost to cancellation: selu'(-20) = lam*alpha*exp(-20).
- **Singular points.** f(NaN) is NaN; at +-inf the function and its derivatives take their limits where these exist.
- **Errors.** ``TypeError`` for boolean or complex input, ``ValueError`` for shapes that do not broadcast.
"""

import functools
import inspect
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, Concatenate, ParamSpec

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import callables
from jnorm._ground.checks import operands, require

__all__ = [
    "ELEMENTWISE",
    "SELU_ALPHA",
    "SELU_LAMBDA",
    "P",
    "celu",
    "closed_form",
    "elu",
    "erf",
    "gelu",
    "hard_tanh",
    "hardmax",
    "identity",
    "kinks",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "scaled_elu",
    "selu",
    "set_closed_form",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]

P = ParamSpec("P")


def _selu_constants() -> tuple[float, float]:
    """The (lam, alpha) for which E[selu(z)] = 0 and E[selu(z)^2] = 1 under z ~ N(0, 1).

    In decimals, because alpha lies within .02 ulp of the middle between two doubles.
    """
    with localcontext(prec=40):

        def arctan_of_inverse(n: int) -> Decimal:
            return sum(((-1) ** k / (Decimal(2 * k + 1) * n ** (2 * k + 1)) for k in range(30)), Decimal())

        pi = 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)

        def scaled_tail(x: int) -> Decimal:
            """exp(x^2/2)*erfc(x/sqrt 2), by exp(x^2/2) int_0^x exp(-t^2/2) dt = sum_k x^(2k+1)/(2k+1)!!."""
            series = sum(Decimal(x ** (2 * k + 1)) / math.prod(range(1, 2 * k + 2, 2)) for k in range(60))
            return (Decimal(x * x) / 2).exp() - (2 / pi).sqrt() * series

        alpha = (2 / pi).sqrt() / (1 - scaled_tail(1))
        lam = (2 / (1 + alpha**2 * (scaled_tail(2) - 2 * scaled_tail(1) + 1))).sqrt()
        return float(lam), float(alpha)


SELU_LAMBDA, SELU_ALPHA = _selu_constants()


def _elementwise(
    compute: Callable[Concatenate[jax.Array, P], jax.Array],
) -> Callable[Concatenate[ArrayLike, P], jax.Array]:
    """Make a formula in floats a public function: operands checked and prepared, the result in their dtype."""
    signature = inspect.signature(compute)

    @functools.wraps(compute)
    def function(*args: Any, **kwargs: Any) -> jax.Array:
        arrays, dtype = operands(**signature.bind(*args, **kwargs).arguments)
        y = compute(**arrays)  # type: ignore[arg-type, call-arg]
        return y if y.dtype == dtype else y.astype(dtype)

    return function


def _derivative(slope: Callable[[jax.Array], jax.Array]) -> Callable[[Callable[..., jax.Array]], Any]:
    """Declare the derivative of a function of one array; as the slope declares its own, every order follows."""

    def declare(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
        declared = jax.custom_jvp(function)
        declared.defjvp(lambda x, dx: (declared(*x), slope(*x) * dx[0]))
        return declared

    return declare


def _bounded(x: jax.Array) -> jax.Array:
    """The factor x of an exponential that is 0 beyond the bounds, where inf*0 or overflow would give NaN."""
    return jnp.clip(x, -1e6, 1e6)


def _left(x: jax.Array) -> jax.Array:
    """min(x, 0) with derivative 1 at 0: keeps the branch that is not taken finite."""
    return jnp.where(x <= 0, x, 0)


@_derivative(jnp.exp)
def _expm1(x: jax.Array) -> jax.Array:
    """exp(x) - 1; JAX's own derivative, expm1(x) + 1, is lost below x = -17."""
    return jnp.expm1(x)


def _sigmoid_curvature(x: jax.Array) -> jax.Array:
    return -tanh(x / 2) * _sigmoid_slope(x)


@_derivative(_sigmoid_curvature)
def _sigmoid_slope(x: jax.Array) -> jax.Array:
    """sigmoid(x)*sigmoid(-x)."""
    e = jnp.exp(-jnp.abs(x))
    return e / (1 + e) ** 2


def _sech2(x: jax.Array) -> jax.Array:
    return 4 * _sigmoid_slope(2 * x)


def _gauss_slope(x: jax.Array) -> jax.Array:
    return -2 * _bounded(x) * _gauss(x)


@_derivative(_gauss_slope)
def _gauss(x: jax.Array) -> jax.Array:
    """exp(-x^2)."""
    return jnp.exp(-(x**2))


@_derivative(lambda x: _gauss(x * math.sqrt(0.5)) / math.sqrt(2 * math.pi))
def _normal_cdf(x: jax.Array) -> jax.Array:
    return jax.lax.erfc(-x * math.sqrt(0.5)) / 2


def _times_x(gate: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """x*gate(x) for a gate that rises from 0 to 1 faster than any power, with the limits at +-inf."""

    def slope(x: jax.Array) -> jax.Array:
        value, gate_slope = jax.jvp(gate, (x,), (jnp.ones_like(x),))
        return value + _bounded(x) * gate_slope

    return _derivative(slope)(lambda x: jnp.maximum(x, -1e6) * gate(x))


@_elementwise
def identity(x: jax.Array) -> jax.Array:
    """The identity, f(x) = x.

    >>> identity(3)
    Array(3., dtype=float32, weak_type=True)
    """
    return x


@_elementwise
def relu(x: jax.Array) -> jax.Array:
    """Rectifier, f(x) = max(x, 0), with f'(0) = 0 (Nair, Hinton 2010).

    >>> relu(jnp.array([-1.0, 2.0]))
    Array([0., 2.], dtype=float32)
    """
    return jnp.where(x <= 0, 0, x)


@_elementwise
def leaky_relu(x: jax.Array, *, negative_slope: ArrayLike = 0.01) -> jax.Array:
    """Leaky rectifier, f(x) = negative_slope*x for x <= 0, else x; f'(0) = negative_slope (Maas et al. 2013).

    >>> leaky_relu(jnp.array([-1.0, 2.0]), negative_slope=0.5)
    Array([-0.5,  2. ], dtype=float32)
    """
    return jnp.where(x <= 0, negative_slope * _left(x), x)


@_elementwise
def elu(x: jax.Array, *, alpha: ArrayLike = 1.0) -> jax.Array:
    """Exponential linear unit, f(x) = alpha*(exp(x) - 1) for x <= 0, else x (Clevert et al. 2016, eq. 15).

    At the kink f'(0) = f''(0) = alpha.

    >>> f"{elu(-1.0):.4f}"
    '-0.6321'
    """
    return jnp.where(x <= 0, alpha * _expm1(_left(x)), x)


@_elementwise
def _celu(x: jax.Array, alpha: Any) -> jax.Array:
    # exp(-1000) = 0 in every dtype, so the bound changes no value; it keeps the derivative in alpha finite.
    ratio = jnp.maximum(_left(x), -1000 * alpha) / alpha
    return jnp.where(x <= 0, alpha * _expm1(ratio), x)


def celu(x: ArrayLike, *, alpha: ArrayLike = 1.0) -> jax.Array:
    """Continuously differentiable ELU, f(x) = alpha*(exp(x/alpha) - 1) for x <= 0, else x (Barron 2017, eq. 2).

    Only from the second derivative on is 0 a kink: f'(0) = 1, f''(0) = 1/alpha. Raises ``ValueError`` for alpha <= 0.

    >>> f"{celu(-1.0, alpha=2.0):.4f}"
    '-0.7869'
    """
    require(lambda v: v > 0, "`{}` must satisfy {} > 0", alpha=alpha)
    return _celu(x, alpha)


@_elementwise
def scaled_elu(x: jax.Array, lam: ArrayLike, alpha: ArrayLike) -> jax.Array:
    """SELU with free constants, f(x) = lam*alpha*(exp(x) - 1) for x <= 0, else lam*x; f'(0) = lam*alpha.

    The constants for other fixed points than (0, 1) come from ``jnorm.theory.fixed_points.selu_constants``
    (Klambauer et al. 2017, eq. 2).

    >>> f"{scaled_elu(-1.0, 2.0, 1.0):.4f}"
    '-1.2642'
    """
    return elu(x, alpha=alpha) * lam


@_elementwise
def selu(x: jax.Array) -> jax.Array:
    """Self-normalizing ELU, ``scaled_elu(x, SELU_LAMBDA, SELU_ALPHA)`` (Klambauer et al. 2017, eq. 2).

    It maps N(0, 1) to mean 0 and variance 1, and saturates at -lam*alpha = -1.758.

    >>> f"{selu(-1.0):.4f} {jax.grad(selu)(-20.0):.4e}"
    '-1.1113 3.6237e-09'
    """
    return scaled_elu(x, SELU_LAMBDA, SELU_ALPHA)


@_elementwise
@_derivative(_sigmoid_slope)
def sigmoid(x: jax.Array) -> jax.Array:
    """Logistic function, f(x) = 1/(1 + exp(-x)), with f'(x) = f(x)*f(-x).

    >>> sigmoid(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return jax.nn.sigmoid(x)


@_elementwise
@_derivative(_sech2)
def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent, with f'(x) = 1/cosh(x)^2.

    >>> f"{tanh(0.5):.4f} {jax.grad(tanh)(20.0):.4e}"
    '0.4621 1.6993e-17'
    """
    return jnp.tanh(x)


@_elementwise
def hard_tanh(x: jax.Array) -> jax.Array:
    """Identity clipped to [-1, 1], with f'(-1) = 0 and f'(1) = 1 (Collobert 2004).

    >>> hard_tanh(jnp.array([-2.0, 0.5, 3.0]))
    Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return jnp.where(x <= -1, -1, jnp.where(x > 1, 1, x))


@_elementwise
@_derivative(sigmoid)
def softplus(x: jax.Array) -> jax.Array:
    """Smooth rectifier, f(x) = log(1 + exp(x)), with f'(x) = sigmoid(x) (Dugas et al. 2001).

    >>> f"{softplus(0.0):.4f} {softplus(-20.0):.4e}"
    '0.6931 2.0612e-09'
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@_elementwise
@_derivative(lambda x: jnp.where(x <= 0, 1 - x, 1 + x) ** -2)
def softsign(x: jax.Array) -> jax.Array:
    """Slowly saturating sigmoid, f(x) = x/(1 + |x|), with f'(x) = 1/(1 + |x|)^2 (Bergstra et al. 2009).

    The second derivative jumps at 0: f''(0) = 2.

    >>> softsign(jnp.array([-1.0, 3.0]))
    Array([-0.5 ,  0.75], dtype=float32)
    """
    largest = float(jnp.finfo(x.dtype).max)
    x = jnp.clip(x, -largest, largest)
    return x / (1 + jnp.abs(x))


@_elementwise
def silu(x: jax.Array) -> jax.Array:
    """Sigmoid-weighted unit or swish, f(x) = x*sigmoid(x) (Elfwing et al. 2018, eq. 5).

    >>> f"{silu(-1.0):.4f}"
    '-0.2689'
    """
    return _times_x(sigmoid)(x)


@_elementwise
def gelu(x: jax.Array) -> jax.Array:
    """Gaussian error unit, f(x) = x*Phi(x), exact and not the tanh approximation (Hendrycks, Gimpel 2016).

    >>> f"{gelu(-1.0):.4f}"
    '-0.1587'
    """
    return _times_x(_normal_cdf)(x)


@_elementwise
def mish(x: jax.Array) -> jax.Array:
    """Self-gated unit, f(x) = x*tanh(softplus(x)) (Misra 2020, eq. 1).

    >>> f"{mish(-1.0):.4f}"
    '-0.3034'
    """
    return _times_x(lambda z: tanh(softplus(z)))(x)


@_elementwise
@_derivative(lambda x: 2 / math.sqrt(math.pi) * _gauss(x))
def erf(x: jax.Array) -> jax.Array:
    """Error function, f(x) = 2/sqrt(pi) * int_0^x exp(-t^2) dt.

    >>> f"{erf(1.0):.4f}"
    '0.8427'
    """
    return jax.lax.erf(x)


@_elementwise
def sin(x: jax.Array) -> jax.Array:
    """Sine; NaN at +-inf (Sitzmann et al. 2020 use it for implicit representations).

    >>> f"{sin(1.0):.4f}"
    '0.8415'
    """
    return jnp.sin(x)


def _along(axis: int, x: ArrayLike) -> tuple[jax.Array, jnp.dtype]:
    """``x`` prepared for a function along ``axis``, and the dtype of its result."""
    arrays, dtype = operands(x=x)
    ndim = arrays["x"].ndim
    if not -ndim <= axis < ndim:
        raise ValueError(f"`axis` must satisfy {-ndim} <= axis < {ndim} for `x` of shape {jnp.shape(x)}; got {axis}")
    return arrays["x"], dtype


def softmax(x: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Probabilities exp(x_i)/sum_j exp(x_j) along ``axis``, computed in at least float32 from x - max(x).

    Same shape and dtype as ``x``. A NaN or +inf makes its own lane NaN. Raises ``ValueError`` for an axis out of range.

    >>> [f"{p:.3f}" for p in softmax(jnp.array([5.0, 2.0, -1.0, 3.0]))]
    ['0.842', '0.042', '0.002', '0.114']
    """
    array, dtype = _along(axis, x)
    return jax.nn.softmax(array, axis).astype(dtype)


def log_softmax(x: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Log probabilities x_i - log(sum_j exp(x_j)) along ``axis``, finite where ``softmax`` underflows.

    Shapes, dtype, NaN and errors as for ``softmax``.

    >>> log_softmax(jnp.array([0.0, 1e4]))
    Array([-10000.,      0.], dtype=float32)
    """
    array, dtype = _along(axis, x)
    return jax.nn.log_softmax(array, axis).astype(dtype)


def hardmax(x: ArrayLike, *, axis: int = -1) -> jax.Array:
    """One-hot vector of the first maximum along ``axis``: the limit of softmax(x/t) as t -> 0, but for ties.

    Its derivative is zero. Shapes, dtype, NaN and errors as for ``softmax``, but +inf is a maximum like any other.

    >>> hardmax(jnp.array([1.0, 3.0, 3.0]))
    Array([0., 1., 0.], dtype=float32)
    """
    array, dtype = _along(axis, x)
    first = jax.nn.one_hot(jnp.argmax(array, axis), array.shape[axis], dtype=dtype, axis=axis)
    return jnp.where(jnp.isnan(array).any(axis, keepdims=True), jnp.nan, first)


_PIECEWISE = (identity, relu, leaky_relu, elu, celu, selu, hard_tanh, softsign)
_SMOOTH = (sigmoid, tanh, softplus, silu, gelu, mish, erf, sin)
ELEMENTWISE: dict[str, Callable[..., jax.Array]] = {phi.__name__: phi for phi in _PIECEWISE + _SMOOTH}
"""Every elementwise function that needs no parameter, by name."""


def kinks(phi: Callable[..., Any]) -> tuple[float, ...]:
    """The points where ``phi`` or a derivative jumps; 0 for smooth functions whose features sit there.

    Sees through ``functools.partial`` and wrappers such as ``jax.jit`` to the functions of this module. Anything
    else is taken to have its features at 0.

    >>> kinks(hard_tanh), kinks(functools.partial(leaky_relu, negative_slope=0.2)), kinks(sin)
    ((-1.0, 1.0), (0.0,), ())
    """
    if phi is hard_tanh:
        return (-1.0, 1.0)
    if phi is identity or phi is sin:
        return ()
    inner = phi.func if isinstance(phi, functools.partial) else getattr(phi, "__wrapped__", None)
    return (0.0,) if inner is None else kinks(inner)


_CLOSED: dict[Callable[..., Any], Callable[..., Any]] = {}


def set_closed_form(phi: Callable[..., Any], form: Callable[..., Any]) -> None:
    """Tell the exact Gaussian moments of an activation.

    Args:
        phi: The activation.
        form: ``form(mean, var, **parameters)`` returns E[phi(z)], Var phi(z) and E[phi'(z)^2] for z ~ N(mean, var);
            its parameters are named as those of ``phi``.
    """
    _CLOSED[phi] = form


def closed_form(phi: Callable[..., Any]) -> Callable[..., Any] | None:
    """The exact Gaussian moments of an activation with its bound parameters, or ``None``.

    Sees through ``functools.partial`` with keywords and ``jax.jit``.

    Args:
        phi: Any callable.

    Returns:
        ``form(mean, var)``, see `set_closed_form`.

    >>> closed_form(lambda x: x) is None
    True
    """
    function, args, keywords = callables.unwrap(phi)
    if args:
        return None
    try:
        form = _CLOSED.get(function)
    except TypeError:  # no hash
        return None
    if form is None and callables.is_jitted(function):
        form = closed_form(function.__wrapped__)  # type: ignore[attr-defined]
    return functools.partial(form, **keywords) if form and keywords else form
