"""Lengths and correlations that stay, against exact values and the theory of their maps."""

import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, gaussian
from jnorm._ground import callables
from jnorm.activations import relu, selu, tanh
from jnorm.theory import fixed_points, meanfield
from jnorm.theory.meanfield._duals import dual, rule
from jnorm.theory.moments import Moments
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

JUMPING = {
    "step": lambda z: jnp.where(z > 0, 1.0, 0.0),
    "squared_relu": lambda z: jnp.where(z > 0, z * z, 0.0),
}


@cache
def golden():
    return json.loads((Path(__file__).parents[1] / "golden" / "meanfield.json").read_text())


NETWORKS = golden()["networks"]["rows"]


def exact_duals(name):
    rows = [row[1:] for row in golden()["duals"]["rows"] if row[0] == name]
    return np.array([[np.nan if a is None else float(a) for a in row] for row in rows]).T


@pytest.mark.parametrize("name", sorted({row[0] for row in golden()["duals"]["rows"]}))
def test_duals_are_exact(name, x64):
    var1, var2, corr, value, slope = exact_duals(name)
    phi = JUMPING.get(name) or activations.ELEMENTWISE[name]
    for kinks in {None, activations.kinks(phi)}:  # in closed form where there is one, and by quadrature
        of_pair = rule(callables.wrap(phi), kinks)
        got = jax.jit(lambda of_pair, *a: of_pair(*a))(of_pair, var1, var2, corr)
        # Variances up to 4 and values up to 6: roundings of sums of 30 000 terms, and the rule's own below them.
        np.testing.assert_allclose(got.value, value, rtol=1e-12, atol=1e-13)
        if name != "step":  # whose derivative is no function
            np.testing.assert_allclose(got.slope, slope, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", beside([], ["selu", "tanh"]))
def test_duals_are_expectations_of_products(name, x64):
    phi, corr = activations.ELEMENTWISE[name], np.array([-0.97, -0.2, 0.4, 0.99999])
    var1, var2 = np.full(4, 0.7), np.full(4, 1.9)
    cov = np.moveaxis(np.array([[var1, corr * np.sqrt(var1 * var2)], [corr * np.sqrt(var1 * var2), var2]]), -1, 0)
    other = gaussian.expectation2(lambda u, v: phi(u) * phi(v), np.zeros(2), cov, kinks=activations.kinks(phi))
    # what `expectation2` promises: 1e-10 of E f^2, which is of order one
    np.testing.assert_allclose(
        rule(callables.wrap(phi), None)(*map(jnp.asarray, (var1, var2, corr))).value, other, atol=1e-10
    )


@pytest.mark.parametrize("name", beside(["relu"], ["relu", "selu", "gelu", "hard_tanh"]))
def test_derivatives_by_the_correlation_are_the_slopes(name, x64):
    """At one and minus one too: of relu 1/2 and 0."""
    phi, corr = activations.ELEMENTWISE[name], jnp.array([-1.0, -0.3, 0.0, 0.6, 1.0])
    var = jnp.full(5, 1.3)
    of_pair = rule(callables.wrap(phi), None)
    slope = jax.jvp(lambda c: dual(of_pair, var, var, c).value, (corr,), (jnp.ones(5),))[1]
    found = dual(of_pair, var, var, corr)
    np.testing.assert_allclose(slope, 1.3 * found.slope, rtol=1e-12, atol=1e-13)
    at_one = gaussian.expectation(
        lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),))[1] ** 2, 0.0, 1.3, kinks=activations.kinks(phi)
    )
    np.testing.assert_allclose(found.slope[-1], at_one, rtol=1e-12)  # two rules for one integral
    if name == "relu":
        np.testing.assert_allclose(found.slope[jnp.array([0, 4])], [0.0, 0.5], atol=1e-13)
    step = 1e-4  # of central differences, whose error is h^2 C''' / 6, of order 1e-8
    inside = corr[1:-1]
    ends = [dual(of_pair, var[1:-1], var[1:-1], inside + h).value for h in (-step, step)]
    np.testing.assert_allclose(slope[1:-1], (ends[1] - ends[0]) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("row", beside(NETWORKS[3:4], NETWORKS), ids=lambda row: "-".join(map(str, row[:4])))
def test_what_stays_is_exact(row, x64):
    name, w, b, dropout, *rest = row
    q, length_slope, chi, corr, slope = map(float, rest)
    phi, weights = activations.ELEMENTWISE[name], {"sigma_w": w, "sigma_b": b, "dropout": dropout}
    # The walk ends within 32 eps of log F(q)/q and takes a step of Newton's; divided by 1 - slope.
    np.testing.assert_allclose(meanfield.length(phi, **weights), q, rtol=1e-12)
    got = meanfield.slopes(phi, **weights)
    np.testing.assert_allclose(got, [length_slope, chi, chi / (1 - dropout)], rtol=2e-12)
    np.testing.assert_allclose(meanfield.correlation(phi, **weights), corr, rtol=2e-12, atol=2e-12)
    exact = [1 / abs(np.log(length_slope)), 1 / abs(np.log(slope))]
    np.testing.assert_allclose(meanfield.depth_scales(phi, **weights), exact, rtol=5e-11)  # condition 1 / |log slope|


def test_published_constants_of_selu(x64):
    """The digits of Klambauer et al. 2017, and of an independent computation in 30 digits."""
    assert abs(meanfield.length(selu, sigma_w=1.0) - 1) < 1e-12
    assert abs(meanfield.chi(selu, sigma_w=1.0) - 1.0715749924557998) < 1e-12
    step = meanfield.correlation_map(selu, sigma_w=1.0)
    slopes = jax.vmap(jax.grad(step))(jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(slopes, [1.0715749924557998, 0.970680352300710], rtol=1e-12)
    scales = meanfield.depth_scales(selu, sigma_w=1.0)
    assert f"{scales.length:.4f}" == "4.0804"
    assert abs(scales.correlation / 33.6043420215760614 - 1) < 1e-12


def test_tanh_is_critical_at_one(x64):
    assert meanfield.length(tanh, sigma_w=1.0) == 0
    np.testing.assert_allclose(meanfield.chi(tanh, sigma_w=1.0), 1, rtol=1e-12)
    assert all(float(xi) > 1e12 for xi in meanfield.depth_scales(tanh, sigma_w=1.0))  # infinite but for rounding
    nearby = meanfield.depth_scales(tanh, sigma_w=jnp.array([0.9, 0.99, 0.999]))
    np.testing.assert_allclose(nearby, -np.ones((2, 1)) / np.log([0.81, 0.9801, 0.998001]), rtol=1e-10)  # q = 0


@pytest.mark.parametrize(
    ("phi", "w", "b", "expected"),
    [
        (relu, 1.2, 0.1, 0.01 / (1 - 0.72)),
        (relu, 2**0.5, 0.0, 1.0),  # every length stays
        (relu, 2**0.5, 0.1, np.inf),
        (relu, 1.5, 0.0, np.inf),
        (relu, 1.2, 0.0, 0.0),
        (tanh, 0.9, 0.0, 0.0),
        (lambda z: jnp.exp(z), 3.0, 0.0, np.inf),
        (lambda z: 0 * z + 1, 3.0, 0.0, 9.0),
    ],
)
def test_lengths_go_where_layers_lead(phi, w, b, expected, x64):
    np.testing.assert_allclose(meanfield.length(phi, sigma_w=w, sigma_b=b), expected, rtol=1e-12)


def test_of_two_lengths_that_stay_it_is_the_one_on_the_way(x64):
    """A step on top of a line: short inputs shrink, long ones grow until the step's end."""
    phi, w = lambda z: jnp.tanh(z**3) * 2, 1.1
    found = meanfield.length(phi, sigma_w=w, start=jnp.array([0.05, 0.3, 3.0, 50.0]))
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], found[2], rtol=1e-12)
    layer = meanfield.layer_map(phi, sigma_w=w)
    for q, start in zip(found[1:], (0.3, 3.0, 50.0), strict=True):
        rows = fixed_points.iterate(layer, Moments(0.0, start), 60)  # moments of the activations
        np.testing.assert_allclose(w**2 * (rows.var[-1] + rows.mean[-1] ** 2), q, rtol=1e-6)


def test_correlations_lead_to_the_one_that_stays(x64):
    step = meanfield.correlation_map(activations.erf, sigma_w=jnp.array([0.8, 2.0]), sigma_b=0.2)
    corr = jnp.array([0.9, 0.9])
    for _ in range(200):
        corr = step(corr)
    np.testing.assert_allclose(
        corr, meanfield.correlation(activations.erf, sigma_w=step.layer.sigma_w, sigma_b=0.2), rtol=1e-9
    )


def test_depth_scales_are_those_of_iteration(x64):
    """The gap falls by exp(-1/xi) a layer, once it is small."""
    weights = {"sigma_w": 1.2, "sigma_b": 0.3}
    step, xi = meanfield.correlation_map(tanh, **weights), meanfield.depth_scales(tanh, **weights)
    layer = meanfield.kernel_map(tanh, **weights)
    q = meanfield.length(tanh, **weights)
    rows = meanfield.propagate(layer, meanfield.Kernels(q * 1.001, q, 0.0, 0.0), 8)
    rates = np.diff(np.log(np.abs(rows.var1 - q)))
    np.testing.assert_allclose(rates, -1 / xi.length, rtol=2e-3)  # of a gap of 1e-3
    gaps = [1.0 - 0.9999]
    for _ in range(4):
        gaps.append(float(1 - step(1 - gaps[-1])))
    np.testing.assert_allclose(np.diff(np.log(gaps)), -1 / xi.correlation, rtol=2e-3)


def test_the_derivative_of_what_stays(x64):
    """By the implicit function theorem; central differences with an error of h^2."""
    f = lambda w: jnp.stack(
        [stays(activations.sin, sigma_w=w, sigma_b=0.1) for stays in (meanfield.length, meanfield.correlation)]
    )
    by = jax.jacfwd(f)(1.4)
    np.testing.assert_allclose(by, (f(1.4 + 1e-5) - f(1.4 - 1e-5)) / 2e-5, rtol=1e-6)
    assert jax.grad(lambda w: meanfield.length(tanh, sigma_w=w))(0.5) == 0
    assert jax.grad(lambda w: meanfield.length(relu, sigma_w=w))(3.0) == 0


def test_dropout_leaves_no_critical_line():
    weights = {"sigma_w": jnp.array([0.8, 1.0, 1.3]), "sigma_b": 0.1}
    assert np.all(meanfield.correlation(activations.sin, dropout=0.05, **weights) < 1)
    assert np.all(np.isfinite(meanfield.depth_scales(activations.sin, dropout=0.05, **weights).correlation))


def test_float32_and_parameters_of_the_activation():
    leaky = partial(activations.leaky_relu, negative_slope=jnp.float32(0.3))
    he = (2 / (1 + 0.3**2)) ** 0.5
    np.testing.assert_allclose(meanfield.chi(leaky, sigma_w=he), 1, rtol=1e-6)
    step = meanfield.correlation_map(leaky, sigma_w=he)
    np.testing.assert_allclose(step(1.0), 1, rtol=1e-6)
    by = jax.grad(lambda a: meanfield.chi(partial(activations.leaky_relu, negative_slope=a), sigma_w=1.0))(0.3)
    np.testing.assert_allclose(by, 0.3, rtol=1e-5)


def test_bad_input():
    step = meanfield.correlation_map(relu, sigma_w=1.0)
    with pytest.raises(ValueError, match=r"^`corr` must satisfy -1 <= corr <= 1; got 1\.5$"):
        step(1.5)
    assert np.isnan(step(jnp.array([0.5, -1.5]))).tolist() == [False, True]
    for f in (
        meanfield.length,
        meanfield.chi,
        meanfield.correlation,
        meanfield.depth_scales,
        meanfield.correlation_map,
    ):
        with pytest.raises(ValueError, match=r"^`sigma_w` must satisfy sigma_w >= 0; got -1\.0$"):
            f(relu, sigma_w=-1.0)
        with pytest.raises(ValueError, match=r"^`dropout` must satisfy 0 <= dropout < 1; got 1\.0$"):
            f(relu, sigma_w=1.0, dropout=1.0)
        with pytest.raises(ValueError, match=r"^`start` must satisfy start > 0; got 0\.0$"):
            f(relu, sigma_w=1.0, start=0.0)
    with pytest.raises(ValueError, match="must act elementwise"):
        meanfield.length(jnp.sum, sigma_w=1.0)
    with pytest.raises(TypeError, match="a function is needed"):
        meanfield.length("relu", sigma_w=1.0)
