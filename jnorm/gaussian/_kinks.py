"""The kinks of an integrand, read from its program."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm._ground import _programs, callables
from jnorm.gaussian import _roots, _search
from jnorm.gaussian._crossings import Place, crossings, levels
from jnorm.gaussian._panels import Static
from jnorm.gaussian._rules import COMPARED, LEVELS, rule
from jnorm.gaussian._terms import MOST, Meeting, Reader, Term, Unreadable, ancestors, is_known, number, variable

_CENTRED = frozenset({"tanh", "logistic", "erf", "erfc", "atan", "asinh", "sqrt", "rsqrt", "log"})
FEATURES = 4  # centres of smooth functions that integrals are split at


@dataclass
class Kinks:
    """Where an integrand has kinks.

    Attributes:
        known: Numbers that are known while Python runs, sorted.
        traced: Places that are data, ``[k, *shape]`` with axes of length one where they are the same.
        searched: Differences whose zeros are searched for in every lane.
        mixed: Whether one variable is compared with another.
        degree: Of the polynomials between all of the kinks; ``None`` where it is none, or some are searched for.
        smooth: Whether there is none at all; then what is known are features of a smooth function.
    """

    known: tuple[float, ...] = ()
    traced: list[Any] = field(default_factory=list)
    searched: list[Meeting] = field(default_factory=list)
    mixed: bool = False
    degree: int | None = None
    smooth: bool = False


def kinks(f: Callable[[jax.Array], Any]) -> tuple[float, ...]:
    """The points where a function or a derivative of it jumps, or where a smooth one has its features.

    Read from the jaxpr of ``f``, calls inside of it opened: where the two sides of a comparison, a maximum, a minimum
    or a clamp meet, where the argument of a sign, an absolute value or a sigmoid is zero, and where a rounding steps.
    Chains of invertible operations are solved, and so are broken lines between kinks that are known, as in a second
    layer; other comparisons are searched for changes of sign between -1e6 and 1e6, on a grid of steps of .35 %. Places
    that make no difference in the end may be among them.

    Integrals with ``kinks=None`` read their integrand in the same way, places that are traced included: parameters that
    a transformation differentiates or maps.

    Args:
        f: An elementwise function of `jax.numpy` operations.

    Returns:
        The points, sorted; none for a polynomial.

    Raises:
        ValueError: ``f`` is not elementwise, or its kinks cannot be read: infinitely many, or at places that are data.
        TypeError: ``f`` needs concrete numbers, or a place is traced.

    >>> kinks(lambda z: jnp.abs(z - 1)), kinks(jax.nn.hard_tanh), kinks(lambda z: z**3)
    ((1.0,), (-1.0, 1.0), ())
    >>> kinks(lambda z: jnp.where(jnp.exp(-z) > 0.5, z, jnp.round(jnp.clip(z, -1, 1))))
    (-1.0, -0.5, 0.5, 0.6931471805599453, 1.0)
    """
    try:
        with jax.enable_x64(True):
            found = _of_one_point(f)
    except ValueError as error:
        if type(error).__name__ != "TypePromotionError":
            raise
        found = _of_one_point(f)  # it holds arrays in float32, and JAX is strict
    if found.traced or found.searched:
        raise TypeError("a kink of `f` is traced, and no number; integrals with `kinks=None` find it")
    return found.known


def _of_one_point(f: Callable[[jax.Array], Any]) -> Kinks:
    point = jax.ShapeDtypeStruct((1,), jnp.result_type(float))
    return read(callables.settle(f, point), (point,))


def read(f: Callable[..., Any], points: Sequence[Any], index: int = 0) -> Kinks:
    """The kinks of a function in one of its variables; once for all functions of equal programs.

    Args:
        f: The function, of arrays of one shape.
        points: Their shapes and dtypes; the first axis has length one and does not count.
        index: Which variable.

    Returns:
        The kinks.

    Raises:
        ValueError: They cannot be read.
    """
    program = jax.make_jaxpr(f)(*points)
    if any(isinstance(const, jax.core.Tracer) or not _is_here(const) for const in program.consts):
        return _read(program, points, index)
    return _known(_Known(program), tuple(points), index)


def _is_here(const: Any) -> bool:
    return not isinstance(const, jax.Array) or const.is_fully_addressable


class _Known:
    """A program whose numbers are all known, equal to others that do the same."""

    def __init__(self, program: Any) -> None:
        self.program, self.key = program, _programs.key(program)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and bool(self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=1024)
def _known(known: _Known, points: tuple[Any, ...], index: int) -> Kinks:
    return _read(known.program.replace(consts=[np.asarray(const) for const in known.program.consts]), points, index)


def _read(program: Any, points: Sequence[Any], index: int) -> Kinks:
    variables = [variable(like, "z" if i == index else "other") for i, like in enumerate(points)]
    results = jaxprs.evaluate(program, *variables, hook=Reader(rule), opens=jaxprs.CALLS)
    return _collected(results, points[index])


def _collected(results: Sequence[Any], points: Any) -> Kinks:
    terms = ancestors(results)
    for term in terms:
        if term.error:
            raise term.error
    found = Kinks(mixed=any(_is_mixed(term) for term in terms))
    own = [term for term in terms if not term.other]
    solved: dict[int, list[Any]] = {}  # rows of places by the term that jumps there
    searched, numbers = set[int](), set[float]()
    for term in own:
        rows = solved[id(term)] = list[Any]()
        for place in jumps(term):
            if not isinstance(place, Meeting):
                rows.append(_spread(place, len(points.shape)))
            elif _roots.is_broken_line(place) and searched.isdisjoint(parts := _parts(place)):
                at = _roots.zeros(place, [row for part in parts for row in solved[part]], points)
                rows.append(_spread(Place(at, (None, *_roots.axes_of(place))), len(points.shape)))
            elif any(isinstance(x, Term) and x.shape != points.shape for x in (place.first, place.second)):
                raise Unreadable("what is compared along an axis of its own has no inverse", _search.site_of(place))
            elif _search.is_known(place):
                searched.add(id(term))
                numbers |= set(_search.zeros(place, points))
            else:
                searched.add(id(term))
                found.searched.append(place)
        for row in rows:
            at, moving = _divided(row, points)
            numbers |= at
            found.traced += moving
    degrees = [part.degree if isinstance(part, Term) else 0 for part in results]
    known = [degree for degree in degrees if degree is not None]
    found.degree = max(known) if not searched and len(known) == len(degrees) > 0 else None
    if found.degree is None:
        numbers = _search.without_guards(results, numbers, points)
    found.smooth = not (numbers or found.traced or found.searched)
    features = [_divided(_spread(place, len(points.shape)), points) for term in own for place in _features(term)]
    extra = set[float]().union(*(at for at, _ in features)) - numbers
    moving = [row for _, rows in features for row in rows]
    if len(extra) + sum(map(len, moving)) <= FEATURES:
        numbers |= extra
        found.traced += moving
    found.known = _apart(numbers, points.dtype)
    if len(found.known) + sum(map(len, found.traced)) > MOST:
        raise Unreadable(f"it jumps more than {MOST} times")
    return found


def _parts(place: Meeting) -> list[int]:
    """The terms that what meets is made of."""
    return [id(term) for term in ancestors([place.first, place.second])]


def _divided(rows: Any, points: Any) -> tuple[set[float], list[Any]]:
    """The numbers among places ``[k, *shape]``, and the rows that are data."""
    numbers = [number(row) for row in rows] if is_known(rows) else [None]
    if None in numbers:
        return set(), [rows.astype(points.dtype)]
    return {at + 0.0 for at in numbers if at is not None and np.isfinite(at)}, []  # no negative zero


def _apart(numbers: set[float], dtype: Any) -> tuple[float, ...]:
    """Sorted, and one of those that only rounding tells apart."""
    kept: list[float] = []
    for at in sorted(numbers):
        if not kept or at - kept[-1] > 16 * float(jnp.finfo(dtype).eps) * max(abs(at), 1e-3):
            kept.append(at)
    return tuple(kept)


def _is_mixed(term: Term) -> bool:
    """Whether a term jumps where two variables meet."""
    sides = [part for part in term.inputs if isinstance(part, Term) and not part.flat]
    if term.op not in COMPARED | {"max", "min", "clamp", "abs", "sign", "floor", "ceil", "round"} or not sides:
        return False
    return any(part.other for part in sides) and any(_has(part, "z") for part in sides)


def _has(term: Term, op: str) -> bool:
    return any(part.op == op for part in ancestors([term]))


def jumps(term: Term) -> Iterator[Place | Meeting]:
    """Where a term jumps, or a derivative of it, though its inputs do not."""
    inputs, zero = term.inputs, np.zeros((), getattr(term.inputs[0], "dtype", float)) if term.inputs else None
    if term.op in COMPARED | {"max", "min"}:
        yield from crossings(*inputs)
    elif term.op == "clamp":
        yield from crossings(inputs[1], inputs[0])
        yield from crossings(inputs[1], inputs[2])
    elif term.op in ("abs", "sign", "cbrt", "pow", "atan2"):
        yield from crossings(inputs[0], zero)
    elif term.op in LEVELS or (term.op == "convert_element_type" and term.flat and not inputs[0].flat):
        yield from levels(term)


def _features(term: Term) -> Iterator[Place]:
    """Where a smooth function is steepest, or singular in the complex plane nearby, if that is solved."""
    argument = term.inputs[1] if term.op == "div" else term.inputs[0] if term.op in _CENTRED else None
    try:
        yield from _zeros(argument)
    except Unreadable:
        return


def _zeros(term: Any) -> Iterator[Place]:
    """Where a term is zero, as far as it is solved: of a product where a factor is, of a sum where both parts are."""
    if not isinstance(term, Term):
        return
    parts = [part for part in term.inputs if isinstance(part, Term)]
    if term.op in ("mul", "convert_element_type") and not term.line:
        yield from (place for part in parts for place in _zeros(part))
    elif term.op in ("add", "sub") and len(parts) == 2 and not term.line:
        first, second = ({at for p in _zeros(part) if (at := number(p.at)) is not None} for part in parts)
        yield from (Place(np.asarray(at, term.dtype), ()) for at in first & second)
    else:
        yield from (p for p in crossings(term, np.zeros((), term.dtype)) if isinstance(p, Place))


def _spread(place: Place, count: int) -> Any:
    """A place as ``[k, *shape]``, for points of ``count`` axes, the first of which has length one."""
    at = place.at
    new: list[tuple[Any, int]] = []
    old: list[tuple[Any, int]] = []
    for i, axis in enumerate(place.axes if np.ndim(place.at) else ()):
        (new if axis is None else old).append((axis, i))
    sizes = dict.fromkeys(range(count), 1) | {axis: at.shape[i] for axis, i in old}
    xp: Any = np if is_known(at) else jnp
    ordered = xp.transpose(at, [i for _, i in (*new, *sorted(old))])
    return ordered.reshape(-1, *(sizes[axis] for axis in range(1, count)))


def places(f: Callable[..., Any], points: Any, mean: jax.Array, scale: jax.Array, kinks: Static = None) -> jax.Array:
    """The kinks ``[k, *shape]``: those given, or those in the program of ``f``, for variables by mean and scale."""
    return fixed(kinks, mean) if kinks is not None else located(read(f, (points,)), points, mean, scale)


def located(found: Kinks, points: Any, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """All kinks ``[k, *shape]``, sorted; where none is found 0, where most smooth functions have their features."""
    rows = [jnp.broadcast_to(row, (len(row), *mean.shape)) for row in found.traced]
    rows += [_search.lane_zeros(meeting, points, mean, scale) for meeting in found.searched]
    known = fixed(found.known or (() if rows else (0.0,)), mean)
    return jnp.sort(jnp.concatenate([known, *rows]), 0) if rows else known


def fixed(numbers: Sequence[float], mean: jax.Array) -> jax.Array:
    """Numbers as kinks of every lane, sorted; where the mean is on the host so are they, and nothing is compiled."""
    column = np.asarray(sorted(numbers), mean.dtype).reshape(-1, *(1,) * mean.ndim)
    xp: Any = np if isinstance(mean, np.ndarray) else jnp
    return xp.broadcast_to(column, (len(numbers), *mean.shape))
