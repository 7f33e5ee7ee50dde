"""Ranges of numbers, even on a scale."""

import math
from typing import Any, NamedTuple

from jnorm._ground import checks
from jnorm.sweeps._numbers import as_python, is_number

_SCALES = ("linear", "log", "one_minus_log")


class Range(NamedTuple):
    """An interval of numbers that is searched evenly on some scale.

    Attributes:
        low: the least value.
        high: the greatest.
        scale: ``"linear"``, ``"log"`` or ``"one_minus_log"``: what is uniform is x, log(x) or log(1 - x).
        whole: whether only whole numbers are meant, both ends included.
    """

    low: float
    high: float
    scale: str = "linear"
    whole: bool = False

    def at(self, u: float) -> float:
        """The value at a share of the way, by this scale.

        Args:
            u: the share, in [0, 1].

        Returns:
            A number in [low, high].

        Raises:
            ValueError: u is not in [0, 1].

        >>> log_uniform(1e-4, 1.0).at(1.0), uniform(0.0, 1.0).at(0.25), integers(1, 6).at(0.99)
        (1.0, 0.25, 6)
        """
        if not 0 <= u <= 1:
            raise ValueError(f"`u` must satisfy 0 <= u <= 1; got {u}")
        if u in (0, 1):
            return self.high if u else self.low
        low, high = self._ends()
        t = low + u * (high - low)
        value = t if self.scale == "linear" else math.exp(t) if self.scale == "log" else 1 - math.exp(t)
        inside = min(max(value, self.low), self.high)
        return round(inside) if self.whole else inside

    def share(self, value: float) -> float:
        """The share of the way at a value: the inverse of `at`.

        Args:
            value: a number in [low, high].

        Returns:
            A number in [0, 1]; a half where low and high are one.

        Raises:
            ValueError: the value is not in [low, high].

        >>> round(one_minus_log_uniform(0.9, 0.999).share(0.99), 9)
        0.5
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"`value` must satisfy {self.low} <= value <= {self.high}; got {value!r}")
        low, high = self._ends()
        return (self._coordinate(value) - low) / (high - low) if high != low else 0.5

    def _ends(self) -> tuple[float, float]:
        half = 0.5 if self.whole else 0.0  # each whole number has the numbers that round to it
        return self._coordinate(self.low - half), self._coordinate(self.high + half)

    def _coordinate(self, value: float) -> float:
        if self.scale == "linear":
            return value
        return math.log(value if self.scale == "log" else 1 - value)


def uniform(low: float, high: float) -> Range:
    """Real numbers, evenly.

    Args:
        low: the least value.
        high: the greatest.

    Returns:
        The range.

    Raises:
        ValueError: low >= high, or an end is not finite.
        TypeError: an end is no number.

    >>> uniform(0.0, 0.5).at(0.5)
    0.25
    """
    return checked(Range(low, high))


def log_uniform(low: float, high: float) -> Range:
    """Real numbers whose logarithm is uniform: for learning rates.

    Args:
        low: the least value, positive.
        high: the greatest.

    Returns:
        The range.

    Raises:
        ValueError: low <= 0, low >= high, or an end is not finite.
        TypeError: an end is no number.

    >>> round(log_uniform(1.0, 100.0).at(0.5), 9)
    10.0
    """
    return checked(Range(low, high, "log"))


def one_minus_log_uniform(low: float, high: float) -> Range:
    """Numbers whose distance to 1 is log-uniform: for momentum and decays.

    Args:
        low: the least value.
        high: the greatest, below 1.

    Returns:
        The range.

    Raises:
        ValueError: high >= 1, low >= high, or an end is not finite.
        TypeError: an end is no number.

    >>> round(one_minus_log_uniform(0.9, 0.999).at(0.5), 9)
    0.99
    """
    return checked(Range(low, high, "one_minus_log"))


def integers(low: int, high: int, *, log: bool = False) -> Range:
    """Whole numbers, equally likely or about as 1/n.

    Args:
        low: the least value.
        high: the greatest, which may occur too.
        log: whether n comes up about as often as 1/n says; then low must be at least 1.

    Returns:
        The range.

    Raises:
        ValueError: an end is not whole or not finite, low >= high, or low < 1 with ``log``.
        TypeError: an end is no number.

    >>> [integers(1, 3).at(u) for u in (0.0, 0.5, 1.0)]
    [1, 2, 3]
    """
    return checked(Range(low, high, "log" if log else "linear", whole=True))


def checked(values: Range, *, point: bool = False) -> Range:
    """A range with ends that are Python's numbers, if it is one on its scale; of one value only if it may be a point.

    >>> checked(Range(0.0, 1.0, "log"))
    Traceback (most recent call last):
    ...
    ValueError: `low` must satisfy low > 0; got 0.0
    """
    checks.choice("scale", values.scale, _SCALES)
    low, high = _number("low", values.low, values.whole), _number("high", values.high, values.whole)
    if values.scale == "log" and values.whole and low < 1:
        raise ValueError(f"`low` must satisfy low >= 1; got {low}")
    if values.scale == "log" and low <= 0:
        raise ValueError(f"`low` must satisfy low > 0; got {low}")
    if values.scale == "one_minus_log" and high >= 1:
        raise ValueError(f"`high` must satisfy high < 1; got {high}")
    if high < low or (high == low and not point):
        raise ValueError(f"`high` must satisfy high > low = {low}; got {high}")
    if not math.isfinite(high - low):
        raise ValueError(f"`high` must satisfy high - low < 1.8e308; got {low} and {high}")
    return Range(low, high, values.scale, values.whole)


def _number(name: str, value: Any, whole: bool) -> Any:
    number = as_python(value)
    if not is_number(number) or isinstance(number, bool):
        raise TypeError(f"`{name}` must be a number; got {value!r}")
    try:
        finite = math.isfinite(number)
    except OverflowError:  # a whole number beyond float64
        finite = False
    if not finite:
        raise ValueError(f"`{name}` must be a finite number of double precision; got {value!r}")
    if whole and number != int(number):
        raise ValueError(f"`{name}` must be a whole number; got {value!r}")
    return int(number) if whole else number
