"""Argument checks shared by the public functions: what is known while Python runs fails there, before any compile.

A check names the argument, the rule and the value. It looks at Python numbers and NumPy arrays only: a ``jax.Array``
may be a tracer, or lie on a device or in other processes, and is never fetched to be looked at. There, as inside
``jit``, failure is data: a NaN in its own lane.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def require(ok: Callable[[Any], Any], rule: str, **named: Any) -> None:
    """Refuse Python numbers and NumPy arrays that break a rule.

    Args:
        ok: Maps a NumPy array or scalar to booleans of its shape. NaN passes as data.
        rule: The text of the rule, with ``{}`` in the place of the argument's name.
        **named: The arguments to check: numbers, arrays, lists of them. A ``jax.Array`` passes unseen.

    Raises:
        ValueError: A value breaks the rule; the first of an array that does is named.

    >>> require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: `var` must satisfy var >= 0; got -1.0
    >>> require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=jnp.array(-1.0))
    """
    for name, value in named.items():
        for known in _known(value):
            good = ok(known)
            if not np.all(good) and np.any(bad := ~(np.asarray(good) | np.isnan(known))):
                raise ValueError(f"{rule.replace('{}', name)}; got {np.asarray(known)[bad].flat[0]}")


def _known(value: Any) -> Iterator[Any]:
    """The NumPy arrays and scalars of an argument."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _known(part)
    elif not isinstance(value, jax.Array):
        yield np.asarray(value)[()]  # a scalar's arithmetic is ten times as fast as that of an array without axes


def whole(least: int, **named: Any) -> None:
    """Refuse known values that are no whole numbers or too small.

    Args:
        least: The smallest number that passes.
        **named: The arguments to check, as for `require`.

    Raises:
        ValueError: A value is not a whole number or is below ``least``.

    >>> whole(1, depth=0)
    Traceback (most recent call last):
    ...
    ValueError: `depth` must be a whole number >= 1; got 0
    """
    require(lambda n: (n >= least) & (n == np.floor(n)), f"`{{}}` must be a whole number >= {least}", **named)


def boolean(**named: Any) -> None:
    """Raise ``TypeError`` unless every argument is True or False.

    >>> boolean(drop_remainder="no")
    Traceback (most recent call last):
    ...
    TypeError: `drop_remainder` must be True or False; got 'no'
    """
    for name, value in named.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"`{name}` must be True or False; got {value!r}")


def choice(name: str, value: object, known: Iterable[str]) -> None:
    """Refuse an option that is not one of the known ones.

    Args:
        name: The argument's name.
        value: The option, a string; anything else is refused like an unknown one.
        known: The options that there are.

    Raises:
        ValueError: ``value`` is not among them; all are listed.

    >>> choice("activation", "seluu", ("relu", "selu"))
    Traceback (most recent call last):
    ...
    ValueError: `activation` must be one of relu, selu; got 'seluu'
    """
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}")


def operands(**named: ArrayLike) -> tuple[dict[str, jax.Array], Any]:
    """The arguments by name, floating, of at least float32 and broadcast, and the dtype that the result should have.

    Integers become floats as in ``jax.numpy``. Scalars stay scalars and weak types stay weak, so that a Python number
    takes the precision of the arrays it meets.

    Args:
        **named: Arrays or numbers.

    Returns:
        The prepared arrays by name, and the dtype.

    Raises:
        TypeError: An argument is complex or boolean.
        ValueError: The shapes do not broadcast.

    >>> arrays, dtype = operands(x=jnp.ones(2, jnp.bfloat16), alpha=1.5)
    >>> dtype.name, arrays["x"].dtype.name, arrays["alpha"].weak_type
    ('bfloat16', 'float32', True)
    """
    arrays = {name: jnp.asarray(value) for name, value in named.items()}
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.integer):
            arrays[name] = array * 1.0 if array.weak_type else array.astype(jnp.result_type(float))
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"`{name}` must hold real numbers; got dtype {array.dtype}")
    try:
        shape = jnp.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"`{name}` {array.shape}" for name, array in arrays.items())
        raise ValueError(f"shapes must broadcast; got {shapes}") from None
    dtype = jnp.result_type(*arrays.values())
    for name, array in arrays.items():
        if jnp.finfo(array.dtype).bits < 32:
            array = array.astype(wide(dtype))
        arrays[name] = array if array.shape in ((), shape) else jnp.broadcast_to(array, shape)
    return arrays, dtype


def floats(**named: ArrayLike) -> tuple[jax.Array, ...]:
    """The arguments as floating arrays of one dtype and one shape, in order; half precision is kept.

    Args:
        **named: Arrays or numbers, as for `operands`.

    Returns:
        The arrays.

    >>> mean, var = floats(mean=0, var=[1.0, 2.0])
    >>> mean.shape, var.dtype.name
    ((2,), 'float32')
    """
    arrays, dtype = operands(**named)
    return _uniform(arrays, dtype)


def wide_floats(**named: ArrayLike) -> tuple[Any, tuple[jax.Array, ...]]:
    """As `floats`, but the arrays have at least float32; first the dtype that the result should have.

    Args:
        **named: Arrays or numbers, as for `operands`.

    Returns:
        The dtype, and the arrays in order.

    >>> dtype, (x,) = wide_floats(x=jnp.ones(2, jnp.bfloat16))
    >>> dtype.name, x.dtype.name
    ('bfloat16', 'float32')
    """
    arrays, dtype = operands(**named)
    return dtype, _uniform(arrays, wide(dtype))


def wide(dtype: Any) -> Any:
    """The dtype in which to compute with numbers of ``dtype``: itself, or float32 for half precision.

    Args:
        dtype: A floating dtype.

    Returns:
        The dtype.

    >>> wide(jnp.bfloat16).name, wide(jnp.dtype("float64")).name
    ('float32', 'float64')
    """
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _uniform(arrays: Mapping[str, jax.Array], dtype: Any) -> tuple[jax.Array, ...]:
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays.values()))
    strong = (a if a.dtype == dtype and not a.weak_type else a.astype(dtype) for a in arrays.values())
    return tuple(a if a.shape == shape else jnp.broadcast_to(a, shape) for a in strong)
