"""What elementwise functions are made of: one compiled program each, and derivatives that are declared."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground.callables import settled
from jnorm._ground.checks import operands

P = ParamSpec("P")


def elementwise(
    compute: Callable[Concatenate[jax.Array, P], jax.Array],
) -> Callable[Concatenate[ArrayLike, P], jax.Array]:
    """Make a formula in floats a public function: operands checked and prepared, the result in their dtype.

    The result is a plain function, which can be pickled and copied as one, around a program that is compiled once; in
    the caller's programs its operations stand in line. For a gradient it keeps nothing but its arguments, in their own
    dtype, and the backward pass computes the slope from them: from a saturated output it would come without digits.

    Args:
        compute: The formula, of arrays of one shape, with at least float32, and scalars.

    Returns:
        The function of anything that broadcasts.
    """
    return _public(compute, functools.partial(jax.checkpoint, prevent_cse=False))


def straight(
    compute: Callable[Concatenate[jax.Array, P], jax.Array],
) -> Callable[Concatenate[ArrayLike, P], jax.Array]:
    """As `elementwise`, for straight lines: on which of them an element lies is one byte, less than the argument."""
    return _public(compute, lambda prepared: prepared)


def _public(compute: Callable[..., jax.Array], kept: Callable[..., Any]) -> Callable[..., jax.Array]:
    signature = inspect.signature(compute)

    @functools.partial(jax.jit, inline=True)
    @kept
    @functools.wraps(compute)
    def bound(*args: Any, **keywords: Any) -> jax.Array:
        arrays, dtype = operands(**signature.bind(*args, **keywords).arguments)
        y = compute(**arrays)
        return y if y.dtype == dtype else y.astype(dtype)

    @settled
    @functools.wraps(compute)
    def function(*args: Any, **keywords: Any) -> jax.Array:
        return bound(*args, **keywords)

    return function


def derivative(slope: Callable[[jax.Array], jax.Array]) -> Callable[[Callable[..., jax.Array]], Any]:
    """Declare the derivative of a function of one array; as the slope declares its own, every order follows.

    Args:
        slope: The derivative.

    Returns:
        A decorator.
    """

    def declare(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
        declared = jax.custom_jvp(function)
        declared.defjvp(lambda x, dx: (declared(*x), slope(*x) * dx[0]))
        return declared

    return declare


@functools.partial(jax.checkpoint, prevent_cse=False)
def pick(condition: jax.Array, first: ArrayLike, second: ArrayLike) -> jax.Array:
    """``jnp.where``, which by itself keeps an array of zeros for the backward pass beside the condition."""
    return jnp.where(condition, first, second)


def bounded(x: jax.Array) -> jax.Array:
    """The factor x of an exponential that is 0 beyond the bounds, where inf*0 or overflow would give NaN."""
    return jnp.clip(x, -1e6, 1e6)


def left(x: jax.Array) -> jax.Array:
    """min(x, 0) with derivative 1 at 0: keeps the branch that is not taken finite."""
    return jnp.where(x <= 0, x, 0)


@derivative(jnp.exp)
def expm1(x: jax.Array) -> jax.Array:
    """The exponential minus one. JAX computes its derivative as the value plus one, which is lost below x = -17."""
    return jnp.expm1(x)
