"""Classes of examples, and random orders of them: on the host where the key is known, else inside ``jit``."""

import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import keys


def shuffled(key: jax.Array | None, size: int, purpose: str) -> Any:
    """The numbers of the examples in random order, one for each purpose, or as they come for ``key=None``.

    On the host where the key is known: there each shape would compile its own little programs.
    """
    if key is None:
        return np.arange(size, dtype=np.int32)
    order = jax.random.permutation(keys.stream(key, f"data.{purpose}"), jnp.arange(size, dtype=jnp.int32))
    return order if isinstance(order, jax.core.Tracer) else np.asarray(order)


def known_shuffled(key: jax.Array | None, size: int, purpose: str) -> np.ndarray:
    """As `shuffled`; a traced key raises ``TypeError``."""
    order = shuffled(key, size, purpose)
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


def coins(key: jax.Array | None, classes: int) -> Any:
    """Numbers [2, classes] that decide between classes of equal remainders, for two parts; equal for ``key=None``."""
    if key is None:
        return np.zeros((2, classes), np.uint32)
    drawn = jax.random.bits(keys.stream(key, "data.remainders"), (2, classes), jnp.uint32)
    return drawn if isinstance(drawn, jax.core.Tracer) else np.asarray(drawn)


def shares(
    members: np.ndarray, option: Any, share: tuple[int, int], coins: Any, more: np.ndarray
) -> tuple[np.ndarray, Any]:
    """How many of each class, in proportion: rounded down, and whether it is one more.

    One more have the classes of the largest remainders, of equal ones those of the smallest coins; but a class of which
    nothing would be left comes after all others.

    Args:
        members: Numbers of members that the classes may have [options, classes], known: products would wrap in int32.
        option: Which they have [classes], may be traced.
        share: How many are taken in all, and of how many.
        coins: Numbers [classes].
        more: Members that the classes have beside [classes], of which none is taken.

    Returns:
        What is rounded down [options, classes], and booleans [classes].

    >>> down, up = shares(np.array([[10, 10, 1]]), np.zeros(3, int), (7, 21), np.array([1, 0, 2]), np.zeros(3, int))
    >>> down.tolist(), up.tolist()  # of 3 1/3, 3 1/3 and 1/3
    ([[3, 3, 0]], [False, True, False])
    """
    xp = np if isinstance(coins, np.ndarray) else jnp
    total, size = share
    down, rest = np.divmod(members * total, size)
    taken, rest, last = (_chosen(xp, a, option) for a in (down, rest, down + 1 >= members + more))
    place = xp.argsort(xp.lexsort((coins, -rest, last)))
    return down, place < total - xp.sum(taken)


def strata(key: jax.Array | None, members: np.ndarray, n_dev: int, n_test: int) -> Any:
    """The part of each example, class by class: 0 training, 1 dev, 2 test.

    Of a class rarer than the parts one member is set aside for training before shares are taken, if it has the room.

    >>> strata(None, np.array([6, 3]), 1, 2).tolist()
    [0, 0, 0, 0, 1, 2, 0, 0, 2]
    """
    aside = (members < 1 + (n_dev > 0) + (n_test > 0)).astype(int)
    if n_dev + n_test >= np.sum(members - aside):
        aside = np.zeros_like(aside)
    free, coin = members - aside, coins(key, len(members))
    xp, size, none = np if isinstance(coin, np.ndarray) else jnp, int(free.sum()), np.zeros(len(members), int)
    (down,), up = shares(free[None], none, (n_test, size), coin[0], aside)
    option = up.astype(int)
    lefts = np.stack([free - down, free - down - 1])
    downs, up = shares(lefts, option, (n_dev, size - n_test), coin[1], aside)
    to_test = _chosen(xp, lefts + aside, option)
    to_dev = to_test - _chosen(xp, downs, option) - up.astype(xp.int32)
    numbers = np.repeat(np.arange(len(members)), members)
    rank = xp.asarray(np.arange(len(numbers)) - np.repeat(np.cumsum(members) - members, members), xp.int32)
    return (rank >= to_dev[numbers]).astype(xp.int32) + (rank >= to_test[numbers]).astype(xp.int32)


def _chosen(xp: Any, options: np.ndarray, option: Any) -> Any:
    """Of options [options, classes] those of each class."""
    return xp.take_along_axis(xp.asarray(options, xp.int32), option[None], 0)[0]


def numbered(name: str, labels: ArrayLike | Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
    """The classes of the examples as 0, 1, ..., in order of their first appearance, and the label of each class."""
    array = _labels(name, labels)
    if array.dtype.kind == "O":
        code: dict[Any, int] = {}
        codes = np.array([code.setdefault(label, len(code)) for label in array])
        return codes, list(code)
    classes, first, codes = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return np.argsort(order)[codes], classes[order].tolist()


def warn_of_rare(name: str, codes: np.ndarray, classes: list[Any], parts: int, what: str) -> None:
    """Warn, in the name of the caller's caller, where a class has fewer examples than there are parts to hold one."""
    members = np.bincount(codes)
    rarest = int(np.argmin(members))
    if members[rarest] < parts:
        has = f"{members[rarest]} example{'s' * int(members[rarest] > 1)}"
        message = f"The least populated class of `{name}`, {classes[rarest]!r}, has {has} for {parts} {what}"
        warnings.warn(f"{message}: some miss it. Join it with another class, or leave it out", stacklevel=3)


def _labels(name: str, labels: Any) -> np.ndarray:
    """Labels as they are, none of them missing: an array that NumPy sorts, or one of objects of one kind."""
    if isinstance(labels, jax.core.Tracer):
        raise TypeError(f"`{name}` must be known: shapes depend on it; got a traced array")
    # Of a list NumPy would make one kind: NaN among texts and 1 beside "1" would become texts.
    mixed = isinstance(labels, list | tuple) and not any(isinstance(label, jax.Array) for label in labels)
    array = np.asarray(labels, object if mixed else None)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"`{name}` must hold one label for each example; got shape {array.shape}")
    if jnp.issubdtype(array.dtype, jnp.floating):  # bfloat16 as well
        array = array.astype(np.float64)
    missing = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else _missing(array)
    if np.any(missing):
        at = int(np.flatnonzero(missing)[0])
        got = "masked" if isinstance(labels, np.ma.MaskedArray) else _shown(array[at])
        repair = "leave the example out, or give a class of their own to such examples"
        raise ValueError(f"`{name}` must not be {got}; got {got} at example {at}: {repair}")
    if array.dtype.kind == "O":
        kinds = [_kind(label) for label in array]
        if other := next((i for i, kind in enumerate(kinds) if kind != kinds[0]), 0):
            both = f"{array[0]!r} at example 0 and {array[other]!r} at example {other}"
            raise ValueError(f"`{name}` must hold labels of one kind; got {both}")
    return array


def _missing(array: np.ndarray) -> np.ndarray:
    """Where labels are missing: None, NaN, NaT, pd.NA and texts that say nothing else."""
    if array.dtype.kind in "fcmM":
        return np.asarray(array != array)
    if array.dtype.kind in "biu":
        return np.zeros(array.shape, bool)
    return np.array([_is_missing(label) for label in array], bool)


def _is_missing(label: Any) -> bool:
    if isinstance(label, bytes):
        label = label.decode("latin-1")
    if isinstance(label, str):
        return label.strip().lower() in ("", "nan", "nat", "<na>")
    try:
        return label is None or bool(label != label)
    except TypeError:  # pd.NA
        return True


def _shown(label: Any) -> str:
    if isinstance(label, str | bytes):
        return repr(label.decode("latin-1") if isinstance(label, bytes) else str(label))
    return "NaN" if isinstance(label, float) else str(label)


def _kind(label: Any) -> str:
    if isinstance(label, numbers.Number | np.number | np.bool_):
        return "number"
    return "text" if isinstance(label, str) else type(label).__name__
