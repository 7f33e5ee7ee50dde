"""A loss along a line and over a plane."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm._ground import callables, checks
from jnorm.measure.curvature._eigenpairs import eigenpairs
from jnorm.measure.curvature._losses import hessian
from jnorm.measure.curvature._operators import dot, real
from jnorm.measure.curvature._products import arrays, mean_of

Loss = Callable[..., jax.Array]
State = Callable[..., Any] | None

ALONG = tuple(np.linspace(0.0, 1.0, 41).tolist())
ACROSS = tuple(np.linspace(-1.0, 1.0, 25).tolist())


class Line(NamedTuple):
    """A loss along a line.

    Attributes:
        at: Where, 0 at the start and 1 at the end [points].
        values: What the loss returns [points, ...].
    """

    at: jax.Array
    values: jax.Array


class Plane(NamedTuple):
    """A loss over a plane, and what of the curvature lies in it.

    Attributes:
        x: Coordinates along the first direction [columns].
        y: Along the second [rows].
        values: What the loss returns [rows, columns, ...].
        hessian: Second derivatives of the mean loss by the two coordinates at (0, 0) [2, 2].
        shown: The largest curvature along a direction of the plane, ``max d^T H d / d^T d``.
        top: The largest of all directions, the largest eigenvalue of the Hessian: what a picture can hide.
        residual: Within so much of ``top`` there is an eigenvalue.
    """

    x: jax.Array
    y: jax.Array
    values: jax.Array
    hessian: jax.Array
    shown: jax.Array
    top: jax.Array
    residual: jax.Array

    def __str__(self) -> str:
        """The curvature in a line; that of several planes as their means."""
        shown, top = (float(np.mean(number)) for number in (self.shown, self.top))
        return f"largest curvature in the plane {shown:.3g}, in all directions {top:.3g}"


def line(
    loss: Loss,
    start: Any,
    end: Any,
    data: Any = None,
    *,
    at: Sequence[float] = ALONG,
    state: State = None,
    chunk: int = 1,
) -> Line:
    """A loss along the straight line between two points, ``loss(start + t (end - start))``.

    Args:
        loss: ``loss(params)``, with ``data`` ``loss(params, data)``; with ``state`` ``loss(params, state)`` and
            ``loss(params, state, data)``. What it returns may have any shape, as one number for each example.
        start: Parameters, a tree of floating arrays; with running statistics that are to be moved, the pair of both.
        end: A tree like it; ``start`` plus a direction for a line along that.
        data: Arrays that the loss takes.
        at: The places t; beyond 0 and 1 the line goes on.
        state: ``state(params)`` or ``state(params, data)``: what is taken again at each point.
        chunk: Points that are computed side by side.

    Returns:
        The line.

    Raises:
        TypeError: ``start`` or ``end`` is no tree of floating arrays.
        ValueError: Trees of two structures or shapes, ``chunk`` below 1.

    >>> line(lambda w: jnp.sum(w**2), jnp.zeros(2), jnp.ones(2), at=(0.0, 1.0, 2.0)).values
    Array([0., 2., 8.], dtype=float32)
    """
    start, end = real(start=start), real(end=end)
    _alike("end", end, start)
    step = jax.tree.map(jnp.subtract, end, start)
    settled, data = _settled(loss, state, start, data)
    places = _floating(at)
    return Line(places, _values(settled, start, (step,), data, places[:, None], _checked(chunk, places)))


def plane(
    loss: Loss,
    params: Any,
    first: Any,
    second: Any,
    data: Any = None,
    *,
    x: Sequence[float] = ACROSS,
    y: Sequence[float] = ACROSS,
    state: State = None,
    chunk: int = 1,
    key: jax.Array | None = None,
) -> Plane:
    """A loss over a plane, ``loss(params + x first + y second)``, and how much of the curvature lies in it.

    A plane of two random directions shows about an average of curvatures, and a minimum that is sharp in some of a
    million directions looks flat: ``shown`` is at most ``top``, and the two should stand beside the picture.

    Args:
        loss: As for `line`.
        params: The point (0, 0).
        first: The direction of x: a tree like the parameters, as of `random_direction` or `path_plane`.
        second: The direction of y.
        data: As for `line`.
        x: Coordinates along the first direction.
        y: Coordinates along the second.
        state: As for `line`.
        chunk: As for `line`.
        key: A random key for the search of the largest eigenvalue.

    Returns:
        The plane.

    Raises:
        TypeError: Parameters or directions that are no trees of floating arrays.
        ValueError: As `line`.

    >>> bowl = lambda w: 2 * w[0] ** 2 + 5 * w[2] ** 2
    >>> found = plane(bowl, jnp.zeros(3), jnp.eye(3)[0], jnp.eye(3)[1], x=(0.0, 1.0), y=(0.0, 1.0))
    >>> found.values.tolist(), str(found)
    ([[0.0, 2.0], [0.0, 2.0]], 'largest curvature in the plane 4, in all directions 10')
    """
    params, first, second = real(params=params), real(first=first), real(second=second)
    _alike("first", first, params)
    _alike("second", second, params)
    settled, data = _settled(loss, state, params, data)
    columns, rows = map(_floating, (x, y))
    places = jnp.stack([a.ravel() for a in jnp.meshgrid(columns, rows)], 1)
    values = _values(settled, params, (first, second), data, places, _checked(chunk, places))
    values = values.reshape(len(rows), len(columns), *values.shape[1:])
    inside, shown = _curvature(settled, params, (first, second), data)
    pairs = eigenpairs(hessian(settled, params, data), key=key)
    return Plane(columns, rows, values, inside, shown, pairs.values[0], pairs.residuals[0])


def _composed(loss: Loss, state: State) -> Loss:
    """The loss as a function of parameters and data."""
    if state is None:
        return loss
    restate: Callable[..., Any] = state
    return lambda params, *data: loss(params, restate(params, *data), *data)


def _settled(loss: Loss, state: State, params: Any, data: Any) -> tuple[Loss, Any]:
    """The loss as a pytree that caches know again."""
    data = arrays(data)
    given = (params,) if data is None else (params, data)
    return callables.settle(_composed(loss, state), *given, name="loss"), data


@partial(jax.jit, static_argnames="chunk")
def _values(loss: Loss, origin: Any, steps: tuple[Any, ...], data: Any, places: jax.Array, chunk: int) -> jax.Array:
    def value(place: jax.Array) -> jax.Array:
        params = _moved(origin, steps, place)
        return jnp.asarray(loss(params) if data is None else loss(params, data))

    return lax.map(value, places, batch_size=chunk if chunk > 1 else None)


@jax.jit
def _curvature(loss: Loss, origin: Any, steps: tuple[Any, ...], data: Any) -> tuple[jax.Array, jax.Array]:
    """The Hessian by the coordinates, and its largest eigenvalue by the lengths of the directions."""
    at = lambda place: mean_of(loss, _moved(origin, steps, place), data)
    zero = jnp.zeros(2, jnp.result_type(*jax.tree.leaves(origin)))
    inside = jax.hessian(at)(zero)
    dots = [[_dot(a, b) for b in steps] for a in steps]
    gram = jnp.stack([jnp.stack(row) for row in dots])
    lengths = jnp.sqrt(jnp.diagonal(gram))
    unit = jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1), 0)
    scale = unit[:, None] * unit[None]
    values, vectors = jnp.linalg.eigh(gram * scale)
    there = values > 4 * jnp.finfo(gram.dtype).eps * jnp.max(values)  # directions may be one and the same
    root = jnp.where(there[None], vectors / jnp.sqrt(jnp.where(there, values, 1))[None], 0)
    turned = dot(dot(root.T, inside * scale), root)
    alone = jnp.where(jnp.any(there), jnp.trace(turned), jnp.nan)
    return inside, jnp.where(jnp.all(there), jnp.linalg.eigvalsh(turned)[-1], alone)


def _moved(origin: Any, steps: tuple[Any, ...], place: jax.Array) -> Any:
    def leaf(start: jax.Array, *along: jax.Array) -> jax.Array:
        return start + sum(t.astype(start.dtype) * step for t, step in zip(place, along, strict=True))

    return jax.tree.map(leaf, origin, *steps)


def _dot(a: Any, b: Any) -> jax.Array:
    parts = jax.tree.map(lambda u, v: jnp.sum(u * v), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(parts)))


def _floating(places: Any) -> jax.Array:
    array = jnp.asarray(places)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def _checked(chunk: int, places: jax.Array) -> int:
    checks.whole(1, chunk=chunk)
    return min(int(chunk), len(places))


def _alike(name: str, tree: Any, params: Any) -> None:
    """Refuse a tree that is not like the parameters."""
    got, wanted = (jax.tree.map(jnp.shape, t) for t in (tree, params))
    structures: list[Any] = [jax.tree.structure(t) for t in (tree, params)]
    if structures[0] != structures[1] or got != wanted:
        raise ValueError(f"`{name}` must be a tree like the parameters, {wanted}; got {got}")
