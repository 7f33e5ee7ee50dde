"""Elementary functions as exact as the machine can have them.

A TPU's own ``exp`` and ``expm1`` of float32 are off by a hundred and by more than a thousand units in the last place,
and by 2 where these are asked for (docs.jax.dev, Numerical accuracy). CPUs and GPUs have one version alone.
"""

from functools import partial

import jax
from jax import lax
from jax import numpy as jnp

exp = partial(lax.exp, accuracy=lax.AccuracyMode.HIGHEST)
expm1 = partial(lax.expm1, accuracy=lax.AccuracyMode.HIGHEST)


def power_below(x: jax.Array) -> jax.Array:
    """The largest power of two up to x >= 0, at most half of the largest there is: dividing by it rounds nothing.

    Of what is not finite 1, of what is below the normal numbers the smallest of them. By comparisons, since frexp takes
    the bits of a float64, which a TPU does not have (jax issue 30629).

    >>> power_below(jnp.array([0.3, 1.0, 3e38])).tolist()
    [0.25, 1.0, 8.507059173023462e+37]
    """
    info = jnp.finfo(x.dtype)
    half = info.maxexp // 2
    x = jnp.where(x < jnp.inf, jnp.maximum(x, info.tiny), 1)
    power = jnp.full_like(x, info.tiny)
    for step in (half, half, *(half >> n for n in range(half.bit_length()))):
        larger = power * 2.0**step
        power = jnp.where(larger <= x, larger, power)
    return jnp.minimum(power, 2.0 ** (info.maxexp - 2))
