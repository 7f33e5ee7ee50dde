"""The input of a layer: an array of real floating numbers, and its axes counted from the front."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def floating(x: Any, name: str = "x") -> jax.Array:
    """``x`` as an array; ``TypeError`` unless it is real and floating (a normalized integer is no integer)."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"`{name}` must have a real floating dtype; got {x.dtype}")
    return x


def axes_of(x: jax.Array, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The axes named by ``axis``, counted from the front, in ascending order.

    Raises ``ValueError`` for an axis out of range, one that is named twice, and for none.

    >>> axes_of(jnp.zeros((2, 3, 4)), (-1, 1))
    (1, 2)
    """
    named = tuple(int(a) for a in np.atleast_1d(np.asarray(axis)))
    for a in named:
        if not -x.ndim <= a < x.ndim:
            raise ValueError(f"`axis` must satisfy {-x.ndim} <= axis < {x.ndim} for `x` of shape {x.shape}; got {a}")
    axes = sorted({a % x.ndim for a in named})
    if len(axes) != len(named) or not axes:
        raise ValueError(f"`axis` must name at least one axis of `x`, and each once; got {axis}")
    return tuple(axes)


def other_axes(x: jax.Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes of ``x`` that are not in ``axes``.

    >>> other_axes(jnp.zeros((2, 3, 4)), (1,))
    (0, 2)
    """
    return tuple(a for a in range(x.ndim) if a not in axes)


def lengths(x: jax.Array, axes: Sequence[int]) -> tuple[int, ...]:
    """How long ``x`` is along each of ``axes``.

    >>> lengths(jnp.zeros((2, 3, 4)), (0, 2))
    (2, 4)
    """
    return tuple(x.shape[a] for a in axes)
