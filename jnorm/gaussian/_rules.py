"""What each primitive makes of terms."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.gaussian._terms import PASSING, PIECES, SHAPES, Term, Unreadable, folded, is_known

COMPARED = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "eq_to", "lt_to", "le_to"})
LEVELS = frozenset({"floor", "ceil", "round", "rem"})
BOUNDS = {
    **{"tanh": (-1, 1), "erf": (-1, 1), "sin": (-1, 1), "cos": (-1, 1), "sign": (-1, 1), "logistic": (0, 1)},
    **{"erfc": (0, 2), "exp": (0, math.inf), "exp2": (0, math.inf), "sqrt": (0, math.inf), "rsqrt": (0, math.inf)},
    **{"abs": (0, math.inf), "square": (0, math.inf), "cosh": (1, math.inf), "atan": (-math.pi / 2, math.pi / 2)},
    **{"acos": (0, math.pi), "asin": (-math.pi / 2, math.pi / 2), "expm1": (-1, math.inf)},
}
_NAMES = """
neg add sub mul div integer_pow square exp exp2 log log1p expm1 sqrt rsqrt cbrt pow sin cos tan asin acos atan atan2
sinh cosh tanh asinh acosh atanh logistic erf erfc erf_inv lgamma digamma polygamma igamma igammac igamma_grad_a
regularized_incomplete_beta bessel_i0e bessel_i1e zeta nextafter copy copy_p name reduce_precision
convert_element_type stop_gradient optimization_barrier is_finite and or not xor add_any add_jaxvals pvary real
shift_left shift_right_logical shift_right_arithmetic population_count clz device_put abs sign
"""
ELEMENTWISE = frozenset(_NAMES.split()) | COMPARED | LEVELS | PIECES


def rule(site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
    """The results of an equation, some of whose inputs are terms."""
    op = site.primitive
    if op in ELEMENTWISE:
        return [_term(site, inputs, i, _aligned(site, inputs)) for i in range(len(site.equation.outvars))]
    if op in _SHAPES:
        return [_term(site, inputs, 0, _SHAPES[op](site, inputs))]
    gone = site.params.get("axes", site.params.get("axis", site.params.get("dimension")))
    terms = [part for part in inputs if isinstance(part, Term)]
    if gone is not None and any(part.axes[i] is not None for part in terms for i in np.atleast_1d(gone)):
        raise _mixed(site)
    if op in _COUNTED and all(part.flat for part in terms):
        return [_term(site, inputs, 0, _COUNTED[op](site, inputs))]
    raise Unreadable("this is none of the operations that are known to act on each point by itself", site)


def _aligned(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    """The axes of an elementwise result: an axis of the points where any input has one there."""
    terms = [t.axes for t in inputs if isinstance(t, Term) and t.shape]
    if not terms:
        return ()
    merged: list[int | None] = []
    for axes in zip(*terms, strict=True):
        kinds = {axis for axis in axes if axis is not None}
        if len(kinds) > 1:
            raise _mixed(site)
        merged.append(next(iter(kinds), None))
    return tuple(merged)


def _mixed(site: jaxprs.Site) -> ValueError:
    return ValueError(f"`f` must act elementwise; it mixes the points in {site}")


def _term(site: jaxprs.Site, inputs: Sequence[Any], output: int, axes: tuple[int | None, ...]) -> Term:
    like: Any = site.equation.outvars[output].aval
    term = Term(site.primitive, tuple(inputs), like.shape, like.dtype, axes, site, output)
    terms = [part for part in inputs if isinstance(part, Term)]
    jumpy = term.op in COMPARED | {"sign", "floor", "ceil", "round", "is_finite"} or not _is_float(term.dtype)
    term.flat = jumpy or all(part.flat for part in terms)
    term.other = any(part.other for part in terms)
    if not term.flat and not term.other:
        term.line = _line(term)
    term.low, term.high = _range(term)
    return term


def _is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _line(term: Term) -> tuple[Any, Any] | None:
    """Slope and offset, where the term is straight."""
    op, inputs = term.op, term.inputs
    lines: list[tuple[Any, Any]] = []
    for part in inputs:
        line = part.line if isinstance(part, Term) else (0.0, part)
        if line is None:
            return None
        lines.append((_cast(line[0], term.dtype), _cast(line[1], term.dtype)))
    (slope, offset), others = lines[0], lines[1:]
    if op in _SHAPES and not others:
        return _through(term, slope), _through(term, offset)
    if op in PASSING:
        return slope, offset
    if op == "neg":
        return -slope, -offset
    if op in ("add", "add_any", "add_jaxvals"):
        return slope + others[0][0], offset + others[0][1]
    if op == "sub":
        return slope - others[0][0], offset - others[0][1]
    if op == "mul" and not all(isinstance(part, Term) for part in inputs):
        (slope, offset), factor = (lines[0], others[0][1]) if isinstance(inputs[0], Term) else (others[0], offset)
        return slope * factor, offset * factor
    if op == "div" and not isinstance(inputs[1], Term):
        return slope / others[0][1], offset / others[0][1]
    return None


def _cast(value: Any, dtype: Any) -> Any:
    return np.asarray(value).astype(dtype) if is_known(value) else value.astype(dtype)


def _through(term: Term, value: Any) -> Any:
    """A slope or an offset through a change of shape; scalars stay."""
    if np.ndim(value) == 0 and term.op != "reduce_sum":
        return value
    assert term.site is not None
    source = term.inputs[0].shape
    if is_known(value):
        return folded(term.site, [np.broadcast_to(value, source)])[0]
    return term.site.run(jnp.broadcast_to(value, source))[0]


def _range(term: Term) -> tuple[float, float]:
    """What a term is never outside of, as far as it is known while Python runs."""
    ranges = [_between(part) for part in term.inputs]
    if term.op in ("max", "min"):
        pick = max if term.op == "max" else min
        return pick(r[0] for r in ranges), pick(r[1] for r in ranges)
    if term.op == "clamp":
        least, x, most = ranges
        return min(max(x[0], least[0]), most[0]), max(min(x[1], most[1]), least[1])
    if term.op == "select_n":
        return min(r[0] for r in ranges[1:]), max(r[1] for r in ranges[1:])
    if term.op in ("floor", "ceil", "round"):
        low, high = ranges[0]
        return low - 1, high + 1
    if term.op in PASSING | SHAPES:
        return ranges[0]
    if term.op in BOUNDS:
        return BOUNDS[term.op]
    if term.op in ("add", "sub", "mul", "neg", "div"):
        low, high = _arithmetic(term.op, ranges)
        return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)
    return -math.inf, math.inf


def _between(value: Any) -> tuple[float, float]:
    if isinstance(value, Term):
        return value.low, value.high
    if is_known(value) and np.size(value) and np.asarray(value).dtype.kind in "fiub":
        return float(np.min(value)), float(np.max(value))
    return -math.inf, math.inf


def _arithmetic(op: str, ranges: list[tuple[float, float]]) -> tuple[float, float]:
    a = ranges[0]
    if op == "neg":
        return -a[1], -a[0]
    b = ranges[1]
    if op == "add":
        return a[0] + b[0], a[1] + b[1]
    if op == "sub":
        return a[0] - b[1], a[1] - b[0]
    if op == "div":
        if b[0] <= 0 <= b[1]:
            return -math.inf, math.inf
        b = 1 / b[1], 1 / b[0]
    ends = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def _broadcast(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    axes: list[int | None] = [None] * len(site.params["shape"])
    for old, new in zip(inputs[0].axes, site.params["broadcast_dimensions"], strict=True):
        axes[new] = old
    return tuple(axes)


def _reshape(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    """Only axes of size one come and go."""
    term = inputs[0]
    left = [(size, axis) for size, axis in zip(term.shape, term.axes, strict=True) if size != 1]
    ones = [axis for size, axis in zip(term.shape, term.axes, strict=True) if size == 1]
    axes: list[int | None] = []
    for size in site.params["new_sizes"]:
        if size == 1:
            axes.append(ones.pop(0) if ones else None)
        elif left and left[0][0] == size:
            axes.append(left.pop(0)[1])
        else:
            raise Unreadable("axes are merged or divided", site)
    return tuple(axes)


def _squeeze(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(axis for i, axis in enumerate(inputs[0].axes) if i not in site.params["dimensions"])


def _transpose(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(inputs[0].axes[i] for i in site.params["permutation"])


def _reduce(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    gone = site.params["axes"]
    if any(inputs[0].axes[i] is not None for i in gone):
        raise _mixed(site)
    return tuple(axis for i, axis in enumerate(inputs[0].axes) if i not in gone)


def _dot(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    contracted, batched = site.params["dimension_numbers"]
    axes: list[int | None] = []
    sides = [part.axes if isinstance(part, Term) else (None,) * np.ndim(part) for part in inputs]
    for mine, gone in zip(sides, contracted, strict=True):
        if any(mine[i] is not None for i in gone):
            raise _mixed(site)
    for i, j in zip(*batched, strict=True):
        axes.append(sides[0][i] if sides[0][i] is not None else sides[1][j])
    for mine, gone, shared in zip(sides, contracted, batched, strict=True):
        axes += [axis for i, axis in enumerate(mine) if i not in (*gone, *shared)]
    return tuple(axes)


def _joined(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    axes = list(_aligned(site, inputs))
    if axes[site.params["dimension"]] is not None:
        raise _mixed(site)
    return tuple(axes)


def _stacked(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    axes, axis = list(_aligned(site, inputs)), site.params["axis"]
    return (*axes[:axis], None, *axes[axis:])


def _kept(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    sizes = zip(inputs[0].shape, site.equation.outvars[0].aval.shape, inputs[0].axes, strict=True)  # type: ignore[attr-defined]
    if any(old != new and axis is not None for old, new, axis in sizes):
        raise _mixed(site)
    return tuple(inputs[0].axes)


def _looked_up(site: jaxprs.Site, inputs: Sequence[Any]) -> tuple[int | None, ...]:
    """Each point takes an entry of its own of what does not depend on the points."""
    sides = [part.axes if isinstance(part, Term) else (None,) * np.ndim(part) for part in inputs]
    numbers = site.params["dimension_numbers"]
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    if any(axis is not None and i not in numbers.operand_batching_dims for i, axis in enumerate(sides[0])):
        raise Unreadable("entries are taken of what depends on the points", site)
    rest, chosen = iter([axis for i, axis in enumerate(sides[0]) if i not in gone]), iter(sides[1][:-1])
    rank = len(site.equation.outvars[0].aval.shape)  # type: ignore[attr-defined]
    return tuple(next(rest) if i in numbers.offset_dims else next(chosen) for i in range(rank))


_SHAPES: dict[str, Callable[[jaxprs.Site, Sequence[Any]], tuple[int | None, ...]]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "reduce_sum": _reduce,
    "dot_general": _dot,
    "concatenate": _joined,
    "stack": _stacked,
    "slice": _kept,
    "gather": _looked_up,
}
_COUNTED: dict[str, Callable[[jaxprs.Site, Sequence[Any]], tuple[int | None, ...]]] = {  # of piecewise constants
    **dict.fromkeys(("argmax", "argmin", "reduce_max", "reduce_min", "reduce_and", "reduce_or"), _reduce),
    **dict.fromkeys(("cumsum", "cummax", "cummin", "cumprod", "rev"), _kept),
}
