"""Normalization by given statistics, those of a batch or running ones, then scale and shift."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._params import Params, broadcast_params
from jnorm.nn._scaling import inverse_root, scale_and_shift


def normalize(
    params: Params, mean: jax.Array, var: jax.Array, x: jax.Array, *, eps: ArrayLike, axes: Sequence[int]
) -> jax.Array:
    """``(x - mean) / sqrt(var + eps) * scale + shift`` in the dtype of ``x``, for statistics that broadcast against it.

    ``axes`` are the feature axes in ascending order. Raises ``ValueError`` for ``eps < 0`` and other feature counts.

    >>> x = jnp.array([[1.0], [3.0]])
    >>> normalize(Params(None, None), jnp.full((1, 1), 2.0), jnp.full((1, 1), 4.0), x, eps=0.0, axes=(1,)).tolist()
    [[-0.5], [0.5]]
    """
    checks.require(lambda e: e >= 0, "`{}` must satisfy {} >= 0", eps=eps)
    scale, shift = broadcast_params(params, x, axes)
    gain = inverse_root(var + jnp.asarray(eps, var.dtype)) * scale
    return scale_and_shift(x, mean, gain, shift)
