"""Comparisons that may be made after any run and as often as one likes: anytime-valid p-values and intervals.

An e-process is a likelihood ratio of the runs so far, a mixture of alternatives against the null: under the null it
ever reaches 1/alpha with a probability of at most alpha (Ville). So ``p = 1/E`` is valid at every moment, and so is the
interval of the differences that are not rejected. One-sided e-processes mix over the alternatives on their side alone.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import special

from jnorm.statistics._steps import Compare, Comparison, Question, by_setting, by_steps


def mixture_t(a: np.ndarray, b: np.ndarray, question: Question, *, var: float) -> Comparison:
    """The mixture sequential t-test: of normal differences with unknown variance.

    With delta the difference in standard deviations, delta ~ N(0, g) on the side of the alternative, and t Student's
    statistic of n pairs, ``E = 2 F_n(y) (1 + n g)^(-1/2) ((1 + t^2/(n - 1))/(1 + t^2/((n - 1)(1 + n g))))^(n/2)``;
    F_n(y) is the posterior probability of that side, by Student's law with n degrees of freedom at
    ``y = n t/sqrt((n + 1/g)(n - 1 + t^2/(1 + n g)))``. Independent arms are paired in the order of their runs.
    Source: Lai 1976; Wang, Ramdas 2024, "Anytime-valid t-tests and confidence sequences".

    Args:
        a: Runs of arm a, ``[settings, runs]``; NaN is left out.
        b: Runs of arm b.
        question: What is asked.
        var: g, the variance of the differences that are looked for, in variances of single differences.

    Returns:
        The comparison; NaN below two pairs.

    >>> question = Question(True, np.zeros(1), 0.025, *np.zeros((2, 1, 8)))
    >>> answer = mixture_t(np.arange(1.0, 9.0)[None], np.zeros((1, 8)), question, var=1.0)
    >>> f"{answer.low[0]:.2f} {answer.estimate[0]:.2f} {answer.above[0, 0]:.4f}"
    '0.82 4.50 0.0112'
    """
    d = a - b
    n = np.sum(~np.isnan(d), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.nansum(d, 1) / n
        deviation = np.sqrt(np.nansum(np.square(d - estimate[:, None]), 1) / (n - 1))
        se = deviation / np.sqrt(n)
        t = (estimate - question.nulls[:, None]) / se
        above, below = (np.exp(np.minimum(-_log_e(side, n, var), 0)) for side in (t, -t))
        reach = critical_t(n, question.tail, var) * se
    deviation = deviation if question.paired else deviation / math.sqrt(2)
    return Comparison(estimate, deviation, estimate - reach, estimate + reach, above, below)


def _log_e(t: np.ndarray, n: np.ndarray, var: float) -> np.ndarray:
    """The logarithm of the e-value of a positive difference."""
    gain, square = 1 + n * var, np.square(t) / (n - 1)
    ratio = n / 2 * (np.log1p(square) - np.log1p(square / gain)) - np.log(gain) / 2
    side = special.stdtr(n, n * t / np.sqrt((n + 1 / var) * (n - 1) * (1 + square / gain)))
    return math.log(2) + ratio + np.log(np.maximum(side, np.finfo(float).tiny))


def critical_t(n: np.ndarray, tail: float, var: float) -> np.ndarray:
    """The statistic at which the p-value of `mixture_t` is ``tail``, by bisection.

    Args:
        n: Numbers of pairs.
        tail: The one-sided p-value.
        var: g.

    Returns:
        The statistics; infinite where so few pairs never decide.

    >>> critical_t(np.array([2, 8, 32]), 0.025, 1.0).round(2)
    array([ inf, 4.25, 3.34])
    """
    low, high = np.zeros(np.shape(n)), np.full(np.shape(n), 1e6)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(60):
            middle = (low + high) / 2
            decides = _log_e(middle, n, var) >= -math.log(tail)
            low, high = np.where(decides, low, middle), np.where(decides, middle, high)
    return np.where(high == 1e6, np.inf, high)


def _mixture_sign(a: np.ndarray, b: np.ndarray, question: Question, *, var: float) -> Comparison:
    d = a - b
    above = _sign_law(len(d), var)
    return by_steps(np.median(d), np.std(d, ddof=1), d, question.near_a + question.near_b, above, question)


def _sign_law(n: int, var: float) -> np.ndarray:
    """P-values by the number of differences at or below theta: a beta mixture of binomial laws (Robbins 1970)."""
    s = max((1 / var - 1) / 2, 0.5)  # twice a Beta(s, s) less 1 has the variance ``var``, if it can
    up = n - np.arange(n + 1)
    side = special.betainc(n - up + s, up + s, 0.5)
    ratio = special.betaln(up + s, n - up + s) - special.betaln(s, s) + n * math.log(2)
    return np.exp(np.minimum(-(math.log(2) + ratio + np.log(side)), 0))


MIXTURES: dict[str, Callable[[float], Compare]] = {
    "t": lambda var: partial(mixture_t, var=var),
    "sign": lambda var: by_setting(partial(_mixture_sign, var=var)),
}
"""By the name of the rule's method."""


def mixture_var(level: float, runs: float) -> float:
    """The variance of a normal mixture whose interval is narrowest after so many runs.

    Args:
        level: The interval's confidence is ``1 - level``.
        runs: The number of runs.

    Returns:
        ``(-W(-level^2/e) - 1)/runs``, W the lower branch of Lambert's function.

    Source: Howard et al. 2021, section 3.5.

    >>> f"{mixture_var(0.05, 16):.3f}"
    '0.513'
    """
    return float(-special.lambertw(-(level**2) / math.e, -1).real - 1) / runs
