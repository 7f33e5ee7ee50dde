"""Operations that put numbers beside each other: layers, positions, turns of loops, rows of a table."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.predict._copies import Value, positions
from jnorm.predict._elementwise import placed
from jnorm.predict._structure import factors, index_of, moved_axes
from jnorm.predict._values import Atoms, Random, Refused, Stack, Weight, added, summed
from jnorm.predict._windows import inverse


def concatenate(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Positions side by side, with all covariances; equal layers of units as positions of a new factor of the axis."""
    axis = site.params["dimension"]
    like = next((x for x in inputs if isinstance(x, Random)), None)
    if like is None:
        raise Refused("parameters side by side")
    if any(unit for _, unit in like.axes[axis]):
        return _beside(inputs, axis, like, predictor)
    if len(like.axes[axis]) > 1:
        raise Refused("positions side by side on an axis that was merged from several")
    total, before, size = None, 0, site.equation.outvars[0].aval.shape[axis]
    for x in inputs:
        own = x.shape[axis]
        mine = tuple(((own, False),) if i == axis else atoms for i, atoms in enumerate(like.axes))
        value = placed(x, mine, predictor)
        if not isinstance(value, Random):
            count = math.prod(1 if unit else s for atoms in mine for s, unit in atoms)
            value = Random(mine, np.broadcast_to(value, (count,)), {}, status=0, law=0)
        axes = tuple(((size, False),) if i == axis else atoms for i, atoms in enumerate(mine))
        part = _padded(value, {axis: (before, size - before - own, 0)}, axes)
        total = part if total is None else added(total, part)
        before += own
    return total


def stack(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Values as positions of a new axis, with all covariances; parameters as the turns of a loop take them."""
    axis = site.params["axis"]
    if all(isinstance(x, Weight) for x in inputs) and axis == 0:
        return Stack(tuple(inputs))
    made = stacked(Stack(tuple(predictor.ready(x) for x in inputs)), predictor)
    return moved_axes(made, [*range(1, axis + 1), 0, *range(axis + 1, len(made.axes))])


def _beside(inputs: Sequence[Any], axis: int, like: Random, predictor: Any) -> Any:
    """Layers of as many units side by side: a layer for each position of a new factor of the axis."""
    if any(x.shape != like.shape for x in inputs):
        raise Refused("units of layers of several sizes side by side")
    total: Any = None
    for i, x in enumerate(inputs):
        value = placed(x, like.axes, predictor)
        if isinstance(value, Random):
            part = _among(value, axis, i, len(inputs))
            total = part if total is None else added(total, part)
        elif np.any(value):
            raise Refused("known numbers beside units")
    return total


def _among(x: Random, axis: int, at: int, count: int) -> Random:
    """A value as one of ``count`` equal parts of an axis of units, of which the others are zero."""
    lead = math.prod(1 if unit else size for atoms in x.axes[:axis] for size, unit in atoms)
    index = np.full((lead, count, x.size // lead), -1)
    index[:, at] = np.arange(x.size).reshape(lead, -1)
    axes = (*x.axes[:axis], ((count, False), *x.axes[axis]), *x.axes[axis + 1 :])
    return summed(x, index.reshape(-1, 1), axes)


def _padded(x: Random, pads: dict[int, tuple[int, int, int]], axes: tuple[Atoms, ...]) -> Random:
    """Zeros before, behind and between the numbers of explicit axes."""
    index, where = index_of(x), factors(x.axes)
    for axis, (low, high, inner) in pads.items():
        at = where[axis][0]
        size = index.shape[at]
        rows = np.full(low + high + (size - 1) * (inner + 1) + 1 if size else low + high, -1)
        for i in range(size):
            if 0 <= low + i * (inner + 1) < len(rows):
                rows[low + i * (inner + 1)] = i
        moved = np.moveaxis(index, at, 0)
        index = np.moveaxis(np.where(rows.reshape(-1, *(1,) * (index.ndim - 1)) >= 0, moved[rows], -1), 0, at)
    return summed(x, index.reshape(-1, 1), axes)


def pad(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Zeros around and between positions, or layers of zeros beside units."""
    x, value = inputs
    if isinstance(value, Random) or np.any(value):
        raise Refused("padding with other numbers than zero")
    if isinstance(x, Weight):
        raise Refused("padding of parameters")
    pads = {axis: rule for axis, rule in enumerate(site.params["padding_config"]) if any(rule)}
    return _among_zeros(x, pads, site.equation.outvars[0].aval.shape)


def dynamic_update_slice(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Into zeros, as the gradient of a slice at a place that is known."""
    into, x, *starts = inputs
    if any(isinstance(start, Random | Weight) for start in starts):
        raise Refused("indices that are random")
    if not isinstance(x, Random) or isinstance(into, Random | Weight) or np.any(into):
        raise Refused("numbers written over others")
    spare = [whole - own for whole, own in zip(into.shape, x.shape, strict=True)]
    at = [int(np.clip(start, 0, most)) for start, most in zip(starts, spare, strict=True)]
    pads = {axis: (low, most - low, 0) for axis, (low, most) in enumerate(zip(at, spare, strict=True)) if most}
    return _among_zeros(x, pads, into.shape)


def _among_zeros(x: Random, pads: dict[int, tuple[int, int, int]], shape: Sequence[int]) -> Random:
    if len(pads) == 1:
        ((axis, (low, high, inner)),) = pads.items()
        size = x.shape[axis]
        if any(unit for _, unit in x.axes[axis]) and not inner and low % size == high % size == 0 <= min(low, high):
            return _among(x, axis, low // size, (low + size + high) // size)
    found = positions(x, pads)
    if found is None:
        raise Refused("padding of so many units")
    x = found
    axes = tuple(((shape[axis], False),) if axis in pads else atoms for axis, atoms in enumerate(x.axes))
    return _padded(x, pads, axes)


def scatter_add(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Sums at places that are known, as the gradient by a table of which rows were taken."""
    into, at, x = inputs
    if isinstance(at, Random | Weight):
        raise Refused("indices that are random")
    if not isinstance(x, Random) or isinstance(into, Weight) or (isinstance(into, Random) and into.terms):
        raise Refused("sums at some places of what is random")
    if not isinstance(into, Random) and np.any(into):
        raise Refused("sums at some places of what is not zero")
    dims, shape = site.params["dimension_numbers"], site.equation.outvars[0].aval.shape
    fixed = (*dims.inserted_window_dims, *dims.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in fixed]
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, axis in zip(dims.update_window_dims, kept, strict=True):
        if any(unit for _, unit in x.axes[position]):
            if x.shape[position] != shape[axis] or axis in dims.scatter_dims_to_operand_dims:
                raise Refused("indices among units")
            axes[axis] = x.axes[position]
    own = [math.prod(1 if u else s for s, u in atoms) for atoms in axes]
    mine = [math.prod(1 if u else s for s, u in atoms) for atoms in x.axes]
    sizes = [1] * len(shape)
    for position, axis in zip(dims.update_window_dims, kept, strict=True):
        sizes[axis] = mine[position]
    numbers = jax.lax.GatherDimensionNumbers(
        dims.update_window_dims,
        fixed[: len(dims.inserted_window_dims)],
        dims.scatter_dims_to_operand_dims,
        dims.operand_batching_dims,
        dims.scatter_indices_batching_dims,
    )
    places = jnp.arange(math.prod(own)).reshape(own)
    mode = site.params["mode"]
    where = jax.lax.gather(places, jnp.asarray(at), numbers, tuple(sizes), mode=mode, fill_value=-1)
    whole = Random(x.axes, np.zeros(()), {Value(x): None}, status=x.status, law=x.law)
    return summed(whole, inverse(np.asarray(where).ravel(), math.prod(own)), tuple(axes))


def stacked(stack: Stack, predictor: Any) -> Random:
    """What turns of a loop left behind, or values side by side, along a new first axis."""
    column: Sequence[Any] = stack.parts
    if any(isinstance(x, Weight) for x in column):
        raise Refused("a stack of parameters")
    column = [stacked(x, predictor) if isinstance(x, Stack) else x for x in column]
    axes = next(x.axes for x in column if isinstance(x, Random))
    total: Any = None
    for turn, x in enumerate(column):
        value = placed(x, axes, predictor)
        if not isinstance(value, Random):
            size = math.prod(1 if unit else s for atoms in axes for s, unit in atoms)
            value = Random(axes, np.broadcast_to(value, (size,)), {}, status=0, law=0)
        index = np.full((len(column), value.size), -1)
        index[turn] = np.arange(value.size)
        part = summed(value, index.reshape(-1, 1), (((len(column), False),), *axes))
        total = part if total is None else added(total, part)
    return total


RULES: dict[str, Callable[[Any, Sequence[Any], Any], Any]] = {
    "concatenate": concatenate,
    "dynamic_update_slice": dynamic_update_slice,
    "pad": pad,
    "scatter-add": scatter_add,
    "stack": stack,
}
