"""Masks: which entries of a layer's input count."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.nn._scaling import light


def mask_like(x: jax.Array, mask: Any, features: Sequence[int]) -> jax.Array | None:
    """``mask`` with the rank of ``x``: each length is that of ``x`` or 1; it may leave out all of the feature axes.

    Raises ``TypeError`` where it is not boolean and ``ValueError`` for another shape.

    >>> mask_like(jnp.zeros((2, 3, 4)), jnp.ones((2, 3), bool), (2,)).shape
    (2, 3, 1)
    """
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"`mask` must be boolean; got dtype {mask.dtype}")
    expanded = jnp.expand_dims(mask, tuple(features)) if mask.ndim == x.ndim - len(features) else mask
    if expanded.ndim != x.ndim or any(m not in (1, n) for m, n in zip(expanded.shape, x.shape, strict=True)):
        raise ValueError(
            f"`mask` must have the axes of `x`, or these without the features, each of the length in `x` or 1; "
            f"got {mask.shape} for `x` of shape {x.shape} with features on {tuple(features)}"
        )
    return expanded


@light
def valid(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """``values`` with zeros where the mask does not hold.

    >>> valid(jnp.array([1.0, jnp.nan]), jnp.array([True, False])).tolist()
    [1.0, 0.0]
    """
    return values if mask is None else jnp.where(mask, values, 0)


@light
def tamed(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """``x`` with zeros in the place of what the mask hides and no arithmetic would survive: NaN, inf, beyond 1e19.

    Zero times NaN is NaN, so that even a gradient of zero would carry it from hidden entries to all others.

    >>> tamed(jnp.array([1.0, jnp.nan, 3.0, jnp.nan]), jnp.array([True, False, False, True])).tolist()
    [1.0, 0.0, 3.0, nan]
    """
    if mask is None:
        return x
    wide = checks.wide(x.dtype)
    limit = float(jnp.finfo(wide).max) ** 0.5
    return jnp.where(mask | (jnp.abs(x.astype(wide)) < limit), x, 0)
