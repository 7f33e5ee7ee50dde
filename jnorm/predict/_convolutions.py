"""Convolutions: with weights, and of two values as in gradients by kernels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jnorm.predict._atoms import used
from jnorm.predict._copies import positions
from jnorm.predict._structure import factors, index_of, moved_axes
from jnorm.predict._sums import Outer
from jnorm.predict._uses import Use
from jnorm.predict._values import SAMPLED, Atoms, Random, Refused, Weight, linear
from jnorm.predict._windows import windows


def conv(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """With a weight Gaussian, of covariance ``var sum E[x x']`` over what two windows see; as the gradient by a
    kernel a sum over examples and windows of products of two different units.
    """
    x, kernel = inputs
    if site.params["batch_group_count"] != 1:
        raise Refused("groups of examples in a convolution")
    if isinstance(kernel, Weight) and not isinstance(x, Weight):
        return _with_weight(site, x, kernel)
    if isinstance(kernel, Random) and not isinstance(x, Weight):
        return _by_kernel(site, x, kernel)
    raise Refused("a convolution whose kernel is no fresh parameter")


def _with_weight(site: Any, x: Any, weight: Weight) -> Random:
    params = site.params
    lhs, rhs, out = params["dimension_numbers"]
    shape, groups = site.equation.outvars[0].aval.shape, params["feature_group_count"]
    spatial, kernel = lhs[2:], rhs[2:]
    result = [shape[out[0]], *(shape[axis] for axis in out[2:])]
    look = lambda sizes: windows(
        sizes,
        result,
        (1, *(weight.shape[axis] for axis in kernel)),
        (1, *params["window_strides"]),
        (0, *(low for low, _ in params["padding"])),
        (1, *params["lhs_dilation"]),
        (1, *params["rhs_dilation"]),
    )
    order = [lhs[0], *spatial]
    if isinstance(x, Random):
        x = _over(x, order)
        where, index = factors(x.axes), index_of(x)
        feature = x.axes[lhs[1]]
        if not all(unit for size, unit in feature if size > 1):
            raise Refused("a convolution whose channels are positions")
        flat = index.transpose([i for axis in (*order, lhs[1]) for i in where[axis]]).ravel()
        seen = look([x.shape[axis] for axis in order])
        use_index = np.where(seen >= 0, flat[seen], -1)
        use = Use(x, use_index, x.shape[lhs[1]] // groups)
    else:
        if groups != 1:
            raise Refused("groups of channels of data")
        x = np.asarray(x, np.float64)
        value = x.transpose([*order, lhs[1]])
        use = Use(value.reshape(-1, value.shape[-1]), look(value.shape[:-1]), 1)
    axes: list[Atoms] = [((size, False),) for size in shape]
    axes[out[1]] = ((shape[out[1]], shape[out[1]] > 1),)
    moved = [out[0], *out[2:], out[1]]
    root = used((weight.key, "conv", rhs), weight, use, math.prod(result), tuple(axes[a] for a in moved), x)
    return moved_axes(root, [moved.index(axis) for axis in range(len(shape))])


def _by_kernel(site: Any, x: Any, y: Random) -> Random:
    """Sums over examples and windows; the channels of the two are different units.

    ``out[u, v, p] = sum_(n, k) x[n, seen(p, k), u] y[n, k, v]``.
    """
    params, shape = site.params, site.equation.outvars[0].aval.shape
    lhs, rhs, out = params["dimension_numbers"]
    if params["feature_group_count"] != 1:
        raise Refused("groups of channels in the gradient by a kernel")
    result = [shape[axis] for axis in out[2:]]
    seen = windows(
        [x.shape[axis] for axis in lhs[2:]],
        result,
        [y.shape[axis] for axis in rhs[2:]],
        params["window_strides"],
        [low for low, _ in params["padding"]],
        params["lhs_dilation"],
        params["rhs_dilation"],
    )
    y, count = _over(y, (rhs[1], *rhs[2:])), y.shape[rhs[1]]
    back = _positions(y, (rhs[1], *rhs[2:]), rhs[0]).reshape(count, -1)
    moved, axes = [out[0], *out[2:], out[1]], [((size, False),) for size in shape]
    axes[out[1]] = y.axes[rhs[0]]
    order = [moved.index(axis) for axis in range(len(shape))]
    placed = lambda: tuple(axes[axis] for axis in moved)
    if not isinstance(x, Random):
        data = np.asarray(x, np.float64).transpose([lhs[0], lhs[1], *lhs[2:]]).reshape(x.shape[lhs[0]], count, -1)
        matrix = np.where(seen >= 0, data[..., seen], 0.0).transpose(0, 2, 1, 3)  # [u, p, n, k]
        matrix = matrix.reshape(-1, back.size)
        return moved_axes(linear(y, lambda a: matrix @ a[back.ravel()], placed()), order)
    x = _over(x, (lhs[1], *lhs[2:]))
    axes[out[0]] = x.axes[lhs[0]]
    front = _positions(x, (lhs[1], *lhs[2:]), lhs[0]).reshape(count, -1)
    i = np.where(seen >= 0, front[:, seen], -1).transpose(1, 0, 2).reshape(len(seen), -1)
    j = np.broadcast_to(back, (len(seen), *back.shape)).reshape(len(seen), -1)
    status = max(x.status, y.status)
    value = Random(placed(), np.zeros(()), {Outer(x, y, i, j): None}, status=status, law=SAMPLED)
    return moved_axes(value, order)


def _over(v: Random, axes: Sequence[int]) -> Random:
    """A value that is gone over by a convolution."""
    out = positions(v, axes)
    if out is None:
        raise Refused("a convolution over so many units")
    return out


def _positions(v: Random, explicit: Sequence[int], units: int) -> np.ndarray:
    """The flat explicit indices with axes in this order."""
    if not all(unit for size, unit in v.axes[units] if size > 1):
        raise Refused("a convolution whose channels are positions")
    where = factors(v.axes)
    return index_of(v).transpose([i for axis in (*explicit, units) for i in where[axis]])


RULES = {"conv_general_dilated": conv}
