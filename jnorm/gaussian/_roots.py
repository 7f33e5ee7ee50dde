"""Zeros of broken lines: between two kinks that are known there is one at most, and it is solved, traced or not."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.gaussian._search import difference
from jnorm.gaussian._terms import MOST, Meeting, Term, Unreadable, ancestors, is_known


def is_broken_line(meeting: Meeting) -> bool:
    """Whether a difference is straight between the jumps of what it is made of."""
    sides = [part for part in (meeting.first, meeting.second) if isinstance(part, Term)]
    return all(part.degree is not None and part.degree <= 1 for part in sides)


def axes_of(meeting: Meeting) -> tuple[int | None, ...]:
    """Of each axis of a difference the one of the points that it is."""
    sides = [part for part in (meeting.first, meeting.second) if isinstance(part, Term)]
    return max((part.axes for part in sides), key=len)


def zeros(meeting: Meeting, inner: Sequence[Any], points: Any) -> Any:
    """Where a difference is zero that is a broken line.

    Args:
        meeting: The difference.
        inner: Where what it is made of jumps, arrays ``[k, *shape]``, infinite where there is no such place.
        points: Shape and dtype of the points, ``[1, *shape]``.

    Returns:
        The zeros, ``[piece, *axes]`` with those of the difference: of NumPy if all is known; infinite where a piece
        has none.
    """
    numbers = (part for term in ancestors([meeting.first, meeting.second]) for part in (*term.inputs, *inner))
    if not all(isinstance(part, Term) or is_known(part) for part in (*numbers, meeting.first, meeting.second)):
        return _solved(difference(meeting), inner, axes_of(meeting), points)
    with jax.ensure_compile_time_eval():
        return np.asarray(_solved(difference(meeting), inner, axes_of(meeting), points))


def _solved(
    gap: Callable[[jax.Array], jax.Array], inner: Sequence[Any], axes: tuple[int | None, ...], points: Any
) -> jax.Array:
    rows = [jnp.broadcast_to(jnp.asarray(row, points.dtype), (len(row), *points.shape[1:])) for row in inner]
    edges = jnp.sort(jnp.concatenate([jnp.zeros((0, *points.shape[1:]), points.dtype), *rows]), 0)
    if len(edges) > MOST:
        raise Unreadable(f"it jumps more than {MOST} times")
    low, high = ends(edges)
    x = jax.lax.stop_gradient(inside(low, high))[:, None]
    value, slope = jax.vmap(lambda z: jax.jvp(gap, (z,), (jnp.ones_like(z),)))(x)
    along = lambda a: a.reshape(len(a), *(1 if axis is None else points.shape[axis] for axis in axes))
    low, high, x = (along(a) for a in (low, high, x))
    steep = slope != 0
    at = x - value / jnp.where(steep, slope, 1.0)
    return jnp.where(steep & (at >= low) & (at <= high), at, jnp.inf)


def ends(edges: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lower and upper ends ``[k + 1, *shape]`` of the pieces between sorted edges ``[k, *shape]``."""
    far = jnp.full((1, *edges.shape[1:]), jnp.inf, edges.dtype)
    return jnp.concatenate([-far, edges]), jnp.concatenate([edges, far])


def inside(low: jax.Array, high: jax.Array) -> jax.Array:
    """A point inside of each piece; of one without ends 0, and without a finite part infinite."""
    middle = jnp.where(jnp.isinf(low), jnp.where(jnp.isinf(high), 0.0, high - 1), low + 1)
    both = jnp.isfinite(low) & jnp.isfinite(high)
    middle = jnp.where(both, low / 2 + high / 2, middle)
    return jnp.where(low == jnp.inf, jnp.inf, middle)
