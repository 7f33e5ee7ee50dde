"""Ensembles of seeds: what averaging the predictions of several networks brings, and how sure that is."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jnorm._ground import checks
from jnorm.statistics._bca import Interval

MOST = 100_000
"""Ensembles of one size that are scored."""


class Ensembles(NamedTuple):
    """Scores of ensembles by their size.

    Attributes:
        sizes: Numbers of members, ``[size]``.
        score: The expected score of an ensemble of fresh seeds, with its interval, ``[size]`` each.
        gain: How much more that is than the expected score of one seed.
    """

    sizes: np.ndarray
    score: Interval
    gain: Interval


def ensembles(
    predictions: ArrayLike,
    score: Callable[[np.ndarray], Any],
    *,
    sizes: Sequence[int] | np.ndarray,
    level: float = 0.05,
) -> Ensembles:
    """The score of an ensemble of k seeds, that averages their predictions, and its gain over a single one.

    The mean over all subsets of k of the n seeds: a U-statistic, without bias for k fresh seeds. Subsets share members,
    so that their scores are not independent; the interval is that of the jackknife over seeds,
    ``U +- t_(n-1) sqrt((n - 1)/n sum_i (U_(-i) - mean)^2)``, with U_(-i) over the subsets that do without seed i. For
    k = 1 it is Student's interval of the mean; the larger k/n, the more it is on the safe side, and for k = n there is
    none. Of accuracies of 8 seeds it holds 95 to 98 %; of skewed scores, such as the squared error of a single example,
    as little as Student's interval of their mean. It is about other seeds, not about other test examples.

    Args:
        predictions: Of each seed, ``[seed, example, ...]``: probabilities for the mixture of the networks, outputs of a
            regression; averaged logits are another ensemble, a geometric mean.
        score: ``score(prediction)`` of an average ``[example, ...]``, a number.
        sizes: Numbers of members k.
        level: Error rate of each interval.

    Returns:
        Score and gain for every size, in double precision on the host.

    Raises:
        ValueError: For fewer than two seeds, predictions that are not finite, sizes outside 1, ..., n or with more than
            100 000 subsets, and a level outside (0, 1).
        TypeError: For predictions that are no real numbers, and a score that returns something else than a number.

    Source: Lakshminarayanan et al. 2017 (deep ensembles); Hoeffding 1948, Arvesen 1969 (jackknife of U-statistics).

    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, 300)
    >>> predictions = rng.dirichlet(np.ones(3), (8, 300)) + 0.2 * np.eye(3)[labels]
    >>> found = ensembles(predictions, lambda p: np.mean(p.argmax(-1) == labels), sizes=(1, 4))
    >>> [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in zip(*found.score)]
    ['0.461 [0.443, 0.479]', '0.683 [0.661, 0.704]']
    """
    members = _members(predictions)
    n = len(members)
    checks.whole(1, sizes=sizes)
    checks.require(lambda k: k <= n, f"`{{}}` must satisfy 1 <= {{}} <= {n}, the number of seeds", sizes=sizes)
    checks.require(lambda a: (a > 0) & (a < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    numbers = np.atleast_1d(np.asarray(sizes, int))
    if not numbers.size:
        raise ValueError("`sizes` must name at least one number of members; got none")
    for k in numbers.tolist():
        if (count := math.comb(n, k)) > MOST:
            text = f"there are {count:,} ensembles of {k} of {n} seeds, and at most {MOST:,} are scored"
            raise ValueError(f"{text}: take fewer seeds or another size")
    rows = np.array([_without(members, score, k) for k in numbers.tolist()])
    return Ensembles(numbers, _interval(rows, level), _interval(rows - _without(members, score, 1), level))


def _members(predictions: ArrayLike) -> np.ndarray:
    array = np.asarray(predictions)
    if array.dtype.kind not in "fiub" and not np.can_cast(array.dtype, np.float64):
        raise TypeError(f"`predictions` must hold real numbers; got {array.dtype}")
    if array.ndim < 2 or not array.size:
        raise ValueError(f"`predictions` must be an array [seed, example, ...]; got shape {array.shape}")
    if len(array) < 2:
        raise ValueError(f"`predictions` must hold two seeds or more on the first axis; got shape {array.shape}")
    array = array.astype(np.float64)
    lost = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
    if lost.size:
        shown = ", ".join(map(str, lost[:3])) + (", ..." if lost.size > 3 else "")
        raise ValueError(f"`predictions` must be finite; seeds {shown} are not: leave them out, and say so")
    return array


def _without(members: np.ndarray, score: Callable[[np.ndarray], Any], size: int) -> np.ndarray:
    """The mean score over all subsets, and then over those that do without seed 0, 1, ..., n - 1."""
    n = len(members)
    subsets = np.array(list(itertools.combinations(range(n), size)))
    scores = np.array([_number(score(members[subset].mean(0))) for subset in subsets])
    has = np.zeros((len(subsets), n), bool)
    np.put_along_axis(has, subsets, values=True, axis=1)
    with np.errstate(invalid="ignore"):  # all seeds together do without none
        left_out = ~has.T @ scores / (~has).sum(0)
    return np.concatenate([[scores.mean()], left_out])


def _number(value: Any) -> float:
    if np.ndim(value):
        raise TypeError(f"`score` must return a number; got shape {np.shape(value)}")
    return float(value)


def _interval(rows: np.ndarray, level: float) -> Interval:
    value, left_out = rows[:, 0], rows[:, 1:]
    n = left_out.shape[1]
    spread = np.sum((left_out - left_out.mean(1, keepdims=True)) ** 2, 1)
    half = stats.t.ppf(1 - level / 2, n - 1) * np.sqrt((n - 1) / n * spread)
    return Interval(value, value - half, value + half)
