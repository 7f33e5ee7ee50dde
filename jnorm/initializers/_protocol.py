"""What an initializer is: the protocol of ``jax.nn.initializers``, put around a law that draws in float32 or better."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jnorm._ground import checks

Sharding = NamedSharding | PartitionSpec
Draw = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]


class Initializer(Protocol):
    """Fresh parameters of a shape, placed by ``out_sharding`` (a ``PartitionSpec`` refers to the mesh in force)."""

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Sharding | None = None
    ) -> jax.Array:
        """Draw the parameters."""


def initializer(draw: Draw) -> Initializer:
    """The protocol around a law ``draw(key, shape, dtype)``, which is asked for float32 or wider and non-empty shapes.

    The result raises ``TypeError`` for a dtype that is not real and floating, ``ValueError`` for negative lengths.

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
        wide = checks.wide(dtype)

        def law(key: jax.Array) -> jax.Array:
            return draw(key, sizes, wide).astype(dtype) if math.prod(sizes) else jnp.zeros(sizes, dtype)

        if out_sharding is None:
            return law(key)
        named = isinstance(out_sharding, NamedSharding)
        mesh: Any = out_sharding.mesh if named else jax.sharding.get_abstract_mesh()  # type: ignore[union-attr]
        if AxisType.Explicit in mesh.axis_types:
            return jax.sharding.auto_axes(law, axes=mesh.explicit_axes, out_sharding=out_sharding)(key)
        return jax.jit(law, out_shardings=out_sharding)(key)

    return init


def cast(value: ArrayLike, dtype: Any) -> jax.Array:
    """A number or an array, known or traced, in the dtype of the draw."""
    return jnp.asarray(value).astype(dtype)
