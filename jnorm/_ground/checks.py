"""Argument checks shared by the public functions: what is known while Python runs fails there, before any compile.

A check names the argument, the rule and the value. Values that exist only inside a transformation (``jit``,
``vmap``, ``grad``) pass: there failure is data, a NaN in its own lane.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def require(ok: Callable[[np.ndarray], Any], rule: str, **named: Any) -> None:
    """Raise ``ValueError`` where a concrete value breaks a rule.

    ``ok`` maps a NumPy array to a boolean array; NaN passes as data. ``rule`` is the text of the rule, with ``{}``
    in the place of the argument's name; each keyword is an argument to check. Arrays are reported by their first
    offending value.

    >>> require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: `var` must satisfy var >= 0; got -1.0
    """
    for name, value in named.items():
        if isinstance(value, jax.core.Tracer):
            continue
        array = np.asarray(value)
        bad = ~(ok(array) | np.isnan(array))
        if np.any(bad):
            raise ValueError(f"{rule.replace('{}', name)}; got {array[bad].flat[0]}")


def whole(least: int, **named: Any) -> None:
    """Raise ``ValueError`` for a known value that is not a whole number or is below ``least``.

    >>> whole(1, depth=0)
    Traceback (most recent call last):
    ...
    ValueError: `depth` must be a whole number >= 1; got 0
    """
    require(lambda n: (n >= least) & (n == np.floor(n)), f"`{{}}` must be a whole number >= {least}", **named)


def choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` that lists the known names where ``value`` is not one of them.

    >>> choice("activation", "seluu", ("relu", "selu"))
    Traceback (most recent call last):
    ...
    ValueError: `activation` must be one of relu, selu; got 'seluu'
    """
    known = tuple(known)
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}")


def operands(**named: ArrayLike) -> tuple[dict[str, jax.Array], Any]:
    """The arguments by name, floating, of at least float32 and broadcast, and the dtype that the result should have.

    Integers become floats as in ``jax.numpy``. Scalars stay scalars and weak types stay weak, so that a Python number
    takes the precision of the arrays it meets. Raises ``TypeError`` for complex or boolean input and ``ValueError`` for
    shapes that do not broadcast, naming the arguments.

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
        arrays[name] = array if array.ndim == 0 else jnp.broadcast_to(array, shape)
    return arrays, dtype


def floats(**named: ArrayLike) -> tuple[jax.Array, ...]:
    """The arguments as floating arrays of one dtype and one shape, in order; half precision is kept.

    >>> mean, var = floats(mean=0, var=[1.0, 2.0])
    >>> mean.shape, var.dtype.name
    ((2,), 'float32')
    """
    arrays, dtype = operands(**named)
    return _uniform(arrays, dtype)


def wide_floats(**named: ArrayLike) -> tuple[Any, tuple[jax.Array, ...]]:
    """As `floats`, but the arrays have at least float32; first the dtype that the result should have.

    >>> dtype, (x,) = wide_floats(x=jnp.ones(2, jnp.bfloat16))
    >>> dtype.name, x.dtype.name
    ('bfloat16', 'float32')
    """
    arrays, dtype = operands(**named)
    return dtype, _uniform(arrays, wide(dtype))


def wide(dtype: Any) -> Any:
    """The dtype in which to compute with numbers of ``dtype``: itself, or float32 for half precision.

    >>> wide(jnp.bfloat16).name, wide(jnp.dtype("float64")).name
    ('float32', 'float64')
    """
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _uniform(arrays: Mapping[str, jax.Array], dtype: Any) -> tuple[jax.Array, ...]:
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays.values()))
    return tuple(jnp.broadcast_to(array.astype(dtype), shape) for array in arrays.values())
