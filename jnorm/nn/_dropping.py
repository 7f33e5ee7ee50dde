"""What dropout is drawn with: a checked rate, a mask, and the saturation that alpha dropout drops to."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
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
    """The mask: True for entries that stay. It does not depend on the dtype of ``x``: one key gives one mask."""
    rate = jax.lax.stop_gradient(jnp.asarray(rate)).astype(jnp.float32)
    bound = (jnp.where((rate >= 0) & (rate < 1), rate, 0) * 2.0**32).astype(jnp.uint32)
    key, shape = keys.typed(present(key)), mask_shape(x, shared_axes)
    if jax.random.key_impl(key) != "threefry2x32":
        return jax.random.bits(key, shape, jnp.uint32) >= bound
    return _by_threefry(jax.random.key_data(key), bound, shape)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _by_threefry(key: jax.Array, bound: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Whether a word of Threefry is at least ``bound``, for every entry; a block gives two words, for two entries.

    The entries are those at i and at i + half of the last axis that is longer than 1. Block (row, i) is what the key
    makes of the counter (row, i), where rows count the positions on the other axes, the last one fastest.
    """
    from jax.extend.random import threefry2x32_p  # here: it takes longer to import than jnorm

    axis = max((a for a, n in enumerate(shape) if n > 1), default=0)
    length = shape[axis] if shape else 1
    blocks = (*shape[:axis], (length + 1) // 2, *shape[axis + 1 :])
    row, stride = jnp.zeros(blocks, jnp.uint32), 1
    for other in reversed(range(axis)):
        row += jax.lax.broadcasted_iota(jnp.uint32, blocks, other) * np.uint32(stride)
        stride *= shape[other]
    words = threefry2x32_p.bind(key[0], key[1], row, jax.lax.broadcasted_iota(jnp.uint32, blocks, axis))
    first, second = (word >= bound for word in words)
    # Kept as two bits of a byte: a compiler that fused what follows would compute each block for both of its entries.
    pairs = jax.lax.optimization_barrier(first.astype(jnp.uint8) | second.astype(jnp.uint8) << 1)
    entries = jnp.concatenate([pairs & 1, pairs >> 1], axis)
    return jax.lax.slice_in_dim(entries, 0, length, axis=axis).astype(bool).reshape(shape)
