"""Operations that move numbers."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.predict._elementwise import placed
from jnorm.predict._values import (
    Atoms,
    Random,
    Refused,
    Weight,
    added,
    select,
    summed,
)


def index_of(x: Random) -> np.ndarray:
    """The flat explicit indices, an axis a factor."""
    return np.arange(x.size).reshape(x.small)


def factors(axes: Sequence[Atoms]) -> list[list[int]]:
    """Of each axis, where its factors are."""
    count = itertools.count()
    return [[next(count) for _ in atoms] for atoms in axes]


def reshape(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, sizes = inputs[0], site.equation.outvars[0].aval.shape
    if isinstance(x, Weight):
        return rearranged(x, sizes, site)
    atoms = [atom for axis in x.axes for atom in axis if atom[0] != 1]
    out: list[list[tuple[int, bool]]] = []
    for size in sizes:
        mine: list[tuple[int, bool]] = []
        left = size
        while left > 1:
            have, unit = atoms.pop(0)
            if left % have == 0:
                mine.append((have, unit))
                left //= have
            elif have % left == 0:
                mine.append((left, unit))
                atoms.insert(0, (have // left, unit))
                left = 1
            else:
                raise Refused("a reshape that cuts across axes")
        out.append(mine or [(1, False)])
    return x.like(tuple(map(tuple, out)))


def rearranged(x: Weight, shape: Sequence[int], site: Any) -> Weight:
    params = tuple((name, str(value)) for name, value in sorted(site.params.items()))
    return x._replace(key=(*x.key, site.primitive, params), shape=tuple(shape))


def transpose(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, order = inputs[0], site.params["permutation"]
    if isinstance(x, Weight):
        return rearranged(x, site.equation.outvars[0].aval.shape, site)
    return moved_axes(x, order)


def moved_axes(x: Random, order: Sequence[int]) -> Random:
    where = factors(x.axes)
    index = index_of(x).transpose([i for axis in order for i in where[axis]])
    return select(x, index.ravel(), tuple(x.axes[axis] for axis in order))


def squeeze(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, gone = inputs[0], site.params["dimensions"]
    if isinstance(x, Weight):
        return rearranged(x, site.equation.outvars[0].aval.shape, site)
    return x.like(tuple(atoms for axis, atoms in enumerate(x.axes) if axis not in gone))


def broadcast(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, shape, old = inputs[0], site.params["shape"], site.params["broadcast_dimensions"]
    if isinstance(x, Weight):
        wide = [i for i, axis in enumerate(old) if x.shape[i] != shape[axis]]
        ones = all(shape[axis] == 1 for axis in range(len(shape)) if axis not in old)
        if ones and not wide:
            return rearranged(x, shape, site)
        x = predictor.as_random(
            x, tuple(((size, i == len(x.shape) - 1 and size > 1),) for i, size in enumerate(x.shape))
        )
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, axis in enumerate(old):
        if x.shape[position] == shape[axis]:
            axes[axis] = x.axes[position]
    where, index = factors(x.axes), index_of(x)
    groups = dict(zip(old, where, strict=True))
    target: list[int] = []
    source: list[int] = []
    for axis, size in enumerate(shape):
        mine = [index.shape[i] for i in groups.get(axis, [])]
        whole = [1 if unit else s for s, unit in axes[axis]]
        source += mine if axis in groups and x.shape[old.index(axis)] == size else [1] * len(whole)
        target += whole
    return select(x, np.broadcast_to(index.reshape(source), target).ravel(), tuple(axes))


def cut(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Slices: of positions they are others, of units they are others that are alike and independent."""
    x, params = inputs[0], site.params
    starts, ends = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(starts)
    if isinstance(x, Weight):
        return rearranged(x, site.equation.outvars[0].aval.shape, site)
    return taken(x, [slice(*s) for s in zip(starts, ends, strides, strict=True)], predictor)


def taken(x: Random, slices: Sequence[slice], predictor: Any) -> Random:
    index, axes, part = index_of(x), list(x.axes), []
    where = factors(x.axes)
    for axis, piece in enumerate(slices):
        size = x.shape[axis]
        count = len(range(*piece.indices(size)))
        if count == size and piece.step in (None, 1):
            continue
        if len(x.axes[axis]) > 1:
            raise Refused("a slice of an axis that is a product of units and positions")
        if x.axes[axis][0][1]:
            axes[axis] = ((count, True),)
            part.append((axis, piece.start or 0, piece.stop))
        else:
            axes[axis] = ((count, False),)
            index = index[(*[slice(None)] * where[axis][0], piece)]
    out = select(x, index.ravel(), tuple(axes))
    return predictor.other_units(out, tuple(part)) if part else out


def concatenate(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    axis = site.params["dimension"]
    like = next(x for x in inputs if isinstance(x, Random))
    if any(unit for _, unit in like.axes[axis]) or len(like.axes[axis]) > 1:
        raise Refused("units of several layers side by side")
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
    x, value = inputs
    if isinstance(value, Random) or np.any(value):
        raise Refused("padding with other numbers than zero")
    config = site.params["padding_config"]
    pads = {axis: rule for axis, rule in enumerate(config) if any(rule)}
    if isinstance(x, Weight) or any(len(x.axes[axis]) > 1 or x.axes[axis][0][1] for axis in pads):
        raise Refused("padding of units")
    shape = site.equation.outvars[0].aval.shape
    axes = tuple(((shape[axis], False),) if axis in pads else atoms for axis, atoms in enumerate(x.axes))
    return _padded(x, pads, axes)


def reverse(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, gone = inputs[0], site.params["dimensions"]
    if isinstance(x, Weight):
        return rearranged(x, x.shape, site)
    where, index = factors(x.axes), index_of(x)
    return select(x, np.flip(index, tuple(i for axis in gone for i in where[axis])).ravel(), x.axes)


def gather(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Rows of a table, or positions, by numbers that are known."""
    x, at = inputs
    if isinstance(at, Random | Weight):
        raise Refused("indices that are random")
    dims, sizes, shape = (
        site.params["dimension_numbers"],
        site.params["slice_sizes"],
        site.equation.outvars[0].aval.shape,
    )
    if isinstance(x, Weight):
        kept = [axis for axis in range(len(x.shape)) if axis not in dims.collapsed_slice_dims]
        units = [
            axis
            for axis in kept
            if sizes[axis] == x.shape[axis] and x.shape[axis] > 1 and axis not in dims.start_index_map
        ]
        x = predictor.as_random(x, tuple(((size, axis in units),) for axis, size in enumerate(x.shape)))
    kept = [
        axis for axis in range(len(x.axes)) if axis not in (*dims.collapsed_slice_dims, *dims.operand_batching_dims)
    ]
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, axis in zip(dims.offset_dims, kept, strict=True):
        if any(unit for _, unit in x.axes[axis]):
            if sizes[axis] != x.shape[axis] or axis in dims.start_index_map:
                raise Refused("indices among units")
            axes[position] = x.axes[axis]
        elif len(x.axes[axis]) > 1:
            raise Refused("indices on an axis that was merged from several")
    flat = index_of(x).reshape([math.prod(1 if u else s for s, u in atoms) for atoms in x.axes])
    fitting = tuple(min(size, n) for size, n in zip(sizes, flat.shape, strict=True))
    params = {**site.params, "slice_sizes": fitting, "fill_value": -1}
    index = np.asarray(site.equation.primitive.bind(jnp.asarray(flat), jnp.asarray(at), **params))
    out = index.reshape(-1, 1)
    return summed(x, out, tuple(axes))


def dynamic_slice(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    x, *starts = inputs
    if any(isinstance(start, Random | Weight) for start in starts):
        raise Refused("indices that are random")
    sizes = site.params["slice_sizes"]
    at = [int(np.clip(start, 0, have - size)) for start, have, size in zip(starts, x.shape, sizes, strict=True)]
    if isinstance(x, Weight):
        return x._replace(key=(*x.key, "slice", tuple(at), sizes), shape=tuple(sizes))
    return taken(x, [slice(a, a + size) for a, size in zip(at, sizes, strict=True)], predictor)


def stacked(column: Sequence[Any], predictor: Any) -> Any:
    """Values along a new first axis."""
    if not any(isinstance(x, Random | Weight) for x in column):
        return np.stack([np.asarray(x) for x in column])
    if not all(isinstance(x, Random) for x in column):
        raise Refused("a stack of parameters")
    index = np.arange(column[0].size)
    total = None
    for turn, x in enumerate(column):
        at = np.full((len(column), len(index)), -1)
        at[turn] = index
        part = summed(x, at.reshape(-1, 1), (((len(column), False),), *x.axes))
        total = part if total is None else added(total, part)
    return total


RULES: dict[str, Callable[[Any, Sequence[Any], Any], Any]] = {
    "reshape": reshape,
    "transpose": transpose,
    "squeeze": squeeze,
    "broadcast_in_dim": broadcast,
    "slice": cut,
    "concatenate": concatenate,
    "pad": pad,
    "rev": reverse,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
}
