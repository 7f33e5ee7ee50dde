"""Slopes of sizes over widths, with intervals, and verdicts on whether they are flat."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jnorm.theory._multipliers import table

QUANTITIES = ("start", "first", "last")
VERDICTS = ("not supported", "undecided", "supported")  # the first that occurs decides


class Slope(NamedTuple):
    """Of the logarithm of a size on the logarithm of the width.

    Attributes:
        value: That of the mean over seeds; NaN where a size is not finite, or 0 at some widths alone.
        low: The lower end of the interval that decides.
        high: Its upper end.
        verdict: Whether it is flat: supported, not supported or undecided.
    """

    value: float
    low: float
    high: float
    verdict: str


class Row(NamedTuple):
    """What is judged of one parameter or activation.

    Attributes:
        tensor: Its path, or the activation's name.
        kind: hidden, input, output, vector or fixed; or activation.
        start: The slope of its size at the start; None where there is nothing to judge.
        first: That of what its first step does, to the loss, or to the activation.
        last: That of what all steps do.
    """

    tensor: str
    kind: str
    start: Slope | None
    first: Slope | None
    last: Slope | None

    @property
    def verdict(self) -> str:
        """The worst of the slopes' verdicts."""
        return _worst([s.verdict for s in (self.start, self.first, self.last) if s is not None])


@dataclass(frozen=True)
class CoordCheck:
    """What `jnorm.theory.parametrization.coord_check` found; prints as a table.

    Attributes:
        rows: Parameters in the order of the tree, then activations by name.
        widths: The widths.
        within: How far from 0 a slope may be.
        level: The error rate.
        seeds: Runs at each width.
    """

    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    within: float
    level: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Whether all sizes are flat: supported, not supported or undecided."""
        return _worst([row.verdict for row in self.rows])

    @property
    def suspects(self) -> tuple[str, ...]:
        """What is off where anything is first: at the start, in the first step, or later; parameters before others."""
        for quantity in QUANTITIES:
            slopes = [(row, getattr(row, quantity)) for row in self.rows]
            off = [row for row, slope in slopes if slope is not None and slope.verdict == "not supported"]
            if off:
                named = [row.tensor for row in off if row.kind != "activation"]
                return tuple(named or [row.tensor for row in off])
        return ()

    def __str__(self) -> str:
        head = ("tensor", "kind", *QUANTITIES, "verdict")
        lines = [(r.tensor, r.kind, *map(_shown, (r.start, r.first, r.last)), r.verdict) for r in self.rows]
        end = f"flat within {self.within:g}: {self.verdict}"
        if self.suspects:
            end += f"; look at {', '.join(self.suspects)}"
        widths = ", ".join(map(str, self.widths))
        return "\n".join([*table([head, *lines], left=2), f"widths {widths}, {self.seeds} seeds; {end}"])


def judged(
    sizes: Mapping[str, np.ndarray],
    names: Sequence[tuple[str, str]],
    widths: tuple[int, ...],
    *,
    within: float,
    level: float,
) -> CoordCheck:
    """Verdicts on sizes.

    Args:
        sizes: Arrays ``[width, seed, tensor]`` by quantity. Where all are 0 nothing is judged.
        names: Name and kind of each tensor.
        widths: The widths.
        within: How far from 0 a slope may be.
        level: The error rate.

    Returns:
        A row for each tensor.
    """
    known = {
        (quantity, i): values[:, :, i]
        for quantity, values in sizes.items()
        for i in range(len(names))
        if np.any(values[:, :, i] != 0)
    }
    slopes = {place: slope(size, widths, within, level, len(known)) for place, size in known.items()}
    rows = tuple(Row(*name, *(slopes.get((q, i)) for q in QUANTITIES)) for i, name in enumerate(names))
    return CoordCheck(rows, widths, within, level, next(iter(sizes.values())).shape[1])


def slope(sizes: np.ndarray, widths: Sequence[int], within: float, level: float, family: int) -> Slope:
    """The slope of mean sizes, of sizes ``[width, seed]``, by least squares, judged as one of a family.

    The interval is that of Student's t of the jackknife's pseudo-values: what S times the slope of all S seeds is more
    than S - 1 times that of all but one. Logarithms of single runs would be lower where runs vary, at small widths.
    """
    from scipy import special  # deferred: theory imports without it

    if not np.all(np.isfinite(sizes) & (sizes > 0)):
        return Slope(math.nan, math.nan, math.nan, "not supported")
    x = np.log(widths) - np.mean(np.log(widths))
    seeds = sizes.shape[1]
    without = (np.sum(sizes, 1, keepdims=True) - sizes) / (seeds - 1)
    each = (seeds * (x @ np.log(np.mean(sizes, 1))) - (seeds - 1) * (x @ np.log(without))) / (x @ x)
    value, error = float(np.mean(each)), float(np.std(each, ddof=1)) / math.sqrt(each.size)
    inside, outside = (error * float(special.stdtrit(each.size - 1, 1 - tail)) for tail in (level, level / family / 2))
    if abs(value) + inside <= within:
        return Slope(value, value - inside, value + inside, "supported")
    verdict = "not supported" if abs(value) - outside > within else "undecided"
    half = inside if abs(value) <= within else outside
    return Slope(value, value - half, value + half, verdict)


def _worst(verdicts: Sequence[str]) -> str:
    return next((verdict for verdict in VERDICTS if verdict in verdicts), "not judged")


def _shown(slope: Slope | None) -> str:
    if slope is None:
        return "-"
    if math.isnan(slope.value):
        return "no power law"
    return f"{slope.value:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}]"
