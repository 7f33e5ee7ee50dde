"""Where two terms meet: solved step by step where one is a number, left to a search where the variable comes twice."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.gaussian._terms import MOST, PASSING, PIECES, SHAPES, Meeting, Term, Unreadable, is_known, number

STEPS = 1024  # of the way to them


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where a term has a value, solved.

    Attributes:
        at: The points, scalars or of a term's shape; infinite where there is none.
        axes: Of each of its axes the one of the points, as in `Term`.
    """

    at: Any
    axes: tuple[int | None, ...]


def crossings(a: Any, b: Any) -> Iterator[Place | Meeting]:
    """Where ``a`` and ``b`` cross, jumps of their own left out; some of the places may be none.

    Args:
        a: A term or a value.
        b: A term or a value.

    Yields:
        What is solved, and what is left to a search.
    """
    left, seen = [(a, b)], set[Any]()
    while left:
        pair = left.pop()
        key = tuple(id(x) if isinstance(x, Term) or (at := number(x)) is None else at for x in pair)
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > STEPS:
            raise Unreadable("there are too many cases", next((x.site for x in (a, b) if isinstance(x, Term)), None))
        for step in _steps(*pair):
            if isinstance(step, tuple):
                left.append(step)
            else:
                yield step


def _steps(a: Any, b: Any) -> Iterator[Place | Meeting | tuple[Any, Any]]:
    """Places, and pairs of which each in its turn may cross."""
    if not isinstance(a, Term):
        a, b = b, a
    if a is b or not isinstance(a, Term) or (a.flat and (not isinstance(b, Term) or b.flat)):
        return
    if any(_never(x, y) for x, y in ((a, b), (b, a))):
        return
    if a.line and (not isinstance(b, Term) or b.line):
        yield _straight(a, a.line, (b.line if isinstance(b, Term) else None) or (0, b), b)
        return
    for x, y in ((a, b), (b, a)):
        if (entries := _entries(x)) is not None:
            yield from ((y, entry) for entry in entries)
            return
        if isinstance(x, Term) and x.op in PIECES:
            yield from ((case, y) for case in (x.inputs[1:] if x.op == "select_n" else x.inputs))
            return
    if isinstance(b, Term):
        yield Meeting(a, b)
        return
    yield from _inverted(a, b)


def _entries(x: Any) -> list[Any] | None:
    """The numbers that may be looked up, where a term is one of a table."""
    if isinstance(x, Term) and x.op in PASSING | SHAPES:
        return _entries(x.inputs[0])
    if not isinstance(x, Term) or x.op != "gather" or isinstance(x.inputs[0], Term):
        return None
    table = x.inputs[0]
    return [table[i] for i in range(len(table))] if np.ndim(table) == 1 and len(table) <= MOST else None


def _never(x: Any, y: Any) -> bool:
    """Whether a known value lies outside of the range of a term."""
    if not isinstance(x, Term) or not is_known(y) or not np.size(y):
        return False
    return bool(np.min(y) > x.high or np.max(y) < x.low)


def _straight(a: Term, first: tuple[Any, Any], second: tuple[Any, Any], b: Any) -> Place:
    steep, gap = first[0] - second[0], second[1] - first[1]
    if is_known(steep) and is_known(gap):
        with np.errstate(divide="ignore", invalid="ignore"):
            at: Any = np.where(steep == 0, np.inf, np.divide(gap, steep))
    else:
        flat = steep == 0
        at = jnp.where(flat, jnp.inf, gap / jnp.where(flat, jnp.ones_like(steep), steep))
    axes = a.axes if np.ndim(at) == len(a.axes) else b.axes if isinstance(b, Term) else ()
    return Place(at, axes if np.ndim(at) else ())


def _inverted(a: Term, value: Any) -> Iterator[Meeting | tuple[Any, Any]]:
    """Where the last operation that made a term must have had its input, and so on towards the variable."""
    op, first = a.op, a.inputs[0]
    if op in _INVERSES and len(a.inputs) == 1:
        for inverse in _INVERSES[op]:
            yield first, _valid(inverse, value, a)
    elif op == "mul" and first is a.inputs[1]:
        for inverse in _INVERSES["square"]:
            yield first, _valid(inverse, value, a)
    elif op == "mul" and number(value) == 0:
        yield from ((factor, value) for factor in a.inputs)
    elif op == "integer_pow":
        for inverse in _roots(a.params["y"]):
            yield first, _valid(inverse, value, a)
    elif op in ("sin", "cos", "tan"):
        for inverse in _turns(a, first):
            yield first, _valid(inverse, value, a)
    elif op in PASSING and not first.flat:
        yield first, _like(value, first)
    elif op in ("add", "sub", "mul", "div") and not all(isinstance(part, Term) for part in a.inputs):
        left, right = a.inputs
        solved = _SOLVED[op][not isinstance(left, Term)]
        known = right if isinstance(left, Term) else left
        yield left if isinstance(left, Term) else right, _finite(solved, value, known)
    else:
        yield Meeting(a, value)


def _like(value: Any, term: Term) -> Any:
    return np.asarray(value).astype(term.dtype) if is_known(value) else value.astype(term.dtype)


def _valid(inverse: Callable[[Any, Any], Any], value: Any, term: Term) -> Any:
    """The inverse at a value, infinite where there is none; its derivatives are finite there too."""
    if is_known(value):
        with np.errstate(all="ignore"):
            at = np.asarray(inverse(np, np.asarray(value)), term.dtype)
            return np.where(np.isnan(at), np.inf, at)
    at = inverse(jnp, jax.lax.stop_gradient(value))
    lost = jnp.isnan(at) & ~jnp.isnan(value)
    at = inverse(jnp, jnp.where(lost, jnp.full_like(value, _inside(term)), value))
    return jnp.where(lost, jnp.inf, at)


def _inside(term: Term) -> float:
    """A value that the term takes."""
    if math.isinf(term.low) or math.isinf(term.high):
        return 1.0 + (term.low if math.isfinite(term.low) else 0.0)
    return term.low + 0.4 * (term.high - term.low)


def _finite(solved: Callable[[Any, Any], Any], value: Any, known: Any) -> Any:
    if is_known(value) and is_known(known):
        with np.errstate(all="ignore"):
            return solved(np.asarray(value), np.asarray(known))
    return solved(value, known)


_SOLVED: dict[str, tuple[Callable[[Any, Any], Any], ...]] = {  # for the first input, and for the second one
    "add": (lambda v, c: v - c, lambda v, c: v - c),
    "sub": (lambda v, c: v + c, lambda v, c: c - v),
    "mul": (lambda v, c: v / c, lambda v, c: v / c),
    "div": (lambda v, c: v * c, lambda v, c: c / v),
}


def _erfinv(xp: Any, value: Any) -> Any:
    if xp is np:
        from scipy import special

        return special.erfinv(value)
    return jax.lax.erf_inv(value)


_INVERSES: dict[str, tuple[Callable[[Any, Any], Any], ...]] = {
    "neg": (lambda xp, v: -v,),
    "exp": (lambda xp, v: xp.log(v),),
    "exp2": (lambda xp, v: xp.log2(v),),
    "expm1": (lambda xp, v: xp.log1p(v),),
    "log": (lambda xp, v: xp.exp(v),),
    "log1p": (lambda xp, v: xp.expm1(v),),
    "tanh": (lambda xp, v: xp.arctanh(v),),
    "atanh": (lambda xp, v: xp.tanh(v),),
    "sinh": (lambda xp, v: xp.arcsinh(v),),
    "asinh": (lambda xp, v: xp.sinh(v),),
    "atan": (lambda xp, v: xp.tan(v),),
    "logistic": (lambda xp, v: xp.log(v) - xp.log1p(-v),),
    "erf": (_erfinv,),
    "erfc": (lambda xp, v: _erfinv(xp, 1 - v),),
    "sqrt": (lambda xp, v: xp.where(v < 0, xp.nan, v * v),),
    "rsqrt": (lambda xp, v: xp.where(v < 0, xp.nan, 1 / (v * v)),),
    "cbrt": (lambda xp, v: v**3,),
    "square": (lambda xp, v: -xp.sqrt(v), lambda xp, v: xp.sqrt(v)),
    "abs": (lambda xp, v: xp.where(v < 0, xp.nan, -v), lambda xp, v: xp.where(v < 0, xp.nan, v)),
    "cosh": (lambda xp, v: -xp.arccosh(v), lambda xp, v: xp.arccosh(v)),
}


def _roots(power: int) -> tuple[Callable[[Any, Any], Any], ...]:
    size = lambda xp, v: xp.abs(v) ** (1 / power)
    if power % 2:
        return (lambda xp, v: xp.sign(v) * size(xp, v),)
    return tuple(lambda xp, v, side=side: xp.where(v < 0, xp.nan, side * size(xp, v)) for side in (-1, 1))


def _turns(a: Term, angle: Term) -> Iterator[Callable[[Any, Any], Any]]:
    """The inverses of a periodic function within the range of the angle."""
    if math.isinf(angle.low) or math.isinf(angle.high):
        raise Unreadable("a periodic function meets a value infinitely often", a.site)
    first, last = math.floor(angle.low / math.pi) - 1, math.ceil(angle.high / math.pi) + 1
    if last - first > MOST:
        raise Unreadable(f"a periodic function meets a value more than {MOST} times", a.site)
    for turn in range(first, last + 1):
        shift = turn * math.pi
        if a.op == "tan":
            yield partial(_turned, "arctan", 1, shift)
        elif a.op == "sin":
            yield partial(_turned, "arcsin", (-1) ** turn, shift)
        elif turn % 2 == 0:
            yield partial(_turned, "arccos", -1, shift)
            yield partial(_turned, "arccos", 1, shift)


def _turned(inverse: str, sign: int, shift: float, xp: Any, value: Any) -> Any:
    return sign * getattr(xp, inverse)(value) + shift


def levels(term: Term) -> Iterator[Place | Meeting]:
    """Where a rounded argument jumps.

    Args:
        term: A floor, a ceiling, a rounding, a remainder, or a conversion to integers.

    Yields:
        The places, one step of the argument after the other.
    """
    u = term.inputs[0]
    step = number(term.inputs[1]) if term.op == "rem" else 1.0
    if not isinstance(u, Term) or not step:
        raise Unreadable("it jumps at places that are data", term.site)
    if u.flat:
        return
    shift = 0.5 if term.op == "round" else 0.0
    low, high = u.low / abs(step) - shift, u.high / abs(step) - shift
    if math.isinf(low) or math.isinf(high):
        raise Unreadable("it jumps infinitely often where its argument is not bounded", term.site)
    if high - low > MOST:
        raise Unreadable(f"it jumps more than {MOST} times", term.site)
    for n in range(math.ceil(low), math.floor(high) + 1):
        yield from crossings(u, np.asarray((n + shift) * abs(step), u.dtype))
