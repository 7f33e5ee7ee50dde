"""What dropout is drawn with: a checked rate, a mask, and the saturation that alpha dropout drops to."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.activations import SELU_ALPHA, SELU_LAMBDA
from jnorm.nn._axes import axes_of, floating

SATURATION = -SELU_LAMBDA * SELU_ALPHA
"""SELU's limit for x -> -inf, which is what alpha dropout puts in the place of dropped entries."""


def check_rate(rate: ArrayLike) -> None:
    """Raise ``ValueError`` for a known rate outside [0, 1)."""
    checks.require(lambda r: (r >= 0) & (r < 1), "`{}` must satisfy 0 <= {} < 1", rate=rate)


def checked(x: ArrayLike, rate: ArrayLike) -> jax.Array:
    """``x`` as a floating array, and a rate that is one number in range."""
    x = floating(x)
    if jnp.shape(rate):
        raise ValueError(f"`rate` must be a scalar (vmap over several); got shape {jnp.shape(rate)}")
    check_rate(rate)
    return x


def kept_share(rate: ArrayLike, x: jax.Array) -> jax.Array:
    """1 - rate in at least float32; NaN for a rate out of range, of which a mask alone would show no sign."""
    rate = jnp.asarray(rate).astype(checks.wide(x.dtype))
    return jnp.where((rate >= 0) & (rate < 1), 1 - rate, jnp.nan)


def present(key: jax.Array | None) -> jax.Array:
    """The key; ``ValueError`` without one."""
    if key is None:
        raise ValueError("`key` must be a random key where train=True; got None")
    return key


def mask_shape(x: jax.Array, shared_axes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape of ``x`` with length 1 along the axes that share a draw."""
    shared = () if shared_axes == () else axes_of(x, shared_axes)
    return tuple(1 if a in shared else n for a, n in enumerate(x.shape))


def kept_entries(key: jax.Array | None, x: jax.Array, rate: ArrayLike, shared_axes: int | Sequence[int]) -> jax.Array:
    """The mask: True for entries that stay. Drawn in float32 whatever the dtype, so that one key gives one mask."""
    keep = jax.lax.stop_gradient(kept_share(rate, x)).astype(jnp.float32)
    return jax.random.bernoulli(present(key), keep, mask_shape(x, shared_axes))
