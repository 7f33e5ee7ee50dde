import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics._effects import (
    _scale,
    cliffs_delta,
    cohen_d,
    cohen_d_paired,
    hedges_g,
    probability_of_superiority,
)

# Hundreds of small programs, each run once.
pytestmark = pytest.mark.usefixtures("unoptimized")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(0.4, 1, (3, 9)), RNG.normal(0, 1.5, (3, 14))


def test_cohen_d_is_students_t(x64):
    t = stats.ttest_ind(X, Y, axis=1).statistic
    np.testing.assert_allclose(cohen_d(X, Y, axis=1), t * np.sqrt(1 / 9 + 1 / 14), rtol=1e-13)  # float64
    t = stats.ttest_rel(X, Y[:, :9], axis=1).statistic
    np.testing.assert_allclose(cohen_d_paired(X, Y[:, :9], axis=1), t / 3, rtol=1e-13)


def test_hedges_g_is_unbiased():
    delta, sims = 0.7, 20_000
    rng = np.random.default_rng(1)
    x, y = rng.normal(delta, 1, (sims, 4)), rng.normal(0, 1, (sims, 3))
    g, d = jax.jit(lambda x, y: (hedges_g(x, y, axis=1), cohen_d(x, y, axis=1)))(x, y)
    error = np.std(g) / np.sqrt(sims)
    assert abs(np.mean(g) - delta) < 4 * error  # z = 4
    assert np.mean(d) - delta > 8 * error  # the bias that it removes


def test_superiority_is_mann_whitney(x64):
    x, y = np.round(X, 1), np.round(Y, 1)  # ties
    exact = stats.mannwhitneyu(x, y, axis=1).statistic / (9 * 14)
    np.testing.assert_allclose(probability_of_superiority(x, y, axis=1), exact, rtol=1e-14)
    np.testing.assert_allclose(cliffs_delta(x, y, axis=1), 2 * exact - 1, atol=1e-15)


@pytest.mark.parametrize("effect", [cohen_d, hedges_g, cliffs_delta])
def test_swapping_the_samples_changes_the_sign(effect):
    both = jax.jit(lambda x, y: (effect(x, y, axis=1), effect(y, x, axis=1)))(X, Y)
    np.testing.assert_allclose(both[0], -both[1], rtol=1e-5)  # float32


def test_units_and_origin_do_not_matter(x64):
    np.testing.assert_allclose(cohen_d(1e3 * X + 5, 1e3 * Y + 5, axis=1), cohen_d(X, Y, axis=1), rtol=1e-12)


def test_no_spread_and_nan():
    one = jnp.ones(3)
    assert cohen_d(one, 0 * one, axis=0) == np.inf
    assert np.isnan(cohen_d(one, one, axis=0))
    assert np.isnan(probability_of_superiority(jnp.array([1.0, jnp.nan]), one, axis=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_scaled_by_powers_of_two(dtype):
    """At the ends of the range too: squares of what is left neither overflow nor vanish."""
    info = np.finfo(dtype)
    largest = np.array([info.tiny, 1e-30, 0.1, 1.0, 3.0, 1e30, info.max / 2, info.max], dtype)
    with jax.enable_x64(dtype == "float64"):
        scale = np.asarray(_scale(jnp.asarray(np.stack([largest, -largest / 2], 1))))
        assert _scale(jnp.array([[0.0], [np.inf], [np.nan]], dtype)).tolist() == [[1.0]] * 3
    assert scale.dtype == dtype
    assert np.all(np.frexp(scale)[0] == 0.5)
    assert np.all((largest / scale[:, 0] >= 1) & (largest / scale[:, 0] < 2**16))
