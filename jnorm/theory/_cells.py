"""Every fixed point in a box, by search over its cells: what `jnorm.theory.fixed_points.solve_all` does.

The box is cut into cells, evenly in a chart: the mean, and the logarithm of the variance. A cell may hold a point where
both components of ``layer_map(x) - x``, bilinear between the corners, may vanish; Newton's iteration starts there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jnorm._ground import checks
from jnorm.theory._parts import Moments

CHUNK = 512
"""Points for which the map is called at once."""

_CORNERS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
_QUARTERINGS = 5


@dataclass(frozen=True)
class Box:
    """A box of moments and its chart.

    Attributes:
        low: Least mean and variance.
        high: Largest mean and variance.
        dtype: Dtype in which points are computed.
    """

    low: np.ndarray
    high: np.ndarray
    dtype: Any

    @classmethod
    def of(cls, corners: tuple[Moments, Moments]) -> "Box":
        """The box between two corners; raises ``ValueError`` where there is none."""
        low, high = (np.stack([np.asarray(a) for a in _floats(mean, var)]) for mean, var in corners)
        if not np.all(np.isfinite([low, high])):
            raise ValueError(f"`box` must be finite; got {low.tolist()} to {high.tolist()}")
        checks.require(lambda v: v >= 0, "`box` must satisfy {} >= 0", **{"low.var": low[1]})
        checks.require(
            lambda w: w > 0, "`box` must satisfy high.{} - low.{} > 0", mean=high[0] - low[0], var=high[1] - low[1]
        )
        dtype = checks.wide(low.dtype)
        return cls(low.astype(dtype), high.astype(dtype), dtype)

    def charted(self, mean: Any, var: Any) -> np.ndarray:
        """Moments as rows of the chart; its second axis is the standard deviation where the box begins at zero."""
        return np.stack([mean, np.log(var) if self.low[1] > 0 else np.sqrt(var)], -1)

    def points(self, rows: np.ndarray) -> Moments:
        """Rows of the chart as moments."""
        var = np.exp(rows[:, 1]) if self.low[1] > 0 else np.square(rows[:, 1])
        return self._moments(rows[:, 0], var)

    def corner(self, count: int) -> Moments:
        """``count`` times the upper corner."""
        return self._moments(*(np.full(count, part) for part in self.high))

    def _moments(self, *parts: Any) -> Moments:
        return Moments(*(part.astype(self.dtype) for part in parts))

    def grid(self, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index and centre of each cell, and half the size of a cell."""
        base = self.charted(*self.low)
        half = (self.charted(*self.high) - base) / (2 * cells)
        index = np.indices((cells, cells)).reshape(2, -1).T
        return index, base + (2 * index + 1) * half, half

    def holds(self, point: Moments, tol: float) -> np.ndarray:
        """Whether points lie in the box, to ``tol``."""
        mean, var = point
        slack = tol * np.hypot(mean, np.sqrt(var))
        inside = (self.low[0] - slack <= mean) & (mean <= self.high[0] + slack)
        return inside & (self.low[1] - tol * var <= var) & (var <= self.high[1] + tol * var)


@dataclass(frozen=True)
class Search:
    """The search over the cells of a box.

    Attributes:
        box: The box.
        gap: ``layer_map(x) - x`` of `CHUNK` points, ``[point, component]``.
        newton: The fixed points that are reached from `CHUNK` starts, and estimates of their errors.
        tol: The tolerance of these points.
    """

    box: Box
    gap: Callable[[Moments], jax.Array]
    newton: Callable[[Moments], Any]
    tol: float

    def run(self, cells: int) -> Any:
        """The fixed points in order of variance and then of mean, as NumPy arrays."""
        index, grid, half = self.box.grid(cells)
        known = self._known(None, grid[self._may_hold(grid, half, 2) | np.all(index % 4 == 0, -1)])
        centres = grid[self._may_hold(grid, half, 1)]
        for _ in range(_QUARTERINGS):
            spots = self.box.charted(*known[0].point)
            taken = np.any(np.all(np.abs(spots - centres[:, None]) <= half, -1), -1)
            half = half / 2
            centres = _around(centres[~taken], half)
            centres = centres[self._may_hold(centres, half, 1)]
            if not len(centres):
                break
            known = self._known(known, centres)
        fixed, _ = known
        order = np.lexsort((fixed.point.mean, np.round(np.log(fixed.point.var) / self._radius)))
        return jax.tree.map(lambda a: a[order], fixed)

    @property
    def _radius(self) -> float:
        """Within it, in ``mean / sd`` and ``log(var)``, the residual cannot tell two points from a double one."""
        return 4 * self.tol**0.5

    def _may_hold(self, centres: np.ndarray, half: np.ndarray, reach: float) -> np.ndarray:
        """The cells over ``reach`` times which the values at the corners let both components vanish."""
        values = _in_chunks(self.gap, self.box.points(_around(centres, half))).reshape(-1, 4, 2)
        a, b = _CORNERS.T
        level, *change = np.abs(np.einsum("kc,nci->kni", np.stack([0 * a + 1, a, b, a * b]), values))
        return np.all(level <= reach * sum(change), -1)

    def _known(self, known: Any, starts: np.ndarray) -> Any:
        """What is known already, and what Newton's iteration finds from the starts, each point once."""
        new, error = _in_chunks(self.newton, self.box.points(starts))
        inside = self.box.holds(new.point, self.tol)
        new = jax.tree.map(lambda a: a[inside], (new, self._radius + 2 * error))
        return _distinct(*(new if known is None else jax.tree.map(lambda *a: np.concatenate(a), known, new)))


@jax.jit
def _floats(mean: Any, var: Any) -> tuple[jax.Array, ...]:
    return checks.floats(mean=mean, var=var)


def _around(centres: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The four points ``half`` off each centre, one after the other."""
    return (centres[:, None] + half * _CORNERS).reshape(-1, 2)


def _in_chunks(f: Callable[[Moments], Any], x: Moments) -> Any:
    """``f`` over one axis of points as NumPy arrays, in chunks of one shape so that it compiles once."""
    count = len(x.mean)
    padded = (np.pad(a, (0, CHUNK - count % CHUNK), constant_values=1).reshape(-1, CHUNK) for a in x)
    parts = [f(Moments(mean, var)) for mean, var in zip(*padded, strict=True)]
    return jax.tree.map(lambda *a: np.concatenate(a)[:count], *parts)


def _distinct(fixed: Any, radius: np.ndarray) -> Any:
    """The points of least radius, without those that lie within their own radius of a better one."""
    (mean, var), kept = fixed.point, np.zeros(0, int)
    for k in np.lexsort((fixed.residual, radius)):
        near = np.abs(mean[k] - mean[kept]) <= radius[k] * np.sqrt(var[k])
        if not np.any(near & (np.abs(np.log(var[k] / var[kept])) <= radius[k])):
            kept = np.append(kept, k)
    return jax.tree.map(lambda a: a[kept], (fixed, radius))
