"""Mills' ratio and its divided differences, from one polynomial: what `jnorm.theory.mills` hands out."""

import math
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks, elementary

# Chebyshev coefficients of (x + _POLE) R(x) in u = 1 - 2 (_POLE - 1) / (x + _POLE), which maps x in [-1, inf) to
# [-1, 1]. The first 15 serve float32. The tests derive them anew at 60 digits.
_POLE = 5.0
_CHEBYSHEV = (
    4.700543336367896,
    -5.5138192563684205,
    2.5032263730323994,
    -0.8919591321739181,
    0.24506012750384568,
    -0.04854927981056546,
    0.00546000862239628,
    0.00020563783277572912,
    -0.00019037186739312024,
    1.9439619365337987e-05,
    4.23327507318556e-06,
    -1.0780015626129417e-06,
    -8.538108958820634e-08,
    4.751399725455423e-08,
    1.9273085302692526e-09,
    -2.1133605400620304e-09,
    -7.861319275349244e-11,
    9.884679059721534e-11,
    6.059220146116803e-12,
    -4.7604548659159865e-12,
    -5.348743226767216e-13,
    2.2274569999668169e-13,
    4.4377651978980614e-14,
    -9.016594950825565e-15,
    -3.3349526834057908e-15,
    2.0593209700141959e-16,
    2.2149978597007787e-16,
    1.2681796000347108e-17,
    -1.2252504230732538e-17,
)
_SLOPE = 2 * (_POLE - 1)


def _power_basis(dtype: Any) -> np.ndarray:
    terms = len(_CHEBYSHEV) if jnp.finfo(dtype).bits == 64 else 15
    return np.polynomial.chebyshev.cheb2poly(_CHEBYSHEV[:terms])


class Differences(NamedTuple):
    """Mills' ratio at three points and its divided differences, arrays of one shape.

    Attributes:
        r0: ``R(x0)``.
        r1: ``R(x1)``.
        r2: ``R(x2)``.
        r01: The first difference ``R[x0, x1] = (R(x1) - R(x0)) / (x1 - x0)``; the derivative where the points meet.
        r012: The second difference ``R[x0, x1, x2]``, half the second derivative where the points meet.
        r00: The derivative ``R'(x0)``.
        r000: Half the second derivative, ``R''(x0) / 2``.
    """

    r0: jax.Array
    r1: jax.Array
    r2: jax.Array
    r01: jax.Array
    r012: jax.Array
    r00: jax.Array
    r000: jax.Array


@jax.jit
def differences(x0: ArrayLike, x1: ArrayLike, x2: ArrayLike) -> Differences:
    """Mills' ratio and its divided differences at three points, equal or not, each to a few roundings.

    ``R(x) = h Q(h)`` with ``h = 1 / (x + 5)`` and a polynomial ``Q``. Horner's scheme applied to its own partial sums
    gives the divided differences of ``Q`` in full precision; Leibniz' rule carries them over to ``R``. Derivatives of
    any order are those of the same scheme. Below -1 the polynomial is not one of ``R``, and the values are wrong; reach
    them by ``R(-x) = sqrt(2 pi) exp(x^2 / 2) - R(x)``. NaN gives NaN.

    Args:
        x0: First points, at least -1; all three broadcast. Half precision is computed in float32.
        x1: Second points, at least -1.
        x2: Third points, at least -1.

    Returns:
        The values and differences, of the broadcast shape and dtype.

    Raises:
        ValueError: Shapes do not broadcast.

    >>> at, density = differences(1.0, 1.0, 1.0), math.exp(-1 / 2) / math.sqrt(2 * math.pi)
    >>> f"P(z > 1) = {density * at.r0:.5f}, E[z - 1; z > 1] = {-density * at.r00:.5f}"  # z a standard normal
    'P(z > 1) = 0.15866, E[z - 1; z > 1] = 0.08332'
    """
    dtype, points = checks.wide_floats(x0=x0, x1=x1, x2=x2)
    return Differences(*(value.astype(dtype) for value in _differences(*points)))


@jax.custom_jvp
def _differences(x0: jax.Array, x1: jax.Array, x2: jax.Array) -> Differences:
    return _horner(x0, x1, x2, unroll=True)


@_differences.defjvp
def _(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[Differences, Differences]:
    # Unrolled, the second derivative of a layer map takes a minute to compile; in a loop, seconds.
    return jax.jvp(partial(_horner, unroll=False), primals, tangents)


def _horner(x0: jax.Array, x1: jax.Array, x2: jax.Array, *, unroll: bool) -> Differences:
    h0, h1, h2 = (1 / (x + _POLE) for x in (x0, x1, x2))
    u0, u1, u2 = (1 - _SLOPE * h for h in (h0, h1, h2))
    high, *rest = (float(c) for c in _power_basis(x0.dtype)[::-1])

    def turn(sums: tuple[jax.Array, ...], c: ArrayLike) -> tuple[tuple[jax.Array, ...], None]:
        q, q01, q012, q00, q000 = sums
        return (q * u0 + c, q01 * u1 + q, q012 * u2 + q01, q00 * u0 + q, q000 * u0 + q00), None

    start = jnp.full_like(u0, high), *(jnp.zeros_like(u0) for _ in range(4))
    if unroll:
        q, q01, q012, q00, q000 = reduce(lambda sums, c: turn(sums, c)[0], rest, start)
    else:
        q, q01, q012, q00, q000 = jax.lax.scan(turn, start, jnp.asarray(rest, x0.dtype))[0]

    def first(ha: jax.Array, qab: jax.Array) -> jax.Array:
        return -h0 * ha * (q - _SLOPE * ha * qab)

    def second(ha: jax.Array, hb: jax.Array, qab: jax.Array, qabc: jax.Array) -> jax.Array:
        return h0 * ha * hb * (q - _SLOPE * (ha + hb) * qab + (_SLOPE * hb) ** 2 * qabc)

    return Differences(
        r0=h0 * q,
        r1=h1 * (q + (u1 - u0) * q01),
        r2=h2 * (q + (u2 - u0) * (q01 + (u2 - u1) * q012)),
        r01=first(h1, q01),
        r012=second(h1, h2, q01, q012),
        r00=first(h0, q00),
        r000=second(h0, h0, q00, q000),
    )


@jax.jit
def erfcx(x: ArrayLike) -> jax.Array:
    """Scaled complementary error function, ``exp(x^2) erfc(x)``.

    Relative error of a few roundings for ``x >= 0``; below zero ``2 exp(x^2) - erfcx(-x)``, which overflows to ``inf``
    where the function does (``x < -9.4`` in float32, ``-26.6`` in float64). ``erfcx(inf) = 0``. Derivatives do not
    cancel.

    Args:
        x: Points, of any shape. Half precision is computed in float32.

    Returns:
        Values of the shape and dtype of ``x``.

    >>> x = jnp.array([0.0, 1.0, 10.0, 1e4])  # exp(x^2) overflows and erfc(x) underflows long before
    >>> [f"{value:.4g}" for value in erfcx(x)]
    ['1', '0.4276', '0.05614', '5.642e-05']
    """
    dtype, (x,) = checks.wide_floats(x=x)
    y = math.sqrt(2) * jnp.where(x < 0, -x, x)
    right = math.sqrt(2 / math.pi) * _differences(y, y, y).r0
    below = jnp.where(x < 0, x, 0.0)
    return jnp.where(x < 0, 2 * elementary.exp(below * below) - right, right).astype(dtype)
