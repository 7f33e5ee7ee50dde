"""Data sets in npz files: arrays x and y, and possibly the names of the classes."""

from pathlib import Path

import numpy as np

from jnorm.data import _formats, _numbers
from jnorm.data._labels import MANY, SAY

_NUMBERED = "number them before: classes, y = np.unique(y, return_inverse=True), and save x, y and classes"


def read(path: Path, regression: bool | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The examples in float32, the labels and the names of classes, none for a regression."""
    arrays = _formats.read_npz(path)
    if not {"x", "y"} <= set(arrays):
        raise ValueError(f"{path}: must hold arrays x and y; got {', '.join(sorted(arrays)) or 'none'}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != x.shape[:1] or y.size == 0:
        raise ValueError(f"{path}: must hold x [examples, ...] and y [examples]; got shapes {x.shape} and {y.shape}")
    if {x.dtype.kind, y.dtype.kind} - set("biuf"):
        say = f": {_NUMBERED}" if x.dtype.kind in "biuf" else ""
        raise ValueError(f"{path}: must hold real numbers; got x of {x.dtype} and y of {y.dtype}{say}")
    x = _float32(path, "x", x)
    if regression is None:
        regression = _is_regression(path, y, "classes" in arrays)
    if regression:
        return x, _float32(path, "y", y), []
    _formats.finite(path, y)
    names = [str(name) for name in np.atleast_1d(arrays.get("classes", np.arange(max(0, int(y.max())) + 1)))]
    try:
        y = _formats.labels(path, y, len(names))
    except ValueError as error:
        raise ValueError(f"{error}: {_NUMBERED}, or say regression=True") from None
    absent = np.flatnonzero(np.bincount(y, minlength=len(names)) == 0)
    if len(absent) and "classes" not in arrays:
        got = f"labels {y.min()} to {y.max()}, none of them {absent[0]}"
        say = f"save `classes` with the names of all, or {_NUMBERED}; say regression=True for numbers to predict"
        raise ValueError(f"{path}: labels must be those of classes 0, 1, ..., each with an example; got {got}: {say}")
    return x, y, names


def _is_regression(path: Path, y: np.ndarray, named: bool) -> bool:
    """Whether labels are numbers to predict, as floats are unless classes have names."""
    if y.dtype.kind != "f" or named:
        return False
    _formats.finite(path, y)
    values = np.unique(y)
    if len(values) > MANY or np.any(values != np.floor(values)):
        return True
    got = f"{len(values)} different ones, {values[0]:g} to {values[-1]:g}, of {y.dtype}"
    raise ValueError(f"{path}: labels must be integers for classes, or any numbers to predict; got {got}: {SAY}")


def _float32(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Numbers as float32, which leaves them what they are."""
    rounded, at = _numbers.as_float32(_formats.finite(path, array))
    if at is not None:
        got = f"{_numbers.rounding(array[at])}, at {name}[{', '.join(map(str, at))}]"
        say = f"subtract a start or divide by a unit before; {name}.astype(np.float32) takes the nearest"
        raise ValueError(f"{path}: must hold numbers of float32; {got}: {say}")
    return rounded
