import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics import (
    Rule,
    averaged,
    compare,
    iqm,
    judge,
    mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    runs_of,
    stratified_bootstrap,
)

SCORES = np.random.default_rng(0).normal(0.5, 0.3, (4, 6, 5))  # [method, task, seed]


def test_the_profile_is_one_less_the_distribution_function():
    at = np.linspace(-0.5, 1.5, 9)
    got = performance_profile(SCORES, at, axis=(1, 2))
    wanted = [1 - stats.ecdf(x.ravel()).cdf.evaluate(at) for x in SCORES]
    assert got == pytest.approx(np.array(wanted), abs=1e-7)  # float32, counts of 30
    assert performance_profile([0.5, 0.5, np.nan], [0.5], axis=0).tolist() == [0.0]


def test_the_gap_is_the_mean_shortfall():
    wanted = 0.7 - np.mean(np.minimum(SCORES, 0.7), (1, 2))
    assert optimality_gap(SCORES, 0.7, axis=(1, 2)) == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(optimality_gap([0.5, np.nan], axis=0))


def test_the_probability_of_improvement_is_the_mean_of_mann_whitneys():
    x, y = SCORES[0], SCORES[1][:, :3]
    wanted = np.mean([stats.mannwhitneyu(a, b).statistic / 15 for a, b in zip(x, y, strict=True)])
    assert probability_of_improvement(x, y, axis=1, over=0) == pytest.approx(wanted, abs=1e-6)
    assert probability_of_improvement(x.T, y.T, axis=-2, over=-1) == pytest.approx(wanted, abs=1e-6)


def test_seeds_are_resampled_within_tasks():
    """Two seeds on each of two tasks: all 16 resamples of the mean, whose quantiles are far from other values."""
    x = np.array([[0.0, 1.0], [100.0, 110.0]])
    means = sorted((a + b + c + d) / 4 for a, b, c, d in itertools.product(x[0], x[0], x[1], x[1]))
    # The tail of .15, expanded for two seeds with one degree of freedom on each task.
    level = 2 * stats.t(2).cdf(stats.norm.ppf(0.15) / np.sqrt(2))
    interval = stratified_bootstrap(
        jax.random.key(0), x, partial(mean, axis=(-2, -1)), axis=1, over=0, level=level, samples=4000
    )
    # .15 and .85 lie between the steps of the law at 1/8 and 3/16, and 13/16 and 7/8: 6 deviations of 4000 samples.
    assert (interval.low, interval.value, interval.high) == pytest.approx((means[2], 52.75, means[13]), rel=1e-6)


@pytest.mark.thorough
def test_several_methods_are_drawn_independently():
    same = np.tile(np.arange(6.0), (3, 1))
    wins = stratified_bootstrap(
        jax.random.key(0), (same, same), partial(probability_of_improvement, axis=-1, over=-2), axis=1, over=0
    )
    assert wins.low < 0.4 < wins.value == 0.5 < 0.6 < wins.high
    moved = stratified_bootstrap(jax.random.key(0), same.T, partial(iqm, axis=(-2, -1)), axis=0, over=1)
    still = stratified_bootstrap(jax.random.key(0), same, partial(iqm, axis=(-2, -1)), axis=1, over=0)
    assert moved == still


def test_bands_of_profiles():
    shares = partial(performance_profile, thresholds=(0.0, 0.5, 1.0), axis=(-2, -1))
    band = stratified_bootstrap(jax.random.key(0), SCORES[0], shares, axis=1, over=0)
    assert band.low.shape == (3,)
    assert np.all((band.low <= band.value) & (band.value <= band.high))


def test_repeats_are_averaged_and_tasks_are_settings():
    scores = np.random.default_rng(0).normal(size=(2, 3, 8, 50)) + np.array([0.0, 2.0])[:, None, None, None]
    failed = np.zeros((2, 3, 8), bool)
    failed[0, 1, 2] = True
    grid = [{"phi": "relu"}, {"phi": "selu"}]
    runs = runs_of(
        {"score": scores}, ["configuration", "task", "seed", "repeat"], grid, tasks=["a", "b", "c"], failed=failed
    )
    assert runs.configurations[4] == {"phi": "selu", "task": "b"}
    assert np.array_equal(runs["score"], scores.mean(3).reshape(6, 8))
    assert runs.failed[1, 2]
    moved = runs_of(
        {"score": np.moveaxis(scores, 2, 0)}, ["seed", "configuration", "task", "repeat"], grid, tasks=["a", "b", "c"]
    )
    assert np.array_equal(moved["score"], runs["score"])
    rule = Rule(claim="greater", effect=0.0, diverged="lowest", metric="score", a=grid[1], b=grid[0])
    verdict = judge(runs, rule)
    assert [s.where for s in verdict.settings] == [{"task": "a"}, {"task": "b"}, {"task": "c"}]
    assert {s.runs for s in verdict.settings} == {(8, 8)}  # not 400
    assert len(judge(averaged(runs, "task"), rule).settings) == 1


def test_pseudo_replication_is_an_error_that_teaches():
    for roles, text in [
        (
            ["configuration", "repeat"],
            "must name an axis of seeds; got configuration, repeat: repeats and tasks of one",
        ),
        ([], "must name an axis of seeds; got none"),
        (["seed", "episode"], "must be among configuration, task, seed, repeat; got 'episode': .* with one trained"),
        (["seed", "seed"], "must name 'seed' once; got seed, seed: what was trained anew from another key is a .seed."),
        (["seed"], r"`x` must have the axes seed; got shape \(1, 5\)"),
        (["task", "seed"], r"`x` must have 1 configurations and 2 tasks; got shape \(1, 5\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            runs_of({"x": jnp.ones((1, 5))}, roles, tasks=["a", "b"] if "task" in roles else None)
    rule = Rule(claim="greater", effect=0.0, diverged="exclude")
    with pytest.raises(TypeError, match=r"`axis` must be one axis.* got \(0, 1\): only seeds are runs"):
        compare(np.ones((5, 100)), np.zeros((5, 100)), rule, axis=(0, 1))


def test_roles_of_arrays_that_hold_something_else():
    x, grid = np.ones((2, 3)), [{"task": 1}, {"task": 2}]
    for error, text, call in [
        (TypeError, r"`roles` must name the role of each axis.* got 'seed'", lambda: runs_of({"x": x[0]}, "seed")),
        (TypeError, r"`roles` must name .* got \[0, 1\]", lambda: runs_of({"x": x}, [0, 1])),
        (TypeError, "`arrays` must be arrays by name.* got ndarray", lambda: runs_of(x, ["repeat", "seed"])),
        (TypeError, "`x` must hold real numbers", lambda: runs_of({"x": [["a", "b"]]}, ["repeat", "seed"])),
        (ValueError, "`x` must be an array; got rows of", lambda: runs_of({"x": [[1], [1, 2]]}, ["repeat", "seed"])),
        (ValueError, "`x` must hold at least one run", lambda: runs_of({"x": x[:0]}, ["repeat", "seed"])),
        (
            ValueError,
            "`tasks` need an axis of tasks; got repeat, seed",
            lambda: runs_of({}, ["repeat", "seed"], tasks="a"),
        ),
        (ValueError, "`tasks` must be different; got a, a", lambda: runs_of({}, ["task", "seed"], tasks=["a", "a"])),
        (
            ValueError,
            "`configurations` must not have a hyperparameter 'task'",
            lambda: runs_of({"x": x}, ["task", "seed"], grid),
        ),
    ]:
        with pytest.raises(error, match=text):
            call()


def test_repeats_are_averaged_in_enough_precision():
    """A thousand bfloat16 numbers added in bfloat16 stop at 32."""
    for dtype in (jnp.bfloat16, jnp.float16):
        got = runs_of({"x": jnp.full((1, 1000), 0.125, dtype)}, ["seed", "repeat"])["x"]
        assert got.dtype == np.float32
        assert got.tolist() == [[0.125]]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"`thresholds` must be a vector; got shape \(\)"):
        performance_profile(SCORES, 0.5, axis=2)
    with pytest.raises(ValueError, match="`over` must not name the axis of the seeds; got axis -1 and over 1"):
        probability_of_improvement(SCORES[0], SCORES[1], axis=-1, over=1)
    estimator = partial(mean, axis=(-2, -1))
    with pytest.raises(ValueError, match="`over` must satisfy -2 <= over < 2; got 2"):
        stratified_bootstrap(jax.random.key(0), SCORES[0], estimator, axis=1, over=2)
    with pytest.raises(ValueError, match="`samples` must be a whole number >= 1; got 0"):
        stratified_bootstrap(jax.random.key(0), SCORES[0], estimator, axis=1, over=0, samples=0)
