"""The gradient of a step: mean loss over the valid examples of a batch, in one piece or in microbatches, and penalties.

What is done with gradients afterwards is Optax's: ``clip_by_global_norm``, ``add_noise`` (annealed, Neelakantan et al.
2015: variance eta / (1 + t)^gamma), ``add_decayed_weights`` (decoupled decay), ``chain``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.data import batches

__all__ = [
    "Gradient",
    "Losses",
    "gradient",
]

Losses = Callable[[Any, Any, Any, jax.Array | None, jax.Array], tuple[jax.Array, Any]]
"""``losses(params, state, batch, mask, key) -> (one number an example, new state)``."""


class Gradient(NamedTuple):
    """Mean ``loss`` of the valid examples, ``value`` with the penalty added, its gradient by ``params``, new state."""

    loss: jax.Array
    value: jax.Array
    params: Any
    state: Any


def gradient(
    losses: Losses,
    params: Any,
    state: Any,
    batch: Any,
    mask: jax.Array | None,
    key: jax.Array,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    parts: int = 1,
) -> Gradient:
    """Gradient of ``sum_i mask_i loss_i / sum_i mask_i + penalty(params)``.

    ``batch`` is a pytree of arrays with the examples first; ``mask`` a boolean for each, or ``None`` for all. With
    ``parts`` the batch goes through in as many microbatches of equal size, one after another: the same gradient up to
    rounding, in 1/parts of the memory, of any losses that treat examples one by one. What looks at the whole batch sees
    the microbatch: statistics of batch norm, and the key, which is ``fold_in(key, part)``; the state passes from
    one to the next.

    Raises ``ValueError`` for ``parts`` that do not divide the batch.

    >>> def losses(w, state, x, mask, key):
    ...     return (w * x) ** 2, state
    >>> x, mask = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, True, True, False])
    >>> for parts in (1, 2):
    ...     print(gradient(losses, 0.5, (), x, mask, jax.random.key(0), parts=parts).params.round(4))
    4.6667
    4.6667
    """
    checks.whole(1, parts=parts)
    size = batches.length(batch)
    if size % parts:
        raise ValueError(f"`parts` must divide the batch of {size} examples; got {parts}")
    count = size if mask is None else jnp.sum(mask)
    params = jax.tree.map(jnp.asarray, params)

    def total(
        params: Any, state: Any, batch: Any, mask: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        each, state = losses(params, state, batch, mask, key)
        loss = jnp.sum(each if mask is None else jnp.where(mask, each, 0)) / jnp.asarray(count, each.dtype)
        value = loss if penalty is None or parts > 1 else loss + penalty(params).astype(loss.dtype)
        return value, (loss, state)

    if parts == 1:
        (value, (loss, state)), grads = jax.value_and_grad(total, has_aux=True)(params, state, batch, mask, key)
        return Gradient(loss, value, grads, state)

    def piece(carry: tuple[Any, ...], several: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
        loss, grads, state = carry
        i, batch, mask = several
        own = jax.random.fold_in(key, i)
        (value, (_, state)), new = jax.value_and_grad(total, has_aux=True)(params, state, batch, mask, own)
        return (loss + value, jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, new), state), None

    batch, mask = jax.tree.map(lambda a: a.reshape(parts, size // parts, *a.shape[1:]), (batch, mask))
    first = jax.tree.map(lambda a: a[0], (batch, mask))
    loss = jnp.zeros((), jax.eval_shape(total, params, state, *first, key)[0].dtype)
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, checks.wide(p.dtype)), params)
    (loss, grads, state), _ = jax.lax.scan(piece, (loss, zeros, state), (jnp.arange(parts), batch, mask))
    value = loss
    if penalty is not None:
        extra, more = jax.value_and_grad(penalty)(params)
        value, grads = loss + extra.astype(loss.dtype), jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, more)
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    return Gradient(loss, value, grads, state)
