"""The spectrum of the Jacobian against closed forms, its exact moments, and singular values of random products."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.activations import erf, hard_tanh, identity, leaky_relu, relu, selu, tanh
from jnorm.theory import meanfield, spectra
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized", "x64")

LAWS = ("gaussian", "orthogonal")


def between(low, high, count=160):
    """Points and weights of a rule for densities that end as square roots, by the logarithm."""
    t, w = np.polynomial.legendre.leggauss(count)
    middle, half = (np.log(high) + np.log(low)) / 2, (np.log(high) - np.log(low)) / 2
    s = np.exp(middle + half * np.sin(np.pi / 2 * t))
    return s, s * w * half * np.pi / 2 * np.cos(np.pi / 2 * t)


def products(phi, slope_of, law, *, depth, sigma_w, q, width, networks, seed=0):
    """Squared singular values of products of random matrices, by NumPy alone: [network, value]."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(networks):
        jacobian = np.eye(width)
        for _ in range(depth):
            kernel = rng.normal(size=(width, width)) / width**0.5
            if law == "orthogonal":
                kernel, upper = np.linalg.qr(kernel)
                kernel = kernel * np.sign(np.diag(upper))
            jacobian = sigma_w * slope_of(np.sqrt(q) * rng.normal(size=width))[:, None] * (kernel @ jacobian)
        found.append(np.linalg.svd(jacobian, compute_uv=False) ** 2)
    return np.array(found)


def test_one_linear_layer_has_the_law_of_marchenko_and_pastur():
    s = np.linspace(0.01, 3.99, 60)
    found = spectra.density(identity, s, depth=1, sigma_w=1.0)
    np.testing.assert_allclose(found.value, np.sqrt(4 / s - 1) / (2 * np.pi), rtol=1e-12)
    assert np.all(found.converged)


def fuss_catalan(s, depth):
    """Penson and Zyczkowski 2011: the angle parametrization of the density."""
    angle = np.linspace(0, np.pi / (depth + 1), 200_001)[1:-1]
    log_s = (
        (depth + 1) * np.log(np.sin((depth + 1) * angle))
        - np.log(np.sin(angle))
        - depth * np.log(np.sin(depth * angle))
    )
    p = np.sin(angle) ** 2 * np.sin(depth * angle) ** (depth - 1) / np.pi / np.sin((depth + 1) * angle) ** depth
    return np.interp(s, np.exp(log_s)[::-1], p[::-1])


@pytest.mark.parametrize("depth", [2, 5])
def test_deep_linear_networks_have_that_of_fuss_and_catalan(depth):
    s = np.geomspace(1e-3, 0.99 * (depth + 1) ** (depth + 1) / depth**depth, 40)
    found = spectra.density(identity, 1.44**depth * s, depth=depth, sigma_w=1.2)
    np.testing.assert_allclose(1.44**depth * found.value, fuss_catalan(s, depth), rtol=1e-7)  # of the interpolation


def test_the_ends_are_the_known_ones():
    depth = np.arange(1.0, 9.0)
    ends = spectra.support(identity, depth=depth, sigma_w=1.1)
    np.testing.assert_allclose(ends.largest, 1.21**depth * (depth + 1) ** (depth + 1) / depth**depth, rtol=1e-12)
    np.testing.assert_array_equal(ends.smallest, 0)
    # hard slopes, of which a share p is one, and orthogonal weights: (1 - p)/p L^L / (L - 1)^(L - 1) at chi = 1
    depth = np.array([4.0, 10.0, 100.0])
    for phi, p, weights in (
        (relu, 0.5, {"sigma_w": 2**0.5}),
        (hard_tanh, None, {"sigma_w": 1.5, "sigma_b": 0.3}),
    ):
        if p is None:
            p = meanfield.chi(phi, **weights) / weights["sigma_w"] ** 2
        ends = spectra.support(phi, depth=depth, weights="orthogonal", **weights)
        chi = weights["sigma_w"] ** 2 * p
        exact = chi**depth * (1 - p) / p * depth**depth / (depth - 1) ** (depth - 1)
        np.testing.assert_allclose(ends.largest, exact, rtol=1e-11)
        np.testing.assert_allclose(ends.at_zero, 1 - p, rtol=1e-12)


def test_orthogonal_linear_networks_are_isometries_and_few_kinks_leave_an_atom():
    ends = spectra.support(identity, depth=jnp.array([1, 7]), sigma_w=1.1, weights="orthogonal")
    for part in (ends.smallest, ends.largest, ends.atom):
        np.testing.assert_allclose(part, [1.21, 1.21**7], rtol=1e-12)
    np.testing.assert_allclose(ends.at_atom, 1, rtol=1e-12)
    p = float(meanfield.chi(hard_tanh, sigma_w=1.2, sigma_b=0.1)) / 1.44
    ends = spectra.support(hard_tanh, depth=jnp.array([2, 3, 9]), sigma_w=1.2, sigma_b=0.1, weights="orthogonal")
    np.testing.assert_allclose(ends.at_atom, np.maximum(1 - np.array([2, 3, 9]) * (1 - p), 0), atol=1e-12)
    np.testing.assert_allclose(ends.atom[:2], [1.44**2, 1.44**3], rtol=1e-12)
    assert ends.atom[2] == 0


def test_what_can_be_inverted_has_inverse_ends():
    slope = 0.4
    ends = spectra.support(partial(leaky_relu, negative_slope=slope), depth=6, sigma_w=1.0, weights="orthogonal")
    inverse = spectra.support(partial(leaky_relu, negative_slope=1 / slope), depth=6, sigma_w=1.0, weights="orthogonal")
    np.testing.assert_allclose(ends.smallest * inverse.largest, 1, rtol=1e-11)


CASES = [
    ("relu", {"sigma_w": 2**0.5}, 10),
    ("tanh", {"sigma_w": 1.2, "sigma_b": 0.1}, 3),
    ("erf", {"sigma_w": 1.3, "sigma_b": 0.2}, 32),
    ("selu", {"sigma_w": 1.0}, 5),
    ("hard_tanh", {"sigma_w": 1.5, "sigma_b": 0.1}, 8),
    ("gelu", {"sigma_w": 1.4, "sigma_b": 0.3}, 12),
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", beside(CASES[1:2], CASES), ids=lambda case: case[0])
def test_the_density_has_the_exact_moments(case, law):
    name, weights, depth = case
    of = {"depth": depth, "weights": law, **weights}
    phi = activations.ELEMENTWISE[name]
    ends, exact = spectra.support(phi, **of), spectra.moments(phi, **of)
    low = max(float(ends.smallest), 1e-15 * float(ends.largest))
    s, weight = between(low, float(ends.largest))
    found = spectra.density(phi, s, **of)
    assert np.all(found.converged)
    density = weight * np.asarray(found.value)
    atom, share = (float(a) for a in (ends.atom, ends.at_atom))
    # what the density states as its errors; the mean of what is below 1e-15 does not count
    np.testing.assert_allclose(np.sum(density * s) + share * atom, exact.mean, rtol=1e-8)
    second = exact.var + exact.mean**2
    np.testing.assert_allclose(np.sum(density * s**2) + share * atom**2, second, rtol=1e-10)
    if low > 1e-15 * ends.largest:  # or the density is infinite at zero
        np.testing.assert_allclose(np.sum(density) + ends.at_zero + share, 1, atol=2e-4)


def test_where_lengths_grow_the_slopes_are_those_at_the_limit():
    """Of gelu at a length of 1e4, which turns within a hundredth of a deviation: mpmath's mean, 25 digits."""
    of = {"depth": 12, "sigma_w": 1.5, "sigma_b": 0.3}
    phi = activations.gelu
    assert meanfield.length(phi, sigma_w=1.5, sigma_b=0.3) == np.inf
    ends = spectra.support(phi, **of)
    s, weight = between(1e-15 * float(ends.largest), float(ends.largest))
    found = spectra.density(phi, s, **of)
    np.testing.assert_allclose(np.sum(weight * found.value * s), 4.165715591853436182683088, rtol=1e-8)
    assert np.sum(weight * found.error * s) < 1e-8


@pytest.mark.parametrize("law", LAWS)
def test_its_integral_is_one_less_the_atoms(law):
    """Near zero the density of L relu layers is a power, so that its integral below the first point is known."""
    of = {"depth": 3, "sigma_w": 2**0.5, "weights": law}
    ends = spectra.support(relu, **of)
    s, weight = between(1e-12 * float(ends.largest), float(ends.largest))
    found = np.asarray(spectra.density(relu, s, **of).value)
    power = np.log(found[1] / found[0]) / np.log(s[1] / s[0])
    np.testing.assert_allclose(np.sum(weight * found) + s[0] * found[0] / (power + 1), 1 - ends.at_zero, atol=2e-5)


SLOPES = {
    "relu": lambda z: (z > 0) * 1.0,
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "hard_tanh": lambda z: (np.abs(z) < 1) * 1.0,
    "erf": lambda z: 2 / np.pi**0.5 * np.exp(-z * z),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", beside(["tanh"], SLOPES))
def test_random_products_have_it(name, law):
    """Share below quantiles, mean and variance, from ten networks of width 200, within four standard errors.

    Values of one network repel each other, so that the spread over networks counts; 1/width is what theory leaves out.
    """
    phi, depth = activations.ELEMENTWISE[name], 4
    weights = {"sigma_w": 1.3, "sigma_b": 0.2}
    q = float(meanfield.length(phi, **weights))
    of = {"depth": depth, "weights": law, **weights}
    q = q if np.isfinite(q) else 1.0
    values = products(phi, SLOPES[name], law, depth=depth, sigma_w=1.3, q=q, width=200, networks=10)
    ends, exact = spectra.support(phi, **of), spectra.moments(phi, **of)
    mean = values.mean(1)
    bias = 4 * depth / 200
    assert abs(mean.mean() - exact.mean) < 4 * mean.std(ddof=1) / 10**0.5 + bias / 10 * exact.mean
    second = (values**2).mean(1)
    error = second.std(ddof=1) / 10**0.5
    assert abs(second.mean() - exact.var - exact.mean**2) < 4 * error + bias * second.mean()
    # The largest value of one network is about a deviation below the end, as Tracy and Widom's law has it: -.95.
    top = values.max(1)
    deviation = top.std(ddof=1)
    assert abs(top.mean() + deviation - ends.largest) < 4 * deviation * (1 / 10 + 1 / 18) ** 0.5
    edges = np.quantile(values, [0.7, 0.85, 0.95])
    for low, high in itertools.pairwise(edges):
        t, w = np.polynomial.legendre.leggauss(30)
        s = (low + high) / 2 + (high - low) / 2 * t
        share = np.sum(w * spectra.density(phi, s, **of).value) * (high - low) / 2
        a, p = float(ends.atom), float(ends.at_atom)
        share += p * (low < a < high)
        inside = ((values > low) & (values < high)).mean(1)
        assert abs(share - inside.mean()) < 4 * inside.std(ddof=1) / 10**0.5 + 1 / 200


def test_isometry_has_the_published_answers():
    """Pennington, Schoenholz, Ganguli 2017: orthogonal tanh, erf and hard tanh reach it, Gaussian and relu do not."""
    for phi in (tanh, erf, hard_tanh, identity):
        assert spectra.isometry(phi).possible
        found = spectra.isometry(phi, weights="gaussian")
        assert not found.possible
        np.testing.assert_allclose(found.variance, 1, rtol=1e-6)
    found = spectra.isometry(relu)
    assert not found.possible
    np.testing.assert_allclose(found.variance, 1, rtol=1e-12)
    assert not spectra.isometry(selu).possible
    nowhere = spectra.isometry(jnp.sign)
    assert not nowhere.possible
    assert np.isnan(nowhere.variance)


def test_a_critical_point_has_the_variance_that_is_asked_for():
    depth = jnp.array([8, 64, 1_000_000])
    point = spectra.critical_point(tanh, depth=depth, var=0.5)
    assert np.all(point.converged & point.attracts)
    weights = {"sigma_w": point.sigma_w, "sigma_b": point.sigma_b}
    np.testing.assert_allclose(meanfield.length(tanh, **weights), point.length, rtol=1e-6)
    found = spectra.moments(tanh, depth=depth, weights="orthogonal", **weights)
    np.testing.assert_allclose(found.mean, 1, rtol=1e-9)
    np.testing.assert_allclose(found.var, 0.5, rtol=1e-6)
    # x = 1 - 2 z^2 + ..., Var x = 8 q^2: the length falls as the root of the depth
    np.testing.assert_allclose(point.length[2], np.sqrt(0.5 / 1e6 / 8), rtol=0.01)
    # S(u) of the product goes to exp(-var u), and the largest value to the minimum of (1 + u)/u exp(var u), at u = 1
    largest = spectra.support(tanh, depth=depth, weights="orthogonal", **weights).largest
    np.testing.assert_allclose(largest[2], 2 * np.exp(0.5), rtol=2e-3)
    assert np.all(np.diff(spectra.support(tanh, depth=depth, **weights).largest) > 100)


def test_a_critical_point_that_is_not_there_says_so():
    for phi, law, var in ((relu, "orthogonal", 5.0), (tanh, "gaussian", 9.0), (identity, "orthogonal", 0.1)):
        point = spectra.critical_point(phi, depth=10, var=var, weights=law)
        assert not point.converged
        assert np.isnan(point.sigma_w)


def test_a_critical_point_has_derivatives():
    of = lambda var: spectra.critical_point(tanh, depth=12, var=var)[:3]
    slope, step = jax.jacfwd(of)(0.3), 1e-4
    for got, high, low in zip(slope, of(0.3 + step), of(0.3 - step), strict=True):
        np.testing.assert_allclose(got, (high - low) / (2 * step), rtol=1e-5)


def test_failure_is_data():
    out = spectra.density(tanh, jnp.array([0.5, -1.0, jnp.nan, jnp.inf]), depth=4, sigma_w=1.1)
    assert out.converged.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(np.isnan(out.value), ~out.converged)
    alone = spectra.density(tanh, 0.5, depth=jnp.array(1), sigma_w=1.1, weights="orthogonal")
    assert not alone.converged
    ends = spectra.support(jnp.sign, depth=3, sigma_w=1.0)
    assert np.isnan(ends.largest)
    assert spectra.moments(jnp.sign, depth=3, sigma_w=1.0).mean == jnp.inf


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 1; got 0"):
        spectra.moments(tanh, depth=0, sigma_w=1.0)
    with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 2; got 1"):
        spectra.density(tanh, 1.0, depth=1, sigma_w=1.0, weights="orthogonal")
    with pytest.raises(ValueError, match=r"`squared` must satisfy squared > 0; got 0.0"):
        spectra.density(tanh, 0.0, depth=2, sigma_w=1.0)
    with pytest.raises(ValueError, match=r"`weights` must be one of gaussian, orthogonal; got 'uniform'"):
        spectra.support(tanh, depth=2, sigma_w=1.0, weights="uniform")
    with pytest.raises(ValueError, match=r"`var` must satisfy var > 0; got 0.0"):
        spectra.critical_point(tanh, depth=2, var=0.0)
    with pytest.raises(ValueError, match=r"`sigma_w` must satisfy sigma_w >= 0; got -1.0"):
        spectra.moments(tanh, depth=2, sigma_w=-1.0)
