"""What layer maps are made of: activations, moments, maps from moments to moments, and the numbers in these."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.typing import ArrayLike

from jnorm import activations
from jnorm.gaussian._panels import Static
from jnorm.gaussian._panels import static as static

Activation = Callable[[jax.Array], jax.Array]
"""An elementwise function of `jax.numpy` operations, with its parameters bound (by ``functools.partial``, say)."""


class Moments(NamedTuple):
    """Mean and variance: numbers or arrays that broadcast where they are given, arrays of one shape in results.

    Attributes:
        mean: The mean.
        var: The variance, at least zero.
    """

    mean: jax.Array | Any
    var: jax.Array | Any


MomentMap = Callable[[Moments], Moments]
"""Moments of a layer's input to moments of its output, each point of the arrays by itself."""


def numbers(*values: ArrayLike) -> tuple[ArrayLike, ...]:
    """The values as leaves of a pytree that may move: Python's integers as floats."""
    return tuple(float(value) if type(value) is int else value for value in values)


def known_kinks(phi: Activation, kinks: Sequence[float] | None) -> Static:
    """The kinks that are given or registered; None where they have to be found."""
    return activations.kinks(phi) if kinks is None else static(kinks)


def cast(x: Moments, dtype: Any) -> Moments:
    """Both parts in another dtype."""
    return Moments(x.mean.astype(dtype), x.var.astype(dtype))
