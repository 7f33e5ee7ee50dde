"""Kernels of two inputs: variances, covariance and tangent kernel, as arrays that are prepared alike everywhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.gaussian._limits import root


class Kernels(NamedTuple):
    """What a wide network makes of two inputs, up to some pre-activation: arrays of one shape in results.

    Attributes:
        var1: Variance of a unit for the first input.
        var2: For the second input.
        cov: Covariance of both, the NNGP kernel.
        tangent: Neural tangent kernel: the sum over all parameters below of the product of both derivatives by it, with
            every weight ``sigma_w / sqrt(fan_in)`` times a standard normal parameter, and biases alike.
    """

    var1: jax.Array | Any
    var2: jax.Array | Any
    cov: jax.Array | Any
    tangent: jax.Array | Any

    @property
    def correlation(self) -> jax.Array:
        """``cov / sqrt(var1 var2)``, zero where a variance is."""
        return _correlated(self)


KernelMap = Callable[[Kernels], Kernels]
"""What a layer does to kernels, each entry of the arrays by itself."""


def entries(x: Kernels) -> tuple[Any, Kernels]:
    """The dtype of the result, and the parts as arrays of one shape and at least float32."""
    dtype, parts = checks.wide_floats(**x._asdict())
    return dtype, Kernels(*parts)


def cast(dtype: Any, *parts: jax.Array) -> Kernels:
    """The parts in a dtype."""
    return Kernels(*(part.astype(dtype) for part in parts))


def ratio(x: Kernels) -> tuple[jax.Array, jax.Array]:
    """The correlation and the product of both deviations, one where it is zero; what is one but for errors is."""
    both = root(x.var1) * root(x.var2)
    safe = jnp.where(both == 0, 1.0, both)
    corr = jnp.where(both == 0, 0.0, x.cov / safe)
    # A variance and a covariance of equal inputs may come from two rules, and differ by their errors.
    near = jnp.abs(1 - jnp.abs(corr)) <= max(8 * float(jnp.finfo(corr.dtype).eps), 1e-13)
    return corr + jax.lax.stop_gradient(jnp.where(near, jnp.sign(corr), corr) - corr), safe


@jax.jit
def _correlated(x: Kernels) -> jax.Array:
    dtype, x = entries(Kernels(*x))
    return ratio(x)[0].astype(dtype)
