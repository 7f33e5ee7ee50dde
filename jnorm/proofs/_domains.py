"""Domains of (mean, var, omega, tau), exactly: their image in (m, v), and the fibres over it.

**Four dimensions are two.** Only (m, v) = (mean*omega, var*tau) enter the moments of z = w.x. What is left of omega
and tau along a fibre of equal (m, v) enters every certified quantity monotonically, so its extreme sits at an end of
the fibre, which is known in closed form: abs(omega) <= min(max abs(omega), abs(m)/min abs(mean)) and
max(tau_low, v/var_high) <= tau <= min(tau_high, v/var_low).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jnorm._ground.checks import require
from jnorm.proofs._balls import decimal, outward, rational
from jnorm.proofs._shapes import Box, Interval, IntervalLike, Point, interval, number

OMEGA, TAU, WIDE_TAU = (-0.1, 0.1), (0.95, 1.1), (0.8, 1.25)  # the paper's
LARGEST = 1e100  # no end of an interval is further out, or positive and closer to zero than its inverse


@dataclass(frozen=True, init=False)
class Domain:
    """Where an inequality is to hold: an interval each of mean, var, omega and tau, perhaps cut by a strip.

    Each end is the decimal that it prints as: 0.1 is one tenth.

    Attributes:
        mean: Interval of the mean of a layer's input.
        var: Interval of its variance; open below where it starts at 0.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights.
        strip: (slope, low, high) with slope > 0 leaves only the points with low <= mean - slope*var <= high.
    """

    mean: Interval
    var: Interval
    omega: Interval
    tau: Interval
    strip: tuple[float, float, float] | None = None

    def __init__(
        self,
        mean: IntervalLike,
        var: IntervalLike,
        omega: IntervalLike,
        tau: IntervalLike,
        strip: tuple[float, float, float] | None = None,
        *,
        open_at_zero: bool = False,
    ) -> None:
        """The domain of four intervals; every precondition of the proofs is checked here.

        Args:
            mean: Interval of the mean.
            var: Interval of the variance, > 0.
            omega: Interval of the sum of weights.
            tau: Interval of the sum of squared weights, > 0.
            strip: Slope > 0, least and largest mean - slope*var.
            open_at_zero: Whether ``var`` may start at 0, which the domain then leaves out.

        Raises:
            ValueError: For an interval that is not one, var <= 0, tau <= 0, an end beyond 1e100, a var or tau below
                1e-100, a strip whose slope is not positive, whose ends are inverted or which leaves no point.
        """
        for name, value in (("mean", mean), ("var", var), ("omega", omega), ("tau", tau)):
            ends = interval(name, value)
            object.__setattr__(self, name, ends)
            if max(map(abs, ends)) > LARGEST:
                raise ValueError(f"`{name}` must lie within -1e100 and 1e100; got {ends}")
        require(lambda x: (x >= 0) if open_at_zero else (x > 0), "`{}` must satisfy {} > 0", var=self.var[0])
        require(lambda x: x > 0, "`{}` must satisfy {} > 0", tau=self.tau[0], var=self.var[1])
        for name, least in (("var", self.var[0] or self.var[1]), ("tau", self.tau[0])):
            if least < 1 / LARGEST:
                raise ValueError(f"`{name}` must be at least 1e-100; got {least}")
        object.__setattr__(self, "strip", None if strip is None else self._checked(strip))

    def _checked(self, strip: tuple[float, float, float]) -> tuple[float, float, float]:
        """The strip as floats, or ``ValueError`` where it is none or leaves nothing of the rectangle."""
        if len(strip) != 3:
            raise ValueError(f"`strip` must be (slope, low, high); got {strip!r}")
        slope, low, high = (number("strip", x) for x in strip)
        if not 1 / LARGEST <= slope <= LARGEST:
            raise ValueError(f"`strip` must have a slope > 0, from 1e-100 to 1e100; got {slope}")
        if low > high:
            raise ValueError(f"`strip` must satisfy low <= high; got ({low}, {high})")
        least, most = (rational(self.mean[k]) - rational(slope) * rational(self.var[1 - k]) for k in (0, 1))
        if rational(high) < least or rational(low) > most:
            raise ValueError(f"`strip` must leave a point of the domain; got ({slope}, {low}, {high})")
        return slope, low, high

    def parts(self) -> Iterator["Domain"]:
        """The domain, cut at omega = 0 unless omega is symmetric or of one sign: there the fibres are exact."""
        low, high = self.omega
        if low < 0 < high and low != -high:
            for omega in ((low, 0.0), (0.0, high)):
                yield Domain(self.mean, self.var, omega, self.tau, self.strip, open_at_zero=True)
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
        least, most = max(self.var[0], box[2] / self.tau[1]), min(self.var[1], box[3] / self.tau[0])
        bottom, top = slope * least, slope * most
        # Ends are decimals and box ends are floats; what is rounded is never more than its terms say.
        slack = _slack(low, high, bottom, top, *self.mean)
        mean = max(self.mean[0], low + bottom) - slack, min(self.mean[1], high + top) + slack
        if mean[0] > mean[1]:
            return None
        ends = [a * b for a in mean for b in self.omega]
        slack = _slack(*ends)
        m0, m1 = max(box[0], min(ends) - slack), min(box[1], max(ends) + slack)
        return (m0, m1, box[2], box[3]) if m0 <= m1 else None

    @cached_property
    def switches(self) -> list[float]:
        """Where an end of the fibre changes its branch in v."""
        var, tau = map(rational, self.var), map(rational, reversed(self.tau))
        inner = {float(a * b) for a, b in zip(var, tau, strict=True)}
        return sorted(v for v in inner if self.box[2] < v < self.box[3])

    @cached_property
    def _sizes(self) -> tuple[float, float]:
        """Largest abs(omega) and least abs(mean)."""
        return max(map(abs, self.omega)), 0.0 if self.mean[0] <= 0 <= self.mean[1] else min(map(abs, self.mean))

    def fibre(self, m: Any, v: Any, box: Box, at_largest_tau: bool) -> tuple[Any, Any, Any]:
        """Largest abs(omega), and tau with var at the end of the fibre where tau is largest, or var is.

        Each is the lesser of two branches, of which either one is a bound: a box takes its centre's.

        Args:
            m: Ball or jet of m.
            v: Ball or jet of v.
            box: The box that they come from.
            at_largest_tau: Which end.

        Returns:
            abs(omega), tau and var, as balls or jets.
        """
        largest, least = self._sizes
        centre_m, centre_v = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
        omega = decimal(largest)
        if least > 0 and abs(centre_m) < least * largest and (box[0] >= 0 or box[1] <= 0):
            omega = m / decimal(math.copysign(least, centre_m))
        if at_largest_tau:
            if centre_v >= self.var[0] * self.tau[1]:
                return omega, decimal(self.tau[1]), v / decimal(self.tau[1])
            return omega, v / decimal(self.var[0]), decimal(self.var[0])
        if centre_v >= self.var[1] * self.tau[0]:
            return omega, v / decimal(self.var[1]), decimal(self.var[1])
        return omega, decimal(self.tau[0]), v / decimal(self.tau[0])

    def lift(self, m: float, v: float, at_largest_tau: bool) -> Point:
        """A point of the domain at that end of the fibre over (m, v), up to rounding."""
        largest, least = self._sizes
        size = min(largest, abs(m) / least) if least else largest
        omegas = [_clip(sign * size, self.omega) for sign in (1.0, -1.0)]
        ends = self.mean
        if self.strip is not None:
            slope, low, high = self.strip  # a slack inside, so that rounding leaves the point in the strip
            ends = (
                max(ends[0], low + slope * self.var[0] + 4 * _slack(low, high, slope * self.var[0])),
                min(ends[1], high + slope * self.var[1] - 4 * _slack(low, high, slope * self.var[1])),
            )
        points = [self._over(_clip(m / w, ends) if w else ends[0], w, v, at_largest_tau) for w in omegas]
        return min(points, key=lambda point: (point not in self, abs(point.mean * point.omega - m)))

    def _over(self, mean: float, omega: float, v: float, at_largest_tau: bool) -> Point:
        """The point with var*tau = v at that end."""
        low, high = self.var
        if self.strip is not None:
            slope, least, most = self.strip
            inside = _slack(mean, most, least)
            low, high = max(low, (mean - most + inside) / slope), min(high, (mean - least - inside) / slope)
        if at_largest_tau:
            tau = _clip(v / low, self.tau) if low > 0 else self.tau[1]
            return Point(mean, _clip(v / tau, (low, high)), omega, tau)
        var = _clip(v / self.tau[0], (low, high))
        return Point(mean, var, omega, _clip(v / var, self.tau) if var > 0 else self.tau[1])

    def __contains__(self, point: tuple[float, float, float, float]) -> bool:
        ends = (self.mean, self.var, self.omega, self.tau)
        inside = all(low <= x <= high for x, (low, high) in zip(point, ends, strict=True))
        if self.strip is None or not inside:
            return inside
        slope, low, high = map(rational, self.strip)
        return low <= rational(point[0]) - slope * rational(point[1]) <= high


def _slack(*terms: float) -> float:
    """Room for sixteen roundings of a sum of such terms; none of a sum's cancellation shrinks it."""
    return 2.0**-48 * math.fsum(map(abs, terms)) + 1e-300


def _clip(x: float, ends: Interval) -> float:
    """The nearest point between the ends, and an end itself where rounding alone parts them."""
    near = [end for end in ends if math.isclose(x, end, rel_tol=1e-14)]
    return near[0] if near else min(max(x, ends[0]), ends[1])
