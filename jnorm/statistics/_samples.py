"""Where the runs of an array are: the sample axis, moved last; and functions of samples as compiled programs.

Every statistic names its axis, because the right one differs: an interval runs over seeds, not over configurations or
epochs. An axis may be a tuple: the values along all its axes are then one sample.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks

Axes = int | Sequence[int]
P = ParamSpec("P")
R = TypeVar("R")


class Estimator(Protocol):
    """A symmetric function of a sample: reduces ``axis``, keeps the others."""

    def __call__(self, x: jax.Array, /, *, axis: int) -> jax.Array:
        """The estimates."""


def compiled(f: Callable[P, R]) -> Callable[P, R]:
    """A function of arrays as one program: what is keyword-only is static, as an axis or the name of an alternative.

    Called outside ``jit`` it is one dispatch, and a second call with arrays of the same shapes compiles nothing.

    Args:
        f: A function whose positional arguments are arrays and whose keyword-only arguments are options.

    Returns:
        The function with the same signature. Lists may stand for arrays and for tuples of axes.

    >>> compiled(lambda x, *, axis: jnp.sum(x, axis))([[1.0, 2.0], [3.0, 4.0]], axis=[0, 1])
    Array(10., dtype=float32)
    """
    options = [name for name, p in inspect.signature(f).parameters.items() if p.kind is p.KEYWORD_ONLY]
    program = jax.jit(f, static_argnames=options)

    @functools.wraps(f)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        arrays = [np.asarray(a) if isinstance(a, list | tuple) else a for a in args]
        named: dict[str, Any] = {}
        for name, value in keywords.items():
            as_option, as_data = (tuple, list) if name in options else (np.asarray, list | tuple)
            named[name] = as_option(value) if isinstance(value, as_data) else value
        return program(*arrays, **named)

    return call


def sample_last(name: str, x: jax.Array, axis: Axes) -> jax.Array:
    """The array with the named axes moved to the end and joined into one.

    Args:
        name: What an error calls the array.
        x: The array.
        axis: One axis, or several whose values are one sample.

    Returns:
        An array ``[..., sample]``, the other axes in their order.

    Raises:
        ValueError: For an axis that the array does not have or that is named twice, and for an empty sample.

    >>> sample_last("x", jnp.ones((2, 3, 4)), axis=(0, 2)).shape
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


def differences(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array]:
    """The differences ``x - y`` of paired samples, in at least float32, with the sample axis last.

    Args:
        x: The first sample.
        y: The second; it broadcasts against the first.
        axis: The axis of the pairs.

    Returns:
        The dtype that a result should have, and the differences ``[..., pairs]``.

    Raises:
        ValueError: For shapes that do not broadcast, and as `sample_last`.
        TypeError: For complex or boolean input.

    >>> differences(jnp.ones((3, 2)), 0.25, axis=0)[1].shape
    (2, 3)
    """
    dtype, (x, y) = checks.wide_floats(x=x, y=y)
    return dtype, sample_last("x", x - y, axis)


def both(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array, jax.Array]:
    """Two independent samples, possibly of different sizes, in at least float32, with the sample axis last.

    Args:
        x: The first sample.
        y: The second; its other axes are those of the first.
        axis: The axis of the runs.

    Returns:
        The dtype that a result should have, and the samples ``[..., runs of x]`` and ``[..., runs of y]``.

    Raises:
        ValueError: Where the other axes differ, and as `sample_last`.
        TypeError: For complex or boolean input.

    >>> [sample.shape for sample in both(jnp.ones((3, 2)), jnp.ones((5, 2)), axis=0)[1:]]
    [(2, 3), (2, 5)]
    """
    (x_dtype, (wide_x,)), (y_dtype, (wide_y,)) = checks.wide_floats(x=x), checks.wide_floats(y=y)
    wide = jnp.promote_types(wide_x.dtype, wide_y.dtype)
    left, right = sample_last("x", wide_x.astype(wide), axis), sample_last("y", wide_y.astype(wide), axis)
    if left.shape[:-1] != right.shape[:-1]:
        raise ValueError(f"`x` and `y` must agree in all axes but {axis}; got {wide_x.shape} and {wide_y.shape}")
    return jnp.promote_types(x_dtype, y_dtype), left, right
