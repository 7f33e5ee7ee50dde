from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jnorm.statistics._bca import WORKSPACE, bca_interval, expanded_tail, resample
from jnorm.statistics._bootstrap import bootstrap
from jnorm.statistics._location import ESTIMATORS, iqm, mean, median

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(0)


def draws(seed, *shape):
    return np.random.default_rng(seed).exponential(size=shape)


def sliced_iqm(x):
    """The integral of the step function of sorted values over the middle half, by brute force."""
    x = np.repeat(np.sort(x), 4)  # each value four quarters wide: the cuts at n/4 fall between quarters
    return x[len(x) // 4 : -(len(x) // 4)].mean()


@pytest.fixture(scope="module")
def found():
    with jax.enable_x64(True):
        x = draws(1, 3, 20)
        return x, jax.jit(lambda x: resample(KEY, x, iqm, axis=1, samples=999))(x)


def test_interval_equals_scipys_on_the_same_draws(found):
    x, boot = found
    with jax.enable_x64(True):
        got = jax.jit(bca_interval)(boot, tail=special.ndtri(0.05))
    for lane in range(3):
        exact = stats.bootstrap(
            (x[lane],),
            lambda a, axis: np.apply_along_axis(sliced_iqm, axis, a),
            n_resamples=0,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=np.asarray(boot.draws[:, lane])),
            confidence_level=0.9,
            method="BCa",
        ).confidence_interval
        # 1e-9: normal quantiles and their inverse in float64, on quantiles of 999 draws
        np.testing.assert_allclose([got.low[lane], got.high[lane]], exact, rtol=1e-9)


def test_draws_have_scipys_distribution(found):
    x, boot = found
    rng = np.random.default_rng(2)
    for lane in range(3):
        other = [sliced_iqm(rng.choice(x[lane], 20)) for _ in range(999)]
        assert stats.ks_2samp(other, np.asarray(boot.draws[:, lane])).pvalue > 1e-3  # false alarm of three: 0.3 %


def test_the_tail_is_students():
    """Wallace's bounds on the normal quantile of a Student variable."""
    levels = np.array([0.05, 0.1, 0.2, 0.5])
    with jax.enable_x64(True):
        for freedom, within in ((4, 5e-3), (8, 1e-3), (31, 1e-4), (1000, 1e-5)):
            wanted = special.stdtrit(freedom, levels / 2) * np.sqrt((freedom + 1) / freedom)
            np.testing.assert_allclose(expanded_tail(levels, freedom + 1, freedom), wanted, rtol=within)
    assert expanded_tail(0.05, 1, 0) == -np.inf


@pytest.mark.parametrize(("runs", "share"), [(8, 0.931), (32, 0.942)])
def test_coverage(runs, share):
    sims = 1000
    x = np.random.default_rng(3).normal(size=(sims, runs)).astype(np.float32)
    each = jax.jit(jax.vmap(lambda key, x: bootstrap(key, x, axis=0, samples=300)))
    got = each(jax.random.split(KEY, sims), x)
    covered = np.mean((got.low <= 0) & (got.high >= 0))
    # The shares are those of 20 000 other sets of runs; z = 4. Without expansion 88 and 93 %.
    assert abs(covered - share) < 4 * np.sqrt(share * (1 - share) / sims)


def test_beyond_the_outermost_draws_there_are_none():
    """Of two and three runs Student's quantile lies beyond all resamples: the ends are the outermost runs."""
    for x in ([0.0, 1.0], [0.0, 1.0, 5.0]):
        got = jax.jit(lambda x: bootstrap(KEY, x, axis=0, samples=500))(np.array(x))
        assert (got.low, got.high) == (x[0], x[-1])
    tiny = jax.jit(lambda x: bootstrap(KEY, x, axis=0, samples=500, level=1e-9))(np.arange(9.0) ** 3)
    assert 0 <= tiny.low < tiny.value < tiny.high <= 512  # past the pole of the map, no draw is left on that side


def test_half_a_lane_excluded_is_the_bootstrap_of_the_rest():
    x = draws(4, 24)
    y = np.where(np.arange(24) % 2, x, np.nan)
    got = jax.jit(lambda y: resample(KEY, y, ESTIMATORS["mean"], axis=0, samples=500))(y)
    rest = x[1::2]
    assert got.draws.min() >= rest.min()
    # z = 4 for the spread of 500 means: a quarter relative; 12 values with the biased variance
    np.testing.assert_allclose(np.std(got.draws), rest.std() / np.sqrt(12), rtol=0.15)
    skew = (rest - rest.mean()) ** 3
    closed = np.sum(skew) / (6 * np.sum((rest - rest.mean()) ** 2) ** 1.5)  # the jackknife of a mean in closed form
    np.testing.assert_allclose(got.acceleration, closed, rtol=1e-4)  # float32
    assert np.all(np.isnan(jax.jit(lambda y: resample(KEY, y, mean, axis=0, samples=9).draws)(y)))


def test_no_interval_from_fewer_than_two_runs():
    interval = jax.jit(lambda x: bootstrap(KEY, x, ESTIMATORS["iqm"], axis=1, samples=9))
    for x in (np.ones((2, 1)), np.array([[np.nan, 1.0], [np.nan, np.nan]])):
        got = interval(x)
        assert np.all(np.isnan([got.low, got.high]))


def test_a_constant_sample_has_no_width():
    x = np.full(11, 0.1, np.float32)
    got = jax.jit(lambda x: [bootstrap(KEY, x, f, axis=0, samples=50) for f in (mean, iqm)])(x)
    np.testing.assert_allclose(np.asarray(got), 0.1, rtol=1e-6)  # sums of equal numbers in float32


def test_batches_of_resamples_change_nothing(monkeypatch):
    x = draws(5, 40)
    whole = jax.jit(lambda x: resample(KEY, x, median, axis=0, samples=64))(x)
    monkeypatch.setattr("jnorm.statistics._bca.WORKSPACE", 400)
    parts = jax.jit(lambda x: resample(KEY, x, median, axis=0, samples=64))(x)
    assert WORKSPACE > 64 * 40
    np.testing.assert_array_equal(whole.draws, parts.draws)
    np.testing.assert_array_equal(whole.acceleration, parts.acceleration)


def test_any_estimator_will_do():
    x = draws(6, 30)
    got = jax.jit(lambda x: bootstrap(KEY, x, partial(jnp.quantile, q=0.25), axis=0, samples=200))(x)
    assert got.low < np.quantile(x, 0.25) < got.high


def test_bad_input():
    with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 1; got 2"):
        bootstrap(KEY, np.ones(3), axis=0, level=2)
    with pytest.raises(ValueError, match=r"`samples` must be a whole number >= 1; got 0"):
        bootstrap(KEY, np.ones(3), axis=0, samples=0)
