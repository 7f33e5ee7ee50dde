"""Variance components against a table done by hand, SciPy's distributions, and simulations of known components."""

import jax
import numpy as np
import pytest
from scipy import stats

from jnorm.statistics import _components as under_test
from jnorm.statistics._components import subsets

pytestmark = pytest.mark.usefixtures("unoptimized")

components = jax.jit(under_test.components, static_argnames="axes")  # the laws hold eager calls against these
intervals = jax.jit(under_test.intervals, static_argnames="samples")

TRUE = np.array([1.0, 0.5, 0.0, 0.3, 0.0, 0.2, 0.4])
SIZES = (6, 5, 8)


def simulated(seed, lanes):
    """Designs of three factors with components `TRUE`, [lane, *SIZES]."""
    rng, x = np.random.default_rng(seed), np.full((lanes, *SIZES), 3.0)
    for subset, var in zip(subsets(3), TRUE, strict=True):
        x += np.sqrt(var) * rng.normal(size=(lanes, *(n if i in subset else 1 for i, n in enumerate(SIZES))))
    return x


def test_subsets_are_main_effects_first():
    assert subsets(3) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def test_a_table_of_two_factors_done_by_hand(x64):
    # Row means 3 and 7, column means 2, 4 and 9, grand mean 5; what is left is (1, 0, -1), (-1, 0, 1).
    found = components(np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 12.0]]), axes=(0, 1))
    np.testing.assert_allclose(found.squares, [24, 52, 4], rtol=1e-14)  # float64
    np.testing.assert_array_equal(found.freedom, [1, 2, 2])
    np.testing.assert_array_equal(found.replicates, [3, 2, 1])
    np.testing.assert_allclose(found.component, [(24 - 2) / 3, (26 - 2) / 2, 2], rtol=1e-14)
    np.testing.assert_allclose(found.share, np.array([22, 36, 6]) / 64, rtol=1e-14)


def test_a_negative_estimate_is_shown_as_it_is(x64):
    found = components(np.array([[1.0, -1.0], [-1.0, 1.0]]), axes=(0, 1))
    np.testing.assert_array_equal(found.component, [-2, -2, 4])
    assert np.isnan(components(np.ones((2, 3)), axes=(0, 1)).share).all()


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (2, 5, 3), (2, 3, 2, 4)])
def test_squares_and_degrees_of_freedom_add_up(sizes, x64):
    x = np.random.default_rng(0).normal(2.0, 3.0, sizes)
    found = components(x, axes=tuple(range(len(sizes))))
    # float64: sums of at most 48 squares.
    np.testing.assert_allclose(found.squares.sum(), ((x - x.mean()) ** 2).sum(), rtol=1e-13)
    assert found.freedom.sum() == x.size - 1
    np.testing.assert_allclose(found.share.sum(), 1, rtol=1e-13)
    if len(sizes) == 1:
        np.testing.assert_allclose(found.component[0], x.var(ddof=1), rtol=1e-13)


def test_factors_are_where_the_axes_say(x64):
    x = simulated(1, 2)
    found = components(x, axes=(1, 2, 3))
    turned = components(np.transpose(x, (3, 0, 1, 2)), axes=(2, -1, 0))
    for a, b in zip(found, turned, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)  # float64: sums in another order
    swapped = components(x[0], axes=(1, 0, 2)).component
    np.testing.assert_allclose(swapped[np.array([1, 0, 2, 3, 5, 4, 6])], found.component[0], rtol=1e-12)


def test_single_precision_keeps_small_spreads_of_large_values():
    x = simulated(2, 1)[0]
    near = components(np.float32(1e-3) * x.astype(np.float32) + np.float32(1.0), axes=(0, 1, 2))
    with jax.enable_x64(True):
        exact = np.asarray(components(x, axes=(0, 1, 2)).component)
    # Values near 1 are rounded to 6e-8, 6e-5 of the spread, at random: a thousandth of the largest is ample.
    np.testing.assert_allclose(1e6 * np.asarray(near.component), exact, atol=1e-3 * exact.max(), rtol=0)


def test_estimates_are_unbiased_in_simulation(x64):
    found = np.asarray(components(simulated(0, 2000), axes=(1, 2, 3)).component)
    z = (found.mean(0) - TRUE) / (found.std(0, ddof=1) / np.sqrt(len(found)))
    assert np.abs(z).max() < 3.5, z  # 7 normal z-scores: false alarm below 0.004; power .9 at a bias of 0.11 sd
    assert (found[:, 2] < 0).any()  # a component that is none is below zero about half the time


def test_intervals_cover_known_components_and_shares():
    lanes = 400
    found = components(simulated(3, lanes).astype(np.float32), axes=(1, 2, 3))
    bounds = intervals(jax.random.key(0), found, samples=1000)
    for interval, truth in ((bounds.component, TRUE), (bounds.share, TRUE / TRUE.sum())):
        inside = (np.asarray(interval.low) <= truth) & (truth <= np.asarray(interval.high))
        # Binomial: 400 lanes, and 1000 draws that all lanes share for either end; z = 3.5 of both.
        off = np.hypot(np.sqrt(0.95 * 0.05 / lanes), np.sqrt(2 * 0.975 * 0.025 / 1000))
        np.testing.assert_allclose(inside.mean(0), 0.95, atol=3.5 * off)


def test_intervals_agree_with_the_chi_squared_and_the_f_test(x64):
    x, samples = np.random.default_rng(5).normal(size=(5, 4)) + np.linspace(0, 2, 5)[:, None], 10_000
    found = components(x, axes=(0, 1))
    bounds = intervals(jax.random.key(1), found, level=0.1, samples=samples).component
    at = stats.chi2.cdf(float(found.squares[-1]) / np.array([bounds.high[-1], bounds.low[-1]]), 12)
    # Here and below binomial: z = 4.
    np.testing.assert_allclose(at, [0.05, 0.95], atol=4 * np.sqrt(0.05 * 0.95 / samples))
    mean_squares = np.asarray(found.squares / found.freedom)
    p = stats.f.sf(mean_squares[0] / mean_squares[2], 4, 12)
    assert 1e-3 < p < 0.1
    off = 4 * np.sqrt(p * (1 - p) / samples)
    low = [
        intervals(jax.random.key(2), found, level=2 * q, samples=samples).component.low[0] for q in (p - off, p + off)
    ]
    assert low[0] < 0 < low[1]


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((3, 1), (0, 1), r"`axes` must have at least two levels each; got \(3, 1\)"),
        ((3, 2), (0, 0), r"`axis` must name at least one axis, each once; got \(0, 0\)"),
        ((3, 2), (0, 2), "`axis` must satisfy -2 <= axis < 2 for `values`; got 2"),
        ((3, 2), (), r"`axis` must name at least one axis, each once; got \(\)"),
    ],
)
def test_designs_that_are_none_are_refused(shape, axes, message):
    with pytest.raises(ValueError, match=message):
        under_test.components(np.ones(shape, np.float32), axes=axes)


def test_options_out_of_range_are_refused():
    found = components(np.eye(3, dtype=np.float32), axes=(0, 1))
    with pytest.raises(ValueError, match="`level` must satisfy 0 < level < 1; got 0"):
        under_test.intervals(jax.random.key(0), found, level=0.0)
    with pytest.raises(ValueError, match="`samples` must be a whole number >= 1; got 0"):
        under_test.intervals(jax.random.key(0), found, samples=0)
