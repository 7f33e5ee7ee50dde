"""The distribution of eigenvalues, and the trace, against planted spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.measure import curvature
from tests.measure.spectra import planted
from tests.thorough import beside

SIZE = 2400
RNG = np.random.default_rng(2)
SPECTRA = {
    "clusters": np.repeat([-1.0, 0.0, 0.5, 4.0], SIZE // 4),
    "outliers": np.r_[0.01 * RNG.normal(size=SIZE - 8), np.linspace(3, 9, 8)],
    "normal": RNG.normal(size=SIZE),
    "half zero": np.r_[np.zeros(SIZE // 2), np.linspace(0, 1, SIZE // 2)],
    "log": np.logspace(-6, 1, SIZE),
}


def diagonal(eigenvalues):
    """A random vector sees only eigenvalues, in whatever basis: a diagonal matrix is as good as any."""
    return curvature.operator(lambda v: eigenvalues * v, jnp.zeros_like(eigenvalues))


def covered(eigenvalues, key, **options):
    """Whether the whole of the distribution function is inside the band."""
    density = curvature.spectral_density(diagonal(jnp.asarray(eigenvalues)), key, **options)
    values, counts = np.unique(eigenvalues, return_counts=True)
    gap = 1e-9 * np.ptp(values)  # nodes are eigenvalues up to rounding
    after = np.cumsum(counts) / SIZE
    at, before = (density.cumulative(values + shift) for shift in (gap, -gap))
    inside = (at.low <= after) & (after <= at.high)
    return bool(np.all(inside & (before.low <= after - counts / SIZE) & (after - counts / SIZE <= before.high)))


@pytest.mark.parametrize("case", beside([("clusters", 20), ("log", 20)], [(s, n) for n in (20, 100) for s in SPECTRA]))
def test_the_band_covers_the_whole_distribution(x64, case):
    """At a level of 95 % 20 miss more than 4 times with a probability of .003, and 100 more than 11 times of .005."""
    spectrum, count = case
    eigenvalues = SPECTRA[spectrum]
    hits = sum(covered(eigenvalues, jax.random.key(i), probes=2, order=24) for i in range(count))
    assert hits >= (16 if count == 20 else 89)


def test_the_margin_is_that_of_the_bridge(x64):
    """With brackets of no width (few distinct eigenvalues) the band is the margin alone: too narrow by half fails."""
    eigenvalues = np.repeat(np.linspace(0, 1, 8), SIZE // 8)
    density = lambda i: curvature.spectral_density(
        diagonal(jnp.asarray(eigenvalues)), jax.random.key(i), probes=2, order=8
    )
    off = []
    for i in range(60):
        seen = density(i)
        shares = np.cumsum(np.mean(seen.weights, 0))
        off.append(np.max(np.abs(shares - np.arange(1, 9) / 8)))
    np.testing.assert_allclose(seen.margin, 1.3581 * np.sqrt(2 / (SIZE * 2)), rtol=1e-4)
    assert np.mean(np.array(off) > seen.margin) <= 0.15  # 5 % or less; more than 9 of 60: 1e-3
    assert np.mean(np.array(off) > seen.margin / 2) >= 0.3  # K(.679) = 74.6 % of a bridge, of eight points less


def test_quadratures_are_those_of_gauss(x64):
    """Weights of sum one on nodes inside the spectrum, whose first moments are those of a random vector's measure."""
    eigenvalues = np.sort(RNG.normal(size=SIZE))
    density = curvature.spectral_density(diagonal(jnp.asarray(eigenvalues)), jax.random.key(3), probes=1, order=12)
    nodes, weights = density.nodes[0], density.weights[0]
    np.testing.assert_allclose(np.sum(weights), 1, rtol=1e-12)
    assert eigenvalues[0] <= nodes[0] < nodes[-1] <= eigenvalues[-1]
    spread = np.sqrt(2 * np.var(eigenvalues) / SIZE)  # of the mean by a random vector
    assert abs(np.sum(weights * nodes) - np.mean(eigenvalues)) < 5 * spread


def test_up_to_2000_parameters_it_is_exact(x64):
    values = np.array([-1.0, 0.0, 0.0, 2.0])
    density = curvature.spectral_density(planted(values), order=4)
    band = density.cumulative(np.array([-2.0, -0.5, 0.5, 1.9, 2.1]))
    for end in band:
        np.testing.assert_allclose(end, [0, 0.25, 0.75, 0.75, 1], atol=1e-15)
    assert density.exact


@pytest.mark.parametrize("sketch", [0, 30])
def test_the_trace_is_within_its_standard_errors(x64, sketch):
    """Nine keys: the mean is off by at most 4 standard errors (6e-5), which are what the spread is (chi^2, 1e-3)."""
    values = np.r_[np.linspace(-1, 1, 90), 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]
    operator = planted(values)
    traces = [curvature.trace(operator, jax.random.key(i), samples=40, sketch=sketch) for i in range(9)]
    estimates, errors = (np.array(a) for a in zip(*traces, strict=True))
    mean_error = np.sqrt(np.mean(errors**2) / 9)
    assert abs(np.mean(estimates) - values.sum()) <= 4 * mean_error
    assert 0.2 < np.std(estimates, ddof=1) / np.sqrt(np.mean(errors**2)) < 1.9
    if sketch:
        assert np.mean(errors) < 3  # 2 |A|_F^2 / 40 without the ten large ones is 1.2^2; with them 57^2


BAD = {
    "order": (lambda a: curvature.spectral_density(a, order=9), "`order` must be at most the 3 parameters; got 9"),
    "level": (lambda a: curvature.spectral_density(a, order=2, level=1.0), "`level` must satisfy 0 < level < 1"),
    "probes": (lambda a: curvature.spectral_density(a, order=2, probes=0), "`probes` must be a whole number >= 1"),
    "samples": (lambda a: curvature.trace(a, samples=1), "`samples` must be a whole number >= 2; got 1"),
    "sketch": (lambda a: curvature.trace(a, sketch=3), "`sketch` must be less than the 3 parameters; got 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call(diagonal(jnp.ones(3)))
