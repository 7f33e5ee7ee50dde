"""How large an elementwise function can be anywhere: a polynomial in abs(z) above abs(f(z)) (extra: verify).

On a half-line t = abs(z) >= b every value of a tape lies in slope*t + [low, high], its absolute value below a
polynomial of t. The slope is what lets x - softplus(x) be bounded; ends are floats, rounded outward after each step.
Between the half-lines a constant will do.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jnorm.proofs._balls import above, below, flint
from jnorm.proofs._primitives import ANALYTIC, COMPARED, LOGICAL, SAME
from jnorm.proofs._tapes import Operation, Slot, Tape

Size = tuple[float, ...] | None
INF = math.inf
STARTS = (1.0, 4.0, 16.0, 64.0, 256.0)  # of the half-lines
COMPARED_AS = {name: getattr(operator, name) for name in COMPARED}
LIMITS = {  # of monotone functions at both ends of the line
    "exp": (0.0, INF),
    "exp2": (0.0, INF),
    "expm1": (-1.0, INF),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "erfc": (2.0, 0.0),
    "logistic": (0.0, 1.0),
    "atan": (-1.6, 1.6),
    "asinh": (-INF, INF),
    "sinh": (-INF, INF),
    "log": (math.nan, INF),
    "log1p": (math.nan, INF),
    "sqrt": (math.nan, INF),
    "atanh": (math.nan, math.nan),
}


class Bound(NamedTuple):
    """What holds of a value for all t >= b.

    Attributes:
        slope: The value lies in slope*t + [low, high].
        low: See there.
        high: See there.
        size: Coefficients, >= 0, of a polynomial of t above its absolute value; None where none is known.
    """

    slope: float
    low: float
    high: float
    size: Size


def up(x: float) -> float:
    """No less than what was rounded to x."""
    return math.nextafter(x, INF)


def down(x: float) -> float:
    """No more than what was rounded to x."""
    return math.nextafter(x, -INF)


@functools.lru_cache(maxsize=256)
def majorant(tape: Tape) -> tuple[float, ...]:
    """Coefficients of a polynomial above abs(f(z)), in abs(z).

    Raises:
        ValueError: Where none is found: the function grows faster, or is not finite somewhere.
    """
    for start in STARTS:
        most = _larger(*(_at_infinity(tape, sign, start) for sign in (1.0, -1.0)))
        whole = _sum(most, (_between(tape, start),)) if most is not None else None
        if whole is not None:
            return whole
    raise ValueError("an activation must be bounded by a polynomial, and its program must show it")


def _between(tape: Tape, end: float, pieces: int = 64) -> float:
    """The largest abs(f(z)) for abs(z) <= end, from above."""
    arb, largest = flint().arb, 0.0
    queue = [(end * k / pieces, end * (k + 1) / pieces) for k in range(-pieces, pieces)]
    while queue:
        low, high = queue.pop()
        size = above(abs(tape.hull(arb(low).union(arb(high)))))
        middle = (low + high) / 2
        if math.isfinite(size):
            largest = max(largest, size)
        elif high - low > 1e-6:
            queue += [(low, middle), (middle, high)]
        else:
            raise ValueError(
                f"an activation must be finite, and its program must show it; near {middle:.4g} it does not"
            )
    return largest


def _at_infinity(tape: Tape, sign: float, start: float) -> Size:
    values: list[Bound | bool | None] = [Bound(sign, 0.0, 0.0, (0.0, 1.0))]
    for operation in tape.operations:
        values.append(_step(operation, [_read(values, x) for x in operation.inputs], start))
    return _number(_read(values, tape.result)).size


def _read(values: Sequence[Bound | bool | None], x: Slot | float | bool) -> Bound | bool | None:
    if isinstance(x, Slot):
        return values[x.place]
    return x if isinstance(x, bool) else _constant(x)


def _constant(x: float) -> Bound:
    return Bound(0.0, x, x, (abs(x),) if math.isfinite(x) else None)


def _number(x: Bound | bool | None) -> Bound:
    """A truth value as 0 or 1, or both."""
    if x is None:
        return Bound(0.0, 0.0, 1.0, (1.0,))
    return _constant(float(x)) if isinstance(x, bool) else x


def _step(operation: Operation, inputs: list[Bound | bool | None], start: float) -> Bound | bool | None:
    name = operation.name
    if name in LOGICAL:
        return LOGICAL[name](*inputs)
    if name in SAME:
        return inputs[0]
    if name == "select_n":
        which, *cases = inputs
        if which is not None:
            return cases[int(bool(which))]
        return (
            _joined(_number(cases[0]), _number(cases[1]), start) if any(isinstance(x, Bound) for x in cases) else None
        )
    bounds = [_number(x) for x in inputs]
    if name in COMPARED:
        same = operation.inputs[0] == operation.inputs[1]
        return COMPARED[name][1] if same else _compared(name, bounds[0], bounds[1], start)
    rule = RULES.get(name)
    return rule(bounds, start) if rule else _monotone(name, bounds[0], start)


def ends(x: Bound, start: float) -> tuple[float, float]:
    """Both ends of where a value lies."""
    if x.slope > 0:
        return down(down(x.slope * start) + x.low), INF
    if x.slope < 0:
        return -INF, up(up(x.slope * start) + x.high)
    return x.low, x.high


def _within(low: float, high: float, size: Size) -> Bound:
    """A value between two ends; where both are finite, and no huge numbers, they bound its size."""
    most = max(abs(low), abs(high))
    return Bound(0.0, low, high, (most,) if most <= (INF if size is None else 1e3) and math.isfinite(most) else size)


def _compared(name: str, x: Bound, y: Bound, start: float) -> bool | None:
    """As of balls; of x - y, so that equal slopes cancel. No value is infinite but where a program writes it."""
    if math.isinf(y.low) and y.low == y.high:
        return bool(COMPARED_AS[name](0.0, y.low))
    low, high = ends(_add([x, _negative([y], start)], start), start)
    if name in ("lt", "le"):
        return True if high < 0 or (name == "le" and high == 0) else False if low > 0 else None
    if name in ("gt", "ge"):
        return True if low > 0 or (name == "ge" and low == 0) else False if high < 0 else None
    apart = low > 0 or high < 0
    return None if not apart else name == "ne"


def _larger(x: Size, y: Size) -> Size:
    if x is None or y is None:
        return None
    return tuple(max(a, b) for a, b in itertools.zip_longest(x, y, fillvalue=0.0))


def _sum(x: Size, y: Size) -> Size:
    if x is None or y is None:
        return None
    return tuple(up(a + b) for a, b in itertools.zip_longest(x, y, fillvalue=0.0))


def _product(x: Size, y: Size) -> Size:
    if x is None or y is None:
        return None
    out = [0.0] * (len(x) + len(y) - 1)
    for (i, a), (j, b) in itertools.product(enumerate(x), enumerate(y)):
        out[i + j] = up(out[i + j] + up(a * b)) if a and b else out[i + j]
    return tuple(out)


def _joined(x: Bound, y: Bound, start: float) -> Bound:
    (a, b), (c, d) = ends(x, start), ends(y, start)
    return _within(min(a, c), max(b, d), _larger(x.size, y.size))


def _add(xs: list[Bound], start: float) -> Bound:
    x, y = xs
    size = _sum(x.size, y.size)
    slope = x.slope + y.slope
    if Fraction(slope) == Fraction(x.slope) + Fraction(y.slope):
        low, high = down(x.low + y.low), up(x.high + y.high)
        return Bound(slope, low, high, size) if slope else _within(low, high, size)
    (a, b), (c, d) = ends(x, start), ends(y, start)
    return _within(down(a + c), up(b + d), size)


def _negative(xs: list[Bound], start: float) -> Bound:
    (x,) = xs
    return Bound(-x.slope, -x.high, -x.low, x.size)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _multiply(xs: list[Bound], start: float) -> Bound:
    x, y = xs if xs[0].slope else xs[::-1]
    size = _product(x.size, y.size)
    if x.slope and not y.slope and y.low == y.high and math.isfinite(y.low):
        slope = x.slope * y.low
        if Fraction(slope) == Fraction(x.slope) * Fraction(y.low):
            parts = sorted(_times(end, y.low) for end in (x.low, x.high))
            return Bound(slope, down(parts[0]), up(parts[1]), size)
    products = [_times(a, b) for a in ends(x, start) for b in ends(y, start)]
    return _within(down(min(products)), up(max(products)), size)


def _divide(xs: list[Bound], start: float) -> Bound:
    return _multiply([xs[0], _inverse(xs[1], start)], start)


def _inverse(x: Bound, start: float) -> Bound:
    low, high = ends(x, start)
    if low > 0 or high < 0:
        return _within(down(1 / high) if math.isfinite(high) else 0.0, up(1 / low) if math.isfinite(low) else 0.0, None)
    return Bound(0.0, -INF, INF, None)


def _power(xs: list[Bound], start: float) -> Bound:
    x, y = xs
    low, power = ends(x, start)[0], y.low
    if y.low != y.high or not math.isfinite(power):
        return Bound(0.0, -INF, INF, None)
    if power != int(power):
        if low <= 0:
            return Bound(0.0, -INF, INF, None)
        return (
            _within(0.0, INF, _sum((1.0,), _whole(x, math.ceil(power), start).size))
            if power > 0
            else _within(0.0, up(up(low**power)), None)
        )
    whole = _whole(x, abs(int(power)), start)
    return whole if power >= 0 else _inverse(whole, start)


def _whole(x: Bound, power: int, start: float) -> Bound:
    out = _constant(1.0)
    for _ in range(power):
        out = _multiply([out, x], start)
    return _within(max(out.low, 0.0), max(map(abs, ends(out, start))), out.size) if power % 2 == 0 and power else out


def _absolute(xs: list[Bound], start: float) -> Bound:
    (x,) = xs
    low, high = ends(x, start)
    if low >= 0:
        return x
    return _negative(xs, start) if high <= 0 else _within(0.0, max(-low, high), x.size)


def _extreme(pick: Callable[..., float], xs: list[Bound], start: float) -> Bound:
    x, y = xs
    low, high = ends(_add([x, _negative([y], start)], start), start)
    if low >= 0 or high <= 0:
        return x if (low >= 0) == (pick is max) else y
    (a, b), (c, d) = ends(x, start), ends(y, start)
    size = _larger(x.size, y.size)
    if (b <= 0) if pick is max else (a >= 0):  # where x is picked y is no smaller in size
        size = y.size
    elif (d <= 0) if pick is max else (c >= 0):
        size = x.size
    return _within(pick(a, c), pick(b, d), size)


def _clamp(xs: list[Bound], start: float) -> Bound:
    return _extreme(min, [_extreme(max, xs[:2], start), xs[2]], start)


def _root_inverse(xs: list[Bound], start: float) -> Bound:
    return _inverse(_monotone("sqrt", xs[0], start), start)


def _monotone(name: str, x: Bound, start: float) -> Bound:
    """From both ends; what is added to the size where one is infinite is given below."""
    arb = flint().arb
    found = []
    for end, limit in zip(ends(x, start), LIMITS.get(name, (math.nan, math.nan)), strict=True):
        if math.isfinite(end):
            value = ANALYTIC[name](arb(end))
            found += [below(value), above(value)] if value.is_finite() else [-INF, INF]
        else:
            found += [-INF, INF] if math.isnan(limit) else [limit]
    first, size = ends(x, start)[0], None
    if name == "asinh":  # abs(asinh u) <= abs(u)
        size = x.size
    elif name == "sqrt" and first >= 0:  # sqrt(u) <= 1 + u
        size = _sum((1.0,), x.size)
    elif name in ("log", "log1p") and math.isfinite(found[0]):  # abs(log u) <= abs(log low) + abs(u) for u >= low > 0
        size = _sum((abs(found[0]),), x.size)
    return _within(min(found), max(found), size)


RULES: dict[str, Callable[[list[Bound], float], Bound]] = {
    "add": _add,
    "add_any": _add,
    "sub": lambda xs, start: _add([xs[0], _negative(xs[1:], start)], start),
    "mul": _multiply,
    "div": _divide,
    "neg": _negative,
    "square": lambda xs, start: _whole(xs[0], 2, start),
    "integer_pow": _power,
    "pow": _power,
    "rsqrt": _root_inverse,
    "abs": _absolute,
    "max": functools.partial(_extreme, max),
    "min": functools.partial(_extreme, min),
    "clamp": _clamp,
    "sign": lambda xs, start: _within(-1.0, 1.0, None),
    "sin": lambda xs, start: _within(-1.0, 1.0, None),
    "cos": lambda xs, start: _within(-1.0, 1.0, None),
    "cosh": lambda xs, start: _whole_line(),
    "tan": lambda xs, start: _whole_line(),
}


def _whole_line() -> Bound:
    return Bound(0.0, -INF, INF, None)
