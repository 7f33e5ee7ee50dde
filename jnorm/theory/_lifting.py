"""Any map of moments as an argument of compiled programs, and inside these in its working shape and dtype."""

from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import callables, checks
from jnorm.theory._parts import MomentMap, Moments, cast


def settle(layer_map: MomentMap, start: Moments) -> tuple[MomentMap, jax.ShapeDtypeStruct]:
    """The map as a pytree that caches know again, and what the results of a program look like that iterates it.

    Their shape is that of ``start`` broadcast against the arrays that the map holds, their dtype that of
    ``layer_map(start)``; work is done in it or in float32, whichever is wider. Raises ``ValueError`` for a known
    negative variance.
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=start[1])
    points: Any = jax.eval_shape(_points, start[0], start[1])
    settled = callables.settle(layer_map, points, name="layer_map")
    like = jax.eval_shape(_image, settled, points).mean
    like = jax.ShapeDtypeStruct(jnp.broadcast_shapes(like.shape, points.mean.shape), like.dtype)
    lifted = jax.ShapeDtypeStruct(like.shape, checks.wide(like.dtype))
    # A map that had to be traced serves one shape and dtype.
    if (lifted.shape, lifted.dtype) != (points.mean.shape, points.mean.dtype):
        points = jax.tree.map(lambda _: lifted, points)
        settled = callables.settle(layer_map, points, name="layer_map")
    return settled, like


def lift(layer_map: MomentMap, start: Moments, like: jax.ShapeDtypeStruct) -> tuple[MomentMap, Moments]:
    """Inside a program: a settled map in its working shape and dtype, and the start in these."""

    def spread(x: Moments) -> Moments:
        return cast(Moments(*(jnp.broadcast_to(a, like.shape) for a in x)), checks.wide(like.dtype))

    return lambda x: spread(_image(layer_map, x)), spread(_points(*start))


def _points(mean: jax.Array, var: jax.Array) -> Moments:
    return Moments(*checks.floats(mean=mean, var=var))


def _image(layer_map: MomentMap, x: Moments) -> Moments:
    mean, var = layer_map(x)
    return _points(mean, var)
