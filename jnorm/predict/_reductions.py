"""Sums, maxima and windows: over units a known number, over positions what their joint law makes of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jnorm.predict._common import average, has_common, summand
from jnorm.predict._copies import meeting, positions
from jnorm.predict._elementwise import known, placed
from jnorm.predict._pool import COUNT
from jnorm.predict._structure import factors, index_of
from jnorm.predict._sums import Total
from jnorm.predict._together import product, sampled
from jnorm.predict._values import (
    GAUSSIAN,
    LARGE,
    SAMPLED,
    Atoms,
    Random,
    Refused,
    affine,
    diagonal,
    linear,
    select,
    summed,
)
from jnorm.predict._windows import inverse, windows


def _windows_of(params: Any, x: Random, shape: Sequence[int]) -> tuple[Random, np.ndarray, tuple[Atoms, ...]]:
    """What is looked at, what each window sees of it, and the axes of values of windows."""
    window = params["window_dimensions"]
    found = positions(x, [axis for axis, size in enumerate(window) if size != 1])
    if found is None:
        raise Refused("windows over so many units")
    x = found
    own = [math.prod(1 if unit else s for s, unit in atoms) for atoms in x.axes]
    out = [
        math.prod(1 if unit else s for s, unit in atoms) if w == 1 else size
        for atoms, w, size in zip(x.axes, window, shape, strict=True)
    ]
    low = [pads[0] for pads in params["padding"]]
    ones = (1,) * len(own)
    dilations = (params.get(name, ones) for name in ("base_dilation", "window_dilation"))
    index = windows(own, out, window, params["window_strides"], low, *dilations)
    axes = tuple(
        atoms if w == 1 and math.prod(s for s, _ in atoms) == size else ((size, False),)
        for atoms, w, size in zip(x.axes, window, shape, strict=True)
    )
    return x, index, axes


def window_sum(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Sums over windows of positions, with all covariances."""
    x, index, axes = _windows_of(site.params, inputs[0], site.equation.outvars[0].aval.shape)
    return summed(x, index, axes)


def window_max(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Maxima over windows of positions, by samples of units."""
    sign = -1 if site.primitive == "reduce_window_min" else 1
    x, index, axes = _windows_of(site.params, inputs[0], site.equation.outvars[0].aval.shape)
    return sampled(lambda rows: sign * _seen(sign * rows, index).max(-1), [x], axes, predictor.pool)


def _seen(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """What windows see of samples, with the smallest number of all outside."""
    return np.where(index >= 0, rows[:, index], -np.inf)


def of_maxima(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """The gradient by what windows take their maxima of: that of each maximum, at its place."""
    source, x = inputs
    if not (isinstance(source, Random) and isinstance(x, Random)):
        raise Refused("maxima of what is known")
    sign = -1 if site.params["select_prim"].name == "le" else 1
    x, index, axes = _windows_of(site.params, x, source.shape)

    def largest(rows: np.ndarray) -> np.ndarray:
        places = _seen(sign * rows, index).argmax(-1)
        return (places[..., None] == np.arange(index.shape[1])).reshape(len(rows), -1)

    flat: tuple[Atoms, ...] = (((index.size, False),),)
    marks = sampled(largest, [x], flat, predictor.pool)
    source = placed(meeting(source, Random(axes, np.zeros(()), {}, status=0, law=0)), axes, predictor)
    each = select(source, np.repeat(np.arange(source.size), index.shape[1]), flat)
    moved = product(marks, each, predictor.pool) or sampled(np.multiply, [marks, each], flat, predictor.pool)
    return summed(moved, inverse(index.ravel(), x.size), x.axes)


def reduce_sum(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Over units a known number, by the law of large numbers; over examples and positions a sum.

    Of gradients with mean zero, as those by a number that all units share, over units what chance leaves of them.
    """
    x, gone = predictor.ready(inputs[0]), site.params["axes"]
    where = factors(x.axes)
    axes = tuple(atoms for axis, atoms in enumerate(x.axes) if axis not in gone)
    lost = [(i, x.axes[axis][k]) for axis in gone for k, i in enumerate(where[axis])]
    kept = [i for axis, at in enumerate(where) if axis not in gone for i in at]
    index = index_of(x).transpose([*kept, *(i for i, _ in lost)])
    index = index.reshape(math.prod(index.shape[: len(kept)]), -1)
    count = math.prod(size for _, (size, unit) in lost if unit)
    if not any(unit for _, (_, unit) in lost):
        return summed(x, index, axes)
    over = {size for _, (size, unit) in lost if unit}
    for units in over:
        if has_common(x, units):
            return affine(summed(average(x, units), index, axes), float(count))
    mean = count * (np.zeros(len(index)) if x.centred else x.mean[index].sum(1))
    if predictor.reverse and not x.centred and x.size <= LARGE:
        each = summed(summand(x, count), index, axes)
        chance = 5 / np.sqrt(COUNT) if x.status >= SAMPLED else 1e-9
        if each.terms and np.all(np.abs(each.mean) <= chance * np.sqrt(diagonal(each))):
            return Random(axes, np.zeros(()), {Total(each, count): None}, status=x.status, law=max(x.law, GAUSSIAN))
    return predictor.settled(mean, axes, x, count)


def reduce_max(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Over positions by samples; over units what the largest of so many samples is on average."""
    sign = -1 if site.primitive in ("reduce_min", "reduce_and") else 1
    x, gone = predictor.ready(inputs[0]), site.params["axes"]
    where = factors(x.axes)
    axes = tuple(atoms for axis, atoms in enumerate(x.axes) if axis not in gone)
    kept = [i for axis, at in enumerate(where) if axis not in gone for i in at]
    lost = [i for axis in gone for i in where[axis]]
    index = index_of(x).transpose([*kept, *lost])
    index = index.reshape(math.prod(index.shape[: len(kept)]), -1)
    over = sampled(lambda rows: sign * (sign * rows[:, index]).max(-1), [x], axes, predictor.pool)
    count = math.prod(size for axis in gone for size, unit in x.axes[axis] if unit)
    if count == 1:
        return over
    rows = sign * predictor.pool.rows(over)
    picks = predictor.pool.rng.integers(len(rows), size=(256, count))
    return predictor.settled(sign * rows[picks].max(1).mean(0), axes, x, 0)


def logical(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Known where it is of all draws, as that numbers are finite; else the smallest or largest truth value."""
    x = predictor.ready(inputs[0])
    if not np.all((x.mean <= 0.0) | (x.mean >= 1.0)):
        out = reduce_max(site, [x], predictor)
        out.logical = True
        return out
    numbers = known(Random(x.axes, x.mean, {}, status=x.status, law=x.law)) > 0.5
    return (np.all if site.primitive == "reduce_and" else np.any)(numbers, axis=tuple(site.params["axes"]))


def cumulative(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Sums along positions up to each, with all covariances."""
    axis = site.params["axis"]
    x = positions(inputs[0], [axis])
    if x is None:
        raise Refused("sums along so many units")
    at = factors(x.axes)[axis][0]

    def sums(a: np.ndarray) -> np.ndarray:
        whole = a.reshape(*x.small, -1)
        whole = np.flip(np.cumsum(np.flip(whole, at), at), at) if site.params["reverse"] else np.cumsum(whole, at)
        return whole.reshape(a.shape)

    return linear(x, sums, x.axes)


RULES: dict[str, Callable[[Any, Sequence[Any], Any], Any]] = {
    "reduce_window_sum": window_sum,
    "reduce_window_max": window_max,
    "reduce_window_min": window_max,
    "select_and_scatter_add": of_maxima,
    "reduce_sum": reduce_sum,
    "reduce_max": reduce_max,
    "reduce_min": reduce_max,
    "reduce_and": logical,
    "reduce_or": logical,
    "cumsum": cumulative,
}
