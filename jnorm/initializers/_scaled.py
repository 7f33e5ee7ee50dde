"""Initializers of one number: constants, and laws whose spread is given."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._protocol import Bounded, Initializer, Shape, Sharding, cast, factory, initializer


class Standard(NamedTuple):
    """A centred law of variance one, ``draw(key, shape, dtype, *numbers)``; ``most(*numbers)`` is its largest size."""

    draw: Callable[..., jax.Array]
    numbers: tuple[float, ...] = ()
    most: Callable[..., Any] | None = None


def _cut(key: jax.Array, shape: Shape, dtype: Any, bound: Any, stddev: Any) -> jax.Array:
    if jnp.finfo(dtype).bits < 64:
        return jax.random.truncated_normal(key, -bound, bound, shape, dtype) / stddev
    # The same draw, but for the ends: JAX cuts at the numbers next to the bounds, for which it takes the bits of a
    # float64, and a TPU has none (jax issue 30629).
    bound, root = cast(bound, dtype), math.sqrt(2)
    share = jax.random.uniform(key, shape, dtype, jax.lax.erf(-bound / root), jax.lax.erf(bound / root))
    return jnp.clip(root * jax.lax.erf_inv(share), -bound, bound) / stddev


def _cut_end(bound: Any, stddev: Any) -> Any:
    return bound / stddev


def _centred_uniform(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0) * math.sqrt(3)


def _centred_end() -> float:
    return math.sqrt(3)


def cut_normal(bound: float) -> Standard:
    """A normal law cut at +-bound, over its standard deviation sqrt(1 - 2*b*density(b)/mass(-b, b))."""
    density = math.exp(-bound * bound / 2) / math.sqrt(2 * math.pi)
    return Standard(_cut, (bound, math.sqrt(1 - 2 * bound * density / math.erf(bound / math.sqrt(2)))), _cut_end)


STANDARD: dict[str, Standard] = {
    "truncated_normal": cut_normal(2.0),
    "normal": Standard(jax.random.normal),
    "uniform": Standard(_centred_uniform, (), _centred_end),
}


@dataclass(frozen=True)
class Scaled:
    """A law times a factor."""

    draw: Callable[..., jax.Array]
    most: Callable[..., Any] | None = None

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any, factor: ArrayLike, *numbers: Any) -> Any:
        factor = cast(factor, dtype)
        weights = self.draw(key, shape, dtype, *numbers) * factor
        return weights if self.most is None else Bounded(weights, self.most(*numbers) * factor)


def _scaled(law: Standard, stddev: ArrayLike) -> Initializer:
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", stddev=stddev)
    return initializer(Scaled(law.draw, law.most), lambda shape: (stddev, *law.numbers))


def _half_open(key: jax.Array, shape: Shape, dtype: Any, scale: ArrayLike) -> Bounded:
    scale = cast(scale, dtype)
    return Bounded(jax.random.uniform(key, shape, dtype) * scale, jnp.nextafter(scale, jnp.zeros_like(scale)))


def _filled(key: jax.Array, shape: Shape, dtype: Any, value: ArrayLike) -> jax.Array:
    return jnp.broadcast_to(cast(value, dtype), shape)


@factory
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


@overload
def zeros() -> Initializer: ...
@overload
def zeros(
    key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Sharding | None = None
) -> jax.Array: ...
def zeros(key: Any = None, shape: Any = None, dtype: Any = None, out_sharding: Sharding | None = None) -> Any:
    """All entries zero: for biases. Units with equal weights stay equal for ever.

    As it has no option, it is an initializer too, as in JAX: ``zeros(key, shape)`` is ``zeros()(key, shape)``.

    Args:
        key: Nothing, for an initializer; else a random key, which is ignored.
        shape: The sizes of the axes.
        dtype: A real floating type; ``None`` is the default float.
        out_sharding: Where the parameters are placed.

    Returns:
        The initializer, which ignores its key; with a shape, the parameters.

    >>> zeros()(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    >>> zeros(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    """
    return _either(0.0, key, shape, dtype, out_sharding)


@overload
def ones() -> Initializer: ...
@overload
def ones(
    key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Sharding | None = None
) -> jax.Array: ...
def ones(key: Any = None, shape: Any = None, dtype: Any = None, out_sharding: Sharding | None = None) -> Any:
    """All entries one: for gains. It is an initializer too, as `zeros` is.

    Args:
        key: Nothing, for an initializer; else a random key, which is ignored.
        shape: The sizes of the axes.
        dtype: A real floating type; ``None`` is the default float.
        out_sharding: Where the parameters are placed.

    Returns:
        The initializer, which ignores its key; with a shape, the parameters.

    >>> ones()(jax.random.key(0), (2,))
    Array([1., 1.], dtype=float32)
    """
    return _either(1.0, key, shape, dtype, out_sharding)


def _either(value: float, key: Any, shape: Any, dtype: Any, out_sharding: Sharding | None) -> Any:
    """An initializer, or what it draws where it is asked for a shape."""
    init = constant(value)
    return init if key is None and shape is None else init(key, shape, dtype, out_sharding)


@factory
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
    return _scaled(STANDARD["normal"], stddev)


@factory
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
    return _scaled(cut_normal(bound), stddev)


@factory
def uniform(scale: ArrayLike = 1e-2) -> Initializer:
    """Independent U[0, scale), as JAX's: none is negative. `variance_scaling` has the centred law.

    The end is open in every dtype: a weight that half precision would round up to ``scale`` is the number before it.

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
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", scale=scale)
    return initializer(_half_open, lambda shape: (scale,))
