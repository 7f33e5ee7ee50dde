"""Newton's iteration for the Gaussian that an activation has to see, on the host, for some starts together."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jnorm.theory.transforms._laws import LANES, TINY, Law, Measured

TOLERANCE = 1e-9
"""Of what a residual measures: relative errors of differences, which are themselves small. The iteration goes on below
it, as long as it gains."""
TURNS, LATE = 48, 2  # turns of the iteration; of them after the first lane has converged
LONGEST = np.array([[1.5], [4.0]])  # steps, in mean / sd and log var
Residual = Callable[[Law], tuple[np.ndarray, np.ndarray]]
"""Two numbers for each lane that shall be zero, from functions of NumPy that complex numbers may enter."""


class Found(NamedTuple):
    """Where lanes ended, ``[lane]``.

    Attributes:
        law: What the activation makes of ``u`` there.
        gap: The larger of both residuals, without sign.
    """

    law: Law
    gap: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Whether the residuals are zero to the tolerance."""
        return self.gap <= TOLERANCE


def newton(measured: Measured, residual: Residual, starts: Sequence[tuple[float, float]]) -> Found:
    """Damped Newton in ``(mean / sd, log var)`` from `LANES` starts ``(mean, sd)``."""
    best_mean, sd = (np.array(part, float) for part in zip(*starts, strict=True))
    best_log = 2 * np.log(sd)
    merit, gap = np.full(LANES, np.inf), np.full(LANES, np.inf)
    step, damping = np.zeros((2, LANES)), np.ones(LANES)
    since = 0
    with np.errstate(all="ignore"):
        for _ in range(TURNS):
            sd = np.exp(best_log / 2)
            mean, log = best_mean + damping * step[0] * sd, best_log + damping * step[1]
            trial, new_merit, new_gap = _step(measured, residual, mean, np.exp(log))
            better = (new_merit < (1 - 1e-4 * damping) * merit) | (np.isinf(merit) & np.isfinite(new_merit))
            best_mean, best_log = np.where(better, mean, best_mean), np.where(better, log, best_log)
            step = np.where(better, trial, step)
            merit, gap = np.where(better, new_merit, merit), np.where(better, new_gap, gap)
            damping = np.where(better, np.minimum(1, 4 * damping), damping / 2)
            since += bool((gap <= TOLERANCE).any())
            if since > LATE or not np.any(np.isfinite(merit) & (damping > 2.0**-12)):
                break
    return Found(measured.at(best_mean, np.exp(best_log)).law(), gap)


def _step(
    measured: Measured, residual: Residual, mean: np.ndarray, var: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton's step, the sum of squares and the larger residual; points without residuals have an infinite one."""
    table, sd, zero = measured.at(mean, var), np.sqrt(var), np.zeros_like(var)
    (e, f), by_mean, by_log = (
        residual(table.law()),
        residual(table.along(sd, zero)),
        residual(table.along(zero, var)),
    )
    (a, c), (b, d) = ([part.imag / TINY for part in by] for by in (by_mean, by_log))
    det = a * d - b * c
    step = np.stack([(b * f - d * e) / det, (c * e - a * f) / det])
    step *= np.minimum(1, 1 / np.max(np.abs(step) / LONGEST, 0))
    known = np.isfinite(e) & np.isfinite(f) & np.all(np.isfinite(step), 0)
    merit = np.where(known, e * e + f * f, np.inf)
    return np.where(known, step, 0.0), merit, np.where(known, np.maximum(np.abs(e), np.abs(f)), np.inf)
