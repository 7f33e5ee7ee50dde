"""Convolution in the form that is fast where it runs: patches times a matrix on a CPU, the compiler's own elsewhere."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import floating
from jnorm.nn._products import matmul

__all__ = ["convolve"]

_METHODS = ("auto", "im2col", "lax")


def convolve(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    strides: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    method: str = "auto",
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Cross-correlation, ``y[p] = sum over taps t of x[p * strides + t] @ kernel[t]``, channels last.

    Products are summed in at least float32; in half precision all of their operands are half, in the backward pass too.
    ``method="im2col"`` lays the patches out as rows, prod(window) times the size of ``x``, and multiplies once;
    ``"lax"`` is `jax.lax.conv_general_dilated`. ``"auto"`` takes the first in two cases, and else the second:

    - where the program runs on a CPU, also one that was exported elsewhere. There "lax" gains less than a factor of two
      with one single kernel of many channels;
    - on every machine where ``vmap`` has given the kernel lanes, as training over seeds does. For those XLA has one
      convolution of as many groups of features as lanes, which takes several times as long on a CPU, and whose backward
      pass is known to be slow on CUDA (jax issue 13800), but patches make a batched matrix product in both directions.

    ``python -m benchmarks convolution`` measures both on the machine at hand. The patches of a batch are kept for the
    backward pass, so that memory grows with the lanes; "lax" keeps ``x`` alone.

    Args:
        x: [..., *space, in], with as many axes of space as the window has.
        kernel: [*window, in, out], cast to the dtype of ``x``.
        strides: Steps between the positions of the window, one for all axes of space or one for each.
        padding: "SAME" (with zeros: ceil(space / strides) positions), "VALID", or a pair for each axis of space.
        method: "auto", "im2col" or "lax".
        precision: That of `jax.lax`; None follows ``jax_default_matmul_precision``. Both are explained in
            `jnorm.nn.layers`.

    Returns:
        [..., *positions, out], in the dtype of ``x``.

    Raises:
        TypeError: For an integer ``x`` or ``kernel``.
        ValueError: For other channel counts, too few axes, strides below 1, an unknown method or padding.

    >>> x = jnp.arange(5.0).reshape(1, 5, 1)
    >>> convolve(x, jnp.ones((3, 1, 1)), padding="VALID").ravel().tolist()
    [3.0, 6.0, 9.0]
    """
    checks.choice("method", method, _METHODS)
    x, kernel = floating(x), floating(kernel, "kernel")
    window = kernel.shape[:-2]
    dims = len(window)
    if dims < 1 or x.ndim < dims + 1 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            "`x` [..., *space, in] must fit `kernel` [*window, in, out], with channels last (write x[..., None] where "
            f"there is no axis of them); got shapes {x.shape} and {kernel.shape}"
        )
    steps = (strides,) * dims if isinstance(strides, int) else tuple(strides)
    if len(steps) != dims or min(steps) < 1:
        raise ValueError(f"`strides` must be positive, one for all or each of {dims} axes; got {strides}")
    space = x.shape[-dims - 1 : -1]
    if isinstance(padding, str):
        checks.choice("padding", padding, ("SAME", "VALID"))
        pads = [(low, high) for low, high in lax.padtype_to_pads(space, window, steps, padding)]
    else:
        pads = [(low, high) for low, high in padding]
        if len(pads) != dims:
            raise ValueError(f"`padding` must have a pair for each of {dims} axes; got {padding}")
    ways = {name: _of_dtype(way, steps, pads, precision) for name, way in (("im2col", _im2col), ("lax", _lax))}
    batched = x.reshape(math.prod(x.shape[: -dims - 1]), *x.shape[-dims - 1 :])
    if method == "auto":  # by where the program runs and how it is batched, not by what traces it
        unless_lanes = lambda x, kernel: lax.cond(_has_lanes(kernel), ways["im2col"], ways["lax"], x, kernel)
        y = lax.platform_dependent(batched, kernel.astype(x.dtype), cpu=ways["im2col"], default=unless_lanes)
    else:
        y = ways[method](batched, kernel.astype(x.dtype))
    return y.reshape(*x.shape[: -dims - 1], *y.shape[1:])


def _of_dtype(product: Callable[..., jax.Array], *options: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A way to convolve as a function of the arrays, with the result in the dtype of ``x``."""
    return lambda x, kernel: product(x, kernel, *options).astype(x.dtype)


def _has_lanes(kernel: jax.Array) -> jax.Array:
    """Whether ``vmap`` has given the kernel lanes: a constant of the program, which the compiler folds away."""
    return _lanes(lax.stop_gradient(kernel))


@custom_vmap
def _lanes(kernel: jax.Array) -> jax.Array:
    return jnp.zeros((), bool)


@_lanes.def_vmap
def _lanes_under_vmap(size: int, batched: list[bool], kernel: jax.Array) -> tuple[jax.Array, bool]:
    return jnp.ones((), bool), False


def _im2col(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: list[tuple[int, int]],
    precision: lax.PrecisionLike,
) -> jax.Array:
    window = kernel.shape[:-2]
    # Half precision is widened, for where patches overlap their gradients add up.
    padded = jnp.pad(x.astype(checks.wide(x.dtype)), ((0, 0), *pads, (0, 0)))
    ends = [max((n - w) // s * s + 1, 0) for n, w, s in zip(padded.shape[1:-1], window, strides, strict=True)]
    taps = [
        padded[(slice(None), *(slice(i, i + end, s) for i, end, s in zip(tap, ends, strides, strict=True)))]
        for tap in itertools.product(*map(range, window))
    ]
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return matmul(jnp.concatenate(taps, -1).astype(x.dtype), matrix, precision)


def _lax(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: list[tuple[int, int]],
    precision: lax.PrecisionLike,
) -> jax.Array:
    ndim = x.ndim
    layout = (0, ndim - 1, *range(1, ndim - 1))
    numbers = lax.ConvDimensionNumbers(layout, (ndim - 1, ndim - 2, *range(ndim - 2)), layout)
    # In the dtype of x: a wider result has no transpose in JAX, and backends sum half precision in float32.
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=numbers, precision=precision)
