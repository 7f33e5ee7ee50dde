"""Minibatches as arrays of indices: pure functions of a key and of sizes, to be scanned over.

An epoch is planned at once and costs four bytes an example; the data stay where they are:

>>> x = jnp.arange(10.0)
>>> def total(carry, batch):
...     indices, mask = batch
...     return carry + jnp.sum(take(x, indices), where=mask), indices.shape
>>> jax.lax.scan(total, 0.0, epoch(jax.random.key(0), 10, 4))[0]  # every example once: 0 + 1 + ... + 9
Array(45., dtype=float32)

- **The last batch.** All batches have one shape. The last is filled up with examples from the beginning of the pass,
  each of them valid, and ``mask`` is False there: average with ``jnp.mean(loss, where=mask)``. To drop it instead,
  keep the first ``size // batch_size`` rows; dropped examples differ from epoch to epoch.
- **Keys.** One key, one order. Give data order a key of its own, and each epoch ``jax.random.fold_in(key, epoch)``.
- **Cost.** Sorting is what an epoch costs: see `permutation`.
"""

import math
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "Batches",
    "Data",
    "epoch",
    "in_order",
    "length",
    "permutation",
    "steps",
    "take",
]

Data = TypeVar("Data")


class Batches(NamedTuple):
    """The examples of each batch, arrays of shape [steps, batch_size]: scan over both, or unpack them."""

    indices: jax.Array  # int32, each valid
    mask: jax.Array  # bool, False where an example only fills up the last batch


def steps(size: int, batch_size: int) -> int:
    """Batches in one pass, ceil(size / batch_size).

    Raises ``ValueError`` for a size or a batch size that is not a whole number >= 1.

    >>> steps(10, 4), steps(8, 4), steps(3, 4)
    (3, 2, 1)
    """
    checks.whole(1, size=size, batch_size=batch_size)
    return -(-int(size) // int(batch_size))


def epoch(key: jax.Array, size: int, batch_size: int) -> Batches:
    """One pass over ``size`` examples in random order: each index once where ``mask`` is True.

    Sizes are static; under ``vmap`` over keys every lane has its own order. Raises ``ValueError`` as `steps`.

    >>> indices, mask = epoch(jax.random.key(0), 5, 2)
    >>> indices.shape, sorted(indices[mask].tolist())
    ((3, 2), [0, 1, 2, 3, 4])
    """
    order, mask = in_order(size, batch_size)
    if order.size == size:  # nothing to fill up, no gather
        return Batches(permutation(key, size).reshape(order.shape), mask)
    return Batches(permutation(key, size)[order], mask)


def in_order(size: int, batch_size: int) -> Batches:
    """One pass over ``size`` examples as they come, for evaluation. Raises ``ValueError`` as `steps`.

    >>> in_order(3, 2).indices
    Array([[0, 1],
           [2, 0]], dtype=int32)
    >>> in_order(3, 2).mask
    Array([[ True,  True],
           [ True, False]], dtype=bool)
    """
    shape = (steps(size, batch_size), int(batch_size))
    count = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    return Batches(jnp.asarray(count % size), jnp.asarray(count < size))


def permutation(key: jax.Array, size: int) -> jax.Array:
    """A random order of 0, ..., size - 1, int32.

    By sorting random bits. Bits and positions are packed into one word, since XLA sorts single words several times as
    fast as pairs; a toss decides between two examples whose bits tie. Where three tie, the third stays behind: there
    are so many bits that on average this happens in fewer than one of ``size`` orders. On a CPU this takes about
    3/10 of the time of ``jax.random.permutation``, for 1 347, 1 797 and 60 000 examples alike.

    Raises ``ValueError`` for a size that is not a whole number >= 1.

    >>> sorted(permutation(jax.random.key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    checks.whole(1, size=size)
    low = (int(size) - 1).bit_length()
    rounds = max(1, math.ceil((2 * math.log2(size) - math.log2(6) / 2) / (32 - low)))  # size^3 / 6 triples
    position = jnp.arange(size, dtype=jnp.uint32)
    drawn = jax.random.bits(key, (rounds, size), jnp.uint32)
    bits, coin = drawn << low, drawn[0] >> 31  # which the shift throws away
    order = position
    for row in bits:
        words = lax.sort(row[order] | position, is_stable=False)  # positions stand for the rounds before
        order = order[words & (1 << low) - 1]
    tied = jnp.pad(jnp.all(bits[:, order[1:]] == bits[:, order[:-1]], 0), 1)
    swap = tied[1:] & ~tied[:-1] & (coin == 1)  # the first of those that tie with the next one
    order = jnp.where(swap, jnp.roll(order, -1), jnp.where(jnp.roll(swap, 1), jnp.roll(order, 1), order))
    return order.astype(jnp.int32)


def take(data: Data, indices: ArrayLike) -> Data:
    """The examples at ``indices``: every array of the pytree ``data``, indexed on its first axis.

    An index out of range raises ``ValueError`` where it is known; inside ``jit`` its floating values are NaN (integers
    the least, or for unsigned ones the greatest, number of their type). Negative indices count from the end.

    Raises ``ValueError`` for arrays of unequal lengths and ``TypeError`` for indices that are not integers.

    >>> take({"x": jnp.array([[1.0], [2.0], [3.0]]), "y": jnp.array([0, 1, 2])}, jnp.array([2, 0]))["y"]
    Array([2, 0], dtype=int32)
    """
    size = length(data)
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"`indices` must hold integers; got dtype {indices.dtype}")
    checks.require(
        lambda i: (i >= -size) & (i < size), f"`{{}}` must satisfy {-size} <= {{}} < {size}", indices=indices
    )
    return jax.tree.map(lambda a: jnp.take(jnp.asarray(a), indices, axis=0, mode="fill"), data)


def length(data: Any) -> int:
    """The number of examples: the first axis that all arrays of the pytree share.

    Raises ``ValueError`` for arrays of unequal lengths, for a scalar, and where there is no array.

    >>> length((jnp.ones((3, 2)), jnp.ones(3)))
    3
    """
    shapes = [jnp.shape(a) for a in jax.tree.leaves(data)]
    lengths = {s[0] if s else None for s in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"`data` must be arrays with a first axis of one length; got shapes {shapes}")
    return int(shapes[0][0])
