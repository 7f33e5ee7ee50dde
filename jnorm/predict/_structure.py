"""Operations that move numbers."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.predict._values import (
    Atoms,
    Random,
    Refused,
    Weight,
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
    """The same numbers with axes put together or taken apart; each factor stays one of units or of positions."""
    x, sizes = inputs[0], site.equation.outvars[0].aval.shape
    if isinstance(x, Weight):
        return rearranged(x, sizes, site)
    return x.like(regrouped(x.axes, sizes))


def regrouped(axes: Sequence[Atoms], sizes: Sequence[int]) -> tuple[Atoms, ...]:
    """The factors of axes as those of other axes."""
    atoms = [atom for axis in axes for atom in axis if atom[0] != 1]
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
    return tuple(map(tuple, out))


def rearranged(x: Weight, shape: Sequence[int], site: Any) -> Weight:
    params = tuple((name, str(value)) for name, value in sorted(site.params.items()))
    return x._replace(key=(*x.key, site.primitive, params), shape=tuple(shape))


def transpose(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The same numbers in another order; of a parameter another view of the same draws."""
    x, order = inputs[0], site.params["permutation"]
    if isinstance(x, Weight):
        return rearranged(x, site.equation.outvars[0].aval.shape, site)
    return moved_axes(x, order)


def moved_axes(x: Random, order: Sequence[int]) -> Random:
    where = factors(x.axes)
    index = index_of(x).transpose([i for axis in order for i in where[axis]])
    return select(x, index.ravel(), tuple(x.axes[axis] for axis in order))


def squeeze(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The same numbers without axes of length one."""
    x, gone = inputs[0], site.params["dimensions"]
    if isinstance(x, Weight):
        return rearranged(x, site.equation.outvars[0].aval.shape, site)
    return x.like(tuple(atoms for axis, atoms in enumerate(x.axes) if axis not in gone))


def broadcast(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The same random numbers at every position of the new axes, whose correlation is one."""
    x, shape, old = inputs[0], site.params["shape"], site.params["broadcast_dimensions"]
    if isinstance(x, Weight):
        wide = [i for i, axis in enumerate(old) if x.shape[i] != shape[axis]]
        ones = all(shape[axis] == 1 for axis in range(len(shape)) if axis not in old)
        if ones and not wide:
            return rearranged(x, shape, site)
        x = predictor.as_random(
            x, tuple(((size, i == len(x.shape) - 1 and size > 1),) for i, size in enumerate(x.shape))
        )
    if x.chance and np.prod(shape) > np.prod(x.shape):
        # For units a sum over them is what is known of it; what it is taken off from is centred.
        x = Random(x.axes, x.mean, {}, status=x.status, law=x.law)
        x.centred = True
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, axis in enumerate(old):
        if x.shape[position] == shape[axis]:
            axes[axis] = x.axes[position]
        elif x.common == shape[axis]:
            axes[axis] = ((shape[axis], True),)
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


def split(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Slices side by side: parts of units are layers of their own."""
    x, axis = inputs[0], site.params["axis"]
    sizes = site.params["sizes"]
    ends = np.cumsum(sizes)
    if isinstance(x, Weight):
        shape = lambda size: (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return [
            x._replace(key=(*x.key, "split", axis, int(end)), shape=shape(size))
            for end, size in zip(ends, sizes, strict=True)
        ]
    whole = [slice(None)] * len(x.axes)
    return [
        taken(x, [*whole[:axis], slice(int(end) - size, int(end)), *whole[axis + 1 :]], predictor)
        for end, size in zip(ends, sizes, strict=True)
    ]


def unstack(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The parts of an axis, each without it: positions, layers of a parameter, or units of their own."""
    x, axis = inputs[0], site.params["axis"]
    if isinstance(x, Weight):
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return [x._replace(key=(*x.key, "unstack", axis, i), shape=shape) for i in range(x.shape[axis])]
    whole = [slice(None)] * len(x.axes)
    parts = [taken(x, [*whole[:axis], slice(i, i + 1), *whole[axis + 1 :]], predictor) for i in range(x.shape[axis])]
    return [part.like((*part.axes[:axis], *part.axes[axis + 1 :])) for part in parts]


def tile(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The same numbers again and again: more positions, also of units, whose axis has them as a factor."""
    x, many = predictor.ready(inputs[0]), site.params["reps"]
    axes, before, after = list(x.axes), list[int](), list[int]()
    for axis, (times, atoms) in enumerate(zip(many, x.axes, strict=True)):
        own = [1 if unit else size for size, unit in atoms]
        before += [1, *own]
        after += [times, *own]
        if times > 1:
            units = any(unit for _, unit in atoms)
            axes[axis] = ((times, False), *atoms) if units else ((times * x.shape[axis], False),)
    return select(x, np.broadcast_to(np.arange(x.size).reshape(before), after).ravel(), tuple(axes))


def taken(x: Random, slices: Sequence[slice], predictor: Any) -> Random:
    index, axes, part = index_of(x), list(x.axes), []
    where = factors(x.axes)
    for axis, piece in enumerate(slices):
        size = x.shape[axis]
        count = len(range(*piece.indices(size)))
        if count == size and piece.step in (None, 1):
            continue
        if len(x.axes[axis]) > 1:
            (parts, unit), *rest = x.axes[axis]
            each = size // parts
            if unit or piece.step not in (None, 1) or piece.start % each or count % each:
                raise Refused("a slice of an axis that is a product of units and positions")
            first = piece.start // each
            axes[axis] = ((count // each, False), *rest) if count > each else tuple(rest)
            index = index[(*[slice(None)] * where[axis][0], slice(first, first + count // each))]
            continue
        if x.axes[axis][0][1]:
            axes[axis] = ((count, True),)
            part.append((axis, piece.start or 0, piece.stop))
        else:
            axes[axis] = ((count, False),)
            index = index[(*[slice(None)] * where[axis][0], piece)]
    out = select(x, index.ravel(), tuple(axes))
    return predictor.other_units(out, tuple(part)) if part else out


def reverse(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Positions backwards; units are alike in any order."""
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
    for axis, atoms in enumerate(x.axes):
        if any(unit for _, unit in atoms) and (sizes[axis] != x.shape[axis] or axis in dims.start_index_map):
            raise Refused("indices among units")
    kept = [
        axis for axis in range(len(x.axes)) if axis not in (*dims.collapsed_slice_dims, *dims.operand_batching_dims)
    ]
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, axis in zip(dims.offset_dims, kept, strict=True):
        if sizes[axis] == x.shape[axis] and axis not in dims.start_index_map:
            axes[position] = x.axes[axis]
    flat = index_of(x).reshape([math.prod(1 if u else s for s, u in atoms) for atoms in x.axes])
    fitting = tuple(min(size, n) for size, n in zip(sizes, flat.shape, strict=True))
    params = {**site.params, "slice_sizes": fitting, "fill_value": -1}
    index = np.asarray(site.equation.primitive.bind(jnp.asarray(flat), jnp.asarray(at), **params))
    out = index.reshape(-1, 1)
    return summed(x, out, tuple(axes))


def dynamic_slice(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """A slice at a place that is known."""
    x, *starts = inputs
    if any(isinstance(start, Random | Weight) for start in starts):
        raise Refused("indices that are random")
    sizes = site.params["slice_sizes"]
    at = [int(np.clip(start, 0, have - size)) for start, have, size in zip(starts, x.shape, sizes, strict=True)]
    if isinstance(x, Weight):
        return x._replace(key=(*x.key, "slice", tuple(at), sizes), shape=tuple(sizes))
    return taken(x, [slice(a, a + size) for a, size in zip(at, sizes, strict=True)], predictor)


RULES: dict[str, Callable[[Any, Sequence[Any], Any], Any]] = {
    "reshape": reshape,
    "transpose": transpose,
    "squeeze": squeeze,
    "broadcast_in_dim": broadcast,
    "slice": cut,
    "split": split,
    "tile": tile,
    "unstack": unstack,
    "rev": reverse,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
}
