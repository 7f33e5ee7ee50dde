"""The evidence of runs for or against a rule: estimate, interval and p-value in each setting by itself.

On the host, in double precision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jnorm.statistics._methods import METHODS
from jnorm.statistics._rules import Rule
from jnorm.statistics._steps import Compare, Comparison, Question


@dataclass(frozen=True)
class Evidence:
    """What the runs of one setting say, whatever else is tested; a - b in units of the metric.

    Attributes:
        where: The hyperparameters of the setting.
        effect: Estimate of a - b.
        interval: Its ends, not corrected: of the interval that decides.
        confidence: That of the interval: the rule's, or ``1 - level``, ``1 - 2 level`` for an estimate inside the
            margin of equality.
        p: Two-sided p-value of a truth at the nearest bound; inside the margin of equality the larger one of two
            one-sided tests; not corrected.
        runs: How many of a and of b were compared.
        diverged: How many of a and of b diverged, whatever was done with them.
        deviation: Standard deviation of the differences; where unpaired the root of the mean variance of the arms.
        deviations: Standard deviation of single runs of a and of b.
    """

    where: Mapping[str, Any]
    effect: float
    interval: tuple[float, float]
    confidence: float
    p: float
    runs: tuple[int, int]
    diverged: tuple[int, int]
    deviation: float
    deviations: tuple[float, float]


def weigh(
    a: np.ndarray,
    b: np.ndarray,
    rule: Rule,
    *,
    rounding: tuple[float, float],
    settings: Sequence[Mapping[str, Any]],
    compare: Compare | None = None,
) -> list[Evidence]:
    """The evidence in every setting.

    A comparison of fewer than two runs says nothing. Where the runs do not vary the sign test decides, for methods that
    learn the spread from the runs too: n equal differences have probability 2^-n on one side.

    Args:
        a: Runs of arm a, ``[settings, runs]``.
        b: Runs of arm b.
        rule: The rule.
        rounding: Relative rounding of the runs of a and of b: what lies closer together is equal.
        settings: Hyperparameters of each setting.
        compare: How the arms are compared; by default as the rule's method does it.

    Returns:
        One entry a setting.

    >>> a = np.array([[0.9, 0.8, 0.9, 0.8]])
    >>> rule = Rule(claim="greater", effect=0.1, diverged="exclude")
    >>> [evidence] = weigh(a, a - 0.2, rule, rounding=(1e-16, 1e-16), settings=[{}])
    >>> f"{evidence.effect:.3f} {evidence.p}"  # no spread: two-sided sign test
    '0.200 0.125'
    """
    lost = np.stack([np.sum(~np.isfinite(arm), 1) for arm in (a, b)], 1)
    a, b = _filled(a, b, rule)
    runs = np.stack([np.sum(~np.isnan(arm), 1) for arm in (a, b)], 1)
    of_sums = 2 * float(np.finfo(float).eps)
    question = Question(
        paired=rule.paired,
        nulls=np.array([-rule.effect, rule.effect]),
        tail=rule.level / 2 if rule.confidence is None else (1 - rule.confidence) / 2,
        near_a=(rounding[0] + of_sums) * np.abs(a) + of_sums * rule.effect,
        near_b=(rounding[1] + of_sums) * np.abs(b),
    )
    comparison = _compared(a, b, question, rule, compare)
    confidence = np.full(len(a), rule.confidence or 1 - rule.level)
    if rule.claim == "equal" and rule.confidence is None:
        inside = np.abs(comparison.estimate) < rule.effect
        narrow = _compared(a, b, question._replace(tail=rule.level), rule, compare)
        low, high = (np.where(inside, getattr(narrow, e), getattr(comparison, e)) for e in ("low", "high"))
        comparison = comparison._replace(low=low, high=high)
        confidence = np.where(inside, 1 - 2 * rule.level, confidence)
    p = np.maximum(_p_values(comparison, rule), np.finfo(float).tiny)
    deviations = np.stack([_deviation(arm) for arm in (a, b)], 1)
    return [
        Evidence(
            where=where,
            effect=float(comparison.estimate[i]),
            interval=(float(comparison.low[i]), float(comparison.high[i])),
            confidence=float(confidence[i]),
            p=float(p[i]),
            runs=(int(runs[i, 0]), int(runs[i, 1])),
            diverged=(int(lost[i, 0]), int(lost[i, 1])),
            deviation=float(comparison.deviation[i]),
            deviations=(float(deviations[i, 0]), float(deviations[i, 1])),
        )
        for i, where in enumerate(settings)
    ]


def _deviation(x: np.ndarray) -> np.ndarray:
    """Unbiased standard deviation of what is not NaN; NaN below two runs."""
    n = np.sum(~np.isnan(x), 1)
    mean = np.nansum(x, 1) / np.maximum(n, 1)
    var = np.nansum(np.square(x - mean[:, None]), 1) / np.maximum(n - 1, 1)
    return np.where(n > 1, np.sqrt(var), np.nan)


def _compared(
    a: np.ndarray, b: np.ndarray, question: Question, rule: Rule, compare: Compare | None = None
) -> Comparison:
    comparison = (compare or METHODS[rule.method].compare)(a, b, question)
    runs = np.minimum(np.sum(~np.isnan(a), 1), np.sum(~np.isnan(b), 1))
    near = np.nanmax(question.near_a, 1, initial=0) + np.nanmax(question.near_b, 1, initial=0)
    return _without_spread(comparison, runs, near, question)


def _filled(a: np.ndarray, b: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Diverged runs by the rule's policy; those to be left out are NaN, in both arms where runs are paired."""
    lost = ~np.isfinite(a), ~np.isfinite(b)
    if rule.diverged == "exclude":
        if rule.paired:
            lost = (lost[0] | lost[1],) * 2
        return np.where(lost[0], np.nan, a), np.where(lost[1], np.nan, b)
    both, gone = np.concatenate([a, b], 1), np.concatenate(lost, 1)
    if rule.diverged == "lowest":
        fill = np.min(both, 1, initial=np.inf, where=~gone, keepdims=True)
    elif rule.diverged == "highest":
        fill = np.max(both, 1, initial=-np.inf, where=~gone, keepdims=True)
    else:
        fill = np.full((len(a), 1), float(rule.diverged))
    fill = np.where(np.isfinite(fill), fill, np.nan)
    return np.where(lost[0], fill, a), np.where(lost[1], fill, b)


def _without_spread(comparison: Comparison, runs: np.ndarray, near: np.ndarray, question: Question) -> Comparison:
    """The comparison where spread or runs are missing: by the sign test, or by nothing."""
    few = runs < 2
    flat = ~few & (comparison.deviation <= near)
    sign = 0.5 ** runs.astype(float)
    off = comparison.estimate - question.nulls[:, None]
    above = np.where(flat, np.where(off > near, sign, 1), comparison.above)
    below = np.where(flat, np.where(off < -near, sign, 1), comparison.below)
    unbounded = few | (flat & (sign > question.tail))
    return Comparison(
        comparison.estimate,
        np.where(flat, 0, comparison.deviation),
        np.where(unbounded, -np.inf, np.where(flat, comparison.estimate - near, comparison.low)),
        np.where(unbounded, np.inf, np.where(flat, comparison.estimate + near, comparison.high)),
        np.where(few, 1, above),
        np.where(few, 1, below),
    )


def _p_values(comparison: Comparison, rule: Rule) -> np.ndarray:
    """Two-sided, of a truth at the nearest bound; inside the margin of an equality, the larger one-sided."""
    both = np.minimum(2 * np.minimum(comparison.above, comparison.below), 1)
    if rule.claim != "equal":
        return both[1 if rule.claim == "greater" else 0]
    inside = np.maximum(comparison.above[0], comparison.below[1])
    nearest = both[np.where(comparison.estimate > 0, 1, 0), range(len(inside))]
    return np.where(np.abs(comparison.estimate) < rule.effect, inside, nearest)
