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
    "gradient",
]


class Gradient(NamedTuple):
    """What a step needs of a batch.

    Attributes:
        loss: Mean loss of the valid examples.
        value: The same with the penalty added.
        params: Gradient of ``value`` by the parameters.
        state: The new state.
    """

    loss: jax.Array
    value: jax.Array
    params: Any
    state: Any


def gradient(
    loss: Callable[[Any, Any, Any, jax.Array | None, jax.Array], tuple[jax.Array, Any]],
    params: Any,
    state: Any,
    batch: Any,
    mask: jax.Array | None,
    key: jax.Array,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    accumulate: int = 1,
) -> Gradient:
    """Gradient of ``sum_i mask_i loss_i / sum_i mask_i + penalty(params)``.

    With ``accumulate`` the batch goes through in microbatches of equal size, one after another: the same gradient up to
    rounding, in a fraction of the memory, of any loss that treats examples one by one. What looks at the whole batch
    sees the microbatch: statistics of batch norm, and the key, which is ``fold_in(key, i)`` in the i-th; the state
    passes from one to the next. Without any valid example the loss is NaN and its gradient 0. To be called inside
    ``jit``, as whole training steps are.

    Args:
        loss: ``loss(params, state, batch, mask, key)`` returns one number an example, and the new state.
        params: The parameters, a pytree of floating arrays.
        state: What ``loss`` keeps from batch to batch, any pytree.
        batch: A pytree of arrays with the examples first.
        mask: Booleans [examples], True where an example is valid; None: all are.
        key: A random key for ``loss``.
        penalty: A function of the parameters that is added to the mean loss.
        accumulate: Number of microbatches, static.

    Raises:
        ValueError: ``accumulate`` does not divide the batch.

    >>> def loss(w, state, x, mask, key):
    ...     return (w * x) ** 2, state
    >>> x, mask = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, True, True, False])
    >>> for accumulate in (1, 2):
    ...     print(gradient(loss, 0.5, (), x, mask, jax.random.key(0), accumulate=accumulate).params.round(4))
    4.6667
    4.6667
    """
    checks.whole(1, accumulate=accumulate)
    size = batches.length(batch)
    if size % accumulate:
        raise ValueError(f"`accumulate` must divide the batch of {size} examples; got {accumulate}")
    count = size if mask is None else jnp.sum(mask)
    params = jax.tree.map(jnp.asarray, params)

    def total(
        params: Any, state: Any, batch: Any, mask: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        losses, state = loss(params, state, batch, mask, key)
        mean = jnp.sum(losses if mask is None else jnp.where(mask, losses, 0)) / jnp.asarray(count, losses.dtype)
        value = mean if penalty is None or accumulate > 1 else mean + penalty(params).astype(mean.dtype)
        return value, (mean, state)

    if accumulate == 1:
        (value, (mean, state)), grads = jax.value_and_grad(total, has_aux=True)(params, state, batch, mask, key)
        return Gradient(mean, value, grads, state)

    def add(carry: tuple[Any, ...], microbatch: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
        mean, grads, state = carry
        i, batch, mask = microbatch
        own_key = jax.random.fold_in(key, i)
        (value, (_, state)), new = jax.value_and_grad(total, has_aux=True)(params, state, batch, mask, own_key)
        return (mean + value, jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, new), state), None

    cut = lambda a: a.reshape(accumulate, size // accumulate, *a.shape[1:])
    batch, mask = jax.tree.map(cut, (batch, mask))
    first = jax.tree.map(lambda a: a[0], (batch, mask))
    mean = jnp.zeros((), jax.eval_shape(total, params, state, *first, key)[0].dtype)
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, checks.wide(p.dtype)), params)
    (mean, grads, state), _ = jax.lax.scan(add, (mean, zeros, state), (jnp.arange(accumulate), batch, mask))
    value = mean
    if penalty is not None:
        extra, more = jax.value_and_grad(penalty)(params)
        value, grads = mean + extra.astype(mean.dtype), jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, more)
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    return Gradient(mean, value, grads, state)
