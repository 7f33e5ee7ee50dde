"""Tests whose p-value is a step function of the null, inverted: interval and p-values that agree at every bound.

For many tests of "the shift is theta", the one-sided p-value changes only at some points that the data define: the
differences themselves (sign test), their pairwise means (signed ranks), the means of their subsets (changes of sign).
With k of these points at or below theta, the p-value of ``truth <= theta`` is ``law[k]``, which grows with k. So the
test accepts exactly the theta between two of the points: the interval. Conventions make it closed: a point that lies at
theta speaks for the null, which also keeps the test valid where values tie.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Question(NamedTuple):
    """What a method of comparison is asked, for runs of two arms ``[settings, runs]``.

    Attributes:
        paired: Whether run i of one arm belongs to run i of the other.
        nulls: The differences against which p-values are wanted, ``[nulls]``.
        tail: The probability beyond either end of the interval.
        near_a: What rounding can have moved runs of a by, ``[settings, runs]``: p-values and intervals count what lies
            that close to a null as equal to it.
        near_b: That of b.
    """

    paired: bool
    nulls: np.ndarray
    tail: float
    near_a: np.ndarray
    near_b: np.ndarray


class Comparison(NamedTuple):
    """What it answers; of the difference theta of the arms, a - b.

    Attributes:
        estimate: Of theta, ``[settings]``.
        deviation: Standard deviation of the differences, or of single runs where unpaired, ``[settings]``.
        low: Lower end of the interval.
        high: Upper end of the interval.
        above: p-values of theta <= null, ``[nulls, settings]``: small where theta is above.
        below: p-values of theta >= null.
    """

    estimate: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    above: np.ndarray
    below: np.ndarray


Compare = Callable[[np.ndarray, np.ndarray, Question], Comparison]


def by_setting(compare: Compare) -> Compare:
    """A comparison of two samples ``[runs]`` as one of the arms of many settings, ``[settings, runs]``.

    Args:
        compare: Called with the runs that are not NaN (of pairs: in neither arm), and with their ``near``. Not called
            for fewer than two runs: then all is NaN.

    Returns:
        The comparison of all settings.

    >>> mean = lambda a, b, question: Comparison(np.mean(a - b), 1.0, 0.0, 1.0, question.nulls, question.nulls)
    >>> question = Question(True, np.zeros(2), 0.025, *np.zeros((2, 1, 3)))
    >>> by_setting(mean)(np.array([[1.0, 2.0, np.nan]]), np.zeros((1, 3)), question).estimate
    array([1.5])
    """

    def compare_all(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
        count, nulls = len(a), len(question.nulls)
        table = Comparison(*np.full((4, count), np.nan), *np.full((2, nulls, count), np.nan))
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            keep_a, keep_b = ~np.isnan(left), ~np.isnan(right)
            if question.paired:
                keep_a = keep_b = keep_a & keep_b
            left, right = left[keep_a], right[keep_b]
            if min(len(left), len(right)) < 2:
                continue
            near = {"near_a": question.near_a[i][keep_a], "near_b": question.near_b[i][keep_b]}
            of_one = compare(left, right, question._replace(**near))
            for column, value in zip(table, of_one, strict=True):
                column[..., i] = value
        return table

    return compare_all


def by_steps(
    estimate: float,
    deviation: float,
    points: np.ndarray,
    near: np.ndarray,
    above: np.ndarray,
    question: Question,
    *,
    below: np.ndarray | None = None,
) -> Comparison:
    """Interval and p-values of a test whose p-values change at points only.

    Args:
        estimate: Of theta.
        deviation: Of the differences, or of single runs.
        points: Where the p-values change, in any order.
        near: Which rounding can have moved each of them: a null that lies no further away is at the point.
        above: ``above[k]`` is the p-value of ``truth <= theta`` where k points lie at or below theta; it grows.
        question: What is asked, of one setting.
        below: ``below[k]`` is that of ``truth >= theta`` where k points lie at or above; by default the same.

    Returns:
        The comparison in one setting.

    >>> question = Question(True, np.array([0.0]), 0.2, *np.zeros((2, 3)))
    >>> sign = by_steps(2.0, 1.0, np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([1, 4, 7, 8]) / 8, question)
    >>> float(sign.low), float(sign.high), sign.above  # of three differences all are above 0: p = 1/8
    (1.0, 3.0, array([0.125]))
    """
    below = above if below is None else below
    lowest, highest = np.sort(points - near), np.sort(points + near)
    first, last = np.searchsorted(above, question.tail, "right"), np.searchsorted(below, question.tail, "right")
    at_or_below = np.searchsorted(lowest, question.nulls, "right")
    at_or_above = len(points) - np.searchsorted(highest, question.nulls, "left")
    return Comparison(
        np.asarray(estimate),
        np.asarray(deviation),
        np.concatenate([[-np.inf], lowest])[first],
        np.concatenate([[np.inf], highest[::-1]])[last],
        above[at_or_below],
        below[at_or_above],
    )
