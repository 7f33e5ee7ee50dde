"""Regions of (mean, var): rectangles cut by a strip, as high variances bring high means."""

from collections.abc import Sequence
from typing import NamedTuple

from jnorm.proofs._balls import outward, rational
from jnorm.proofs._domains import Domain
from jnorm.proofs._shapes import Interval, IntervalLike, interval


class Region(NamedTuple):
    """What (mean, var) of one layer lie in.

    Attributes:
        mean: Interval of the mean.
        var: Interval of the variance; open below where it starts at 0.
        offset: Interval of mean - slope*var, for the one slope of a path.
    """

    mean: Interval
    var: Interval
    offset: Interval

    def under(self, omega: IntervalLike, tau: IntervalLike, slope: float) -> Domain:
        """The domain of this region with weights of these intervals."""
        low, high = self.offset
        return Domain(self.mean, self.var, omega, tau, (slope, low, high), open_at_zero=True)


def rectangle(mean: Interval, var: Interval, slope: float) -> Region:
    """The region whose strip cuts nothing off."""
    low, high = (rational(mean[k]) - rational(slope) * rational(var[1 - k]) for k in (0, 1))
    return Region(mean, var, (outward(low, -1), outward(high, 1)))


def regions(name: str, values: Sequence[Sequence[IntervalLike]]) -> list[Region]:
    """A path's regions, one at least; else ``ValueError`` with the argument's name."""
    if not values or any(len(value) != 3 for value in values):
        raise ValueError(f"`{name}` must hold a triple of mean, var and offset at least; got {values!r}"[:200])
    return [Region(*(interval(name, ends) for ends in value)) for value in values]


def within(inner: Sequence[Interval], outer: Sequence[Interval]) -> bool:
    """Whether mean and variance of one rectangle or region lie in another's."""
    return all(outer[k][0] <= inner[k][0] and inner[k][1] <= outer[k][1] for k in (0, 1))
