"""Hyperparameters compared by value: 8 is 8.0, .1 in single precision is .1, and the order of names does not matter."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np


class Places:
    """Where configurations stand in a list of different ones.

    Args:
        known: The list; what is new is added.

    >>> places = Places([])
    >>> [places.of(c) for c in ({"d": 8, "rate": 0.1}, {"rate": np.float32(0.1), "d": 8.0}, {"d": 9, "rate": 0.1})]
    [0, 0, 1]
    """

    def __init__(self, known: list[dict[str, Any]]) -> None:
        self.known = known
        self.buckets: dict[Any, list[int]] = {}

    def of(self, configuration: dict[str, Any]) -> int:
        """The place of a configuration.

        Args:
            configuration: Values by name.

        Returns:
            That of an equal one, or a new one at the end.
        """
        # Equal ones have equal names, and numbers that are equal in single precision.
        key = tuple(sorted((name, _coarse(value)) for name, value in configuration.items()))
        bucket = self.buckets.setdefault(key, [])
        for place in bucket:
            if same_setting(self.known[place], configuration):
                return place
        bucket.append(len(self.known))
        self.known.append(configuration)
        return bucket[-1]


def same_setting(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two configurations have the same values.

    Args:
        left: Values by name.
        right: Others.

    Returns:
        Whether they do.

    >>> same_setting({"widths": (8, 8), "phi": "relu"}, {"phi": "relu", "widths": [8.0, 8]})
    True
    """
    return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)


def same(left: Any, right: Any) -> bool:
    """Whether two hyperparameters have the same value.

    Args:
        left: A value of any type.
        right: Another one. A number is equal to the rounding of itself to a shorter type.

    Returns:
        Whether they are equal.

    >>> same(0.1, np.float32(0.1)), same(0.1, 0.1 + 1e-9), same(float("nan"), np.nan), same(16_777_216, 16_777_217)
    (True, False, True, False)
    """
    left, right = (v.item() if _is_whole(v) else v for v in (left, right))
    if _is_number(left) and _is_number(right):
        if left == right or (left != left and right != right):
            return True
        if isinstance(left, int) and isinstance(right, int):
            return False
        with np.errstate(over="ignore"):
            short = [np.float32(v) for v in (left, right)]
            return bool(short[0] == short[1]) and any(
                float(v) == float(s) for v, s in zip((left, right), short, strict=True)
            )
    if isinstance(left, list | tuple | np.ndarray) and isinstance(right, list | tuple | np.ndarray):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return same_setting(left, right)
    return bool(np.all(left == right))


def _is_whole(value: Any) -> bool:
    return getattr(value, "shape", None) == () and np.dtype(value.dtype).kind in "iub"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (getattr(value, "shape", None) == () and np.dtype(value.dtype).kind == "f")


def _coarse(value: Any) -> str:
    """A text that is the same for equal values."""
    if _is_number(value) or (getattr(value, "shape", None) == () and value.dtype.kind in "iubf"):
        with np.errstate(over="ignore"):
            return repr(float(np.float32(value)) + 0.0)
    return f"text {value}" if isinstance(value, str) else "other"
