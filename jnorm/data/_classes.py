"""Classes of examples and their random order: on the host where the key is known, else inside ``jit``."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def shuffled(key: jax.Array | None, size: int) -> Any:
    """The numbers of the examples in random order, or as they come for ``key=None``.

    On the host where the key is known: there each shape would compile its own little programs.
    """
    if key is None:
        return np.arange(size, dtype=np.int32)
    order = jax.random.permutation(key, jnp.arange(size, dtype=jnp.int32))
    return order if isinstance(order, jax.core.Tracer) else np.asarray(order)


def known_shuffled(key: jax.Array | None, size: int) -> np.ndarray:
    """As `shuffled`; a traced key raises ``TypeError``."""
    order = shuffled(key, size)
    if isinstance(order, jax.core.Tracer):
        raise TypeError("the split by source must run outside jit: its sizes depend on the key")
    return order


def by_class(order: Any, codes: np.ndarray) -> Any:
    """The same examples, class by class."""
    xp = np if isinstance(order, np.ndarray) else jnp
    return order[xp.argsort(xp.asarray(codes, xp.int32)[order], stable=True)]


def ascending(order: Any, places: np.ndarray) -> Any:
    """The examples at some places of the order, ascending."""
    return (np if isinstance(order, np.ndarray) else jnp).sort(order[places])


def shares(members: np.ndarray, total: int) -> np.ndarray:
    """How many of each class, ``total`` in all, in proportion: rounded by largest remainders."""
    exact, rest = np.divmod(members * total, members.sum())
    exact[np.argsort(-rest, kind="stable")[: total - exact.sum()]] += 1
    return exact


def numbered(name: str, labels: ArrayLike | Sequence[Any]) -> np.ndarray:
    """The classes of the examples as 0, 1, ..., in order of their first appearance."""
    if isinstance(labels, jax.core.Tracer):
        raise TypeError(f"`{name}` must be known: shapes depend on it; got a traced array")
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"`{name}` must hold one label for each example; got shape {array.shape}")
    if array.dtype.kind == "f" and np.any(np.isnan(array)):
        raise ValueError(f"`{name}` must not be NaN; got NaN at example {np.flatnonzero(np.isnan(array))[0]}")
    _, first, codes = np.unique(array, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes]
