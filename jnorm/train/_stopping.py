"""A loop over epochs that may end early and keeps something of the best epoch, in one go or piece by piece."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike


class Loop(NamedTuple):
    """What an epoch hands to the next.

    Attributes:
        carry: What is carried.
        best: What was kept of the best epoch; of the last one as long as there is no best.
        rows: The outputs of all epochs, blank where they are still to come.
        known: What is known of the epochs so far, a `jnorm.train.early_stopping.BestSoFar`.
        stop: Whether to stop.
    """

    carry: Any
    best: Any
    rows: Any
    known: Any
    stop: jax.Array


Epoch = Callable[[Any, jax.Array], tuple[Any, Any]]
Value = Callable[[Any], jax.Array]


def begun(
    epoch: Epoch, carry: Any, length: int, init: Callable[[Any], Any], *, value: Value, keep: Callable[[Any], Any]
) -> Loop:
    """The loop before its first epoch, of at most ``length``; ``init(dtype)`` is what is known then."""
    _, shapes = jax.eval_shape(epoch, carry, jnp.zeros((), jnp.int32))
    rows = jax.tree.map(lambda a: blank((length, *a.shape), a.dtype), shapes)
    known = init(jax.eval_shape(value, shapes).dtype)
    if (window := len(known.recent)) > length:
        raise ValueError(f"`window` must satisfy window <= {length}, the number of epochs; got {window}")
    return Loop(carry, keep(carry), rows, known, jnp.zeros((), bool))


def advanced(
    epoch: Epoch,
    loop: Loop,
    end: ArrayLike,
    judge: Callable[[Any, jax.Array], tuple[Any, jax.Array, jax.Array]],
    *,
    value: Value,
    keep: Callable[[Any], Any],
) -> Loop:
    """The loop after all epochs before ``end``; where it has stopped, as it is."""

    def going(loop: Loop) -> jax.Array:
        return ~loop.stop & (loop.known.epoch < end)

    def body(loop: Loop) -> Loop:
        carry, output = epoch(loop.carry, loop.known.epoch)
        rows = jax.tree.map(lambda a, row: a.at[loop.known.epoch].set(row), loop.rows, output)
        known, improved, stop = judge(loop.known, value(output))
        chosen = improved | (known.best_epoch < 0)
        best = jax.tree.map(lambda new, old: jnp.where(chosen, new, old), keep(carry), loop.best)
        return Loop(carry, best, rows, known, stop)

    return lax.while_loop(going, body, loop)


def blank(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """NaN; whole numbers and booleans are 0."""
    return jnp.full(shape, jnp.nan, dtype) if jnp.issubdtype(dtype, jnp.inexact) else jnp.zeros(shape, dtype)
