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


def require_several(outputs: jax.Array, name: str) -> None:
    """Refuse a softmax over one class, whose probability is 1 whatever the score is."""
    if outputs.shape[-1] < 2:
        raise ValueError(
            f"`{name}` must have at least two classes on the last axis; got shape {outputs.shape}: one score for two "
            f"classes is for sigmoid_cross_entropy or hinge, with targets of its shape, and for binary_accuracy"
        )


def masked(mask: ArrayLike | None, shape: tuple[int, ...]) -> jax.Array | None:
    """The mask as an array of booleans, of the shape of the losses; ``None`` where all count."""
    if mask is None:
        return None
    array = jnp.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"`mask` must hold booleans, True where a loss counts; got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"`mask` must have the shape of the losses, {shape}; got {array.shape}")
    return array


def counted(targets: ArrayLike, mask: ArrayLike | None) -> ArrayLike:
    """The targets that count, of those that Python knows: none where it does not know the mask."""
    if mask is None or isinstance(targets, jax.Array):
        return targets
    known = np.asarray(targets)
    return known[:0] if isinstance(mask, jax.Array) else known[np.asarray(mask)]


def kept(mask: jax.Array | None, array: jax.Array, fill: Any = 0) -> jax.Array:
    """The entries that count, and ``fill``, whose derivative is zero, for the others; trailing axes go along."""
    if mask is None:
        return array
    return jnp.where(mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim)), array, jnp.asarray(fill, array.dtype))


def nan_unless(valid: jax.Array, loss: jax.Array) -> jax.Array:
    """The loss, and NaN, in the gradient too, where the targets are not valid."""
    return loss * jnp.where(valid, jnp.ones((), loss.dtype), jnp.nan)
