"""Power of t-tests, and the number of runs that would decide. On the host, in double precision.

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
from jnorm.statistics._gammas import rest

LARGEST = 10**7  # no more runs than this are suggested
# The quadrature below takes 70 to 160 us for a power, within 1e-13 of 30 digits up to a million runs; SciPy's
# noncentral t takes 3 to 13 us and is within 1e-14 everywhere, but NaN past this noncentrality (in SciPy 1.14 wrong by
# 7e-7), and NaN for some smaller ones of which one tail is next to nothing.
LIMIT = 37.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def power(effect: float, size: float, *, level: float = 0.05, arms: int = 1) -> float:
    """The probability that a two-sided t-test at ``level`` rejects zero where the effect is ``effect``.

    ``P(|T| > t_{1 - level/2})`` for T noncentral with df = arms (size - 1) and noncentrality
    ``effect sqrt(size/arms)``. Within 1e-14 with SciPy 1.17 (2e-8 with 1.14).

    Args:
        effect: The true effect, in standard deviations.
        size: Runs of each arm; need not be whole. Without a degree of freedom the power is NaN.
        level: Error rate of the test.
        arms: 1 for paired runs, 2 for independent ones.

    Returns:
        The probability.

    Raises:
        ValueError: For a level outside (0, 1), a size below 1 and arms other than 1 and 2.

    Source: Cohen 1988, chapter 2.

    >>> f"{power(0.0, 10):.4f} {power(1.0, 10):.4f}"
    '0.0500 0.8031'
    """
    _check(level, arms, size=size)
    return unchecked_power(effect, size, level, arms)


def equivalence_power(effect: float, margin: float, size: float, *, level: float = 0.05, arms: int = 1) -> float:
    """The probability that two one-sided t-tests at ``level`` show ``|effect| < margin``.

    The estimate must lie within ``margin - t_{1 - level} se`` of zero. By quadrature over the estimated deviation,
    within 1e-12 up to a million runs.

    Args:
        effect: The true effect, in standard deviations.
        margin: What counts as equal, in standard deviations.
        size: Runs of each arm.
        level: Error rate of each of the two tests.
        arms: 1 for paired runs, 2 for independent ones.

    Returns:
        The probability.

    Raises:
        ValueError: As `power`, and for a margin that is not above 0.

    Source: Schuirmann 1987; Owen 1965.

    >>> f"{equivalence_power(0.0, 1.0, 12):.3f} {equivalence_power(1.0, 1.0, 100):.3f}"
    '0.889 0.050'
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", margin=margin)
    _check(level, arms, size=size)
    return unchecked_equivalence(effect, margin, size, level, arms)


def sample_size(effect: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The smallest whole number of runs at which `power` reaches a target.

    Args:
        effect: The true effect, in standard deviations.
        target: The power that is wanted.
        level: Error rate of the test.
        arms: 1 for paired runs, 2 for independent ones.

    Returns:
        Runs of each arm; infinite past ten million.

    Raises:
        ValueError: As `power`, and for a target outside (0, 1).

    >>> sample_size(1.0), sample_size(0.0)
    (10, inf)
    """
    _check(level, arms, target=target)
    return smallest(lambda n: unchecked_power(effect, n, level, arms), target)


def equivalence_size(effect: float, margin: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The smallest whole number of runs at which `equivalence_power` reaches a target.

    Args:
        effect: The true effect, in standard deviations.
        margin: What counts as equal, in standard deviations.
        target: The power that is wanted.
        level: Error rate of each of the two tests.
        arms: 1 for paired runs, 2 for independent ones.

    Returns:
        Runs of each arm; infinite past ten million.

    Raises:
        ValueError: As `equivalence_power`, and for a target outside (0, 1).

    >>> equivalence_size(0.0, 0.5, arms=2), equivalence_size(0.6, 0.5)
    (70, inf)
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", margin=margin)
    _check(level, arms, target=target)
    return smallest(lambda n: unchecked_equivalence(effect, margin, n, level, arms), target)


def detectable(size: float, *, target: float = 0.8, level: float = 0.05, arms: int = 1) -> float:
    """The standardized effect at which `power` reaches a target.

    Args:
        size: Runs of each arm; below two there is no such effect.
        target: The power that is wanted.
        level: Error rate of the test.
        arms: 1 for paired runs, 2 for independent ones.

    Returns:
        The effect, in standard deviations, or NaN.

    Raises:
        ValueError: As `power`, and for a target outside (0, 1).

    >>> f"{detectable(10):.4f}"
    '0.9960'
    """
    _check(level, arms, size=size, target=target)
    return needed_shift(arms * (size - 1), level, target) / math.sqrt(size / arms)


def _check(level: float, arms: int, *, size: float | None = None, target: float | None = None) -> None:
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.require(lambda v: (v == 1) | (v == 2), "`{}` must be 1 (paired) or 2", arms=arms)
    if size is not None:
        checks.require(lambda v: v >= 1, "`{}` must satisfy {} >= 1", size=size)
    if target is not None:
        checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", target=target)


def unchecked_power(effect: float, size: float, level: float, arms: int) -> float:
    """`power`, of arguments that need no check; NaN without a degree of freedom."""
    return rejection(effect * math.sqrt(size / arms), arms * (size - 1), level)


def rejection(shift: float, df: float, level: float) -> float:
    """The probability that a two-sided t-test rejects zero.

    Args:
        shift: The true difference over its standard error.
        df: Degrees of freedom.
        level: Error rate of the test.

    Returns:
        The probability; NaN without a degree of freedom.

    >>> f"{rejection(0.0, 9, 0.05):.3f}"
    '0.050'
    """
    if df <= 0 or math.isnan(shift):
        return math.nan
    shift = abs(shift)
    t = -float(special.stdtrit(df, level / 2))
    value = float(1 - special.nctdtr(df, shift, t) + special.nctdtr(df, shift, -t)) if shift < LIMIT else math.nan
    if not math.isnan(value):
        return min(max(value, 0.0), 1.0)
    return _expected(lambda s: special.ndtr(shift - t * s) + special.ndtr(-shift - t * s), df, math.inf)


def unchecked_equivalence(effect: float, margin: float, size: float, level: float, arms: int) -> float:
    """`equivalence_power`, of arguments that need no check."""
    root = math.sqrt(size / arms)
    return inclusion(effect * root, margin * root, arms * (size - 1), level)


def inclusion(shift: float, reach: float, df: float, level: float) -> float:
    """The probability that two one-sided t-tests show a difference within a margin.

    Args:
        shift: The true difference over its standard error.
        reach: The margin over it.
        df: Degrees of freedom.
        level: Error rate of each test.

    Returns:
        The probability; NaN without a degree of freedom.

    >>> f"{inclusion(50.0, 50.0, 9, 0.05):.3f}"  # a truth at the margin
    '0.050'
    """
    if df <= 0 or math.isnan(shift):
        return math.nan
    t = -float(special.stdtrit(df, level))
    inside = lambda s: np.maximum(special.ndtr(reach - t * s - shift) - special.ndtr(t * s - reach - shift), 0)
    return _expected(inside, df, reach / t)


def needed_shift(df: float, level: float, target: float) -> float:
    """The difference over its standard error at which `rejection` reaches a target.

    Args:
        df: Degrees of freedom.
        level: Error rate of the test.
        target: The power that is wanted.

    Returns:
        The difference; NaN without a degree of freedom.

    >>> f"{needed_shift(9, 0.05, 0.8):.3f}"
    '3.150'
    """
    if df <= 0:
        return math.nan
    low, high = 0.0, 1.0
    while rejection(high, df, level) < target:
        low, high = high, 2 * high
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (middle, high) if rejection(middle, df, level) < target else (low, middle)
    return high


def _expected(rejects: Callable[[np.ndarray], np.ndarray], df: float, most: float) -> float:
    """Expectation of the rejection probability over s < most, the estimated deviation in units of the true one."""
    # log s from where its law starts, P(s < x) ~ x^df, to nine deviations above one.
    low, high = -9 / math.sqrt(2 * df) - 36 / df, min(math.log1p(9 / math.sqrt(df)), math.log(most))
    panels = 256 if df < 8 else 48  # with few degrees of freedom a rejection sets in steeply within a wide law
    width = (high - low) / panels
    log_s = low + width * (np.arange(panels)[:, None] + (1 + _NODES) / 2)
    # exp(df/2 log(square) - square)/G(df/2) by Stirling's formula: without it large numbers cancel.
    exponent = df / 2 * (2 * log_s - np.expm1(2 * log_s)) - rest(df / 2)
    density = 2 * np.exp(exponent) * math.sqrt(df / (4 * math.pi))
    total = np.sum(_WEIGHTS * density * rejects(np.exp(log_s))) * width / 2
    return float(np.clip(total, 0, 1))


def smallest(power_of: Callable[[int], float], target: float) -> float:
    """The smallest whole number from 2 on at which a growing power reaches a target; infinite past ten million."""
    low, high = 1, 2
    while not power_of(high) >= target:
        if high >= LARGEST:
            return math.inf
        low, high = high, min(2 * high, LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= target else (middle, high)
    return high
