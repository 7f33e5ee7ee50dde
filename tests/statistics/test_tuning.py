import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from jnorm.statistics import expected_best, tuning_curve
from jnorm.statistics._counts import joint_bounds, joint_probability


def counted(n, shares, least, most):
    """The joint probability in fractions: over all numbers of draws in the cells between the shares."""
    cells = [b - a for a, b in itertools.pairwise((Fraction(0), *shares, Fraction(1)))]
    total = Fraction(0)
    for counts in itertools.product(range(n + 1), repeat=len(cells)):
        below = list(itertools.accumulate(counts))
        if below[-1] == n and all(a <= k <= b for a, k, b in zip(least, below, most, strict=False)):
            ways = Fraction(math.factorial(n))
            for cell, count in zip(cells, counts, strict=True):
                ways = ways * cell**count / math.factorial(count)
            total += ways
    return total


@pytest.mark.parametrize(
    ("n", "shares", "least", "most"),
    [
        (1, (3,), (0,), (0,)),
        (4, (2, 5), (0, 2), (1, 3)),
        (5, (1, 4, 8), (0, 1, 2), (3, 4, 5)),
        (6, (3, 6, 9), (1, 3, 4), (2, 4, 6)),
        (3, (5, 5), (1, 1), (2, 3)),
        (3, (2, 4), (0, 2), (0, 2)),
    ],
)
def test_joint_probability_is_the_count_in_fractions(n, shares, least, most):
    exact = counted(n, [Fraction(s, 10) for s in shares], least, most)
    got = joint_probability(n, np.array(shares) / 10, np.array(least), np.array(most))
    assert got == pytest.approx(float(exact), rel=1e-13)  # float64, positive terms


def test_joint_probability_of_many_draws_is_a_sum_of_multinomials():
    n, p = 300, (0.5, 0.2, 0.3)
    law = stats.multinomial(n, p)
    wanted = sum(law.pmf([i, j - i, n - j]) for i in range(140, 161) for j in range(max(i, 200), 217))
    got = joint_probability(n, np.array([0.5, 0.7]), np.array([140, 200]), np.array([160, 216]))
    assert got == pytest.approx(wanted, rel=1e-10)  # logarithms of gamma functions of 300


@pytest.mark.parametrize("n", [1, 7, 200])
@pytest.mark.parametrize("level", [0.05, 0.5])
def test_bounds_hold_together_and_no_wider_ones_do(n, level):
    shares = tuple(0.5 ** (1 / np.arange(1, 9)))
    least, most = joint_bounds(n, shares, level)
    tails = [stats.binom.cdf(least - 1, n, shares), stats.binom.sf(most, n, shares)]
    assert joint_probability(n, np.array(shares), least, most) >= 1 - level
    if n == 200:  # the next tail among all counts would be too much
        tail = min(t.min() for t in (stats.binom.cdf(least, n, shares), stats.binom.sf(most - 1, n, shares)))
        assert tail >= np.max(tails)
        narrow = [np.sum(stats.binom.cdf(np.arange(n + 1)[:, None], n, shares) <= tail * (1 + 1e-9), 0)]
        narrow.append(np.sum(stats.binom.sf(np.arange(n + 1)[:, None], n, shares) > tail * (1 + 1e-9), 0))
        assert joint_probability(n, np.array(shares), *narrow) < 1 - level


def test_one_draw_is_the_classical_interval_of_a_median():
    """Between the 6th and the 15th of 20 sorted draws the median lies with 95.86 %: Conover 1999, section 3.2."""
    x = np.arange(1.0, 21.0)
    curve = tuning_curve(x, (1,), axis=0)
    assert (curve.low, curve.value, curve.high) == (6.0, 10.0, 15.0)


def test_the_band_is_that_of_the_counts():
    """The definition: scores with so many draws below the share, by scanning."""
    x = np.random.default_rng(0).normal(size=9)
    draws = (30, 1, 5, 2)
    curve = tuning_curve(x, draws, axis=0, level=0.1, quantile=0.3, support=(-9.0, 9.0))
    shares = tuple(sorted(0.3 ** (1 / n) for n in draws))
    least, most = joint_bounds(9, shares, 0.1)
    steps = [-9.0, *sorted(x), 9.0]
    for n, value, lower, upper in zip(*curve, strict=True):
        i = shares.index(0.3 ** (1 / n))
        assert (lower, upper) == (steps[least[i]], steps[most[i] + 1])
        assert value == np.quantile(x, shares[i], method="inverted_cdf")


@pytest.mark.parametrize("best", ["highest", "lowest"])
@pytest.mark.parametrize("draws", [None, (1, 4, 16)])
def test_the_band_holds_the_whole_curve_as_often_as_it_says(best, draws):
    sims, n = 4000, 25
    x = np.random.default_rng(0).exponential(size=(sims, n))
    curve = tuning_curve(x, draws, axis=1, best=best)
    share = 0.5 ** (1 / curve.draws)
    truth = -np.log1p(-share) if best == "highest" else -np.log(share)
    held = np.mean(np.all((curve.low <= truth) & (truth <= curve.high), 1))
    exact = joint_probability(n, share, *joint_bounds(n, tuple(share), 0.05))
    assert 0.95 <= exact < 0.965  # steps of 25 draws
    assert abs(held - exact) < 4 * np.sqrt(0.05 * 0.95 / sims)  # z = 4


def test_ties_and_divergence_widen_the_band():
    x = np.random.default_rng(0).integers(0, 3, (2000, 25))
    curve = tuning_curve(x, axis=1)
    truth = np.searchsorted([1 / 3, 2 / 3], 0.5 ** (1 / curve.draws))
    assert np.mean(np.all((curve.low <= truth) & (truth <= curve.high), 1)) > 0.95
    lost = tuning_curve([0.3, np.nan, 0.5, np.inf], (1, 9), axis=0, support=(0.0, 1.0))
    assert lost.value.tolist() == [0.0, 0.5]
    assert (lost.low[0], lost.high.tolist()) == (0.0, [1.0, 1.0])


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_the_expected_best_is_the_mean_over_all_subsets(best):
    dev, test = [3, 1, 4, 1, 5, 5], [2, 7, 1, 8, 2, 9]
    pick = max if best == "highest" else min
    for n in range(1, 7):
        scores = []
        for subset in itertools.combinations(range(6), n):
            tied = [i for i in subset if dev[i] == pick(dev[j] for j in subset)]
            scores.append(Fraction(sum(test[i] for i in tied), len(tied)))
        mean = sum(scores) / len(scores)
        # Draws that tie share their weights: in the mean over all orders of those that tie.
        got = expected_best(test, [n], axis=0, by=dev, best=best)
        assert got[0] == pytest.approx(float(mean), rel=1e-12)
        alone = [pick(dev[i] for i in subset) for subset in itertools.combinations(range(6), n)]
        assert expected_best(dev, [n], axis=0, best=best)[0] == pytest.approx(np.mean(alone), rel=1e-12)


def test_lanes_are_searches_of_their_own():
    x = np.random.default_rng(0).normal(size=(8, 3))
    for f in (tuning_curve, expected_best):
        whole = np.asarray(f(x, (1, 4), axis=0)[1] if f is tuning_curve else f(x, (1, 4), axis=0))
        parts = [f(x[:, i], (1, 4), axis=0) for i in range(3)]
        assert np.array_equal(whole, [p[1] if f is tuning_curve else p for p in parts])


def test_a_diverged_draw_is_never_best_unless_all_are():
    assert expected_best([1.0, np.nan, 3.0], (3,), axis=0) == [3.0]
    assert np.isnan(expected_best([1.0, np.nan, 3.0], (1,), axis=0))  # it may be the only draw
    assert expected_best([5.0, 6.0, 7.0], (1, 3), axis=0, by=[0.1, np.nan, 0.3]).tolist() == [6.0, 7.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`draws` must be a whole number >= 1; got 0"):
        tuning_curve([0.1, 0.2], (0,), axis=0)
    with pytest.raises(ValueError, match=r"`draws` must satisfy draws <= 2, the number of scores; got 3"):
        expected_best([0.1, 0.2], (3,), axis=0)
    with pytest.raises(ValueError, match=r"`support` must hold all scores; got \(0.0, 1.0\), scores from 0.1 to 2.0"):
        tuning_curve([0.1, 2.0], axis=0, support=(0.0, 1.0))
    with pytest.raises(ValueError, match="`quantile` must satisfy 0 < quantile < 1; got 1"):
        tuning_curve([0.1, 2.0], axis=0, quantile=1.0)
    with pytest.raises(ValueError, match="`best` must be one of highest, lowest; got 'max'"):
        tuning_curve([0.1, 2.0], axis=0, best="max")
    with pytest.raises(ValueError, match=r"`by` must have the shape of `scores`, \(2,\); got \(3,\)"):
        expected_best([0.1, 0.2], axis=0, by=[1, 2, 3])
    with pytest.raises(ValueError, match="`axis` must satisfy -1 <= axis < 1 for `scores`; got 1"):
        tuning_curve([0.1, 0.2], axis=1)
