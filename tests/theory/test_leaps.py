"""Activations that jump: what is infinite is said to be, what is finite is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.activations import selu, tanh
from jnorm.theory import meanfield
from jnorm.theory.meanfield import Kernels
from jnorm.theory.moments import gradient_factor

pytestmark = pytest.mark.usefixtures("unoptimized", "x64")

W, B = 1.5, 0.3


def step(z):
    return jnp.where(z > 0, 1.0, 0.0)


def broken(z):
    return jnp.where(z > 0.5, z + 1, jnp.tanh(z))


def test_the_squared_slope_has_no_mean():
    for phi in (jnp.sign, step, broken, lambda z: jnp.tanh(z) + jnp.where(z > 1, 1e-3, 0.0)):
        assert gradient_factor(phi, 0.0, 1.0) == jnp.inf
    assert meanfield.chi(broken, sigma_w=W, sigma_b=B) == jnp.inf
    assert meanfield.batch_norm_growth(jnp.sign) == jnp.inf
    at_threshold = jax.jit(lambda a: gradient_factor(lambda z: jnp.where(z > a, 1.0, 0.3), 0.0, 1.0))
    assert at_threshold(1.0) == jnp.inf  # traced
    assert at_threshold(20.0) == 0  # out of reach
    assert gradient_factor(jnp.sign, 0.0, 0.0) == 0  # the activation's own convention


def test_what_does_not_jump_is_not_taken_for_it():
    smooth = (tanh, selu, jnp.abs, lambda z: jnp.maximum(z - 1, 0), lambda z: 1e6 + jnp.abs(z - 3), jax.nn.hard_tanh)
    for phi in (*smooth, lambda z: jnp.where(z > 1, 2 * z - 1, z)):
        assert 0 < gradient_factor(phi, 0.5, 2.0) < 10


def test_correlations_of_signs_are_those_of_the_arcsine():
    """E[sign u sign v] = 2/pi asin c, of which the derivative is 2/pi / sqrt(1 - c^2); steps have a quarter of it."""
    c = jnp.array([-0.9, 0.0, 0.3, 0.99])
    for phi, second, share in ((jnp.sign, 1.0, 1.0), (step, 0.5, 0.25)):
        length = W**2 * second + B**2
        c_map = meanfield.correlation_map(phi, sigma_w=W, sigma_b=B)
        np.testing.assert_allclose(c_map.length, length, rtol=1e-14)
        slope = jax.vmap(jax.grad(c_map))(c)
        np.testing.assert_allclose(slope, W**2 * share * 2 / np.pi / np.sqrt(1 - c**2) / length, rtol=1e-11)
        assert jax.grad(c_map)(1.0) == jnp.inf
    assert meanfield.correlation(jnp.sign, sigma_w=W) == 0
    np.testing.assert_allclose(meanfield.depth_scales(jnp.sign, sigma_w=W).correlation, 1 / np.log(np.pi / 2))
    stays = float(meanfield.correlation(jnp.sign, sigma_w=W, sigma_b=B))
    np.testing.assert_allclose(stays, (W**2 * 2 / np.pi * np.arcsin(stays) + B**2) / (W**2 + B**2), rtol=1e-12)


def test_slopes_off_the_diagonal_are_derivatives_of_values():
    layer = meanfield.kernel_map(broken, sigma_w=W, sigma_b=B)
    value = lambda cov: layer(Kernels(1.0, 1.5, cov, 0.0)).cov
    tangent = lambda cov: layer(Kernels(1.0, 1.5, cov, 1.0)).tangent - layer(Kernels(1.0, 1.5, cov, 0.0)).tangent
    for cov in (-0.6, 0.2, 0.9):
        difference = (value(cov + 1e-5) - value(cov - 1e-5)) / 2e-5
        np.testing.assert_allclose(tangent(cov), difference, rtol=1e-8)
        np.testing.assert_allclose(jax.grad(value)(cov), difference, rtol=1e-8)


def test_kernels_have_an_infinite_diagonal_and_finite_pairs():
    layer = meanfield.kernel_map(jnp.sign, sigma_w=W, sigma_b=B)
    x = np.array([[1.0, 0.0], [0.5, 0.4]])
    gram = meanfield.ntk(layer, depth=2)(x)
    np.testing.assert_array_equal(np.isinf(gram), np.eye(2, dtype=bool))
    assert np.all(np.isfinite(meanfield.nngp(layer, depth=2)(x)))
    np.testing.assert_array_equal(meanfield.growth(layer, 1.0, 2), [1, np.inf, np.inf])


def test_there_is_no_critical_line_and_no_phase_diagram():
    assert np.isnan(meanfield.critical_line(jnp.sign, sigma_b=0.3))
    assert meanfield.trainable_depth(jnp.sign, sigma_w=W).gradient == 0
    with pytest.raises(ValueError, match="`phi` must not jump"):
        meanfield.phase_diagram(jnp.sign, sigma_w=[1.0], sigma_b=[0.1])
