"""Power of t-tests, and the number of runs that would decide. NumPy on the host, in double precision.

Effects are standardized: in units of the standard deviation of what is compared. ``arms=1`` is a paired comparison
(the deviation of the differences, ``size`` pairs), ``arms=2`` an independent one (of single runs, ``size`` an arm).

>>> f"{power(0.5, 64, arms=2):.4f}", sample_size(0.5, arms=2)
('0.8015', 64)
>>> f"{equivalence_power(0.0, 0.5, 70, arms=2):.4f}"
'0.8059'
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from jnorm._ground import checks

LARGEST = 10**7  # no more runs than this are suggested
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def power(effect: float, size: float, *, level: float = 0.05, arms: int = 1) -> float:
    """The probability that a two-sided t-test at ``level`` rejects zero where the effect is ``effect``.

    ``P(|T| > t_{1 - level/2})`` for T noncentral with df = arms (size - 1) and noncentrality
    ``effect sqrt(size/arms)``, by quadrature over the estimated deviation. Without a degree of freedom it is NaN.

    Raises ``ValueError`` for a level outside (0, 1), a size below 1 and arms other than 1 and 2.
    Source: Cohen 1988, chapter 2.

    >>> f"{power(0.0, 10):.4f} {power(1.0, 10):.4f}"
    '0.0500 0.8031'
    """

    def outside(z: float, t: np.ndarray) -> np.ndarray:
        return special.ndtr(z - t) + special.ndtr(-z - t)

    return _power(level / 2, outside, effect, size, level, arms)


def equivalence_power(effect: float, margin: float, size: float, *, level: float = 0.05, arms: int = 1) -> float:
    """The probability that two one-sided t-tests at ``level`` show ``|effect| < margin``.

    The estimate must lie within ``margin - t_{1 - level} se`` of zero. Raises ``ValueError`` as `power`, and for
    a margin that is not above 0. Source: Schuirmann 1987; Owen 1965.

    >>> f"{equivalence_power(0.0, 1.0, 12):.3f} {equivalence_power(1.0, 1.0, 100):.3f}"
    '0.889 0.050'
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", margin=margin)
    reach = margin * math.sqrt(size / arms)

    def inside(z: float, t: np.ndarray) -> np.ndarray:
        return np.maximum(special.ndtr(reach - t - z) - special.ndtr(t - reach - z), 0)

    return _power(level, inside, effect, size, level, arms, reach)


def _power(
    tail: float,
    rejects: Callable[[float, np.ndarray], np.ndarray],
    effect: float,
    size: float,
    level: float,
    arms: int,
    reach: float | None = None,
) -> float:
    """Expectation of the rejection probability over s, the estimated deviation in units of the true one."""
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.require(lambda v: v >= 1, "`{}` must satisfy {} >= 1", size=size)
    checks.require(lambda v: (v == 1) | (v == 2), "`{}` must be 1 (paired) or 2", arms=arms)
    df = arms * (size - 1)
    if df <= 0 or math.isnan(effect):
        return math.nan
    # log s from where its law starts, P(s < x) ~ x^df, to nine deviations above one.
    low, high = -9 / math.sqrt(2 * df) - 36 / df, math.log1p(9 / math.sqrt(df))
    t, z = float(special.stdtrit(df, 1 - tail)), effect * math.sqrt(size / arms)
    if reach is not None:  # no rejection above
        high = min(high, math.log(reach / t))
    panels = 256 if df < 8 else 48  # with few degrees of freedom a rejection sets in steeply within a wide law
    width = (high - low) / panels
    log_s = low + width * (np.arange(panels)[:, None] + (1 + _NODES) / 2)
    square = df * np.exp(2 * log_s) / 2
    density = 2 * np.exp(df / 2 * np.log(square) - square - special.gammaln(df / 2))
    total = np.sum(_WEIGHTS * density * rejects(z, t * np.exp(log_s))) * width / 2
    return float(np.clip(total, 0, 1))


def sample_size(effect: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The smallest whole number of runs (an arm) at which `power` reaches ``target``; infinite past ten million.

    Raises ``ValueError`` as `power`, and for a target outside (0, 1).

    >>> sample_size(1.0), sample_size(0.0)
    (10, inf)
    """
    return _smallest(lambda n: power(effect, n, level=level, arms=arms), target)


def equivalence_size(effect: float, margin: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The smallest whole number of runs (an arm) at which `equivalence_power` reaches ``target``.

    >>> equivalence_size(0.0, 0.5, arms=2), equivalence_size(0.6, 0.5)
    (70, inf)
    """
    return _smallest(lambda n: equivalence_power(effect, margin, n, level=level, arms=arms), target)


def detectable(size: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The standardized effect at which `power` reaches ``target`` with this many runs; NaN below two.

    >>> f"{detectable(10):.4f}"
    '0.9960'
    """
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", target=target)
    if math.isnan(power(0.0, size, level=level, arms=arms)):
        return math.nan
    low, high = 0.0, 1.0
    while power(high, size, level=level, arms=arms) < target:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, size, level=level, arms=arms) < target else (low, middle)
    return high


def _smallest(reaches: Callable[[int], float], target: float) -> float:
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", target=target)
    low, high = 1, 2
    while not reaches(high) >= target:
        if high >= LARGEST:
            return math.inf
        low, high = high, min(2 * high, LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) >= target else (middle, high)
    return high
