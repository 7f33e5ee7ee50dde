"""The sample axis: where the runs of an array are, moved last.

Every statistic of this folder names its axis, because the right one differs: an interval runs over seeds, not over
configurations or epochs. An axis may be a tuple: the values of all its axes are then one sample.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks

Axes = int | Sequence[int]


def last(name: str, x: jax.Array, axis: Axes) -> jax.Array:
    """The array with the named axes moved to the end and joined into one.

    Raises ``ValueError`` for an axis that the array does not have or that is named twice, and for an empty sample.

    >>> last("x", jnp.ones((2, 3, 4)), axis=(0, 2)).shape
    (3, 8)
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -x.ndim <= a < x.ndim:
            raise ValueError(f"`axis` must satisfy {-x.ndim} <= axis < {x.ndim} for `{name}`; got {a}")
    over = [a % x.ndim for a in axes]
    if not over or len(set(over)) < len(over):
        raise ValueError(f"`axis` must name at least one axis, each once; got {axis}")
    kept = [a for a in range(x.ndim) if a not in over]
    moved = jnp.transpose(x, (*kept, *over)).reshape(*(x.shape[a] for a in kept), -1)
    if moved.shape[-1] == 0:
        raise ValueError(f"`{name}` must hold at least one value along axis {axis}; got shape {x.shape}")
    return moved


def pairs(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array]:
    """The dtype of a result, and the differences ``x - y`` of at least float32 with the sample axis last.

    Raises ``ValueError`` for shapes that do not broadcast, and as `last`; ``TypeError`` for complex or boolean input.

    >>> pairs(jnp.ones((3, 2)), 0.25, axis=0)[1].shape
    (2, 3)
    """
    dtype, (x, y) = checks.wide_floats(x=x, y=y)
    return dtype, last("x", x - y, axis)


def arms(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array, jax.Array]:
    """The dtype of a result, and two samples of possibly different sizes with the sample axis last.

    Raises ``ValueError`` where the other axes differ, and as `last`; ``TypeError`` for complex or boolean input.

    >>> [a.shape for a in arms(jnp.ones((3, 2)), jnp.ones((5, 2)), axis=0)[1:]]
    [(2, 3), (2, 5)]
    """
    (x_dtype, (wide_x,)), (y_dtype, (wide_y,)) = checks.wide_floats(x=x), checks.wide_floats(y=y)
    wide = jnp.promote_types(wide_x.dtype, wide_y.dtype)
    left, right = last("x", wide_x.astype(wide), axis), last("y", wide_y.astype(wide), axis)
    if left.shape[:-1] != right.shape[:-1]:
        raise ValueError(f"`x` and `y` must agree in all axes but {axis}; got {wide_x.shape} and {wide_y.shape}")
    return jnp.promote_types(x_dtype, y_dtype), left, right
