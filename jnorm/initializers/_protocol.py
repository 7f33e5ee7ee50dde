"""What an initializer is: the protocol of ``jax.nn.initializers``, put around a law that draws in float32 or better."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jnorm._ground import checks

Sharding = NamedSharding | PartitionSpec
Shape = tuple[int, ...]


class Bounded(NamedTuple):
    """Weights of a law that promises how large they are at most.

    Attributes:
        weights: The weights.
        most: The largest size of one, ``[]``; rounding to half precision does not cross it.
    """

    weights: jax.Array
    most: jax.Array


Draw = Callable[..., jax.Array | Bounded]
"""A law, ``draw(key, shape, dtype, *numbers)``, equal and hashed by what it does: one program serves all its uses."""
P = ParamSpec("P")
R = TypeVar("R")


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
        if isinstance(shape, str) or not hasattr(shape, "__iter__") or getattr(shape, "ndim", 1) != 1:
            raise TypeError(f"`shape` must be a sequence of whole numbers, such as (300, 100); got {shape!r}")
        sizes = tuple(int(size) for size in shape)
        checks.whole(0, shape=sizes)
        law, values = (draw, numbers(sizes)) if math.prod(sizes) else (_nothing, ())
        if out_sharding is None:
            return _drawn(law, sizes, dtype, key, *values)
        return _placed(law, sizes, dtype, out_sharding, key, *values)

    return init


@partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(draw: Draw, shape: Shape, dtype: Any, key: jax.Array, *numbers: Any) -> jax.Array:
    drawn = draw(key, shape, checks.wide(dtype), *numbers)
    if not isinstance(drawn, Bounded):
        return drawn.astype(dtype)
    rounded = drawn.weights.astype(dtype)
    if dtype == drawn.weights.dtype:
        return rounded
    # To the nearest number beyond the bound, or on an open end: the number before it, which is the next one in bits.
    beyond = (jnp.abs(rounded.astype(drawn.most.dtype)) > drawn.most) & jnp.isfinite(rounded)
    bits = jax.lax.bitcast_convert_type(rounded, f"uint{jnp.finfo(dtype).bits}")
    return jnp.where(beyond, jax.lax.bitcast_convert_type(bits - beyond.astype(bits.dtype), dtype), rounded)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _placed(draw: Draw, shape: Shape, dtype: Any, sharding: Sharding, key: jax.Array, *numbers: Any) -> jax.Array:
    law = partial(_drawn, draw, shape, dtype)
    mesh: Any = sharding.mesh if isinstance(sharding, NamedSharding) else jax.sharding.get_abstract_mesh()
    if AxisType.Explicit in mesh.axis_types:
        return jax.sharding.auto_axes(law, axes=mesh.explicit_axes, out_sharding=sharding)(key, *numbers)
    return jax.lax.with_sharding_constraint(law(key, *numbers), sharding)


def factory(make: Callable[P, R], options: Callable[..., Any] | None = None) -> Callable[P, R]:
    """A function that makes initializers, which says so where it is called as an initializer itself.

    Args:
        make: The function.
        options: A function whose keyword-only arguments are those that ``make`` takes as ``**options``.

    Returns:
        The function, which raises ``TypeError`` for a key and for arguments that it does not have.
    """
    signature = inspect.signature(make)
    if options is not None:
        named = inspect.signature(options).parameters.values()
        signature = signature.replace(parameters=[p for p in named if p.kind is p.KEYWORD_ONLY])
    usage = ", ".join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())
    name = make.__name__
    required = any(p.default is p.empty for p in signature.parameters.values())
    call = f"{name}(...)" if required else f"{name}()"

    @wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            signature.bind(*args, **kwargs)
            wrong = "got a random key" if len(args) > 1 and _is_key(args[0]) else ""
        except TypeError as error:
            wrong = str(error)
        if wrong:
            raise TypeError(
                f"`{name}` makes an initializer and is called as {name}({usage})(key, shape, dtype); {wrong}. Where an "
                f"initializer is asked for, call it first: `kernel_init={call}`"
            )
        return make(*args, **kwargs)

    checked.__signature__ = signature.replace(return_annotation=Initializer)  # type: ignore[attr-defined]
    return checked


def _is_key(value: Any) -> bool:
    typed = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return typed or (getattr(value, "dtype", None) == jnp.uint32 and value.ndim == 1)


def _nothing(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    return jnp.zeros(shape, dtype)


def cast(value: ArrayLike, dtype: Any) -> jax.Array:
    """A number or an array, known or traced, in the dtype of the draw."""
    return jnp.asarray(value).astype(dtype)
