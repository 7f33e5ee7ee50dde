"""Numbers as callers give them, and as programs get them."""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_python(value: Any) -> Any:
    """Numbers of NumPy and JAX, also arrays without axes, as Python's; everything else as it is."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return value  # a random key
    if isinstance(value, np.generic) or (getattr(value, "shape", None) == () and hasattr(value, "item")):
        return value.item()
    return value


def is_number(value: Any) -> bool:
    """Whether it is a real number, or a boolean."""
    return isinstance(value, numbers.Real)


def index(value: Any) -> int | None:
    """The whole number that it is; None for floating numbers, booleans and everything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def whole_number(name: str, value: Any, rule: str = "a whole number >= 1") -> int:
    """The argument ``name`` as a whole number from 1 on.

    >>> whole_number("count", np.int64(3))
    3
    """
    number = index(value)
    if number is None or number < 1:
        error = ValueError if isinstance(value, numbers.Real | str) and not isinstance(value, bool) else TypeError
        raise error(f"`{name}` must be {rule}; got {value!r}")
    return number


def as_traced(name: str, values: Sequence[Any], *, whole: bool) -> np.ndarray:
    """A hyperparameter's values as the program gets them: booleans, ``whole`` numbers, or floating numbers.

    Raises ``ValueError`` for a value that its type cannot hold: not whole, beyond the range, a whole number that
    rounding changes, or one that is too small, which XLA takes for 0; and for two that become one.

    >>> as_traced("rate", (1, 10), whole=False), as_traced("steps", (1, 10), whole=True)
    (array([ 1., 10.], dtype=float32), array([ 1, 10], dtype=int32))
    """
    if whole:
        dtype = jnp.result_type(int)
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for value in values:
            if value != value // 1 or not low <= value <= high:
                raise ValueError(f"`{name}` must hold whole numbers of {dtype}; got {value!r}")
        return np.asarray([int(value) for value in values], dtype)
    if all(isinstance(value, bool) for value in values):
        return np.asarray(values)
    dtype = jnp.result_type(float)
    with np.errstate(over="ignore"):
        cast = np.asarray([_as_float(value) for value in values]).astype(dtype)
    known: dict[float, Any] = {}
    for value, number in zip(values, cast.tolist(), strict=True):
        _refuse_lost(name, value, number, dtype)
        if (other := known.setdefault(number, value)) != value:
            raise ValueError(f"`{name}` must not repeat a value; {other!r} and {value!r} are one number of {dtype}")
    return cast


def _refuse_lost(name: str, value: Any, number: float, dtype: Any) -> None:
    """Raise if ``number`` of the type is not what ``value`` says, but for rounding of fractions."""
    is_whole, tiny = isinstance(value, numbers.Integral), float(jnp.finfo(dtype).tiny)
    exact = int(number) == value if is_whole and math.isfinite(number) else True
    if not exact or (math.isinf(number) and not _is_infinite(value)) or (value != 0 and abs(number) < tiny):
        say = "name it in `integers` or in `static`" if is_whole else "rescale it"
        if value != 0 and abs(number) < tiny:
            say = f"below {tiny:.3g} XLA takes numbers for 0; {say}"
        raise ValueError(f"`{name}` must hold numbers that {dtype} can hold; got {value!r}: {say}")


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        return math.inf


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)
