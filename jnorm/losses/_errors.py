"""Losses of numbers: squared error and hinge."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm.losses._examples import floating, nan_unless, program, require_shape, require_targets, wide


def squared_error(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Squared error ``(prediction - target)^2``, an element; there is no factor 1/2.

    Args:
        predictions: Any shape.
        targets: Real numbers of the same shape.

    Returns:
        The losses, of the shape of ``predictions``.

    Raises:
        ValueError: Where the shapes differ.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([1, 0]))
    Array([0., 4.], dtype=float32)
    """
    p, t = floating(predictions=predictions), jnp.asarray(targets)
    require_shape(t, predictions=p)
    return _squared_error(p, t)


@program
def _squared_error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    p = wide(predictions)
    return jnp.square(p - targets.astype(p.dtype)).astype(predictions.dtype)


def hinge(scores: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Hinge loss ``max(0, 1 - t*score)``, an element; its slope at the kink is 0.

    Args:
        scores: Any shape.
        targets: The classes t, -1 and 1, of the same shape.

    Returns:
        The losses, of the shape of ``scores``.

    Raises:
        ValueError: For another shape and for other targets, such as 0 and 1.

    >>> hinge(jnp.array([0.5, 0.5, 2.0]), jnp.array([1, -1, 1]))
    Array([0.5, 1.5, 0. ], dtype=float32)
    """
    s, t = floating(scores=scores), jnp.asarray(targets)
    require_shape(t, scores=s)
    require_targets("`{}` must be -1 or 1", _is_sign, targets)
    return _hinge(s, t)


@program
def _hinge(scores: jax.Array, targets: jax.Array) -> jax.Array:
    s = wide(scores)
    t = targets.astype(s.dtype)
    margin = 1 - t * s
    return nan_unless(_is_sign(t), jnp.where(margin <= 0, 0, margin)).astype(scores.dtype)


def _is_sign(t: Any) -> Any:
    return (t == 1) | (t == -1)
