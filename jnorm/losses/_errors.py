"""Losses of numbers: squared error, Huber's and hinge."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.losses._examples import (
    counted,
    floating,
    kept,
    masked,
    nan_unless,
    program,
    require_shape,
    require_targets,
    wide,
)


def squared_error(predictions: ArrayLike, targets: ArrayLike, *, mask: ArrayLike | None = None) -> jax.Array:
    """Squared error ``(prediction - target)^2``, an element; there is no factor 1/2.

    Args:
        predictions: Any shape.
        targets: Real numbers of the same shape.
        mask: Booleans of the same shape, True where an element counts (all); elsewhere loss and gradient are exactly 0,
            whatever stands there.

    Returns:
        The losses, of the shape of ``predictions``.

    Raises:
        ValueError: Where the shapes differ.
        TypeError: For a mask of no booleans.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([1, 0]))
    Array([0., 4.], dtype=float32)
    """
    p, t = floating(predictions=predictions), jnp.asarray(targets)
    require_shape(t, predictions=p)
    return _squared_error(p, t, masked(mask, p.shape))


@program
def _squared_error(predictions: jax.Array, targets: jax.Array, mask: jax.Array | None) -> jax.Array:
    p, t = kept(mask, wide(predictions)), kept(mask, targets)
    return jnp.square(p - t.astype(p.dtype)).astype(predictions.dtype)


def huber(
    predictions: ArrayLike, targets: ArrayLike, *, delta: ArrayLike = 1.0, mask: ArrayLike | None = None
) -> jax.Array:
    """Huber's loss, an element: ``r^2 / 2`` up to |r| = delta, then ``delta (|r| - delta / 2)``.

    With r = prediction - target; its slope is r, clipped to [-delta, delta].

    Args:
        predictions: Any shape.
        targets: Real numbers of the same shape.
        delta: A scalar > 0, where the parabola ends. A traced one that is not gives NaN.
        mask: Booleans of the same shape, True where an element counts (all); elsewhere loss and gradient are exactly 0.

    Returns:
        The losses, of the shape of ``predictions``.

    Raises:
        ValueError: Where the shapes differ, and for ``delta <= 0`` or a delta of several numbers.
        TypeError: For a mask of no booleans.

    Source: Huber 1964.

    >>> huber(jnp.array([1.0, 2.0, 5.0]), jnp.zeros(3), delta=2.0)
    Array([0.5, 2. , 8. ], dtype=float32)
    """
    p, t = floating(predictions=predictions), jnp.asarray(targets)
    require_shape(t, predictions=p)
    if jnp.shape(delta):
        raise ValueError(f"`delta` must be a scalar (vmap over several); got shape {jnp.shape(delta)}")
    checks.require(lambda d: d > 0, "`{}` must satisfy {} > 0", delta=delta)
    return _huber(p, t, delta, masked(mask, p.shape))


@program
def _huber(predictions: jax.Array, targets: jax.Array, delta: ArrayLike, mask: jax.Array | None) -> jax.Array:
    p, t, d = kept(mask, wide(predictions)), kept(mask, targets), jnp.asarray(delta)
    r = jnp.abs(p - t.astype(p.dtype))
    # As a product: where the line begins, the square of r may overflow.
    near = jnp.minimum(r, jnp.where(d > 0, d, jnp.nan).astype(p.dtype))
    return (near * (r - near / 2)).astype(predictions.dtype)


def hinge(scores: ArrayLike, targets: ArrayLike, *, mask: ArrayLike | None = None) -> jax.Array:
    """Hinge loss ``max(0, 1 - t*score)``, an element; its slope at the kink is 0.

    Args:
        scores: Any shape.
        targets: The classes t, -1 and 1, of the same shape.
        mask: Booleans of the same shape, True where an element counts (all); elsewhere loss and gradient are exactly 0.

    Returns:
        The losses, of the shape of ``scores``.

    Raises:
        ValueError: For another shape and for other targets, such as 0 and 1.
        TypeError: For a mask of no booleans.

    >>> hinge(jnp.array([0.5, 0.5, 2.0]), jnp.array([1, -1, 1]))
    Array([0.5, 1.5, 0. ], dtype=float32)
    """
    s, t = floating(scores=scores), jnp.asarray(targets)
    require_shape(t, scores=s)
    counts = masked(mask, s.shape)
    require_targets("`{}` must be -1 or 1", _is_sign, counted(targets, mask))
    return _hinge(s, t, counts)


@program
def _hinge(scores: jax.Array, targets: jax.Array, mask: jax.Array | None) -> jax.Array:
    s = kept(mask, wide(scores))
    t = kept(mask, targets.astype(s.dtype), 1)
    margin = 1 - t * s
    return kept(mask, nan_unless(_is_sign(t), jnp.where(margin <= 0, 0, margin))).astype(scores.dtype)


def _is_sign(t: Any) -> Any:
    return (t == 1) | (t == -1)
