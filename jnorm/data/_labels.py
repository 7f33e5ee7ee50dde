"""Labels as classes: numbers in the order of their values, words in that of the alphabet, whatever the hash seed.

What could be read in two ways raises ``ValueError`` and says which option decides.
"""

import numbers
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from jnorm.data._numbers import is_number

MANY = 20
"""So many different labels may be classes, however few the examples."""
SAY = "say regression=True where labels are numbers to predict, regression=False where they are names of classes"


def coded(
    values: Sequence[Any], regression: bool | None, at: Callable[[int], str], size: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Class numbers and the names of the classes.

    Texts that are numbers are ordered by their values and come before words; ``1`` and ``1.0`` are one class.

    Args:
        values: A label for each example, none of them missing: texts, numbers, or things that compare.
        regression: False where the caller said that labels are classes, None where nothing was said.
        at: The place of an example, for errors.
        size: Number of examples, where ``values`` are the different ones of them.

    Raises:
        ValueError: Labels of two kinds; numbers spelled with leading zeros and without; without a word on
            ``regression``, numbers that are not whole, or nearly as many labels as examples.

    >>> codes, names = coded(["10", "9", "x", "9.0"], None, str)
    >>> codes.tolist(), names
    ([1, 0, 2, 0], ['9', '10', 'x'])
    """
    values = [unicodedata.normalize("NFC", v.strip()) if isinstance(v, str) else v for v in values]
    kinds = [_kind(value) for value in values]
    if other := next((i for i, kind in enumerate(kinds) if kind != kinds[0]), 0):
        both = f"{values[0]!r} at {at(0)} and {values[other]!r} at {at(other)}"
        raise ValueError(f"labels must be of one kind; got {both}: make texts of them all, or numbers")
    if kinds[0] == "number":
        for i, value in enumerate(values):
            if not np.isfinite(float(value)):
                raise ValueError(f"labels must be finite; got {value} at {at(i)}")
    identities = [_identity(value) for value in values]
    first: dict[Any, int] = {}
    for i, identity in enumerate(identities):
        first.setdefault(identity, i)
    if regression is None:
        _refuse_regressions(values, first, at, size or len(values))
    spelled = _spelled(values, identities, at)
    try:
        order = sorted(first)
    except TypeError:  # things that do not compare, in the order of their texts
        order = sorted(first, key=lambda identity: spelled[identity])
    names = [spelled[identity] for identity in order]
    _compare_names(names)
    number = {identity: i for i, identity in enumerate(order)}
    return np.array([number[identity] for identity in identities], np.int32), names


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "truth"
    return "number" if isinstance(value, numbers.Real | Decimal | np.integer | np.floating) else type(value).__name__


def _identity(value: Any) -> Any:
    """What is equal for labels of one class, and sorts as classes do."""
    if isinstance(value, str):
        return (0, Decimal(value), "") if is_number(value) else (1, Decimal(0), value)
    if _kind(value) == "number":
        whole = isinstance(value, numbers.Integral | np.integer)
        return (0, Decimal(int(value)) if whole else Decimal(float(value)), "")
    return value


def _is_number_of(identity: Any, whole: bool) -> bool:
    if not isinstance(identity, tuple) or identity[0] != 0:
        return False
    return (identity[1] == identity[1].to_integral_value()) == whole


def _refuse_regressions(values: Sequence[Any], first: dict[Any, int], at: Callable[[int], str], size: int) -> None:
    for identity, i in first.items():
        if _is_number_of(identity, whole=False):
            raise ValueError(f"labels that are numbers must be whole; got {values[i]} at {at(i)}: {SAY}")
    if len(first) > max(MANY, size / 3):
        got = f"{len(first)} different ones in {size} examples, the first {values[0]!r} at {at(0)}"
        raise ValueError(f"labels must be names of classes; got {got}: {SAY}, or name another `target`")


def _spelled(values: Sequence[Any], identities: Sequence[Any], at: Callable[[int], str]) -> dict[Any, str]:
    """A name for each class: a whole number without a point, unless it has leading zeros."""
    names: dict[Any, tuple[str, int]] = {}
    for i, (value, identity) in enumerate(zip(values, identities, strict=True)):
        name = str(value)
        zeros = isinstance(value, str) and re.match(r"[+-]?0\d", value)
        if not zeros and _is_number_of(identity, whole=True) and abs(identity[1]) < 10**20:
            name = str(int(identity[1]))
        elif not zeros and isinstance(identity, tuple) and identity[0] == 0:
            name = str(float(identity[1]))
        known, where = names.setdefault(identity, (name, i))
        if known != name:
            both = f"{known} at {at(where)} and {name} at {at(i)}"
            raise ValueError(f"a class must have one name; got {both}: write one of them in its place")
    return {identity: name for identity, (name, _) in names.items()}


def _compare_names(names: Sequence[str]) -> None:
    alike: dict[str, str] = {}
    for name in names:
        other = alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), name)
        if other == name and names.count(name) > 1:
            raise ValueError(f"classes must have different names; got {name!r} twice: make texts of the labels before")
        if other != name:
            warnings.warn(f"{other!r} and {name!r} look alike and are two classes: is one meant?", stacklevel=6)
