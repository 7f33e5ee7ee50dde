"""Ball arithmetic (python-flint, extra: verify): exact decimals, the working precision, and rounding outward."""

import math
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any

Ball = Any  # flint.arb: python-flint is optional, so no annotation may need it
BITS = 128  # 38 digits: what the searches compute with


def flint() -> ModuleType:
    """The python-flint module.

    Raises:
        ModuleNotFoundError: Where it is absent; the message names the extra.
    """
    try:
        import flint
    except ImportError as error:
        message = 'interval proofs need python-flint: pip install "jnorm[verify]"'
        raise ModuleNotFoundError(message, name="flint") from error
    return flint


def working(bits: int = BITS) -> Any:
    """Context in which balls carry this many bits."""
    return flint().ctx.workprec(bits)


def rational(x: float) -> Fraction:
    """The decimal that a number prints as: 0.1 is one tenth, in a theorem as on paper."""
    return Fraction(repr(float(x)))


def decimal(x: float) -> Ball:
    """Ball around ``rational(x)`` at the working precision."""
    return _decimal(x, flint().ctx.prec)


@lru_cache(maxsize=256)
def _decimal(x: float, bits: int) -> Ball:
    del bits  # the working precision, part of the cache's key
    exact = rational(x)
    return flint().arb(flint().fmpq(exact.numerator, exact.denominator))


def below(x: Ball) -> float:
    """Largest float that is surely not above the ball (-inf where it is not finite)."""
    return _toward(x.lower(), -math.inf) if x.is_finite() else -math.inf


def above(x: Ball) -> float:
    """Smallest float that is surely not below the ball (inf where it is not finite)."""
    return _toward(x.upper(), math.inf) if x.is_finite() else math.inf


def _toward(end: Ball, side: float) -> float:
    x = float(end)
    exact = flint().arb(x)
    return x if (exact <= end if side < 0 else exact >= end) else math.nextafter(x, side)


def outward(x: Fraction, side: int) -> float:
    """The nearest float that is not below x (side 1) or not above it (side -1)."""
    near = float(x)
    return near if (Fraction(near) - x) * side >= 0 else math.nextafter(near, side * math.inf)


def meet(a: Ball, b: Ball) -> Ball:
    """What two enclosures of the same number leave; one that is not finite says nothing."""
    if not b.is_finite():
        return a
    return a.intersection(b) if a.is_finite() else b


def density(x: Ball) -> Ball:
    """Standard normal density."""
    return (-x * x / 2).exp() / (2 * x.pi()).sqrt()


def tail(x: Ball) -> Ball:
    """Phi(-x), without cancellation for x > 0."""
    return (x / flint().arb(2).sqrt()).erfc() / 2
