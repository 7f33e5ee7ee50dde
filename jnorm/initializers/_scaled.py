"""Initializers of one number: constants, and laws whose spread is given."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._protocol import Draw, Initializer, Shape, cast, initializer


class Standard(NamedTuple):
    """A centred law of variance one: ``draw(key, shape, dtype, *numbers)``."""

    draw: Draw
    numbers: tuple[float, ...] = ()


def _cut(key: jax.Array, shape: Shape, dtype: Any, bound: Any, stddev: Any) -> jax.Array:
    return jax.random.truncated_normal(key, -bound, bound, shape, dtype) / stddev


def _centred_uniform(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0) * math.sqrt(3)


def cut_normal(bound: float) -> Standard:
    """A normal law cut at +-bound, over its standard deviation sqrt(1 - 2*b*density(b)/mass(-b, b))."""
    density = math.exp(-bound * bound / 2) / math.sqrt(2 * math.pi)
    return Standard(_cut, (bound, math.sqrt(1 - 2 * bound * density / math.erf(bound / math.sqrt(2)))))


STANDARD: dict[str, Standard] = {
    "truncated_normal": cut_normal(2.0),
    "normal": Standard(jax.random.normal),
    "uniform": Standard(_centred_uniform),
}


@dataclass(frozen=True)
class _Scaled:
    """A law times a factor."""

    draw: Draw

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, factor: ArrayLike, *numbers: Any) -> jax.Array:
        return self.draw(key, shape, dtype, *numbers) * cast(factor, dtype)


def _scaled(draw: Draw, *numbers: float, **factor: ArrayLike) -> Initializer:
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", **factor)
    return initializer(_Scaled(draw), lambda shape: (*factor.values(), *numbers))


def _filled(key: jax.Array, shape: Shape, dtype: Any, value: ArrayLike) -> jax.Array:
    return jnp.broadcast_to(cast(value, dtype), shape)


def constant(value: ArrayLike) -> Initializer:
    """All entries equal to a number; an array of them broadcasts to the shape.

    Args:
        value: The number, or an array of real numbers.

    Returns:
        The initializer, which ignores its key.

    Raises:
        TypeError: For complex and boolean values.

    >>> constant(0.5)(jax.random.key(0), (2,))
    Array([0.5, 0.5], dtype=float32)
    """
    checks.floats(value=value)
    return initializer(_filled, lambda shape: (value,))


def zeros() -> Initializer:
    """All entries zero: for biases. Units with equal weights stay equal for ever.

    Returns:
        The initializer, which ignores its key.

    >>> zeros()(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    """
    return constant(0.0)


def ones() -> Initializer:
    """All entries one: for gains.

    Returns:
        The initializer, which ignores its key.

    >>> ones()(jax.random.key(0), (2,))
    Array([1., 1.], dtype=float32)
    """
    return constant(1.0)


def normal(stddev: ArrayLike = 1e-2) -> Initializer:
    """Independent N(0, stddev^2).

    Args:
        stddev: The standard deviation, at least 0.

    Returns:
        The initializer.

    Raises:
        ValueError: For a negative ``stddev``.

    >>> bool(abs(normal(0.1)(jax.random.key(0), (100, 100)).std() - 0.1) < 0.003)
    True
    """
    return _scaled(jax.random.normal, stddev=stddev)


def truncated_normal(stddev: ArrayLike = 1e-2, *, bound: float = 2.0) -> Initializer:
    """A centred normal law cut at ``bound`` of its own standard deviations, whose result has ``stddev``.

    The entries lie within bound*stddev/c, where the cut leaves c of a standard deviation: .8796 for ``bound=2``.
    ``jax.nn.initializers.truncated_normal(stddev)`` has c*stddev instead.

    Args:
        stddev: The standard deviation of the result, at least 0.
        bound: Where the law is cut, from .01 (below, it is uniform to rounding) to 8 (above, it is normal).

    Returns:
        The initializer.

    Raises:
        ValueError: For a negative ``stddev``, and for a ``bound`` out of its range.

    >>> bool(abs(truncated_normal(0.1)(jax.random.key(0), (100, 100)).std() - 0.1) < 0.003)
    True
    """
    checks.require(lambda b: (b >= 0.01) & (b <= 8), "`{}` must satisfy 0.01 <= {} <= 8", bound=bound)
    standard = cut_normal(bound)
    return _scaled(standard.draw, *standard.numbers, stddev=stddev)


def uniform(scale: ArrayLike = 1e-2) -> Initializer:
    """Independent U[0, scale), as JAX's: all positive. `variance_scaling` has the centred law.

    Args:
        scale: The upper end, at least 0.

    Returns:
        The initializer.

    Raises:
        ValueError: For a negative ``scale``.

    >>> draws = uniform(0.1)(jax.random.key(0), (10_000,))
    >>> bool((draws >= 0).all()), bool(abs(draws.mean() - 0.05) < 0.002)
    (True, True)
    """
    return _scaled(jax.random.uniform, scale=scale)
