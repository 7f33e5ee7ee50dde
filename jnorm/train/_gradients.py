"""Gradients of batches whose examples all can be computed, valid or not; `jnorm.train.gradients` says of what."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.train import _examples

Loss = Callable[[Any, Any, Any, jax.Array | None, jax.Array], tuple[jax.Array, Any]]


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


def of_clean(
    loss: Loss,
    params: Any,
    state: Any,
    batch: Any,
    mask: jax.Array | None,
    key: jax.Array,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    accumulate: int = 1,
) -> Gradient:
    """`jnorm.train.gradients.gradient`, but for NaN in what is not valid, which would become NaN in the gradient.

    The arrays of the batch are of one length. Microbatches of one that ``accumulate`` does not divide are as equal as
    can be, larger ones first.
    """
    size = _length(batch)
    count = size if mask is None else jnp.sum(mask)
    params = jax.tree.map(jnp.asarray, params)

    def total(
        params: Any, state: Any, batch: Any, mask: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        losses, state = loss(params, state, batch, mask, key)
        losses = _examples.per_example(losses, _length(batch), "loss")
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

    first = jax.tree.map(lambda a: a[: size // accumulate], (batch, mask))
    mean = jnp.zeros((), jax.eval_shape(total, params, state, *first, key)[0].dtype)
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, checks.wide(p.dtype)), params)
    carry = mean, zeros, state
    for numbers, microbatches in _microbatches((batch, mask), size, accumulate):
        carry, _ = jax.lax.scan(add, carry, (numbers, *microbatches))
    mean, grads, state = carry
    value = mean
    if penalty is not None:
        extra, more = jax.value_and_grad(penalty)(params)
        value, grads = mean + extra.astype(mean.dtype), jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, more)
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    return Gradient(mean, value, grads, state)


def _length(batch: Any) -> int:
    """The number of examples, of a batch whose arrays are known to have one length."""
    return jnp.shape(jax.tree.leaves(batch)[0])[0]


def _microbatches(batch: Any, size: int, count: int) -> Iterator[tuple[jax.Array, Any]]:
    """The batch cut into as many pieces, those of one size stacked, with their numbers; larger ones first.

    >>> [pieces.tolist() for _, pieces in _microbatches(jnp.arange(5), 5, 3)]
    [[[0, 1], [2, 3]], [[4]]]
    """
    least, larger = divmod(size, count)
    border = larger * (least + 1)
    if larger:
        yield jnp.arange(larger), jax.tree.map(lambda a: a[:border].reshape(larger, least + 1, *a.shape[1:]), batch)
    rest = lambda a: a[border:].reshape(count - larger, least, *a.shape[1:])
    yield jnp.arange(larger, count), jax.tree.map(rest, batch)


def without_invalid(batch: Any, mask: jax.Array) -> Any:
    """The batch with its first valid example in the place of all that are not; with zeros where none is valid.

    >>> without_invalid(jnp.array([jnp.nan, 2.0, 3.0]), jnp.array([False, True, True]))
    Array([2., 2., 3.], dtype=float32)
    """
    first, some = jnp.argmax(mask), jnp.any(mask)

    def filled(array: jax.Array) -> jax.Array:
        array = jnp.asarray(array)
        if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):  # keys have no zero
            return array
        valid = mask.reshape((-1,) + (1,) * (array.ndim - 1))
        return jnp.where(valid, array, jnp.where(some, array[first], jnp.zeros((), array.dtype))[None])

    return jax.tree.map(filled, batch)
