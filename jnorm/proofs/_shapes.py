"""The sets that the proofs are about, each under one name.

- An **interval** is (low, high), both ends included; where a user gives a number, an interval of no width.
- A **point** is (mean, var, omega, tau).
- A **domain** is an interval for each of the four, perhaps cut by a strip (`_domains`).
- A **box** is a rectangle in the plane of (m, v) = (mean*omega, var*tau): what the search halves.
- A **region** is a rectangle in the plane of (mean, var), cut by a strip (`_regions`): what a path leads through.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Interval = tuple[float, float]
IntervalLike = float | Sequence[float]
Box = tuple[float, float, float, float]  # m_low, m_high, v_low, v_high


class Point(NamedTuple):
    """What one unit of a layer meets.

    Attributes:
        mean: Mean of the layer's input.
        var: Variance of the layer's input.
        omega: Sum of the unit's weights.
        tau: Sum of the squares of the unit's weights.
    """

    mean: float
    var: float
    omega: float
    tau: float


class Activation:
    """What proofs take in the place of a scaled ELU's `Point`: any function whose moments are enclosed.

    Attributes:
        name: What texts call it.
    """

    name: str

    @property
    def slopes(self) -> "Activation":
        """The square of its derivative."""
        raise NotImplementedError

    def at(self, m: Any, v: Any) -> Any:
        """The enclosure at one (m, v)."""
        raise NotImplementedError

    def over(self, box: Box) -> Any:
        """The enclosure over a box."""
        raise NotImplementedError


Target = Point | Activation
"""Which activation a statement is about."""

SELU = Point(0.0, 1.0, 0.0, 1.0)  # the fixed point that defines SELU's lam and alpha


def number(name: str, value: object, *, positive: bool = False) -> float:
    """``value`` as a finite float.

    Args:
        name: What an error calls the value.
        value: A real number: no text, no truth value.
        positive: Whether it must be above zero.

    Raises:
        ValueError: For anything else, NaN and infinities.

    >>> number("tol", 1)
    1.0
    >>> number("tol", "1e-9")
    Traceback (most recent call last):
    ...
    ValueError: `tol` must be a number; got '1e-9'
    """
    try:
        if isinstance(value, str | bytes | bool | np.bool_ | complex):
            raise TypeError
        x = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a number; got {value!r}") from None
    except OverflowError:
        x = math.inf
    if not math.isfinite(x):
        raise ValueError(f"`{name}` must be finite; got {value!r}")
    if positive and x <= 0:
        raise ValueError(f"`{name}` must satisfy {name} > 0; got {x}")
    return x


def digits(x: float) -> str:
    """All digits of a number, so that no text says more than was shown: 1.5, and 1 for 1.0."""
    return repr(float(x)).removesuffix(".0")


def whole(name: str, value: object, least: int) -> int:
    """``value`` as a whole number that is at least ``least``, or ``ValueError``."""
    x = number(name, value)
    if x != math.floor(x) or x < least:
        raise ValueError(f"`{name}` must be a whole number >= {least}; got {value!r}")
    return int(x)


def target_point(target: Sequence[float], weights: Sequence[float]) -> Point:
    """The fixed point (mean, var) at weights (omega, tau) that defines lam and alpha; else ``ValueError``."""
    if not all(isinstance(pair, Sequence | np.ndarray) and len(pair) == 2 for pair in (target, weights)):
        raise ValueError(f"`target` must be (mean, var) and `weights` (omega, tau); got {target!r} and {weights!r}")
    point = origin((*target, *weights))
    assert isinstance(point, Point)
    return point


def origin(point: Sequence[float] | Activation) -> Target:
    """(mean, var, omega, tau) of a fixed point that can define lam and alpha, or ``ValueError`` with the argument."""
    if isinstance(point, Activation):
        return point
    if not isinstance(point, Sequence) or len(point) != 4:
        raise ValueError(f"`target` must be (mean, var, omega, tau); got {point!r}")
    mean, var, omega, tau = (number(name, x) for name, x in zip(Point._fields, point, strict=True))
    for name, x in (("var", var), ("tau", tau)):
        if x <= 0:
            raise ValueError(f"`{name}` must satisfy 0 < {name} < inf; got {x}")
    return Point(mean, var, omega, tau)


def interval(name: str, value: IntervalLike) -> Interval:
    """``value`` as (low, high).

    Args:
        name: What an error calls the value.
        value: A number, or a pair (low, high).

    Raises:
        ValueError: For another shape, an end that is not a finite number, or low > high.

    >>> interval("mean", 1), interval("mean", [0.5, 2])
    ((1.0, 1.0), (0.5, 2.0))
    >>> interval("mean", (0.1, -0.1))
    Traceback (most recent call last):
    ...
    ValueError: `mean` must satisfy low <= high; got (0.1, -0.1)
    """
    axes = getattr(value, "ndim", int(isinstance(value, Sequence)))
    ends = list(value) if axes == 1 and not isinstance(value, str | bytes) else [value, value]  # type: ignore[arg-type]
    if axes > 1 or len(ends) != 2 or isinstance(value, str | bytes | dict):
        raise ValueError(f"`{name}` must be a number or a pair (low, high); got {value!r}")
    low, high = (number(name, end) for end in ends)
    if low > high:
        raise ValueError(f"`{name}` must satisfy low <= high; got ({low}, {high})")
    return low, high


def covers(box: Box, leaves: Sequence[Box]) -> bool:
    """Whether the leaves cover a box: no cell of the grid of all their ends is left free. Comparisons only, so exact.

    >>> covers((0, 1, 0, 2), [(0, 1, 0, 1), (0, 0.5, 1, 2), (0.5, 1, 1, 2)])
    True
    >>> covers((0, 1, 0, 2), [(0, 1, 0, 1), (0, 0.5, 1, 2), (0.6, 1, 1, 2)])
    False
    """
    if any(m0 <= box[0] and box[1] <= m1 and v0 <= box[2] and box[3] <= v1 for m0, m1, v0, v1 in leaves):
        return True
    array = np.asarray(leaves, dtype=float).reshape(-1, 4)
    low, high = array[:, ::2], array[:, 1::2]
    meets = (low <= high) & (low <= np.take(box, [1, 3])) & (high >= np.take(box, [0, 2]))
    array = array[meets.all(axis=1)].clip(np.take(box, [0, 0, 2, 2]), np.take(box, [1, 1, 3, 3]))
    m, v = (np.unique(np.append(array[:, k : k + 2], box[k : k + 2])) for k in (0, 2))
    count = np.zeros((len(m) + 1, len(v) + 1), dtype=int)
    m0, m1, v0, v1 = (np.searchsorted(ends, array[:, k]) for ends, k in ((m, 0), (m, 1), (v, 2), (v, 3)))
    # A box without width covers itself: count cells between ends, and the last end as a cell of its own.
    m1, v1 = np.where(m1 == len(m) - 1, m1 + 1, m1), np.where(v1 == len(v) - 1, v1 + 1, v1)
    for rows, columns, step in ((m0, v0, 1), (m0, v1, -1), (m1, v0, -1), (m1, v1, 1)):
        np.add.at(count, (rows, columns), step)
    return bool((count.cumsum(0).cumsum(1)[:-1, :-1] > 0).all())
