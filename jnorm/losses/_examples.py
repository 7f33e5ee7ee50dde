"""What all losses do with predictions and targets: types, shapes, values that break a rule."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

program = partial(jax.jit, inline=True)
"""For the arithmetic of a loss: one dispatch where it is called eagerly, and nothing of its own in a program."""


def floating(**named: ArrayLike) -> jax.Array:
    """The argument, named in errors, as an array of a floating dtype; ``TypeError`` for another."""
    ((name, value),) = named.items()
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must have a floating dtype; got {array.dtype}")
    return array


def wide(array: jax.Array) -> jax.Array:
    """In at least float32."""
    return array.astype(checks.wide(array.dtype))


def require_shape(targets: jax.Array, **predictions: jax.Array) -> None:
    """Refuse targets that have another shape than the predictions, which are named in the error."""
    ((name, array),) = predictions.items()
    if targets.shape != array.shape:
        raise ValueError(f"`targets` must have the shape of `{name}`, {array.shape}; got {targets.shape}")


def require_targets(rule: str, ok: Callable[[Any], Any], targets: ArrayLike) -> None:
    """Refuse complex targets, and values that Python knows and that break a rule."""
    dtype = jnp.result_type(targets)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"`targets` must hold real numbers; got dtype {dtype}")
    checks.require(lambda v: ok(v.astype(np.float64)), rule, targets=targets)


def nan_unless(valid: jax.Array, loss: jax.Array) -> jax.Array:
    """The loss, and NaN, in the gradient too, where the targets are not valid."""
    return loss * jnp.where(valid, 1, jnp.nan).astype(loss.dtype)
