"""Numbers in two floating words, so that none is rounded: whole numbers past 2^24, and double precision in float32.

``jax.numpy`` rounds both silently, and turns an integer of 64 bits that does not fit into another one of 32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

_NO_NUMBERS = {
    **dict.fromkeys("SU", "number classes by np.unique(y, return_inverse=True)"),
    **dict.fromkeys("Mm", "take seconds since a start"),
    "O": "give an array of one type",
}
_REPAIR = "subtract a start, or compute under jax.enable_x64"


def words(**named: ArrayLike) -> tuple[Any, jax.Array, jax.Array | None]:
    """The dtype that results should have, and one named array as a sum of two of at least float32.

    The second is None where the first holds all of it by its type, or by its values where NumPy knows them.

    Args:
        **named: The array, by the name of the argument.

    Raises:
        TypeError: It is boolean, complex or no number.
        ValueError: NumPy integers that two words do not hold.

    >>> dtype, high, low = words(x=np.array([1_700_000_000, 1_700_000_060]))
    >>> high.tolist(), low.tolist()
    ([1700000000.0, 1700000000.0], [0.0, 60.0])
    """
    ((name, x),) = named.items()
    wide = jnp.result_type(float)
    array: Any = jnp.asarray(x) if _of_jax(x) else np.asarray(x)
    refuse_texts(**{name: array})
    if array.dtype.kind in "iu" and jnp.iinfo(array.dtype).bits > np.finfo(wide).nmant:
        if isinstance(array, np.ndarray):
            largest = 2 ** (48 if wide == jnp.float32 else 64)
            rule = (
                f"`{{}}` must hold integers of at most 2^{largest.bit_length() - 1} in magnitude, which two words hold"
            )
            repair = "subtract a start, or compute under jax.enable_x64"
            checks.require(lambda n: (n <= largest) & (n >= -largest), f"{rule}: {repair}", **{name: array})
        high, low = _whole(array, wide)
    elif isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.itemsize > wide.itemsize:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            high = array.astype(wide)
            low = np.where(np.isfinite(high), array - high, 0).astype(wide)
    else:
        dtype, (high,) = checks.wide_floats(**named)
        return dtype, high, None
    known = isinstance(low, np.ndarray)
    return wide, jnp.asarray(high), None if known and not np.any(low) else jnp.asarray(low)


def refuse_texts(**named: Any) -> None:
    """Refuse what NumPy knows to be no numbers: texts, dates, objects.

    Args:
        **named: The arguments to check, pytrees.

    Raises:
        TypeError: A leaf holds no numbers.
    """
    for name, tree in named.items():
        for x in jax.tree.leaves(tree):
            dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
            if getattr(dtype, "kind", "") in _NO_NUMBERS:
                raise TypeError(f"`{name}` must hold numbers; got dtype {dtype}: {_NO_NUMBERS[dtype.kind]}")


def refuse_rounding(**named: Any) -> None:
    """Refuse NumPy integers that become other numbers as floats.

    Args:
        **named: The arguments to check; other things than NumPy arrays pass unseen.

    Raises:
        ValueError: An integer past 2^24, or past 2^53 in double precision.
    """
    digits = np.finfo(jnp.result_type(float)).nmant + 1
    for name, x in named.items():
        if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and 8 * x.dtype.itemsize > digits:
            _within(-(2**digits), 2**digits, f"at most 2^{digits} in magnitude, which floats hold: {_REPAIR}", name, x)


def refuse_wrapping(**named: Any) -> None:
    """Refuse NumPy integers of 64 bits that become other numbers in the 32 bits of ``jax.numpy``.

    Args:
        **named: The arguments to check, pytrees; other leaves than NumPy arrays pass unseen.

    Raises:
        ValueError: An integer outside int32 or uint32.
    """
    if jnp.result_type(int).itemsize == 8:
        return
    for name, tree in named.items():
        for x in jax.tree.leaves(tree):
            if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.dtype.itemsize == 8:
                narrow = jnp.iinfo(x.dtype.kind + "4")
                _within(narrow.min, narrow.max, f"{narrow.dtype}, {narrow.min} to {narrow.max}: {_REPAIR}", name, x)


def _within(least: int, most: int, rule: str, name: str, x: np.ndarray) -> None:
    checks.require(lambda n: (n >= least) & (n <= most), f"`{{}}` must hold integers of {rule}", **{name: x})


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded sum, and exactly what rounding took from it (Knuth's algorithm)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _of_jax(x: Any) -> bool:
    return any(isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__") for leaf in jax.tree.leaves(x))


def _whole(array: Any, wide: Any) -> tuple[Any, Any]:
    """Integers as two words, the first the nearest."""
    bits = 24 if wide == jnp.float32 else 32
    high = (array >> bits).astype(wide) * wide.type(2.0**bits)
    return two_sum(high, (array & (2**bits - 1)).astype(wide))
