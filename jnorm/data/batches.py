"""Minibatches as arrays of indices: pure functions of a key and of sizes, to be scanned over.

An epoch is planned at once and costs four bytes an example; the data stay where they are:

>>> x = jnp.arange(10.0)
>>> def total(carry, batch):
...     indices, mask = batch
...     return carry + jnp.sum(take(x, indices), where=mask), indices.shape
>>> jax.lax.scan(total, 0.0, epoch(jax.random.key(0), 10, 4))[0]  # every example once: 0 + 1 + ... + 9
Array(45., dtype=float32)

- **The last batch.** All batches have one shape. The last is filled up with examples from the beginning of the pass,
  each of them valid, and ``mask`` is False there: average with ``jnp.mean(loss, where=mask)``, and mind what looks at
  the batch as a whole, such as batch norm. ``drop_remainder=True`` leaves it out, as in tf.data and Grain; the examples
  left out differ from epoch to epoch.
- **Keys.** One key (typed or raw, of any implementation), one order. Each epoch wants a key of its own,
  ``jax.random.fold_in(key, epoch)``. What else is drawn by the same key, splits, augmentations and all streams of a
  training, has nothing to do with the order: the name of what is drawn is folded into each.
- **Data** are a pytree of arrays that share their first axis, that of the examples.
"""

import math
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.data import _orders, _words

__all__ = [
    "Batches",
    "divide",
    "epoch",
    "length",
    "steps",
    "take",
]

_Tree = TypeVar("_Tree")


class Batches(NamedTuple):
    """The examples of each batch, to be scanned over or unpacked.

    Attributes:
        indices: int32 [steps, batch_size], each the number of an example.
        mask: bool [steps, batch_size], False where an example only fills up the last batch.
    """

    indices: jax.Array
    mask: jax.Array


def steps(size: int, batch_size: int, *, drop_remainder: bool = False) -> int:
    """Batches in one pass, size / batch_size rounded up: with the number of epochs, the length of a schedule.

    Args:
        size: Number of examples.
        batch_size: Examples in a batch.
        drop_remainder: Whether examples that do not fill a batch are left out; then it is rounded down.

    Returns:
        The number, at least 1.

    Raises:
        ValueError: A size is not a whole number >= 1, or no batch is left.
        TypeError: ``drop_remainder`` is neither True nor False.

    >>> steps(10, 4), steps(10, 4, drop_remainder=True), steps(8, 4), steps(3, 4)
    (3, 2, 2, 1)
    """
    checks.whole(1, size=size, batch_size=batch_size)
    checks.boolean(drop_remainder=drop_remainder)
    if not drop_remainder:
        return -(-int(size) // int(batch_size))
    rule = f"`{{}}` must satisfy {{}} <= {size}, the examples: `drop_remainder` would leave no batch"
    checks.require(lambda b: b <= size, rule, batch_size=batch_size)
    return int(size) // int(batch_size)


def epoch(key: jax.Array, size: int, batch_size: int, *, drop_remainder: bool = False) -> Batches:
    """One pass over the examples in random order: each index once where ``mask`` is True.

    Under ``vmap`` over keys every lane has its own order. The order is uniform; sorting is what an epoch costs.

    Args:
        key: A random key.
        size: Number of examples, static.
        batch_size: Examples in a batch, static; may exceed ``size``.
        drop_remainder: Whether examples that do not fill a batch are left out, others in each epoch; static.

    Returns:
        Indices and mask, `steps` rows of ``batch_size`` each.

    Raises:
        ValueError: ``size`` or ``batch_size`` is not a whole number >= 1, or no batch is left.
        TypeError: ``drop_remainder`` is neither True nor False.

    >>> indices, mask = epoch(jax.random.key(0), 5, 2)
    >>> indices.shape, sorted(indices[mask].tolist())
    ((3, 2), [0, 1, 2, 3, 4])
    """
    steps(size, batch_size, drop_remainder=drop_remainder)  # which raises before anything compiles
    order = _orders.permutation(keys.stream(key, "data.batches"), size)
    return divide(order, batch_size, drop_remainder=drop_remainder)


def divide(order: ArrayLike, batch_size: int, *, drop_remainder: bool = False) -> Batches:
    """An order of examples cut into batches, such as one of your own: sorted, the same in each epoch, a part of them.

    Args:
        order: Numbers of examples [examples], integers.
        batch_size: Examples in a batch, static; may exceed their number.
        drop_remainder: Whether examples that do not fill a batch are left out; static.

    Returns:
        Indices and mask, `steps` rows of ``batch_size`` each.

    Raises:
        ValueError: No order [examples] of integers; ``batch_size`` as for `epoch`.
        TypeError: ``drop_remainder`` is neither True nor False.

    >>> divide(jnp.array([2, 0, 1]), 2).indices.tolist()
    [[2, 0], [1, 2]]
    """
    order = jnp.asarray(order)
    if order.ndim != 1 or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(f"`order` must be whole numbers [examples]; got {order.dtype} of shape {order.shape}")
    size = len(order)
    shape = (steps(size, batch_size, drop_remainder=drop_remainder), int(batch_size))
    count = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    mask = jnp.asarray(count < size)
    if count.size <= size:  # nothing to fill up, no gather
        return Batches(order[: count.size].reshape(shape), mask)
    return Batches(order[jnp.asarray(count % size)], mask)


def take(data: _Tree, indices: ArrayLike) -> _Tree:
    """The examples at ``indices``: every array of ``data``, indexed on its first axis.

    Negative indices count from the end. An index out of range gives NaN (integers the least, or for unsigned ones the
    greatest, number of their type) where it is not known before.

    Args:
        data: A pytree of arrays ``[examples, ...]``.
        indices: Whole numbers of any shape ``[...]``.

    Returns:
        The same pytree of arrays ``[..., ...]``.

    Raises:
        ValueError: Arrays of unequal lengths or without examples; an index out of range in a list or a NumPy array;
            NumPy integers of 64 bits that do not fit into the 32 bits of ``jax.numpy``.
        TypeError: ``indices`` are not integers, or ``data`` no numbers.

    >>> take({"x": jnp.array([[1.0], [2.0], [3.0]]), "y": jnp.array([0, 1, 2])}, jnp.array([2, 0]))["y"]
    Array([2, 0], dtype=int32)
    """
    size = length(data)
    _words.refuse_texts(data=data)
    _words.refuse_wrapping(data=data)
    at = jnp.asarray(np.zeros(np.shape(indices), np.int32) if isinstance(indices, list) and not indices else indices)
    if not jnp.issubdtype(at.dtype, jnp.integer):
        raise TypeError(f"`indices` must hold integers; got dtype {at.dtype}")
    if size == 0 and at.size:
        raise ValueError(f"`data` must hold examples to take from; got none, and {at.size} `indices`")
    rule = f"`{{}}` must satisfy {-size} <= {{}} < {size}"
    checks.require(lambda i: (i >= -size) & (i < size), rule, indices=indices)
    return jax.tree.map(lambda a: jnp.take(jnp.asarray(a), at, axis=0, mode="fill"), data)


def length(data: Any) -> int:
    """The number of examples: the first axis that all arrays of the pytree share.

    Args:
        data: A pytree of arrays ``[examples, ...]``.

    Raises:
        ValueError: Arrays of unequal lengths, a scalar, or no array at all.

    >>> length((jnp.ones((3, 2)), jnp.ones(3)))
    3
    """
    shapes = [jnp.shape(a) for a in jax.tree.leaves(data)]
    lengths = {s[0] if s else None for s in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"`data` must be arrays with a first axis of one length; got shapes {shapes}")
    return int(shapes[0][0])
