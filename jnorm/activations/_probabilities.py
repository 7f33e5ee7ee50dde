"""Functions along an axis: scores to probabilities."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground.callables import settled
from jnorm._ground.checks import operands

_compiled = functools.partial(jax.jit, static_argnames="axis", inline=True)


def _along(axis: int, x: ArrayLike) -> tuple[jax.Array, jnp.dtype]:
    """``x`` prepared for a function along ``axis``, and the dtype of its result."""
    arrays, dtype = operands(x=x)
    ndim = arrays["x"].ndim
    if not -ndim <= axis < ndim:
        raise ValueError(f"`axis` must satisfy {-ndim} <= axis < {ndim} for `x` of shape {jnp.shape(x)}; got {axis}")
    return arrays["x"], dtype


def _masked(x: jax.Array, axis: int, where: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Scores with those out of the mask at -inf, or at 0 where there are no others in their row; and the mask."""
    mask = jnp.asarray(where)
    if mask.dtype != bool:
        raise TypeError(f"`where` must be boolean; got dtype {mask.dtype}")
    try:
        mask = jnp.broadcast_to(mask, x.shape)
    except ValueError:
        raise ValueError(f"`where` must broadcast to `x`; got shapes {mask.shape} and {x.shape}") from None
    return jnp.where(mask, x, jnp.where(mask.any(axis, keepdims=True), -jnp.inf, 0.0)), mask


@_compiled
def _softmax(x: ArrayLike, axis: int, where: ArrayLike | None) -> jax.Array:
    array, dtype = _along(axis, x)
    if where is None:
        return jax.nn.softmax(array, axis).astype(dtype)
    array, mask = _masked(array, axis, where)
    return jnp.where(mask, jax.nn.softmax(array, axis), 0.0).astype(dtype)


@_compiled
def _log_softmax(x: ArrayLike, axis: int, where: ArrayLike | None) -> jax.Array:
    array, dtype = _along(axis, x)
    if where is None:
        return jax.nn.log_softmax(array, axis).astype(dtype)
    array, mask = _masked(array, axis, where)
    return jnp.where(mask, jax.nn.log_softmax(array, axis), -jnp.inf).astype(dtype)


@_compiled
def _hardmax(x: ArrayLike, axis: int) -> jax.Array:
    array, dtype = _along(axis, x)
    first = jax.nn.one_hot(jnp.argmax(array, axis), array.shape[axis], dtype=dtype, axis=axis)
    return jnp.where(jnp.isnan(array).any(axis, keepdims=True), jnp.nan, first)


@settled
def softmax(x: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None) -> jax.Array:
    """Probabilities exp(x_i)/sum_j exp(x_j) along ``axis``, computed in at least float32 from x - max(x).

    Args:
        x: Scores, a real array.
        axis: The axis along which the probabilities sum to one.
        where: Boolean mask that broadcasts to ``x``. Entries where it is false have probability 0 and gradient 0,
            whatever they hold; a lane without any other is 0 throughout. Without it every entry counts.

    Returns:
        Array of the shape and floating dtype of ``x``. A NaN or +inf makes its own lane NaN, and so do scores that are
        all -inf: there is no distribution to choose; mask them instead.

    Raises:
        ValueError: ``axis`` is out of range, or ``where`` does not broadcast to ``x``.
        TypeError: ``where`` is not boolean.

    >>> [f"{p:.3f}" for p in softmax(jnp.array([5.0, 2.0, -1.0, 3.0]))]
    ['0.842', '0.042', '0.002', '0.114']
    """
    return _softmax(x, axis=axis, where=where)


@settled
def log_softmax(x: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None) -> jax.Array:
    """Log probabilities x_i - log(sum_j exp(x_j)) along ``axis``, finite where ``softmax`` underflows.

    Args:
        x: Scores, a real array.
        axis: The axis along which the probabilities sum to one.
        where: As for `softmax`; the log probability of what it leaves out is -inf.

    Returns:
        As for `softmax`.

    Raises:
        ValueError: As `softmax`.
        TypeError: As `softmax`.

    >>> log_softmax(jnp.array([0.0, 1e4]))
    Array([-10000.,      0.], dtype=float32)
    """
    return _log_softmax(x, axis=axis, where=where)


@settled
def hardmax(x: ArrayLike, *, axis: int = -1) -> jax.Array:
    """One-hot vector of the first maximum along ``axis``: the limit of softmax(x/t) as t -> 0, but for ties.

    Its derivative is zero.

    Args:
        x: Scores, a real array.
        axis: The axis along which one entry is one.

    Returns:
        Array of the shape and floating dtype of ``x``. A NaN makes its own lane NaN; +inf is a maximum like any other.

    Raises:
        ValueError: ``axis`` is out of range.

    >>> hardmax(jnp.array([1.0, 3.0, 3.0]))
    Array([0., 1., 0.], dtype=float32)
    """
    return _hardmax(x, axis=axis)
