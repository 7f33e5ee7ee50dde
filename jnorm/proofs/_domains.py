"""Boxes of (mean, var, omega, tau), exactly: their image in (m, v), the fibres over it, and whether boxes cover it.

**Four dimensions are two.** Only (m, v) = (mean*omega, var*tau) enter the moments of z = w.x. What is left of omega
and tau along a fibre of equal (m, v) enters every certified quantity monotonically, so its extreme sits at an end of
the fibre, which is known in closed form: abs(omega) <= min(max abs(omega), abs(m)/min abs(mean)) and
max(tau_low, v/var_high) <= tau <= min(tau_high, v/var_low).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from jnorm._ground.checks import require
from jnorm.proofs._enclosures import Box, Moments, decimal, rational

Pair = tuple[float, float]
Point = tuple[float, float, float, float]  # mean, var, omega, tau


def pair(name: str, value: float | Sequence[float]) -> Pair:
    """``value`` as (low, high); a number is a box of no width. Raises ``ValueError`` if empty or inverted.

    >>> pair("mean", (0.1, -0.1))
    Traceback (most recent call last):
    ...
    ValueError: `mean` must satisfy low <= high; got (0.1, -0.1)
    """
    ends = np.atleast_1d(np.asarray(value, dtype=float))
    if ends.shape not in ((1,), (2,)):
        raise ValueError(f"`{name}` must be a number or a pair (low, high); got {value!r}")
    low, high = float(ends[0]), float(ends[-1])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"`{name}` must be finite; got {value!r}")
    if low > high:
        raise ValueError(f"`{name}` must satisfy low <= high; got ({low}, {high})")
    return low, high


@dataclass(frozen=True)
class Domain:
    """Box of mean, var, omega and tau; each end is the decimal that it prints as (0.1 is one tenth).

    ``var`` may start at 0, where it is open. ``strip`` = (slope, low, high) with slope > 0 leaves only the points with
    low <= mean - slope*var <= high. Raises ``ValueError`` for empty or inverted ends, negative variances and
    tau <= 0.
    """

    mean: Pair
    var: Pair
    omega: Pair
    tau: Pair
    strip: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "var", "omega", "tau"):
            object.__setattr__(self, name, pair(name, getattr(self, name)))
        require(lambda x: x >= 0, "`{}` must satisfy {} > 0", var=self.var[0])
        require(lambda x: x > 0, "`{}` must satisfy {} > 0", tau=self.tau[0], var=self.var[1])

    def parts(self) -> Iterator["Domain"]:
        """The domain, cut at omega = 0 unless omega is symmetric or of one sign: there the fibres are exact."""
        low, high = self.omega
        if low < 0 < high and low != -high:
            yield replace(self, omega=(low, 0.0))
            yield replace(self, omega=(0.0, high))
        else:
            yield self

    @cached_property
    def box(self) -> Box:
        """Smallest box of floats that holds every (mean*omega, var*tau)."""
        ms = [rational(a) * rational(b) for a in self.mean for b in self.omega]
        v0, v1 = (rational(a) * rational(b) for a, b in zip(self.var, self.tau, strict=True))
        return outward(min(ms), -1), outward(max(ms), 1), outward(v0, -1), outward(v1, 1)

    def clip(self, box: Box) -> Box | None:
        """The part of a box that the strip leaves, or None where it leaves nothing."""
        if self.strip is None:
            return box
        slope, low, high = self.strip
        var = max(self.var[0], box[2] / self.tau[1]), min(self.var[1], box[3] / self.tau[0])
        mean = max(self.mean[0], low + slope * var[0]), min(self.mean[1], high + slope * var[1])
        if mean[0] > mean[1] + _slack(*mean):
            return None
        ends = [a * b for a in mean for b in self.omega]
        m0, m1 = max(box[0], min(ends) - _slack(*ends)), min(box[1], max(ends) + _slack(*ends))
        return (m0, m1, box[2], box[3]) if m0 <= m1 else None

    @cached_property
    def switches(self) -> list[float]:
        """Where an end of the fibre changes its branch in v."""
        var, tau = map(rational, self.var), map(rational, reversed(self.tau))
        inner = {float(a * b) for a, b in zip(var, tau, strict=True)}
        return sorted(v for v in inner if self.box[2] < v < self.box[3])

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Largest abs(omega) and least abs(mean)."""
        return max(map(abs, self.omega)), 0.0 if self.mean[0] <= 0 <= self.mean[1] else min(map(abs, self.mean))

    def fibre(self, x: Moments, box: Box, heavy: bool) -> tuple[Any, Any, Any]:
        """Largest abs(omega), and the largest tau (``heavy``) or the largest variance with the other of the two.

        Each is the lesser of two branches, of which either one is a bound: a box takes its centre's.
        """
        omega, mean = self._ends
        m, v = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
        w = decimal(omega)
        if mean > 0 and abs(m) < mean * omega and (box[0] >= 0 or box[1] <= 0):
            w = x.m / decimal(math.copysign(mean, m))
        if heavy:
            if v >= self.var[0] * self.tau[1]:
                return w, decimal(self.tau[1]), x.v / decimal(self.tau[1])
            return w, x.v / decimal(self.var[0]), decimal(self.var[0])
        if v >= self.var[1] * self.tau[0]:
            return w, x.v / decimal(self.var[1]), decimal(self.var[1])
        return w, decimal(self.tau[0]), x.v / decimal(self.tau[0])

    def lift(self, m: float, v: float, heavy: bool) -> Point:
        """A point of the domain at that end of the fibre over (m, v), up to rounding."""
        largest, least = self._ends
        w = min(largest, abs(m) / least) if least else largest
        signed = [_clip(sign * w, self.omega) for sign in (1.0, -1.0)]
        ends = self.mean
        if self.strip is not None:
            slope, low, high = self.strip  # a slack inside, so that rounding leaves the point in the strip
            ends = (
                max(ends[0], low + slope * self.var[0] + _slack(low)),
                min(ends[1], high + slope * self.var[1] - _slack(high)),
            )
        tries = [self._raise(_clip(m / o, ends) if o else ends[0], o, v, heavy) for o in signed]
        return min(tries, key=lambda point: (point not in self, abs(point[0] * point[2] - m)))

    def _raise(self, mean: float, omega: float, v: float, heavy: bool) -> Point:
        low, high = self.var
        if self.strip is not None:
            slope, least, most = self.strip
            low, high = max(low, (mean - most + _slack(mean)) / slope), min(high, (mean - least - _slack(mean)) / slope)
        if heavy:
            tau = _clip(v / low, self.tau) if low > 0 else self.tau[1]
            return mean, _clip(v / tau, (low, high)), omega, tau
        var = _clip(v / self.tau[0], (low, high))
        return mean, var, omega, _clip(v / var, self.tau) if var > 0 else self.tau[1]

    def __contains__(self, point: Point) -> bool:
        ends = (self.mean, self.var, self.omega, self.tau)
        inside = all(low <= x <= high for x, (low, high) in zip(point, ends, strict=True))
        if self.strip is None or not inside:
            return inside
        slope, low, high = map(rational, self.strip)
        return low <= rational(point[0]) - slope * rational(point[1]) <= high


def _slack(*terms: float) -> float:
    """Room for the few roundings of a sum of such terms."""
    return 1e-12 * max(map(abs, terms)) + 1e-300


def _clip(x: float, ends: Pair) -> float:
    """The nearest point between the ends, and an end itself where rounding alone parts them."""
    near = [end for end in ends if math.isclose(x, end, rel_tol=1e-14)]
    return near[0] if near else min(max(x, ends[0]), ends[1])


def outward(x: Fraction, side: int) -> float:
    """The nearest float that is not below x (side 1) or not above it (side -1)."""
    near = float(x)
    return near if (Fraction(near) - x) * side >= 0 else math.nextafter(near, side * math.inf)


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
