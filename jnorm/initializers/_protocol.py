"""What an initializer is: the protocol of ``jax.nn.initializers``, put around a law that draws in float32 or better."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jnorm._ground import checks

Sharding = NamedSharding | PartitionSpec
Shape = tuple[int, ...]
Draw = Callable[..., jax.Array]
"""A law, ``draw(key, shape, dtype, *numbers)``, equal and hashed by what it does: one program serves all its uses."""


class Initializer(Protocol):
    """A function that draws fresh parameters, such as the factories of this room return."""

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Sharding | None = None
    ) -> jax.Array:
        """Draw the parameters.

        Args:
            key: A random key, typed or raw.
            shape: The sizes of the axes, at least 0.
            dtype: A real floating type; ``None`` is the default float.
            out_sharding: Where the parameters are placed; a ``PartitionSpec`` refers to the mesh in force.

        Returns:
            An array of this shape and dtype.
        """


def initializer(draw: Draw, numbers: Callable[[Shape], tuple[Any, ...]] = lambda shape: ()) -> Initializer:
    """The protocol around a law: one program for each shape and dtype, whatever its numbers are.

    Args:
        draw: The law, which is asked for float32 or wider and for shapes that are not empty.
        numbers: From the shape to what the law gets after the dtype: numbers, arrays or ``None``. It runs outside the
            program, so that it can refuse values that Python knows.

    Returns:
        An initializer that raises ``TypeError`` for a dtype that is not real and floating, and ``ValueError`` for
        negative lengths.

    >>> initializer(lambda key, shape, dtype: jax.random.gumbel(key, shape, dtype))(jax.random.key(0), (2, 0)).shape
    (2, 0)
    """

    def init(
        key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Sharding | None = None
    ) -> jax.Array:
        dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"`dtype` must be a real floating type; got {dtype}")
        sizes = tuple(int(size) for size in shape)
        checks.whole(0, shape=sizes)
        law, values = (draw, numbers(sizes)) if math.prod(sizes) else (_nothing, ())
        if out_sharding is None:
            return _drawn(law, sizes, dtype, key, *values)
        return _placed(law, sizes, dtype, out_sharding, key, *values)

    return init


@partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(draw: Draw, shape: Shape, dtype: Any, key: jax.Array, *numbers: Any) -> jax.Array:
    return draw(key, shape, checks.wide(dtype), *numbers).astype(dtype)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _placed(draw: Draw, shape: Shape, dtype: Any, sharding: Sharding, key: jax.Array, *numbers: Any) -> jax.Array:
    law = partial(_drawn, draw, shape, dtype)
    mesh: Any = sharding.mesh if isinstance(sharding, NamedSharding) else jax.sharding.get_abstract_mesh()
    if AxisType.Explicit in mesh.axis_types:
        return jax.sharding.auto_axes(law, axes=mesh.explicit_axes, out_sharding=sharding)(key, *numbers)
    return jax.lax.with_sharding_constraint(law(key, *numbers), sharding)


def _nothing(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    return jnp.zeros(shape, dtype)


def cast(value: ArrayLike, dtype: Any) -> jax.Array:
    """A number or an array, known or traced, in the dtype of the draw."""
    return jnp.asarray(value).astype(dtype)
