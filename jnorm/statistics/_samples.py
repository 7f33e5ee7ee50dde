"""Where the runs of an array are: the sample axis, moved last; and functions of samples as compiled programs.

Every statistic names its axis, because the right one differs: an interval runs over seeds, not over configurations or
epochs. An axis may be a tuple: the values along all its axes are then one sample.

Accuracies of 360 examples are k/360, rounded: what is equal on paper often is not in the last bits. One convention
holds for all tests and rules. Two values are equal where they differ by no more than twice the rounding of the
arithmetic (`greater`); two differences of values are, where rounding of what they were made of, in the type that it was
handed over in, can have brought them apart (`Pairs.near`). Integers have no rounding.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

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
    parameters = inspect.signature(f).parameters
    options = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    program = jax.jit(f, static_argnames=options)

    @functools.wraps(f)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        arrays = [as_array(name, a) for name, a in zip(parameters, args, strict=False)] + [*args[len(parameters) :]]
        named: dict[str, Any] = {}
        for name, value in keywords.items():
            if name in options:
                named[name] = tuple(value) if isinstance(value, list) else value
            else:
                named[name] = as_array(name, value)
        return program(*arrays, **named)

    return call


def as_array(name: str, value: Any) -> Any:
    """Numbers and arrays as they are; lists, series and tables of other libraries as arrays.

    Args:
        name: What an error calls the value.
        value: The value.

    Returns:
        What JAX takes.

    Raises:
        TypeError: It holds something else than numbers: texts, objects, dates, or None.
        ValueError: For lists of different lengths, and an array with masked entries.

    >>> as_array("x", [1.0, None])
    Traceback (most recent call last):
    ...
    TypeError: `x` must hold real numbers; got dtype object
    """
    if isinstance(value, jax.Array | int | float | complex) or hasattr(value, "__jax_array__"):
        return value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"`{name}` must not be masked; write `{name}.filled(np.nan)` for runs that are to count as lost"
        )
    if isinstance(value, list | tuple) and any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be an array; got rows of different lengths") from error
    if array.dtype.kind in "OSUMm":
        raise TypeError(f"`{name}` must hold real numbers; got dtype {array.dtype}")
    return array


def reals_last(name: str, x: Any, axis: int) -> np.ndarray:
    """Real numbers on the host in double precision, with the sample axis last.

    Args:
        name: What an error calls the array.
        x: The array.
        axis: The axis of the sample.

    Returns:
        An array ``[..., sample]``.

    Raises:
        TypeError: It holds complex numbers or booleans, or what `as_array` refuses; several axes.
        ValueError: For an axis that the array does not have, and an empty array.

    >>> reals_last("x", [[1, 2, 3]], axis=0).shape
    (3, 1)
    """
    array = np.asarray(as_array(name, x))
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(
            f"`axis` must be one axis, a whole number, for `{name}`; got {axis!r}: only seeds are runs, repeats of one "
            "trained network are averaged before (`runs_of`)"
        )
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"`axis` must satisfy {-array.ndim} <= axis < {array.ndim} for `{name}`; got {axis}")
    if array.dtype.kind in "cb":
        raise TypeError(f"`{name}` must hold real numbers; got dtype {array.dtype}")
    if array.size == 0:
        raise ValueError(f"`{name}` must hold at least one run; got shape {array.shape}")
    return np.moveaxis(array, axis, -1).astype(np.float64)


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


class Pairs(NamedTuple):
    """Paired samples.

    Attributes:
        dtype: That of a result.
        difference: ``x - y`` in at least float32, ``[..., pairs]``; 0 where x and y are equal but for rounding.
        near: Two differences are equal where they are no further apart than the mean of these.
    """

    dtype: Any
    difference: jax.Array
    near: jax.Array


def pairs(x: ArrayLike, y: ArrayLike, axis: Axes) -> Pairs:
    """The differences ``x - y`` of paired samples, with the sample axis last, and what rounding can have made of them.

    Args:
        x: The first sample.
        y: The second; it broadcasts against the first.
        axis: The axis of the pairs.

    Returns:
        The differences.

    Raises:
        ValueError: For shapes that do not broadcast, and as `sample_last`.
        TypeError: For complex or boolean input.

    >>> seen = pairs(jnp.array([361.0, 3.0]) / 360, jnp.array([360.0, 2.0]) / 360, axis=0)
    >>> seen.difference[0] == seen.difference[1], abs(seen.difference[0] - seen.difference[1]) < seen.near[0]
    (Array(False, dtype=bool), Array(True, dtype=bool))
    """
    types = [jnp.result_type(a) for a in (x, y)]
    dtype, (x, y) = checks.wide_floats(x=x, y=y)
    rounding = [0.0 if jnp.issubdtype(t, jnp.integer) else float(jnp.finfo(t).eps) for t in types]
    of_sum = float(jnp.finfo(x.dtype).eps)
    parts = [(eps + of_sum) * _size(a) for eps, a in zip(rounding, (x, y), strict=True) if eps]
    near = sum(parts, jnp.zeros_like(x))
    equal = ~(greater(x, y, exact=not any(rounding)) | greater(y, x, exact=not any(rounding)))
    d = jnp.where(equal & ~jnp.isnan(x) & ~jnp.isnan(y), 0, x - y)
    return Pairs(dtype, sample_last("x", d, axis), sample_last("x", near, axis))


def is_exact(x: ArrayLike) -> bool:
    """Whether values are integers, which have no rounding.

    Args:
        x: An array or a number.

    Returns:
        Whether they are.

    >>> is_exact(np.arange(3)), is_exact(jnp.ones(3))
    (True, False)
    """
    return jnp.issubdtype(jnp.result_type(x), jnp.integer)


def greater(left: jax.Array, right: jax.Array, *, exact: bool) -> jax.Array:
    """Where ``left > right`` by more than twice the rounding of the larger; false for a NaN.

    Args:
        left: An array.
        right: Another one, of the same dtype.
        exact: Compare without tolerance.

    Returns:
        Booleans.

    >>> greater(jnp.array([1.0, 1.0 + 2e-7, jnp.inf, jnp.inf]), jnp.array([0.0, 1.0, 1.0, jnp.inf]), exact=False)
    Array([ True, False,  True, False], dtype=bool)
    """
    if exact:
        return left > right
    near = 2 * float(jnp.finfo(left.dtype).eps) * jnp.maximum(_size(left), _size(right))
    return left - right > near


def _size(x: jax.Array) -> jax.Array:
    """Absolute values, infinite ones taken as 0: they are equal to their like alone."""
    return jnp.where(jnp.isfinite(x), jnp.abs(x), 0)


def differences(x: ArrayLike, y: ArrayLike, axis: Axes) -> tuple[Any, jax.Array]:
    """The differences ``x - y`` of paired samples as they are, in at least float32, with the sample axis last.

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
