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


def floats(**named: ArrayLike) -> tuple[jax.Array, ...]:
    """The arguments as floating arrays of one dtype and one broadcast shape, in order.

    Integers and Python numbers are promoted as ``jax.numpy`` does; half precision is kept. Raises ``TypeError`` for
    complex or boolean input and ``ValueError`` for shapes that do not broadcast, naming the arguments.

    >>> mean, var = floats(mean=0.0, var=[1.0, 2.0])
    >>> mean.shape, var.shape
    ((2,), (2,))
    """
    dtype, arrays = _common(named)
    return tuple(a.astype(dtype) for a in arrays)


def wide_floats(**named: ArrayLike) -> tuple[Any, tuple[jax.Array, ...]]:
    """As `floats`, but the arrays have at least float32; first the dtype that the result should have.

    >>> dtype, (x,) = wide_floats(x=jnp.ones(2, jnp.bfloat16))
    >>> dtype.name, x.dtype.name
    ('bfloat16', 'float32')
    """
    dtype, arrays = _common(named)
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
    return dtype, tuple(a.astype(wide) for a in arrays)


def _common(named: Mapping[str, ArrayLike]) -> tuple[Any, list[jax.Array]]:
    """The common floating dtype, and the arguments in their own dtypes, broadcast."""
    arrays = {name: jnp.asarray(value) for name, value in named.items()}
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"`{name}` must hold real numbers; got dtype {array.dtype}")
    try:
        shape = jnp.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"`{name}` {array.shape}" for name, array in arrays.items())
        raise ValueError(f"shapes must broadcast; got {shapes}") from None
    dtype = jnp.result_type(*arrays.values())
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    return dtype, [jnp.broadcast_to(array, shape) for array in arrays.values()]
