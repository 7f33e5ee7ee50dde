"""Transforms of activations: published constants, their conditions by independent integrals, and what is refused."""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jnorm import activations
from jnorm.activations import elu, gelu, leaky_relu, relu, selu, sigmoid, softplus, tanh
from jnorm.theory import fixed_points, meanfield, moments, transforms
from jnorm.theory.moments import Moments
from jnorm.theory.transforms._networks import rising

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "transforms.json").read_text())
pytestmark = pytest.mark.usefixtures("unoptimized")

PUBLISHED = 1e-7  # dks stops at 1e-8 of the network's slope, of which the constants carry ten times as much
NETWORK = transforms.residual((3, 4, 23, 3), layers=3, shortcut=0.6)  # the one of GOLDEN["architecture"]
SMOOTH = {"softplus": softplus, "tanh": tanh, "gelu": gelu, "gelu_tanh": partial(jax.nn.gelu, approximate=True)}


def as_published(found):
    """The constants as dks names them."""
    a, b, c, d = found.constants
    return {"output_scale": a, "input_scale": b, "input_shift": c, "output_shift": d / a}


def assert_published(found, exact):
    assert found.converged
    got = as_published(found)
    for name in exact.keys() & got.keys():
        np.testing.assert_allclose(got[name], exact[name], rtol=PUBLISHED, atol=PUBLISHED, err_msg=name)


def integral(f, split=0.0):
    """E[f(z)], z ~ N(0, 1), by SciPy."""
    g = lambda z: f(z) * stats.norm.pdf(z)
    ends = [-12.0, split, 12.0]
    return sum(integrate.quad(g, a, b, epsabs=1e-13, epsrel=1e-13, limit=200)[0] for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize("name", SMOOTH)
def test_deep_kernel_shaping_has_the_published_constants(name):
    assert_published(transforms.deep_kernel_shaping(SMOOTH[name], NETWORK, slope=1.2), GOLDEN["DKS"][name])


@pytest.mark.parametrize("name", ["softplus", "tanh"])
def test_tailored_activations_have_the_published_constants(name):
    assert_published(transforms.tailored(SMOOTH[name], NETWORK, curvature=0.2), GOLDEN["TAT"][name])


def test_leaky_relu_has_the_published_slopes():
    exact = GOLDEN["DKS"]["leaky_relu"]
    for phi in (leaky_relu, jax.nn.leaky_relu):
        found = transforms.deep_kernel_shaping(phi, NETWORK, slope=1.2)
        assert_published(found, exact)
        np.testing.assert_allclose(
            found.function.phi.keywords["negative_slope"], exact["negative_slope"], rtol=PUBLISHED
        )
    exact = GOLDEN["TAT"]["leaky_relu"]
    found = transforms.tailored_leaky_relu(NETWORK, correlation=0.75)
    assert_published(found, exact)
    np.testing.assert_allclose(found.function.phi.keywords["negative_slope"], exact["negative_slope"], rtol=PUBLISHED)


def test_relu_is_right_where_a_rule_across_the_kink_is_not():
    """dks integrates the step of relu's derivative by nodes that are 1e-4 apart: its scale is off by 2e-5."""
    found = transforms.deep_kernel_shaping(relu, NETWORK, slope=1.2)
    exact = GOLDEN["DKS"]["relu"]
    np.testing.assert_allclose(found.constants[1], exact["input_scale"], rtol=3e-5)
    assert found.converged
    assert "positively homogeneous" in found.reason
    steep = {}
    for name, b in (("ours", found.constants[1]), ("published", exact["input_scale"])):
        t = 1 / b  # of relu(b z + 1): E[relu'^2] = Phi(t), and moments of a normal variable above zero
        cdf, pdf = stats.norm.cdf(t), stats.norm.pdf(t)
        first, second = cdf + b * pdf, (1 + b * b) * cdf + b * pdf
        steep[name] = NETWORK(1.0, lambda x, s=b * b * cdf / (second - first**2): s * x)
    assert abs(steep["ours"] - 1.2) < 1e-11  # rounding of a difference of 3e-3, 72 times
    assert abs(steep["published"] - 1.2) > 1e-7


@pytest.mark.parametrize("name", ["tanh", "relu", "elu", "gelu", "selu"])
def test_gaussian_poincare_has_the_published_constants(name):
    found = transforms.gaussian_poincare(activations.ELEMENTWISE[name])
    a, b, c, d = found.constants
    np.testing.assert_allclose((a, d), GOLDEN["gaussian_poincare"][name], atol=6e-5)  # of four decimals
    assert (b, c, found.converged) == (1.0, 0.0, True)
    np.testing.assert_allclose(found.predicted.mean**2 + found.predicted.var, 1, rtol=1e-13)
    np.testing.assert_allclose(found.predicted.chi, 1, rtol=1e-13)


def test_conditions_hold_for_integrals_of_scipy():
    """Q(1), Q'(1), C(0), C'(1), C''(1), none of them by the code under test."""
    found = transforms.tailored(tanh, transforms.chain(20), curvature=0.4)
    a, b, c, d = found.constants
    f = lambda z: a * np.tanh(b * z + c) + d
    slope = lambda z: a * b / np.cosh(b * z + c) ** 2
    bend = lambda z: -2 * a * b * b * np.tanh(b * z + c) / np.cosh(b * z + c) ** 2
    got = [integral(g) for g in (lambda z: f(z) ** 2, lambda z: f(z) * slope(z) * z, lambda z: slope(z) ** 2)]
    np.testing.assert_allclose(got, 1, rtol=1e-11)
    np.testing.assert_allclose(20 * integral(lambda z: bend(z) ** 2), 0.4, rtol=1e-9)
    np.testing.assert_allclose(found.predicted.at_zero, integral(f) ** 2, rtol=1e-9)
    np.testing.assert_allclose(found.predicted.curvature, 0.02, rtol=1e-9)


@pytest.mark.parametrize("goal", [{"rate": 0.9}, {"chi": 1.05}, {"rate": 0.8, "chi": 1.1}])
@pytest.mark.parametrize("phi", [tanh, selu])
def test_fixed_points_are_those_of_the_layer_map(phi, goal, x64):
    mean, var, weights = 0.2, 1.5, {"omega": 0.1, "tau": 1.1}
    found = transforms.self_normalizing(phi, mean, var, **weights, **goal)
    assert found.converged, found.reason
    step, point = moments.layer_map(found.function, **weights), Moments(mean, var)
    np.testing.assert_allclose(step(point), point, rtol=1e-12)
    np.testing.assert_allclose(found.predicted.rate, fixed_points.stability(step, point).spectral_radius, rtol=1e-9)
    chi = moments.gradient_factor(found.function, mean * 0.1, var * 1.1, tau=1.1)
    np.testing.assert_allclose(found.predicted.chi, chi, rtol=1e-12)
    for name, asked in goal.items():
        np.testing.assert_allclose(getattr(found.predicted, name), asked, rtol=1e-9)


def test_selu_is_what_elu_becomes():
    """At (0, 1) the ELU of SELU's alpha becomes SELU by its factor alone."""
    found = transforms.self_normalizing(partial(elu, alpha=activations.SELU_ALPHA))
    np.testing.assert_allclose(found.constants, (activations.SELU_LAMBDA, 1, 0, 0), atol=1e-14)
    np.testing.assert_allclose(found.predicted.rate, 0.7826478832, rtol=1e-9)  # published digits
    np.testing.assert_allclose(found.predicted.chi, 1.0715749924557998, rtol=1e-12)


def test_a_homogeneous_activation_moves_instead_of_being_scaled():
    found = transforms.self_normalizing(relu, rate=0.9)
    assert found.converged
    assert found.constants[1] == 1
    assert found.constants[2] != 0
    np.testing.assert_allclose(found.predicted.rate, 0.9, rtol=1e-9)


def test_where_neither_scale_nor_shift_will_do_both_are_chosen():
    found = transforms.self_normalizing(softplus, rate=0.9)  # by its shift alone .935 is the least
    assert found.converged, found.reason
    assert found.constants[1] != 1
    assert found.constants[2] != 0
    np.testing.assert_allclose(found.predicted.rate, 0.9, rtol=1e-9)


def test_unreachable_targets_are_said_with_what_is_nearest():
    found = transforms.self_normalizing(relu)
    assert not found.converged
    assert found.reason == "the point does not attract: deviations are multiplied by 1 a layer"
    found = transforms.self_normalizing(tanh, chi=0.5)  # below one: not for a function of mean zero and variance one
    assert not found.converged
    assert "`chi` 0.5, nearest 1" in found.reason
    constant = transforms.self_normalizing(lambda z: 0 * z)
    assert not constant.converged
    assert "variance of `phi` is 0" in constant.reason
    flat = transforms.gaussian_poincare(jnp.sign)
    assert not flat.converged
    assert "jumps at 0" in flat.reason
    steep = transforms.deep_kernel_shaping(softplus, transforms.chain(1), slope=50.0)
    assert not steep.converged
    assert "no constants found for C'(1) = 50" in steep.reason
    stuck = transforms.deep_kernel_shaping(tanh, lambda x, layer: x, slope=1.5)
    assert (stuck.converged, stuck.reason) == (False, "no layers give this network a slope of 1.5")
    assert "curvature of 0.3" in transforms.tailored(tanh, lambda x, layer: x).reason
    assert "correlation of 0.9" in transforms.tailored_leaky_relu(transforms.chain(1)).reason
    assert "at most pi / (pi - 2)" in transforms.deep_kernel_shaping(leaky_relu, transforms.chain(1), slope=3.0).reason
    for found in (constant, flat, steep, stuck):
        assert np.all(np.isfinite(found.constants))


def test_what_has_no_meaning_is_refused():
    chain = transforms.chain(10)
    for phi, where in ((selu, 0), (partial(leaky_relu, negative_slope=0.3), 0), (jax.nn.hard_tanh, -1)):
        with pytest.raises(ValueError, match=rf"C''\(1\) is infinite; it does at {where}"):
            transforms.tailored(phi, chain)
    with pytest.raises(ValueError, match="use `tailored_leaky_relu`"):
        transforms.tailored(leaky_relu, chain)
    transforms.tailored(elu, chain)  # whose second derivative alone jumps
    with pytest.raises(ValueError, match=r"`phi` must not jump: C'\(1\) is infinite; it does at 0"):
        transforms.deep_kernel_shaping(lambda z: jnp.where(z > 0, z + 1, z), chain)
    with pytest.raises(ValueError, match="`slope` must satisfy slope > 1; got 1"):
        transforms.deep_kernel_shaping(tanh, chain, slope=1.0)
    with pytest.raises(ValueError, match="`curvature` must satisfy curvature > 0; got 0"):
        transforms.tailored(tanh, chain, curvature=0.0)
    with pytest.raises(ValueError, match="`rate` must satisfy 0 < rate < 1; got 1"):
        transforms.self_normalizing(tanh, rate=1.0)
    with pytest.raises(ValueError, match="`var` must satisfy var > 0; got -1"):
        transforms.self_normalizing(tanh, 0.0, -1.0)
    with pytest.raises(ValueError, match="`depth` must be a whole number >= 1; got 0"):
        transforms.chain(0)
    with pytest.raises(ValueError, match=r"`shortcut` must satisfy 0 <= shortcut <= 1; got 1\.5"):
        transforms.residual(3, shortcut=1.5)
    with pytest.raises(ValueError, match="elementwise"):
        transforms.gaussian_poincare(lambda z: jnp.sum(z))
    with pytest.raises(ValueError, match="`degree` must satisfy degree <= 64; got 65"):
        transforms.hermite(tanh, 65)


def test_networks_by_hand():
    double = lambda x: 2 * x
    assert transforms.chain(5)(1.0, double) == 32
    # one block of one layer: (w^2 + (1 - w^2) 2), then the last layer
    np.testing.assert_allclose(transforms.residual(1, layers=1, shortcut=0.6)(1.0, double), 2 * (0.36 + 0.64 * 2))
    np.testing.assert_allclose(transforms.residual([1], layers=1, shortcut=0.6)(1.0, double), 4)
    halve = lambda x: x / 2
    assert transforms.residual(9, layers=1, shortcut=0.0)(1.0, halve) == 0.5  # the branch alone is larger


@pytest.mark.parametrize(
    ("network", "goal", "start"),
    [
        (lambda s: NETWORK(1.0, lambda x: s * x), 1.2, 1.0),
        (lambda s: transforms.chain(1000)(1.0, lambda x: s * x), 1.5, 1.0),  # beyond a float at twice the start
        (lambda k: NETWORK(0.0, lambda x: x + k), 0.3, 0.0),
        (lambda x: x**3 - 1, -0.3, 0.0),
        (lambda x: x - 0.25, 0.0, 0.0),
    ],
)
def test_layers_of_a_network_are_found_in_few_looks(network, goal, start):
    looks = []
    found = rising(lambda x: looks.append(x) or network(x), goal, start, start + 1)
    assert network(found) == pytest.approx(goal, rel=1e-12, abs=1e-14)
    assert len(looks) <= 25


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    transforms.deep_kernel_shaping(tanh, NETWORK)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_functions_are_activations_like_any_other():
    f = transforms.deep_kernel_shaping(tanh, transforms.chain(20)).function
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.linspace(-2, 2, 5, dtype=dtype)
        assert f(x).dtype == jax.jit(f)(x).dtype == dtype
    with jax.enable_x64(True):
        np.testing.assert_allclose(meanfield.chi(f, sigma_w=1.0), 1.5 ** (1 / 20), rtol=1e-12)
        np.testing.assert_allclose(meanfield.correlation_map(f, sigma_w=1.0)(0.0), 0, atol=1e-12)


def test_they_are_solved_while_a_program_is_traced():
    made = jax.jit(lambda x: transforms.gaussian_poincare(tanh).function(x))
    np.testing.assert_allclose(made(0.5), transforms.gaussian_poincare(tanh).function(0.5), rtol=1e-6)


def test_depth_scales_are_those_of_meanfield():
    shaped = transforms.deep_kernel_shaping(tanh, transforms.chain(20), slope=math.e)
    linear = transforms.budget(shaped.function).linear  # C'(0), and zero is the correlation that stays
    np.testing.assert_allclose(shaped.scales.correlation, -1 / math.log(linear), rtol=1e-9)
    scales = transforms.gaussian_poincare(tanh).scales
    np.testing.assert_allclose(
        scales.length, -1 / math.log(transforms.gaussian_poincare(tanh).predicted.rate), rtol=1e-9
    )
    assert scales.correlation > 1e6  # C'(1) = 1


def exact_relu(k):
    """E[relu(z) h_k(z)], in closed form."""
    if k == 1:
        return 0.5
    if k % 2:
        return 0.0
    half = k // 2
    return (
        (-1) ** (half + 1)
        * math.factorial(k) ** 0.5
        / (math.sqrt(2 * math.pi) * 2**half * math.factorial(half) * (k - 1))
    )


def test_hermite_coefficients_in_closed_form(x64):
    got = transforms.hermite(relu, 64)
    np.testing.assert_allclose(got, [exact_relu(k) for k in range(65)], atol=1e-14)
    shifted = transforms.hermite(lambda z: jnp.abs(z - 1), 1)
    np.testing.assert_allclose(shifted, [1.1666309411, 1 - 2 * stats.norm.cdf(1)], rtol=1e-10)
    wave = transforms.hermite(jnp.sin, 41)  # exp(-1/2) / sqrt(k!), odd degrees of alternating sign
    exact = [0 if k % 2 == 0 else (-1) ** (k // 2) * math.exp(-0.5) / math.factorial(k) ** 0.5 for k in range(42)]
    np.testing.assert_allclose(wave, exact, atol=1e-14)
    step = transforms.hermite(jnp.sign, 3)
    np.testing.assert_allclose(step, [0, math.sqrt(2 / math.pi), 0, -1 / math.sqrt(3 * math.pi)], atol=1e-14)


def test_coefficients_are_the_power_series_of_the_correlation_map(x64):
    weights = transforms.hermite(tanh, 60) ** 2
    step = meanfield.kernel_map(tanh, sigma_w=1.0)
    got = step(meanfield.Kernels(1.0, 1.0, jnp.array([0.0, 0.5, -0.8]), 0.0)).cov
    np.testing.assert_allclose(
        got, [np.polynomial.polynomial.polyval(c, weights) for c in (0.0, 0.5, -0.8)], atol=1e-12
    )


@pytest.mark.parametrize("phi", [tanh, gelu, softplus, sigmoid])
def test_the_budget_is_that_of_the_coefficients(phi, x64):
    got, shares = transforms.budget(phi), np.asarray(transforms.hermite(phi, 64)) ** 2
    shares /= integral(lambda z: float(phi(z)) ** 2)
    k = np.arange(65)
    assert got.nonlinear <= got.price <= got.curvature / 2
    np.testing.assert_allclose(got[:3], (shares[0], shares[1], shares[2:].sum()), atol=1e-9)  # the tail of the series
    np.testing.assert_allclose((got.slope, got.price), (k @ shares, (k[2:] - 1) @ shares[2:]), rtol=1e-6)
    np.testing.assert_allclose(got.curvature, (k * (k - 1)) @ shares, rtol=1e-4)
    np.testing.assert_allclose(got.depth, 1 / abs(math.log(got.slope)), rtol=1e-12)


def test_kinks_have_no_curvature_and_jumps_no_slope():
    assert transforms.budget(selu).curvature == math.inf
    assert transforms.budget(elu).curvature < math.inf  # alpha = 1: only the second derivative jumps
    assert transforms.budget(jnp.sign).slope == math.inf
    assert math.isnan(transforms.budget(lambda z: 0 * z).used)


@pytest.mark.parametrize("phi", [tanh, softplus])
def test_no_constants_spend_a_budget_better(phi):
    """Of all functions of mean zero with that slope and Q'(1) <= 1, on a grid of shifts."""
    best = transforms.budget(transforms.for_depth(phi, 10).function)
    np.testing.assert_allclose(best.depth, 10, rtol=1e-9)
    assert best.nonlinear <= math.exp(0.1) - 1  # the bound
    z, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    with jax.enable_x64(True):
        b, c = np.meshgrid(np.geomspace(0.05, 3, 200), np.linspace(-3, 3, 121))
        values, slopes = jax.jvp(phi, (jnp.asarray(b[..., None] * z + c[..., None]),), (jnp.ones((*b.shape, 60)),))
    values = np.asarray(values) - (np.asarray(values) @ w)[..., None]
    var, slopes = values**2 @ w, np.asarray(slopes) * b[..., None]
    steep, rate, line = slopes**2 @ w / var, (values * slopes * z) @ w / var, (slopes @ w) ** 2 / var
    allowed = (steep <= math.exp(0.1)) & (rate <= 1)
    assert allowed.any()
    assert (1 - line)[allowed].max() <= best.nonlinear + 1e-9
