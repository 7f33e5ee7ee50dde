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


def shuffled(key: jax.Array | None, size: int) -> Any:
    """The numbers of the examples in random order, or as they come for ``key=None``.

    On the host where the key is known: there each shape would compile its own little programs.
    """
    if key is None:
        return np.arange(size, dtype=np.int32)
    order = jax.random.permutation(keys.typed(key), jnp.arange(size, dtype=jnp.int32))
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
