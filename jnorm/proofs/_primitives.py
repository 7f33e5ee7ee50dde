"""What python-flint encloses: the elementwise primitives of a program, on real and on complex balls (extra: verify).

A ball function returns a set that holds every value on its argument. On a complex ball it returns a ball that is not
finite where the function is not analytic on all of it: at a pole, and on a branch cut.
"""

from collections.abc import Callable

from jnorm.proofs._balls import Ball, flint

Function = Callable[..., Ball]


def _is_complex(x: Ball) -> bool:
    return isinstance(x, flint().acb)


def _log(x: Ball) -> Ball:
    return x.log(analytic=True) if _is_complex(x) else x.log()


def _sqrt(x: Ball) -> Ball:
    return x.sqrt(analytic=True) if _is_complex(x) else x.sqrt()


def _log1p(x: Ball) -> Ball:
    return (x + 1).log(analytic=True) if _is_complex(x) else x.log1p()


def _power(x: Ball, y: Ball) -> Ball:
    whole = None if _is_complex(y) else y.unique_fmpz()
    return _whole_power(x, whole) if whole is not None and y.is_exact() else (y * _log(x)).exp()


def _whole_power(x: Ball, y: Ball) -> Ball:
    """By products, which do not need x != 0 as the logarithm does."""
    count, power = abs(int(y)), flint().arb(1)
    for bit in bin(count)[2:]:
        power = power * power * x if bit == "1" else power * power
    return power if y >= 0 else 1 / power


def _off(name: str, cut: Callable[[Ball], Ball]) -> Function:
    """A function whose branch cut is where ``cut`` is not positive: cut(x) <= 0 on it and nowhere else."""

    def f(x: Ball) -> Ball:
        if _is_complex(x) and not cut(x).log(analytic=True).is_finite():
            return flint().acb(flint().arb.nan())
        return getattr(x, name)()

    return f


def _method(name: str) -> Function:
    return lambda x: getattr(x, name)()


ANALYTIC: dict[str, Function] = {
    "add": lambda x, y: x + y,
    "add_any": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x: -x,
    "square": lambda x: x * x,
    "integer_pow": lambda x, y: _whole_power(x, y.unique_fmpz()),
    "pow": _power,
    "exp2": lambda x: (x * flint().arb.const_log2()).exp(),
    "log": _log,
    "log1p": _log1p,
    "sqrt": _sqrt,
    "rsqrt": lambda x: 1 / _sqrt(x),
    "logistic": lambda x: 1 / (1 + (-x).exp()),
    "asinh": _off("asinh", lambda x: 1 + x * x),
    "atan": _off("atan", lambda x: 1 + x * x),
    "atanh": _off("atanh", lambda x: 1 - x * x),
    **{name: _method(name) for name in ("exp", "expm1", "tanh", "sinh", "cosh", "sin", "cos", "tan", "erf", "erfc")},
}
"""Functions that are analytic but at poles and cuts."""

STEADY = frozenset({"exp", "exp2", "expm1", "tanh", "erf", "erfc", "logistic", "asinh", "atan", "sinh", "neg"})
"""Monotone on the whole line."""

LINEAR = frozenset({"add", "add_any", "sub", "mul", "div"})
"""Monotone in one argument where the other one is a number, but for a number that is divided."""

SAME = frozenset(
    {"broadcast_in_dim", "convert_element_type", "copy", "copy_p", "expand_dims", "optimization_barrier", "reshape"}
    | {"rev", "slice", "squeeze", "stop_gradient", "transpose"}
)
"""What changes no number where all numbers of an array are alike."""


def less(x: Ball, y: Ball) -> bool | None:
    """Whether x < y: surely, surely not, or None."""
    return True if x < y else False if x >= y else None


def at_most(x: Ball, y: Ball) -> bool | None:
    """Whether x <= y: surely, surely not, or None."""
    return True if x <= y else False if x > y else None


def equal(x: Ball, y: Ball) -> bool | None:
    """Whether x = y: surely, surely not, or None."""
    return False if not x.overlaps(y) else True if x.is_exact() and y.is_exact() else None


def negation(x: bool | None) -> bool | None:
    """The opposite, or None."""
    return None if x is None else not x


def both(x: bool | None, y: bool | None) -> bool | None:
    """Whether both hold, or None."""
    return False if x is False or y is False else None if x is None or y is None else True


COMPARED: dict[str, tuple[Callable[[Ball, Ball], bool | None], bool]] = {
    "lt": (less, False),
    "le": (at_most, True),
    "gt": (lambda x, y: less(y, x), False),
    "ge": (lambda x, y: at_most(y, x), True),
    "eq": (equal, True),
    "ne": (lambda x, y: negation(equal(x, y)), False),
}
"""Comparisons, and what they say of a number and itself."""

LOGICAL: dict[str, Callable[..., bool | None]] = {
    "and": both,
    "or": lambda x, y: negation(both(negation(x), negation(y))),
    "not": negation,
    "xor": lambda x, y: None if x is None or y is None else x != y,
    "is_finite": lambda x: True,
}
"""Operations of truth values."""

CHOSEN = frozenset({"max", "min", "abs", "sign", "clamp", "select_n"})
"""What is one of its arguments, or minus it, or a number, once it is known where the argument lies."""

NAMES = frozenset(ANALYTIC) | SAME | frozenset(COMPARED) | frozenset(LOGICAL) | CHOSEN
