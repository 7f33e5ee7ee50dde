"""Methods by which a rule compares two arms: the table `METHODS`, one entry a method.

An entry is a function ``compare(a, b, question) -> Comparison`` with what a reader and the planning of runs must know
of it. Estimate, interval and p-values have to agree: the interval holds exactly those differences theta that the test
of ``a - b = theta`` does not reject. `by_steps` inverts tests whose p-value changes at some points only; `by_setting`
turns a comparison of two samples into one of many settings. Rules, their texts, the planning of runs and the tests of
all methods read this table alone.

>>> for name in ("t", "sign"):
...     print(f"{name}: {METHODS[name]}")
t: the mean, by Student's t-test (Welch's t-test where unpaired); of normal runs (paired or unpaired)
sign: the median, by the sign test; of any differences (paired)
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import special

from jnorm.statistics._resampled import resampled
from jnorm.statistics._steps import Compare, Comparison, Question, by_setting, by_steps

SAMPLES = 10_000  # random changes of sign: p-values end at 1e-4
EXACT = 256  # pairs up to which the law of the signed ranks is summed instead of taken normal


@dataclass(frozen=True)
class Method:
    """A method of comparison.

    Attributes:
        estimates: What it estimates of a - b.
        assumes: Of which runs.
        compare: Estimate, deviation, interval and p-values of a - b in each setting.
        paired: The test of paired runs; empty where it does not serve them.
        unpaired: The test of independent runs.
        efficiency: For the power: how many runs of a t-test one run of this method is worth, for normal differences.
        smallest_p: For the power: the smallest one-sided p-value that so many runs can give.
    """

    estimates: str
    assumes: str
    compare: Compare
    paired: str = ""
    unpaired: str = ""
    efficiency: float = 1.0
    smallest_p: Callable[[float], float] = lambda runs: 0.0

    def __str__(self) -> str:
        designs = [name for name in ("paired", "unpaired") if getattr(self, name)]
        other = f" ({self.unpaired} where unpaired)" if self.paired and self.unpaired else ""
        test = f"{self.paired or self.unpaired}{other}"
        return f"the {self.estimates}, by {test}; of {self.assumes} ({' or '.join(designs)})"


def _student(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
    nulls = question.nulls[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        if question.paired:
            n, estimate, var = _moments(a - b)
            se, df, deviation = np.sqrt(var / n), n - 1.0, np.sqrt(var)
        else:
            (n, left, var), (m, right, other) = _moments(a), _moments(b)
            estimate, deviation = left - right, np.sqrt((var + other) / 2)
            se = np.sqrt(var / n + other / m)
            df = se**4 / ((var / n) ** 2 / (n - 1) + (other / m) ** 2 / (m - 1))
        t = (estimate - nulls) / se
        reach = -special.stdtrit(df, question.tail) * se
        above, below = special.stdtr(df, -t), special.stdtr(df, t)
        return Comparison(estimate, deviation, estimate - reach, estimate + reach, above, below)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and unbiased variance of what is not NaN."""
    n = np.sum(~np.isnan(x), 1)
    mean = np.nansum(x, 1) / n
    return n, mean, np.nansum(np.square(x - mean[:, None]), 1) / (n - 1)


@by_setting
def _sign(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
    d = a - b
    above = special.bdtr(np.arange(len(d) + 1), len(d), 0.5)
    return by_steps(np.median(d), np.std(d, ddof=1), d, question.near_a + question.near_b, above, question)


@by_setting
def _signed_rank(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
    d = a - b
    i, j = np.triu_indices(len(d))
    near = question.near_a + question.near_b
    means, near = ((part[i] + part[j]) / 2 for part in (d, near))
    return by_steps(np.median(means), np.std(d, ddof=1), means, near, _signed_rank_law(len(d)), question)


@cache
def _signed_rank_law(n: int) -> np.ndarray:
    """P(W+ <= k) for k = 0, ..., n (n + 1)/2."""
    most = n * (n + 1) // 2
    if n > EXACT:
        return special.ndtr((np.arange(most + 1) + 0.5 - most / 2) / np.sqrt(most * (2 * n + 1) / 12))
    law = np.zeros(most + 1)
    law[0] = 1.0
    for rank in range(1, n + 1):
        law[rank:] = (law[rank:] + law[:-rank]) / 2
        law[:rank] /= 2
    return np.cumsum(law)


@by_setting
def _permutation(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
    # Changing the signs of the differences d - theta in a subset does not lower their sum where the subset's mean is at
    # most theta. The empty subset never does: it is the 1 in (1 + k)/(1 + subsets).
    d = a - b
    members = _members(len(d))
    means, near = (members @ part / np.sum(members, 1) for part in (d, question.near_a + question.near_b))
    above = np.arange(1, len(means) + 2) / (len(means) + 1)
    return by_steps(np.mean(d), np.std(d, ddof=1), means, near, above, question)


@cache
def _members(n: int) -> np.ndarray:
    """Who is in each of the non-empty subsets of n, or of as many of them, all different and at random."""
    rng, bits = np.random.default_rng(0), min(n, 62)
    codes = np.arange(2**n - 1) if 2**n <= SAMPLES else rng.choice(2**bits - 1, SAMPLES, replace=False)
    members = (codes[:, None] + 1 >> np.arange(bits)) & 1
    others = rng.integers(0, 2, (len(codes), n - bits))
    return np.concatenate([members, others], 1).astype(np.int8)


@by_setting
def _brunner_munzel(a: np.ndarray, b: np.ndarray, question: Question) -> Comparison:
    """The test of P(a > b + theta) + P(a = b + theta)/2 = 1/2, made monotone in theta: the largest p up to there."""
    from scipy import stats  # half a second to import

    points, near = np.subtract.outer(a, b).ravel(), np.add.outer(question.near_a, question.near_b).ravel()
    order = np.argsort(points)
    points, near = points[order], near[order]
    between = np.concatenate([[points[0] - 1], (points[1:] + points[:-1]) / 2, [points[-1] + 1]])
    above = _p_brunner_munzel(stats, a, b, between)
    below = _p_brunner_munzel(stats, b, a, -between[::-1])
    deviation = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    return by_steps(np.median(points), deviation, points, near, above, question, below=below)


def _p_brunner_munzel(stats: Any, a: np.ndarray, b: np.ndarray, nulls: np.ndarray) -> np.ndarray:
    """P of "a - b is at most null", the arms apart at the ends; grows."""
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings(action="ignore"):  # arms apart: NaN
        shifted = np.broadcast_to(a, (len(nulls), len(a))) - nulls[:, None]
        p = stats.brunnermunzel(np.broadcast_to(b, (len(nulls), len(b))), shifted, "less", axis=1).pvalue
    p = np.where(np.isnan(p), np.where(nulls < np.median(np.subtract.outer(a, b)), 0, 1), p)
    return np.maximum.accumulate(p)


def _of_signs(runs: float) -> float:
    return 0.5**runs


METHODS = {
    "t": Method("mean", "normal runs", _student, paired="Student's t-test", unpaired="Welch's t-test"),
    "wilcoxon": Method(
        "median of all pairwise means (Hodges and Lehmann)",
        "symmetric differences",
        _signed_rank,
        paired="Wilcoxon's signed ranks",
        efficiency=3 / np.pi,
        smallest_p=_of_signs,
    ),
    "sign": Method(
        *("median", "any differences"), _sign, paired="the sign test", efficiency=2 / np.pi, smallest_p=_of_signs
    ),
    "brunner-munzel": Method(
        "shift at which neither arm tends to be greater",
        "ten runs and more",
        _brunner_munzel,
        unpaired="Brunner and Munzel's test",
        efficiency=3 / np.pi,
    ),
    "permutation": Method(
        "mean",
        "symmetric differences",
        _permutation,
        paired=f"all changes of sign, or {SAMPLES} random ones",
        smallest_p=lambda runs: max(0.5**runs, 1 / (SAMPLES + 1)),
    ),
} | {
    f"bootstrap-{name}": Method(
        text,
        f"{'symmetric or many ' if name == 'mean' else ''}runs, six and more",
        partial(resampled, estimator=name),
        paired="an expanded BCa bootstrap",
        smallest_p=lambda runs: max(0.5**runs, 1 / (SAMPLES + 1)),
    )
    for name, text in (("mean", "mean"), ("median", "median"), ("iqm", "interquartile mean"))
}
"""By the name that `Rule.method` gives."""
