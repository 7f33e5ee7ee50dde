"""Kernels of wide networks: exact values, independent recursions, finite networks, and what kernels must be."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.activations import erf, identity, relu, selu, tanh
from jnorm.theory import meanfield, moments
from jnorm.theory.meanfield import Kernels, kernel_map, layer_norm, residual
from tests.theory.test_correlations import golden
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

ROWS = golden()["kernels"]["rows"]
X = np.random.default_rng(0).normal(size=(12, 5))


@pytest.mark.parametrize("row", beside([ROWS[0], ROWS[7]], ROWS), ids=lambda row: f"{row[0]}-{row[6]}")
def test_recursions_are_exact(row, x64):
    name, w, b, depth, var1, var2, cov, *exact = row
    step = kernel_map(activations.ELEMENTWISE[name], sigma_w=w, sigma_b=b)
    got = meanfield.propagate(step, Kernels(var1, var2, cov, cov), depth)
    # a few roundings a layer; quadrature of second moments is off by 1e-14
    np.testing.assert_allclose([rows[-1] for rows in got], [float(k) for k in exact], rtol=1e-12)


def relu_recursion(x1, x2, w, b, depth):
    """NNGP and tangent kernels of relu in NumPy, by the arc-cosine formulas."""
    cov, var1, var2 = (w * w * k / x1.shape[-1] + b * b for k in (x1 @ x2.T, (x1**2).sum(-1), (x2**2).sum(-1)))
    tangent = cov
    for _ in range(depth):
        both = np.sqrt(var1[:, None] * var2)
        angle = np.arccos(np.clip(cov / both, -1, 1))
        cov = w * w * both * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi) + b * b
        tangent = cov + w * w * (np.pi - angle) / (2 * np.pi) * tangent
        var1, var2 = (w * w * v / 2 + b * b for v in (var1, var2))
    return cov, tangent


def test_kernels_of_relu_are_those_of_the_formulas(x64):
    step = kernel_map(relu, sigma_w=1.3, sigma_b=0.2)
    exact = relu_recursion(X[:7], X[7:], 1.3, 0.2, 3)
    got = [kernel(step, depth=3, sigma_w=1.3, sigma_b=0.2)(X[:7], X[7:]) for kernel in (meanfield.nngp, meanfield.ntk)]
    np.testing.assert_allclose(got, exact, rtol=1e-12)


@pytest.mark.parametrize("kernel", [meanfield.nngp, meanfield.ntk])
@pytest.mark.parametrize("name", beside(["relu"], ["relu", "tanh"]))
def test_kernels_are_positive_and_finite(kernel, name, x64):
    """With an input twice, and one of zeros; without biases."""
    inputs = np.concatenate([X[:6], X[:1], np.zeros((1, 5)), -X[:1]])
    step = residual(kernel_map(activations.ELEMENTWISE[name], sigma_w=1.2), scale=0.7)
    gram = kernel(step, depth=2)(inputs)
    assert np.all(np.isfinite(gram))
    np.testing.assert_allclose(gram, gram.T, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gram[0], gram[6], rtol=1e-7)  # the square root of a rounding, of the angle of a pair
    values = np.linalg.eigvalsh(gram)
    assert values[0] > -1e-7 * values[-1]  # for the same reason: two rows of each are equal
    assert np.all(gram[7] == 0)
    by = jax.grad(lambda x: kernel(step, depth=2)(x, X[:3]).sum())(inputs)
    assert np.all(np.isfinite(by))


def test_the_tangent_kernel_of_a_linear_network_is_known(x64):
    """``(depth + 1)`` times the product of the inputs: every layer's weights give the same."""
    kernel = meanfield.ntk(kernel_map(identity, sigma_w=1.0), depth=4)
    np.testing.assert_allclose(kernel(X), 5 * X @ X.T / 5, rtol=1e-12, atol=1e-13)


def test_finite_networks_have_these_kernels(x64):
    """Mean over 24 networks of width 512, within three standard errors and the 1 / width that the limit leaves out."""
    width, depth, w, b = 512, 2, 1.3, 0.3
    pair = jnp.asarray(X[:2])

    def network(params, x):
        for i, (kernel, bias) in enumerate(params):
            x = jnp.tanh(x) if i else x
            x = w / jnp.sqrt(kernel.shape[0]) * x @ kernel + b * bias
        return x[0]

    @jax.jit
    def empirical(key):
        sizes = [5, *[width] * depth, 1]
        keys = jax.random.split(key, (len(sizes) - 1, 2))
        shapes = itertools.pairwise(sizes)
        params = [
            (jax.random.normal(k[0], s), jax.random.normal(k[1], s[1:])) for k, s in zip(keys, shapes, strict=True)
        ]
        g = [jax.grad(network)(params, x) for x in pair]
        return jnp.array(
            [
                sum(jnp.vdot(a, c) for a, c in zip(*map(jax.tree.leaves, (g[i], g[j])), strict=True))
                for i, j in ((0, 0), (0, 1))
            ]
        )

    runs = np.array([empirical(key) for key in jax.random.split(jax.random.key(0), 24)])
    exact = meanfield.ntk(kernel_map(tanh, sigma_w=w, sigma_b=b), depth=depth, sigma_w=w, sigma_b=b)(pair)[0]
    error = runs.std(0, ddof=1) / np.sqrt(len(runs))
    assert np.all(np.abs(runs.mean(0) - exact) < 3 * error + exact / width)
    assert np.all(error < 0.02 * exact)  # it could fail


def test_growth_is_chi_a_layer(x64):
    weights = {"sigma_w": 1.0, "sigma_b": 0.0}
    rows = meanfield.growth(kernel_map(selu, **weights), 1.0, 100)
    np.testing.assert_allclose(
        rows, float(meanfield.chi(selu, **weights)) ** np.arange(101), rtol=1e-10
    )  # of 100 layers
    assert round(float(rows[-1])) == 1005  # FACTS of the paper's fixed point: 1.0716 to the 100th


def test_growth_is_that_of_distances(x64):
    """On a path along which the length moves."""
    step, gap = kernel_map(erf, sigma_w=2.0, sigma_b=0.3), 1e-7
    rows = meanfield.propagate(step, Kernels(1.0, 1.0, 1.0 - gap, 0.0), 5)
    distances = (rows.var1 + rows.var2) / 2 - rows.cov
    np.testing.assert_allclose(meanfield.growth(step, 1.0, 5), distances / gap, rtol=1e-5)  # of the gap, and 1e-16/gap


def test_residual_blocks_add_up(x64):
    inner = kernel_map(tanh, sigma_w=1.5, sigma_b=0.1)
    x = Kernels(1.2, 0.7, -0.3, 0.5)
    got, branch = residual(inner, scale=0.5)(x), inner(x)
    np.testing.assert_allclose(got, [a + c / 4 for a, c in zip(x, branch, strict=True)], rtol=1e-12)
    # Yang, Schoenholz 2017: with scale 1 / sqrt(depth) the growth has a limit.
    layer = kernel_map(relu, sigma_w=2**0.5)
    rows = [meanfield.growth(residual(layer, scale=depth**-0.5), 1.0, depth)[-1] for depth in (64, 256)]
    np.testing.assert_allclose(rows, [(1 + 1 / depth) ** depth for depth in (64, 256)], rtol=1e-12)


def test_layer_norm_sees_correlations_alone(x64):
    step = layer_norm(kernel_map(tanh, sigma_w=1.5, sigma_b=0.1))
    a, b = step(Kernels(1.0, 1.0, 0.4, 0.0)), step(Kernels(9.0, 4.0, 2.4, 0.0))
    np.testing.assert_allclose(a, b, rtol=1e-12)
    q = float(a.var1)
    factor = moments.gradient_factor(tanh, 0.0, 1.0, tau=1.5**2)
    np.testing.assert_allclose(meanfield.growth(step, q, 3)[-1], (factor / q) ** 3, rtol=1e-12)
    assert [float(k) for k in step(Kernels(0.0, 0.0, 0.0, 0.0))[:3]] == pytest.approx([0.01] * 3, rel=1e-12)


def test_batch_norm_explodes(x64):
    np.testing.assert_allclose(meanfield.batch_norm_growth(relu), np.pi / (np.pi - 1), rtol=1e-12)
    np.testing.assert_allclose(meanfield.batch_norm_growth(selu), 1.0715749924557998, rtol=1e-12)
    assert meanfield.batch_norm_growth(identity) == 1


def test_correlations_of_real_inputs(x64):
    x1, x2 = X[:3], X[3:6]
    step = kernel_map(relu, sigma_w=2**0.5)
    start = meanfield.inputs(x1, x2)
    np.testing.assert_allclose(
        start.correlation, [np.dot(a, c) / np.sqrt(a @ a * (c @ c)) for a, c in zip(x1, x2, strict=True)], rtol=1e-12
    )
    rows = meanfield.propagate(step, start, 300)
    one_by_one = start
    for _ in range(3):
        one_by_one = step(one_by_one)
    np.testing.assert_allclose([k[3] for k in rows], one_by_one, rtol=1e-12)
    assert np.all(np.diff(rows.correlation, axis=0) > 0)  # relu makes all inputs alike,
    # as 1 - c = 9 pi^2 / (2 l^2): Hayou, Doucet, Rousseau 2019 (arXiv 1902.06853); the next term is of log(l)/l
    np.testing.assert_allclose((1 - rows.correlation[-1]) * 300**2, 9 * np.pi**2 / 2, rtol=0.1)


def test_bad_input():
    step = kernel_map(relu, sigma_w=1.0)
    with pytest.raises(ValueError, match=r"^`depth` must be a whole number >= 0; got -1$"):
        meanfield.nngp(step, depth=-1)
    with pytest.raises(ValueError, match=r"^`depth` must be a whole number >= 0; got 1\.5$"):
        meanfield.propagate(step, Kernels(1.0, 1.0, 0.0, 0.0), 1.5)
    with pytest.raises(ValueError, match=r"as many features; got \(2, 3\) and \(2, 4\)$"):
        meanfield.nngp(step, depth=1)(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"^`sigma_b` must satisfy sigma_b >= 0; got -0\.1$"):
        meanfield.inputs(np.ones(3), np.ones(3), sigma_b=-0.1)
    with pytest.raises(ValueError, match=r"^`length` must satisfy length >= 0; got -1\.0$"):
        meanfield.growth(step, -1.0, 3)
