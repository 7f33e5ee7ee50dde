"""Spectral normalization: a kernel over its largest singular value, which power iteration follows through training.

The kernel is a matrix of ``n`` inputs (all axes but ``axis``, joined) and ``m`` outputs. What is carried is an estimate
of its leading left singular vector, which a step of power iteration improves each time the kernel is used in training:
slowly moving kernels need one step.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn._axes import axes_of, floating, lengths, other_axes

__all__ = ["SpectralState", "apply", "init"]


class SpectralState(NamedTuple):
    """What power iteration carries.

    Attributes:
        output: ``[m]``, the estimated singular vector on the side of the outputs, of unit norm, in at least float32.
        sigma: ``[]``, the estimate of the largest singular value; 0 before the first step.
    """

    output: jax.Array
    sigma: jax.Array


def init(key: jax.Array, kernel: ArrayLike, *, axis: int | Sequence[int] = -1) -> SpectralState:
    """A state for a kernel: a random direction.

    Args:
        key: a random key.
        kernel: the kernel, or anything of its shape and dtype.
        axis: the axes of the outputs.

    Returns:
        The state; ``sigma`` is 0.

    Raises:
        ValueError: for an axis that the kernel does not have.
        TypeError: for a kernel that is not real and floating.

    >>> init(jax.random.key(0), jnp.ones((5, 3))).output.shape
    (3,)
    """
    matrix = _matrix(kernel, axis)
    direction = jax.random.normal(key, matrix.shape[1:], matrix.dtype)
    return SpectralState(_unit(direction), jnp.zeros((), matrix.dtype))


def apply(
    kernel: ArrayLike, state: SpectralState, *, train: bool, iterations: int = 1, axis: int | Sequence[int] = -1
) -> tuple[jax.Array, SpectralState]:
    """The kernel with spectral norm 1: ``W / sigma``, ``sigma = v' W u``.

    A step of power iteration is ``v = W u / |W u|``, ``u = W' v / |W' v|``. The gradient takes ``u`` and ``v`` as
    constants, which makes it that of the exact ratio once they have converged. A kernel of zeros stays one.

    Args:
        kernel: any floating kernel; half precision is computed in float32.
        state: from `init` or the last call.
        train: whether to take steps; without, the estimate of the state serves.
        iterations: steps of power iteration.
        axis: the axes of the outputs.

    Returns:
        The kernel, of the same shape and dtype, and the next state.

    Raises:
        ValueError: for ``iterations`` below 1, or an axis that the kernel does not have.

    Source: Miyato et al. 2018 (arXiv 1802.05957), equation 8 and algorithm 1.

    >>> kernel = jnp.diag(jnp.array([3.0, 1.0]))
    >>> normal, state = apply(kernel, init(jax.random.key(0), kernel), train=True, iterations=20)
    >>> round(float(state.sigma), 4), round(float(normal[1, 1]), 4)
    (3.0, 0.3333)
    """
    checks.whole(1, iterations=iterations)
    kernel = jnp.asarray(kernel)
    matrix = _matrix(kernel, axis)
    fixed, output = lax.stop_gradient(matrix), lax.stop_gradient(state.output.astype(matrix.dtype))
    if train:
        output = _powers(fixed, output, int(iterations))
    sigma = jnp.dot(_product(_unit(_product(fixed, output)), matrix), output, precision=lax.Precision.HIGHEST)
    scale = jnp.where(sigma == 0, 1, sigma).astype(matrix.dtype)
    normal = (kernel.astype(matrix.dtype) / scale).astype(kernel.dtype)
    return normal, SpectralState(output, lax.stop_gradient(sigma)) if train else state


@partial(jax.jit, static_argnums=2, inline=True)
def _powers(matrix: jax.Array, output: jax.Array, iterations: int) -> jax.Array:
    """The output's side after steps of power iteration."""
    step = lambda _, u: _unit(_product(_unit(_product(matrix, u)), matrix))
    return lax.fori_loop(0, iterations, step, output, unroll=iterations <= 4)


def _matrix(kernel: ArrayLike, axis: int | Sequence[int]) -> jax.Array:
    """``[inputs, outputs]`` in at least float32."""
    kernel = floating(kernel, "kernel")
    outputs = axes_of(kernel, axis)
    inputs = other_axes(kernel, outputs)
    joined = jnp.transpose(kernel, (*inputs, *outputs)).reshape(-1, math.prod(lengths(kernel, outputs)))
    return joined.astype(checks.wide(kernel.dtype))


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _unit(x: jax.Array) -> jax.Array:
    """The vector over its norm, at any scale; zeros stay zeros."""
    largest = jnp.max(jnp.abs(x))
    x = x / jnp.where(largest == 0, 1, largest)
    norm = jnp.sqrt(jnp.sum(x * x))
    return x / jnp.where(norm == 0, 1, norm)
