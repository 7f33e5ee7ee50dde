"""The map that applies moments: ``(x - mean) * gain + shift``, with a derivative rule of its own.

    dy = gain * dx + (x - mean) * d gain - gain * d mean,   y = (x - mean) * gain

Together with the rule of `jnorm.nn._moments` the gradient of a normalized batch is ``dx = A * dy + B * x + C`` with one
A, B, C a feature: two reductions, where the automatic rule sums the gradient of ``x - mean`` once more in each place.
Only ``x`` is kept for the backward pass, in its own dtype.
"""

import functools
from typing import Any

import jax
from jax import lax

# Recomputes `x - mean` in the backward pass, where the compiler fuses it, instead of storing it in float32.
light = functools.partial(jax.checkpoint, prevent_cse=False)


@jax.custom_jvp
def scaled(x: jax.Array, mean: jax.Array, gain: jax.Array) -> jax.Array:
    """``(x - mean) * gain``, never as ``x * gain - mean * gain``, which cancels for a large mean.

    ``mean`` and ``gain`` broadcast against ``x`` and are at least float32, and so is the result.

    >>> from jax import numpy as jnp
    >>> scaled(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0]]), jnp.array([[3.0, 3.0]])).tolist()
    [[0.0, 3.0]]
    """
    return (x.astype(mean.dtype) - mean) * gain


@scaled.defjvp
def _scaled_jvp(primals: Any, tangents: Any) -> Any:
    x, mean, gain = primals
    dx, d_mean, d_gain = tangents
    # The product with d_mean is taken before it is broadcast: its transpose is a sum of dy, as the shift's is.
    return scaled(*primals), dx.astype(mean.dtype) * gain + (x.astype(mean.dtype) - mean) * d_gain - gain * d_mean


@jax.custom_jvp
def inverse_root(v: jax.Array) -> jax.Array:
    """``1 / sqrt(v)``, whose derivative ``-v^(-3/2) / 2`` is never formed by itself.

    That leaves float32 (for v = 1e-26 and 1e26) long before v^(-1/2) and the gradient that it is a factor of do.

    >>> float(inverse_root(jax.numpy.float32(4.0)))
    0.5
    """
    return lax.rsqrt(v)


@inverse_root.defjvp
def _inverse_root_jvp(primals: Any, tangents: Any) -> Any:
    (v,), (dv,) = primals, tangents
    root = inverse_root(v)
    return root, -0.5 * dv * root / v


@light
def scale_and_shift(x: jax.Array, mean: jax.Array, gain: jax.Array, shift: jax.Array) -> jax.Array:
    """``(x - mean) * gain + shift`` in the dtype of ``x``, keeping no more than its arguments for the backward pass.

    >>> from jax import numpy as jnp
    >>> ones = jnp.ones((1, 1))
    >>> scale_and_shift(jnp.array([[3.0]], jnp.bfloat16), ones, ones, ones)
    Array([[3]], dtype=bfloat16)
    """
    return (scaled(x, mean, gain) + shift).astype(x.dtype)
