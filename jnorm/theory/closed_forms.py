"""Exact Gaussian moments of the library's own activations, in forms that neither overflow nor cancel.

Everything rests on Mills' ratio and its divided differences (`jnorm.theory.mills`), which are never taken by
subtracting two nearby values: that is what keeps the variance exact from ``var = 1e-8`` to ``1e4``. Each form is the
entry of its activation in the table of `jnorm.activations`, where `jnorm.theory.moments` finds it.

Common to the forms of activations:

- **Arguments.** ``mean`` and ``var`` are those of ``z``; the parameters of an activation are called as there. All
  broadcast, and all may be traced and differentiated.
- **Results.** `GaussianMoments` of the broadcast shape and dtype; half precision is computed in float32.
- **Singular points.** ``var = 0`` gives ``(f(mean), 0, f'(mean)^2)`` with the derivatives of the limit; a negative or
  NaN ``var`` gives NaN in its own lane.
- **Errors.** ``ValueError`` for a negative ``var`` among Python numbers and NumPy arrays, and for shapes that do not
  broadcast.
- **Cost.** Called outside ``jit`` each is one compiled program.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations
from jnorm._ground import checks, elementary
from jnorm.theory._scaled_elu import GaussianMoments as GaussianMoments
from jnorm.theory._scaled_elu import gaussian_moments, one_program, prepared
from jnorm.theory._scaled_elu import scaled_elu as scaled_elu

__all__ = [
    "GaussianMoments",
    "celu",
    "elu",
    "identity",
    "leaky_relu",
    "relu",
    "scaled_elu",
    "selu",
    "sin",
]


@one_program
def relu(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``max(z, 0)``, with full relative precision far into the dead side.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.

    Returns:
        Mean, variance and mean squared slope, which is ``P(z > 0)``.

    >>> alive = relu(jnp.array([0.0, -3.0, -9.0]), 1.0).slope  # the share of inputs for which a unit is not dead
    >>> [f"{p:.2g}" for p in alive]
    ['0.5', '0.0013', '1.1e-19']
    """
    return scaled_elu(mean, var, alpha=0.0)


@one_program
def elu(mean: ArrayLike, var: ArrayLike, alpha: ArrayLike = 1.0) -> GaussianMoments:
    """Moments of ``z if z > 0 else alpha * (exp(z) - 1)``; accuracy as for `scaled_elu`.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.
        alpha: Depth of the exponential.

    Returns:
        Mean, variance and mean squared slope.

    >>> round(float(elu(0.0, 1.0).mean), 4)  # the shift that ELU units put into the next layer
    0.1605
    """
    return scaled_elu(mean, var, alpha=alpha)


def celu(mean: ArrayLike, var: ArrayLike, alpha: ArrayLike = 1.0) -> GaussianMoments:
    """Moments of ``z if z > 0 else alpha * (exp(z / alpha) - 1)``, an ELU of ``z / alpha``.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.
        alpha: Depth and width of the exponential, positive.

    Returns:
        Mean, variance and mean squared slope.

    Raises:
        ValueError: ``alpha <= 0`` is known (beside what all forms raise).

    >>> round(float(celu(0.0, 1.0, alpha=0.5).mean), 4)
    0.233
    """
    checks.require(lambda a: a > 0, "`{}` must satisfy {} > 0", alpha=alpha)
    return _celu(mean, var, alpha)


@one_program
def _celu(mean: ArrayLike, var: ArrayLike, alpha: ArrayLike) -> GaussianMoments:
    dtype, (mean, var, alpha) = prepared(mean=mean, var=var, alpha=alpha)
    unit = scaled_elu(mean / alpha, var / alpha**2)
    return gaussian_moments(dtype, alpha * unit.mean, alpha**2 * unit.var, unit.slope)


@one_program
def selu(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of SELU with the constants of the fixed point (0, 1); accuracy as for `scaled_elu`.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.

    Returns:
        Mean, variance and mean squared slope.

    >>> [round(float(v), 3) for v in selu(0.0, jnp.array([0.5, 1.0, 2.0])).var]  # back towards 1 from either side
    [0.577, 1.0, 1.714]
    """
    return scaled_elu(mean, var, lam=activations.SELU_LAMBDA, alpha=activations.SELU_ALPHA)


@one_program
def leaky_relu(mean: ArrayLike, var: ArrayLike, negative_slope: ArrayLike = 0.01) -> GaussianMoments:
    """Moments of ``z if z > 0 else a z``: ``a z + (1 - a) relu(z)``, with ``Cov(z, relu(z)) = v P(z > 0)``.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.
        negative_slope: The slope ``a`` below the kink.

    Returns:
        Mean, variance and mean squared slope.

    >>> round(float(leaky_relu(0.0, 1.0, negative_slope=0.2).slope), 4)  # (1 + a^2) / 2
    0.52
    """
    dtype, (mean, var, a) = prepared(mean=mean, var=var, negative_slope=negative_slope)
    ramp = relu(mean, var)
    spread = var * (a * a + 2 * a * (1 - a) * ramp.slope) + (1 - a) ** 2 * ramp.var
    return gaussian_moments(dtype, a * mean + (1 - a) * ramp.mean, spread, a * a + (1 - a * a) * ramp.slope)


@one_program
def identity(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``z`` itself.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.

    Returns:
        ``mean``, ``var`` and 1.

    >>> [float(a) for a in identity(0.5, 2.0)]
    [0.5, 2.0, 1.0]
    """
    dtype, (mean, var) = prepared(mean=mean, var=var)
    nothing = 0 * (mean + var)  # or NaN
    return gaussian_moments(dtype, mean + nothing, var + nothing, 1 + nothing)


@one_program
def sin(mean: ArrayLike, var: ArrayLike) -> GaussianMoments:
    """Moments of ``sin(z)``: with ``q = exp(-v)``, mean ``sqrt(q) sin m``, var ``(1 - q)(1 - q + 2 q cos(m)^2) / 2``.

    Args:
        mean: Mean of ``z``.
        var: Variance of ``z``.

    Returns:
        Mean, variance and mean squared slope.

    >>> [round(float(v), 3) for v in sin(0.0, jnp.array([0.1, 1.0, 900.0])).var]  # 900: the first layer of a SIREN
    [0.091, 0.432, 0.5]
    """
    dtype, (mean, var) = prepared(mean=mean, var=var)
    q, gap, cosine = elementary.exp(-var), -elementary.expm1(-var), jnp.cos(mean)
    spread = gap * (gap + 2 * q * cosine**2) / 2
    return gaussian_moments(
        dtype, elementary.exp(-var / 2) * jnp.sin(mean), spread, (gap * (1 + q) + 2 * (q * cosine) ** 2) / 2
    )


for _form in (identity, relu, leaky_relu, elu, celu, selu, scaled_elu, sin):
    activations.register(getattr(activations, _form.__name__), closed_form=_form)
