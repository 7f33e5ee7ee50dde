"""Exact Gaussian moments of the library's own activations, in forms that neither overflow nor cancel.

Everything rests on Mills' ratio ``R(x) = (1 - Phi(x)) / phi(x)`` and its divided differences. With ``z ~ N(m, v)``,
``s = sqrt(v)`` and ``t = m / s``,

    E[exp(k z); z <= 0] = phi(t) R(t + k s),    E[z; z <= 0] = phi(t) s R'(t),    E[z^2; z <= 0] = phi(t) v R''(t),

so the moments of ``exp(z) - 1`` on one side of the kink are the first and second *differences* of ``R`` with step
``s``, and those of ``z`` are their limits of step zero. `jnorm.theory.mills` evaluates all of them from one polynomial
without ever subtracting two nearby values, which is what keeps the variance exact from ``v = 1e-8`` to ``1e4``.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations
from jnorm._ground import checks
from jnorm.theory.mills import mills

__all__ = [
    "GaussianMoments",
    "Halves",
    "celu",
    "elu",
    "halves",
    "identity",
    "leaky_relu",
    "lookup",
    "relu",
    "scaled_elu",
    "selu",
    "sin",
]


class GaussianMoments(NamedTuple):
    """Moments of ``f(z)``, ``z ~ N(mean, var)``: ``mean`` E[f], ``var`` Var f, ``slope`` E[f'^2]."""

    mean: jax.Array
    var: jax.Array
    slope: jax.Array


class Halves(NamedTuple):
    """The parts of a scaled ELU's moments: ``z`` above the kink, ``exp(z) - 1`` below it.

    ``linear = E[z; z > 0]``, ``linear2 = E[z^2; z > 0]``, ``exp = E[exp(z) - 1; z <= 0]`` (at most zero) and
    ``exp2 = E[(exp(z) - 1)^2; z <= 0]``.
    """

    linear: jax.Array
    linear2: jax.Array
    exp: jax.Array
    exp2: jax.Array


class _Split(NamedTuple):
    """What the moments are made of, in standard units. The far side is the side of the kink away from the mean."""

    scale: jax.Array  # sqrt(v)
    above: jax.Array  # the mean lies above the kink, or just below it
    narrow: jax.Array  # the mean is above the kink, or narrow enough below it to continue the exponential across
    tail: jax.Array  # P(z on the far side)
    tail1: jax.Array  # E|z| there, over s
    tail2: jax.Array  # E[z^2] there, over v
    exp1: jax.Array  # +-E[exp(z) - 1] there, over s (the near side's steps point away from it)
    exp2: jax.Array  # E[(exp(z) - 1)^2] there, over v
    grow1: jax.Array  # E[exp(z); z <= 0]
    grow2: jax.Array  # E[exp(2 z); z <= 0]


def _split(mean: jax.Array, var: jax.Array) -> _Split:
    zero = var == 0
    safe = jnp.where(zero, 1.0, var)
    root = jnp.sqrt(safe)
    scale = jnp.where(zero, 0.0, root)
    reach = math.sqrt(-2 * math.log(jnp.finfo(var.dtype).tiny))  # beyond it the density underflows
    near = jnp.clip(mean, -reach * root, reach * root)
    density = jnp.where(zero, 0.0, jnp.exp(-near * near / (2 * safe)) / math.sqrt(2 * math.pi))
    above = mean > -scale / 4
    distance = jnp.where(zero, reach, jnp.where(above, near, -near) / root)
    narrow = above | (scale < 0.6) | ((distance >= 2 * scale) & (scale < 4))
    steps = [distance + k * jnp.where(above, scale, -scale) for k in (1, 2)]
    # A wide Gaussian below the kink takes steps far beyond -1: fold them, R(-x) = sqrt(2 pi) exp(x^2 / 2) - R(x).
    folded = [~narrow & (x < 0) for x in steps]
    ratio = mills(distance, *(jnp.where(f, -x, x) for f, x in zip(folded, steps, strict=True)))

    def grow(k: int, r: jax.Array, fold: jax.Array) -> jax.Array:
        own = above | fold
        whole = jnp.exp(k * jnp.where(own, 0.0, mean)) * jnp.exp(k * k / 2 * jnp.where(own, 0.0, var))
        return jnp.where(own, density * r, whole - density * r)

    return _Split(
        scale=scale,
        above=above,
        narrow=narrow,
        tail=density * ratio.r0,
        tail1=-density * ratio.r00,
        tail2=2 * density * ratio.r000,
        exp1=density * ratio.r01,
        exp2=2 * density * ratio.r012,
        grow1=grow(1, ratio.r1, folded[0]),
        grow2=grow(2, ratio.r2, folded[1]),
    )


def _below(p: _Split, mean: jax.Array, var: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean and variance where the exponential is continued across the kink, zero in the other lanes."""
    return jnp.where(p.above, 0.0, mean), jnp.where(p.narrow & ~p.above, var, 0.0)


def _checked(**named: Any) -> tuple[Any, tuple[jax.Array, ...]]:
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=named["var"])
    dtype, (mean, var, *rest) = checks.wide_floats(**named)
    return dtype, (mean, jnp.where(var >= 0, var, jnp.nan), *rest)


def _cast(dtype: Any, *values: jax.Array) -> GaussianMoments:
    return GaussianMoments(*(value.astype(dtype) for value in values))


def halves(mean: ArrayLike, var: ArrayLike) -> Halves:
    """Moments of the two halves of a scaled ELU, from which its constants follow in closed form.

    Every part has a relative error of a few roundings. Shapes broadcast; ``var = 0`` gives the limit, a negative or NaN
    ``var`` inside ``jit`` gives NaN; a known negative one raises ``ValueError``.

    >>> [round(float(part), 6) for part in halves(0.0, 1.0)]
    [0.398942, 0.5, -0.238422, 0.144945]
    """
    dtype, (mean, var) = _checked(mean=mean, var=var)
    p = _split(mean, var)
    low, thin = _below(p, mean, var)
    center = jnp.expm1(low + thin / 2)
    spread = jnp.exp(2 * low) * jnp.exp(thin) * jnp.expm1(thin)
    side = jnp.where(p.above, 1.0, -1.0)
    below = 1 - p.tail
    return Halves(
        linear=(jnp.where(p.above, mean, 0.0) + p.scale * p.tail1).astype(dtype),
        linear2=jnp.where(p.above, mean * mean + var * (1 - p.tail2), var * p.tail2).astype(dtype),
        exp=jnp.where(p.narrow, center + p.scale * p.exp1, p.grow1 - below).astype(dtype),
        exp2=jnp.where(p.narrow, spread + center * center + side * var * p.exp2, p.grow2 - 2 * p.grow1 + below).astype(
            dtype
        ),
    )


def scaled_elu(mean: ArrayLike, var: ArrayLike, *, lam: ArrayLike = 1.0, alpha: ArrayLike = 1.0) -> GaussianMoments:
    """Moments of ``lam * (z if z > 0 else alpha * (exp(z) - 1))``; SELU, ELU and (``alpha = 0``) ReLU.

    The function is written as its continuation from the side on which the mean lies (a line, or an exponential whose
    moments are log-normal) plus a correction on the far side, so that the variance is never a difference of nearly
    equal terms. For a standard deviation of one half and more below the kink, the moments of ``f + lam * alpha``, all
    of one sign.

    Over ``mean`` in [-10, 10], ``var`` in [1e-8, 1e4] the relative error of ``var`` is below 1e-12 (float64) and 5e-6
    (float32), that of ``mean`` over ``sqrt(E[f^2])`` below 1e-13 and 1e-6. Shapes broadcast; ``var = 0`` gives
    ``(f(mean), 0, f'(mean)^2)`` with the derivatives of the limit; a negative or NaN ``var`` inside ``jit`` gives NaN.

    Raises ``ValueError`` for a known negative ``var`` and for shapes that do not broadcast.
    Source: Klambauer et al. 2017 (arXiv 1706.02515), equations 4 and 5, rearranged.

    >>> from jnorm.activations import SELU_ALPHA, SELU_LAMBDA
    >>> [round(float(a), 4) for a in scaled_elu(0.0, 1.0, lam=SELU_LAMBDA, alpha=SELU_ALPHA)]  # the fixed point (0, 1)
    [0.0, 1.0, 1.0716]
    """
    dtype, (mean, var, lam, alpha) = _checked(mean=mean, var=var, lam=lam, alpha=alpha)
    p = _split(mean, var)
    low, thin = _below(p, mean, var)
    base = jnp.where(p.above, mean, alpha * jnp.expm1(low + thin / 2))
    base_var = jnp.where(p.above, var, alpha**2 * jnp.exp(2 * low) * jnp.exp(thin) * jnp.expm1(thin))
    shift = p.scale * (p.tail1 + alpha * p.exp1)
    swap = var * (p.tail2 - alpha**2 * p.exp2)
    spread = base_var + jnp.where(p.above, -swap, swap) - (2 * base + shift) * shift
    lifted = alpha * (p.grow1 + p.tail) + p.scale * p.tail1
    lifted2 = alpha**2 * (p.grow2 + p.tail) + 2 * alpha * p.scale * p.tail1 + var * p.tail2
    return _cast(
        dtype,
        lam * jnp.where(p.narrow, base + shift, lifted - alpha),
        lam**2 * jnp.where(p.narrow, spread, lifted2 - lifted * lifted),
        lam**2 * (jnp.where(p.above, 1 - p.tail, p.tail) + alpha**2 * p.grow2),
    )


def relu(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``max(z, 0)``, with full relative precision far into the dead side.

    >>> [round(float(a), 4) for a in relu(0.0, 1.0)]
    [0.3989, 0.3408, 0.5]
    """
    return scaled_elu(mean, var, alpha=0.0)


def elu(mean: ArrayLike, var: ArrayLike, alpha: ArrayLike = 1.0) -> GaussianMoments:
    """Moments of ``z if z > 0 else alpha * (exp(z) - 1)``; see `scaled_elu`."""
    return scaled_elu(mean, var, alpha=alpha)


def celu(mean: ArrayLike, var: ArrayLike, alpha: ArrayLike = 1.0) -> GaussianMoments:
    """Moments of ``z if z > 0 else alpha * (exp(z / alpha) - 1)``, an ELU of ``z / alpha``, ``alpha > 0``."""
    checks.require(lambda a: a > 0, "`{}` must satisfy {} > 0", alpha=alpha)
    dtype, (mean, var, alpha) = _checked(mean=mean, var=var, alpha=alpha)
    unit = scaled_elu(mean / alpha, var / alpha**2)
    return _cast(dtype, alpha * unit.mean, alpha**2 * unit.var, unit.slope)


def selu(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of SELU with the constants of the fixed point (0, 1); see `scaled_elu`."""
    return scaled_elu(mean, var, lam=activations.SELU_LAMBDA, alpha=activations.SELU_ALPHA)


def leaky_relu(mean: ArrayLike, var: ArrayLike, negative_slope: ArrayLike = 0.01) -> GaussianMoments:
    """Moments of ``z if z > 0 else a z``: ``a z + (1 - a) relu(z)``, with ``Cov(z, relu(z)) = v P(z > 0)``."""
    dtype, (mean, var, a) = _checked(mean=mean, var=var, negative_slope=negative_slope)
    ramp = relu(mean, var)
    spread = var * (a * a + 2 * a * (1 - a) * ramp.slope) + (1 - a) ** 2 * ramp.var
    return _cast(dtype, a * mean + (1 - a) * ramp.mean, spread, a * a + (1 - a * a) * ramp.slope)


def identity(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``z`` itself."""
    dtype, (mean, var) = _checked(mean=mean, var=var)
    nothing = 0 * (mean + var)  # or NaN
    return _cast(dtype, mean + nothing, var + nothing, 1 + nothing)


def sin(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``sin(z)``: with ``q = exp(-v)``, mean ``sqrt(q) sin m``, var ``(1 - q)(1 - q + 2 q cos(m)^2) / 2``.

    >>> [round(float(a), 5) for a in sin(0.0, 1.0)]
    [0.0, 0.43233, 0.56767]
    """
    dtype, (mean, var) = _checked(mean=mean, var=var)
    q, gap, cosine = jnp.exp(-var), -jnp.expm1(-var), jnp.cos(mean)
    spread = gap * (gap + 2 * q * cosine**2) / 2
    return _cast(dtype, jnp.exp(-var / 2) * jnp.sin(mean), spread, (gap * (1 + q) + 2 * (q * cosine) ** 2) / 2)


_KNOWN: dict[Callable[..., Any], Callable[..., GaussianMoments]] = {
    getattr(activations, f.__name__): f for f in (identity, relu, leaky_relu, elu, celu, selu, scaled_elu, sin)
}


def lookup(phi: Callable[..., Any]) -> Callable[..., GaussianMoments] | None:
    """The closed form of one of the library's activations, or ``None``; looks through ``functools.partial`` keywords.

    >>> from functools import partial
    >>> from jnorm import activations
    >>> closed = lookup(partial(activations.leaky_relu, negative_slope=0.2))
    >>> round(float(closed(0.0, 1.0).slope), 6)
    0.52
    """
    if isinstance(phi, partial):
        inner = lookup(phi.func)
        return partial(inner, **phi.keywords) if inner and not phi.args else None
    return next((closed for known, closed in _KNOWN.items() if known is phi), None)  # phi need not be hashable
