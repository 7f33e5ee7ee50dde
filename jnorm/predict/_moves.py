"""What products with weights, moves of numbers and loops do to the axes of a signal."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jnorm.predict._loops import chosen, columns, repeated, row_of, scanned
from jnorm.predict._signals import Data, Signal, Unknown
from jnorm.predict._structure import regrouped
from jnorm.predict._values import Atoms, Refused, Weight

Axes = tuple[Atoms, ...]


class Use(NamedTuple):
    """A product with a weight.

    Attributes:
        axes: Those of what it makes.
        inputs: How many inputs each unit sums over.
        contracted: The axes of the weight that are summed over.
    """

    axes: Axes
    inputs: int
    contracted: tuple[int, ...]


class Move(NamedTuple):
    """The axes that numbers have after a move, and which units these are, if only some."""

    axes: Axes
    which: Any


def axes_of(x: Any) -> Axes:
    """Those of a signal, or positions."""
    if isinstance(x, Signal):
        return x.origin.axes
    return tuple(((int(size), False),) for size in x.shape)


def _dot(site: Any, x: Any, weight: Weight, at: int) -> Use:
    contracted, batched = site.params["dimension_numbers"]
    own, mine = axes_of(x), 1 - at
    free = [axis for axis in range(len(x.shape)) if axis not in (*contracted[mine], *batched[mine])]
    of_weight = [axis for axis in range(len(weight.shape)) if axis not in (*contracted[at], *batched[at])]
    units: list[Atoms] = [((weight.shape[axis], weight.shape[axis] > 1),) for axis in of_weight]
    parts: list[list[Atoms]] = [[own[axis] for axis in free], units]
    axes = (*(own[axis] for axis in batched[mine]), *parts[mine], *parts[1 - mine])
    return Use(axes, math.prod(x.shape[axis] for axis in contracted[mine]), tuple(contracted[at]))


def _conv(site: Any, x: Any, weight: Weight, at: int) -> Use:
    lhs, rhs, out = site.params["dimension_numbers"]
    if at != 1 or site.params["batch_group_count"] != 1:
        raise Refused("a convolution whose kernel is no parameter")
    if any(step != 1 for step in site.params["lhs_dilation"]):
        raise Refused("a transposed convolution, whose outputs have inputs in several numbers")
    shape = site.equation.outvars[0].aval.shape
    axes: list[Atoms] = [((size, False),) for size in shape]
    axes[out[0]], axes[out[1]] = axes_of(x)[lhs[0]], ((shape[out[1]], shape[out[1]] > 1),)
    return Use(tuple(axes), math.prod(weight.shape) // weight.shape[rhs[0]], tuple(rhs[1:]))


PRODUCTS: dict[str, Callable[[Any, Any, Weight, int], Use]] = {"dot_general": _dot, "conv_general_dilated": _conv}


def gathered(site: Any, x: Any) -> Axes:
    """Rows of a table, or of positions, by numbers that are not random."""
    dims, sizes = site.params["dimension_numbers"], site.params["slice_sizes"]
    own = tuple(((size, size > 1),) for size in x.shape) if isinstance(x, Weight) else axes_of(x)
    axes: list[Atoms] = [((size, False),) for size in site.equation.outvars[0].aval.shape]
    kept = [a for a in range(len(x.shape)) if a not in (*dims.collapsed_slice_dims, *dims.operand_batching_dims)]
    for position, axis in zip(dims.offset_dims, kept, strict=True):
        if sizes[axis] == x.shape[axis]:
            axes[position] = own[axis]
        elif any(unit for _, unit in own[axis]):
            raise Refused("indices among units")
    if not isinstance(x, Weight) and any(
        unit for a in dims.start_index_map for _, unit in own[a] if sizes[a] != x.shape[a]
    ):
        raise Refused("indices among units")
    return tuple(axes)


def joined(site: Any, inputs: Sequence[Any]) -> Axes:
    """The axes of a sum or a concatenation: of units where those of a signal are."""
    shape = site.equation.outvars[0].aval.shape
    axes: list[Atoms] = [((size, False),) for size in shape]
    for x in inputs:
        if site.primitive != "concatenate" and x.shape != shape:
            raise Refused("a broadcast of units")
        for i, atoms in enumerate(axes_of(x)):
            if any(unit for _, unit in atoms):
                axes[i] = atoms if x.shape[i] == shape[i] else ((shape[i], True),)
    return tuple(axes)


def moved(site: Any, axes: Axes, inputs: Sequence[Any]) -> list[Move] | None:
    """The axes after an equation that moves numbers, for each output; None of one that sums over windows."""
    name, params = site.primitive, site.params
    shapes = [tuple(out.aval.shape) for out in site.equation.outvars]
    if name == "reshape":
        return [Move(regrouped(axes, shapes[0]), None)]
    if name == "transpose":
        return [Move(tuple(axes[axis] for axis in params["permutation"]), None)]
    if name == "squeeze":
        return [Move(tuple(a for i, a in enumerate(axes) if i not in params["dimensions"]), None)]
    if name == "broadcast_in_dim":
        return [Move(_broadcast(axes, shapes[0], params["broadcast_dimensions"]), None)]
    if name == "rev":
        return [Move(axes, None if not _units(axes, params["dimensions"]) else "reversed")]
    if name == "gather":
        return [Move(gathered(site, inputs[0]), None)]
    if name in ("slice", "dynamic_slice", "split"):
        return [_sliced(axes, shape, (name, k, str(params), str(inputs[1:]))) for k, shape in enumerate(shapes)]
    if name == "pad" and not np.any(inputs[1]):
        changed = [axis for axis, pads in enumerate(params["padding_config"]) if any(pads)]
        if _units(axes, changed):
            raise Refused("zeros beside units")
        return [_sliced(axes, shapes[0], None)]
    if name in ("reduce_window_sum", "cumsum"):
        return None
    raise Refused("no rule of correlation maps")


def pooled(site: Any, axes: Axes) -> Axes:
    """The axes of sums over windows of positions."""
    shape = site.equation.outvars[0].aval.shape
    window = site.params.get("window_dimensions")
    seen = [site.params["axis"]] if window is None else [axis for axis, size in enumerate(window) if size > 1]
    if _units(axes, seen):
        raise Refused("windows over units")
    return _sliced(axes, shape, None).axes


def _units(axes: Axes, among: Sequence[int]) -> bool:
    return any(unit for axis in among for size, unit in axes[axis] if size > 1)


def _broadcast(axes: Axes, shape: Sequence[int], places: Sequence[int]) -> Axes:
    out: list[Atoms] = [((size, False),) for size in shape]
    for atoms, axis in zip(axes, places, strict=True):
        if math.prod(size for size, _ in atoms) == shape[axis]:
            out[axis] = atoms
    return tuple(out)


def _sliced(axes: Axes, shape: Sequence[int], which: Any) -> Move:
    """Some of the numbers; of units they are others, which are independent."""
    out, some = [], False
    for atoms, size in zip(axes, shape, strict=True):
        if math.prod(s for s, _ in atoms) == size:
            out.append(atoms)
            continue
        if len(atoms) > 1:
            raise Refused("a slice of an axis that is a product of several")
        out.append(((size, atoms[0][1]),))
        some = some or atoms[0][1]
    return Move(tuple(out), which if some else None)


_UNKNOWN = (Data, Signal, Unknown, Weight)


def _scan(site: Any, inputs: Sequence[Any], turns: list[int]) -> list[Any]:
    return scanned(site, inputs, turns, lambda x, turn: _row(x, turn, site), _column)


def _row(x: Any, turn: int, site: Any) -> Any:
    if isinstance(x, Data):
        return Data(x.shape[1:])
    if isinstance(x, Signal | Unknown):
        raise Refused("a loop over positions or units")
    return row_of(x, turn, site)


def _column(parts: Sequence[Any]) -> Any:
    if all(isinstance(x, Data) for x in parts):
        return Data((len(parts), *parts[0].shape))
    return columns(parts, _UNKNOWN)


def _cond(site: Any, inputs: Sequence[Any], turns: list[int]) -> list[Any]:
    if isinstance(inputs[0], _UNKNOWN):
        raise Refused("a branch that depends on the data")
    return chosen(site, inputs)


def _while(site: Any, inputs: Sequence[Any], turns: list[int]) -> list[Any]:
    def known(going: Any) -> bool:
        if isinstance(going, _UNKNOWN):
            raise Refused("a loop whose end depends on the data")
        return bool(going)

    return repeated(site, inputs, turns, known)


LOOPS = {"scan": _scan, "cond": _cond, "while": _while}
