"""Ensembles of seeds against brute force, an identity for squared errors, and the t interval of a mean."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jnorm import statistics

RNG = np.random.default_rng(0)


def accuracy(labels):
    return lambda p: np.mean(p.argmax(-1) == labels)


def test_one_member_is_the_mean_of_the_seeds_with_its_t_interval():
    predictions = RNG.normal(size=(9, 20))
    found = statistics.ensembles(predictions, np.max, sizes=(1,))
    scores = predictions.max(1)
    low, high = stats.t.interval(0.95, 8, scores.mean(), stats.sem(scores))
    assert found.sizes.tolist() == [1]
    np.testing.assert_allclose(np.ravel(found.score), [scores.mean(), low, high], rtol=1e-12)  # a dozen roundings
    np.testing.assert_array_equal(np.ravel(found.gain), [0, 0, 0])


def test_the_score_is_the_mean_over_all_subsets():
    predictions, labels = RNG.dirichlet(np.ones(3), (6, 15)), RNG.integers(0, 3, 15)
    found = statistics.ensembles(predictions, accuracy(labels), sizes=(2, 6, 1))
    for size, value in zip(found.sizes, found.score.value, strict=True):
        subsets = [list(members) for members in itertools.combinations(range(6), size)]
        by_hand = np.mean([accuracy(labels)(predictions[members].mean(0)) for members in subsets])
        np.testing.assert_allclose(value, by_hand, rtol=1e-12)


def test_squared_errors_fall_as_one_over_the_members():
    """Over all subsets of k of n, the mean of (mean of k - t)^2 is (m - t)^2 + s^2 (1/k - 1/n), s^2 without bias."""
    predictions, target = RNG.normal(2.0, 1.0, (7, 4)), RNG.normal(size=4)
    sizes = np.arange(1, 8)
    found = statistics.ensembles(predictions, lambda p: np.mean((p - target) ** 2), sizes=sizes)
    spread = predictions.var(0, ddof=1).mean()
    expected = np.mean((predictions.mean(0) - target) ** 2) + spread * (1 / sizes - 1 / 7)
    np.testing.assert_allclose(found.score.value, expected, rtol=1e-12)
    np.testing.assert_allclose(found.gain.value, expected - expected[0], atol=1e-12)


def test_the_interval_is_the_jackknife_over_seeds():
    """Leave a seed out, and do it all again: what the function takes from one pass over the subsets."""
    predictions = RNG.normal(size=(6, 5))
    score = lambda p: np.sort(p)[1]
    found = statistics.ensembles(predictions, score, sizes=(3,), level=0.1)
    single = lambda x, k: np.mean([score(x[list(c)].mean(0)) for c in itertools.combinations(range(len(x)), k)])
    for interval, of in (
        (found.score, lambda x: single(x, 3)),
        (found.gain, lambda x: single(x, 3) - single(x, 1)),
    ):
        without = np.array([of(np.delete(predictions, i, 0)) for i in range(6)])
        error = np.sqrt(5 / 6 * np.sum((without - without.mean()) ** 2))
        half = stats.t.ppf(0.95, 5) * error
        np.testing.assert_allclose(
            np.ravel(interval), [of(predictions), of(predictions) - half, of(predictions) + half]
        )


def test_all_seeds_together_are_one_ensemble_without_an_interval():
    found = statistics.ensembles(RNG.normal(size=(4, 3)), np.sum, sizes=(3, 4))
    assert np.isfinite(found.score.low[0])
    assert np.isfinite(found.score.value).all()
    assert np.isnan([found.score.low[1], found.score.high[1], found.gain.low[1], found.gain.high[1]]).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_intervals_hold_the_expected_score_of_an_ensemble(size):
    """Mean squared errors of 50 examples, whose expectation is known; 400 times 8 seeds: 3 deviations are 3.3 %."""
    held, n = 0, 400
    for predictions in np.random.default_rng(1).normal(1.0, 1.0, (n, 8, 50)):
        interval = statistics.ensembles(predictions, lambda p: np.mean(p**2), sizes=(size,)).score
        held += bool(interval.low[0] <= 1 + 1 / size <= interval.high[0])
    assert held / n > 0.917


@pytest.mark.parametrize(
    ("predictions", "options", "error", "text"),
    [
        (np.ones((1, 3)), {}, ValueError, r"`predictions` must hold two seeds or more .*; got shape \(1, 3\)"),
        (np.ones(3), {}, ValueError, r"`predictions` must be an array \[seed, example, ...\]; got shape \(3,\)"),
        (np.ones((4, 0)), {}, ValueError, "must be an array"),
        ([["a", "b"], ["c", "d"]], {}, TypeError, "`predictions` must hold real numbers"),
        (
            np.where(np.eye(4), np.nan, 1.0)[:3],
            {},
            ValueError,
            "`predictions` must be finite; seeds 0, 1, 2 .*: leave",
        ),
        (np.ones((4, 3)), {"sizes": (5,)}, ValueError, "`sizes` must satisfy 1 <= sizes <= 4"),
        (np.ones((4, 3)), {"sizes": (0,)}, ValueError, "`sizes` must be a whole number >= 1; got 0"),
        (np.ones((4, 3)), {"sizes": (1.5,)}, ValueError, "`sizes`"),
        (np.ones((4, 3)), {"sizes": ()}, ValueError, "`sizes` must name at least one"),
        (np.ones((40, 3)), {"sizes": (10,)}, ValueError, "847,660,528 ensembles of 10 of 40 .* at most 100,000"),
        (np.ones((4, 3)), {"level": 0.0}, ValueError, "`level` must satisfy 0 < level < 1"),
    ],
)
def test_bad_input(predictions, options, error, text):
    with pytest.raises(error, match=text):
        statistics.ensembles(predictions, np.sum, **{"sizes": (2,)} | options)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match=r"`score` must return a number; got shape \(3,\)"):
        statistics.ensembles(np.ones((4, 3)), lambda p: p, sizes=(2,))
