"""The model as it is meant: the laws of its parameters, draws of them, and its rows beside those of another program."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import predict

Init = Callable[[jax.Array], Any]

POOLED = 8  # draws from which laws are recognized


def laws_of(init: Init, key: jax.Array, given: Any) -> tuple[Any, Any]:
    """A draw of the parameters, and a law for each leaf: the given one, or that of several draws."""
    draw = jax.jit(init)
    draws = [draw(k) for k in jax.random.split(key, POOLED)]
    if given is None:
        return draws[0], predict.laws(*draws)
    is_law = lambda leaf: leaf is None or isinstance(leaf, predict.Law)
    laws, structure = jax.tree.flatten(given, is_leaf=is_law)
    wanted: Any = jax.tree.structure(draws[0])
    if wanted != structure or not all(map(is_law, laws)):
        raise ValueError(f"`laws` must hold a jnorm.predict.Law or None at each leaf of {wanted}; got {structure}")
    for number, law in enumerate(laws):
        if law is None:
            laws[number] = predict.laws(*(jax.tree.leaves(one)[number] for one in draws))
    return draws[0], jax.tree.unflatten(wanted, laws)


def varied(laws: Any, meant: Any) -> Any:
    """The laws, but of parameters that do not vary, as those of a dead layer, those that are meant: for rows alone.

    Rows of what is known to be zero would be left out. Trees of another structure stay as they are.
    """
    own: Any = jax.tree.structure(laws)
    if own != jax.tree.structure(meant):
        return laws
    return jax.tree.map(lambda law, other: other if law.kind == "known" else law, laws, meant)


def drawing(init: Init, laws: Any) -> Init:
    """An initializer that draws from laws; leaves that are known have the numbers of ``init``."""

    def draw(key: jax.Array) -> Any:
        params = init(key)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
        return jax.tree.unflatten(structure, map(_drawn, keys, leaves, jax.tree.leaves(laws)))

    return draw


def _drawn(key: jax.Array, leaf: Any, law: predict.Law) -> Any:
    if law.kind == "known":
        return leaf
    shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
    if law.kind == "uniform":
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * float(np.sqrt(3 * law.var))
    return jax.random.normal(key, shape, dtype) * float(np.sqrt(law.var))


def lined_up(first: Sequence[Hashable], then: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest common subsequence of two sequences: pairs of indices of equal members.

    >>> lined_up("abcab", "abab")
    [(0, 0), (1, 1), (3, 2), (4, 3)]
    """
    best = np.zeros((len(first) + 1, len(then) + 1), int)  # of what begins at i and j
    for i in reversed(range(len(first))):
        for j in reversed(range(len(then))):
            longer = max(best[i + 1, j], best[i, j + 1])
            best[i, j] = best[i + 1, j + 1] + 1 if first[i] == then[j] else longer
    i = j = 0
    pairs = []
    while i < len(first) and j < len(then):
        if first[i] == then[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1, j] >= best[i, j + 1]:
            i += 1
        else:
            j += 1
    return pairs
