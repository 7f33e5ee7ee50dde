"""Nominal levels of tests at several looks at growing data, which together spend one error rate.

With Z_k the one-sided normal score of the p-value at look k and ``t_k = (n_k - 1)/(n_K - 1)`` its share of the degrees
of freedom, the canonical joint law is ``corr(Z_j, Z_k) = sqrt(t_j/t_k)``: that of sums of normal runs, and close for
p-values of t and rank tests (the significance level approach: Jennison, Turnbull 2000, sections 4.4 and 7.2). Degrees
of freedom rather than runs, because the variance is estimated anew at each look. A spending function says how much of
the error rate may be used up to a share of the runs; the level of look k is such that crossing there for the first time
has the probability that is newly spent.

>>> [f"{level:.5f}" for level in nominal_levels("obrien-fleming", (8, 16, 24, 32), 0.05)]
['0.00009', '0.00554', '0.02179', '0.04242']
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy import special

Spending = Callable[[np.ndarray, float], np.ndarray]
"""From one-sided error rates and a share of the runs to the error that may be spent by then."""

SPENDING: dict[str, Spending] = {
    "obrien-fleming": lambda level, share: 2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(share)),
    "pocock": lambda level, share: level * np.log1p((np.e - 1) * share),
}
"""Those of Lan and DeMets 1983, named after the boundaries of constant designs that they resemble."""

LOWEST, HIGHEST = -6.0, 9.0  # normal scores between which paths are followed: outside lies 1e-9 of them
UNREACHED = 37.0  # the score of a level that no p-value meets
SCORES = np.linspace(0.0, 8.0, 65)  # of the error rates at which `overall_p` inverts the levels, .5 to 6e-16


def nominal_levels(spending: str, looks: tuple[int, ...], level: float) -> np.ndarray:
    """The one-sided levels at which the looks may test, so that all of them together err at ``level``.

    Args:
        spending: A name in `SPENDING`.
        looks: Number of runs at each look; they increase.
        level: One-sided error rate over all looks.

    Returns:
        The levels, ``[looks]``, within a part in 1e11.

    >>> nominal_levels("pocock", (10,), 0.025)
    array([0.025])
    """
    return special.ndtr(-_critical(spending, looks, np.array([level]))[0])


def overall_p(spending: str, looks: tuple[int, ...], look: int, p: np.ndarray) -> np.ndarray:
    """The smallest error rate over all looks at which p-values would decide at a look: sequential p-values.

    The smallest one of several looks is at most alpha in alpha of all cases, whenever one stops, so that Holm's
    procedure takes it like any p-value. Source: Liu, Anderson 2008; Maurer, Bretz 2013.

    Args:
        spending: A name in `SPENDING`.
        looks: Number of runs at each look.
        look: Which one, counted from 0.
        p: One-sided p-values of that look.

    Returns:
        One-sided p-values over all looks; those above .5 are 1, and none is below 6e-16.

    >>> looks = (8, 16, 24, 32)
    >>> float(overall_p("obrien-fleming", looks, 1, nominal_levels("obrien-fleming", looks, 0.05)[1]).round(6))
    0.05
    """
    scores, found = -special.ndtri(np.asarray(p, float)), _inverted(spending, looks)[look]
    overall = special.ndtr(-np.clip(found(scores), 0, SCORES[-1]))
    return np.where(scores < found.x[0], 1.0, overall)


@cache
def _inverted(spending: str, looks: tuple[int, ...]) -> list[Any]:
    """For each look the score of the overall error rate as a function of that of the nominal level."""
    from scipy.interpolate import PchipInterpolator  # a tenth of a second to import

    critical = np.maximum.accumulate(_critical(spending, looks, special.ndtr(-SCORES)), 0)
    columns = []
    for column in critical.T:
        rising = np.concatenate([[True], np.diff(column) > 1e-9]) & (column < UNREACHED)
        columns.append(PchipInterpolator(column[rising], SCORES[rising], extrapolate=True))
    return columns


def _critical(spending: str, looks: tuple[int, ...], levels: np.ndarray) -> np.ndarray:
    """The critical scores ``[levels, looks]``, by recursive integration (Armitage, McPherson, Rowe 1969)."""
    times = (np.array(looks) - 1) / (looks[-1] - 1)
    shares = np.array(looks) / looks[-1]
    spent = np.stack([np.zeros_like(levels), *(SPENDING[spending](levels, share) for share in shares)], 1)
    critical = np.empty((len(levels), len(looks)))
    critical[:, 0] = np.minimum(-special.ndtri(spent[:, 1]), UNREACHED)
    paths: tuple[Any, ...] = ()
    for k in range(1, len(looks)):
        before, now, step = np.sqrt(times[k - 1]), np.sqrt(times[k]), np.sqrt(times[k] - times[k - 1])
        # The paths that have not crossed up to look k - 1: their mass at nodes below its critical score.
        nodes, weights = _nodes(critical[:, k - 1], step / now)
        density = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi) if k == 1 else _density(nodes, *paths)
        mass, moved = weights * density, nodes * before
        critical[:, k] = _crossed(mass, moved, spent[:, k + 1] - spent[:, k], now, step)
        paths = mass, moved, now, step
    return critical


def _density(score: np.ndarray, mass: np.ndarray, moved: np.ndarray, now: float, step: float) -> np.ndarray:
    """The density of the next look's score, of paths with this mass at ``moved``."""
    off = (score[:, :, None] * now - moved[:, None]) / step
    return np.einsum("gij,gj->gi", np.exp(-(off**2) / 2), mass) * now / (step * np.sqrt(2 * np.pi))


def _nodes(ends: np.ndarray, narrow: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes ``[levels, nodes]`` from the lowest score to each end, for kernels of such a deviation."""
    points, weights = _legendre(32 * (1 + int(24 / narrow) // 32))
    half = (np.minimum(ends, HIGHEST) - LOWEST)[:, None] / 2
    return LOWEST + half * (1 + points), half * weights


@cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return special.roots_legendre(count)


def _crossed(mass: np.ndarray, moved: np.ndarray, goal: np.ndarray, now: float, step: float) -> np.ndarray:
    """The scores above which paths end with the probabilities of ``goal``, by bisection."""
    low, high = np.full(len(goal), LOWEST), np.full(len(goal), UNREACHED)
    for _ in range(52):
        middle = (low + high) / 2
        above = np.sum(mass * special.ndtr((moved - middle[:, None] * now) / step), 1)
        low, high = np.where(above > goal, middle, low), np.where(above > goal, high, middle)
    return high
