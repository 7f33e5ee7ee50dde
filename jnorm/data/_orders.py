"""Random orders of examples."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jnorm._ground import checks, keys


def permutation(key: jax.Array, size: int) -> jax.Array:
    """A random order of 0, ..., size - 1, int32.

    By sorting random bits. Bits and positions are packed into one word, since XLA sorts single words several times as
    fast as pairs; the bit that is left over decides between two examples whose bits tie. Where three tie, the third
    stays behind: there are so many bits that on average this happens in fewer than one of ``size`` orders.

    On a CPU this takes 3/10 of the time of ``jax.random.permutation``, for 1347, 1797 and 60 000 examples alike. Whole
    trainings of a small network (64-64-64-64-64-10, batches of 32 of 1437 examples, 8 seeds side by side) take 7 % less
    time by it.

    Args:
        key: A random key.
        size: Number of examples, static.

    Raises:
        ValueError: ``size`` is not a whole number >= 1.

    >>> sorted(permutation(jax.random.key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    checks.whole(1, size=size)
    low = (int(size) - 1).bit_length()
    rounds = max(1, math.ceil((2 * math.log2(size) - math.log2(6) / 2) / (32 - low)))  # size^3 / 6 triples
    position = jnp.arange(size, dtype=jnp.uint32)
    drawn = jax.random.bits(keys.typed(key), (rounds, size), jnp.uint32)
    bits, coin = drawn << low, drawn[0] >> 31  # which the shift throws away
    order = position
    for row in bits:
        words = lax.sort(row[order] | position, is_stable=False)  # positions stand for the rounds before
        order = order[words & (1 << low) - 1]
    tied = jnp.pad(jnp.all(bits[:, order[1:]] == bits[:, order[:-1]], 0), 1)
    swap = tied[1:] & ~tied[:-1] & (coin == 1)  # the first of those that tie with the next one
    order = jnp.where(swap, jnp.roll(order, -1), jnp.where(jnp.roll(swap, 1), jnp.roll(order, 1), order))
    return order.astype(jnp.int32)
