"""The matrix product of the layers: summed in at least float32, forward and backward, of operands that stay half.

``jnp.matmul(..., preferred_element_type=float32)`` has the right value in half precision, but its cotangent is float32,
so that both products of the backward pass would have float32 operands: several times slower where half precision has
matrix units of its own, and no more accurate, for layers round their output, and so its cotangent, to half precision.
"""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jnorm._ground import checks


def matmul(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """``x @ kernel`` of one dtype, in at least float32; tangents and cotangents are rounded to the operands' dtype.

    >>> half = jnp.ones((1, 3), jnp.bfloat16)
    >>> matmul(half, half.T, None).dtype, jax.grad(lambda x: matmul(x, half.T, None).sum())(half).dtype
    (dtype('float32'), dtype(bfloat16))
    """
    wide = checks.wide(x.dtype)
    if wide != x.dtype:
        return _of_halves(x, kernel, precision)
    return jnp.matmul(x, kernel, precision=precision, preferred_element_type=wide)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _of_halves(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    return jnp.matmul(x, kernel, precision=precision, preferred_element_type=jnp.float32)


@partial(_of_halves.defjvp, symbolic_zeros=True)
def _of_halves_jvp(precision: lax.PrecisionLike, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The tangent by products with a half result, whose transposes have half operands; backends sum in float32."""
    (x, kernel), (dx, dkernel) = primals, tangents
    pairs = [pair for pair in ((dx, kernel), (x, dkernel)) if not any(isinstance(a, SymbolicZero) for a in pair)]
    parts = [jnp.matmul(*pair, precision=precision).astype(jnp.float32) for pair in pairs]
    return _of_halves(x, kernel, precision), reduce(jnp.add, parts)
