"""The phase diagram against the functions of one point, and the critical line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.activations import relu, selu, sin, tanh
from jnorm.theory import meanfield
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

W, B = np.linspace(0.5, 3.0, 5), np.array([0.0, 0.05, 0.6])


@pytest.mark.parametrize("name", beside(["tanh"], ["tanh", "gelu", "selu", "hard_tanh", "relu"]))
def test_the_diagram_is_that_of_its_points(name, x64):
    phi = activations.ELEMENTWISE[name]
    found = meanfield.phase_diagram(phi, sigma_w=W, sigma_b=B)
    weights = {"sigma_w": W[None], "sigma_b": B[:, None]}
    np.testing.assert_array_equal(found.sigma_w, np.broadcast_to(W, (3, 5)))
    np.testing.assert_array_equal(found.sigma_b, np.broadcast_to(B[:, None], (3, 5)))
    stays = np.isfinite(found.length)
    np.testing.assert_allclose(found.length, meanfield.length(phi, **weights), rtol=1e-10)
    # at the ends of the table, for lengths that are 0 or infinite, the promise of 1e-10 is not made
    np.testing.assert_allclose(found.chi[stays], meanfield.chi(phi, **weights)[stays], rtol=1e-10)
    scales = meanfield.depth_scales(phi, **weights)
    np.testing.assert_allclose(found.scales.length, scales.length, rtol=1e-8)
    # the promise of the docstring
    np.testing.assert_allclose(found.correlation, meanfield.correlation(phi, **weights), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.scales.correlation, scales.correlation, rtol=1e-3)


def test_it_is_finite_where_lengths_go_to_zero():
    found = meanfield.phase_diagram(tanh, sigma_w=[0.0, 0.5, 1.0, 1.0 + 1e-9, 1.2], sigma_b=[0.0])
    assert found.length[0, :2].tolist() == [0, 0]
    assert found.length[0, 2] < 1e-12  # where one step is a factor of 1 - 2 q, which rounding hides
    assert found.length[0, 3] < 1e-8
    np.testing.assert_allclose(found.chi[0, :4], [0, 0.25, 1, 1], rtol=1e-6)  # float32
    assert all(np.all(np.isfinite(a)) for a in found[:5])
    scales = found.scales
    np.testing.assert_allclose(scales.correlation[0, :2], [0, 1 / np.log(4)], rtol=1e-6)
    assert np.all(np.asarray(scales.correlation[0, 2:4]) > 1e6)
    assert np.all(~np.isnan(scales.correlation))


def test_it_keeps_to_the_dtype_of_the_session():
    assert meanfield.phase_diagram(sin, sigma_w=[1.0], sigma_b=[0.1]).chi.dtype == jnp.float32
    with jax.enable_x64(True):
        assert meanfield.phase_diagram(sin, sigma_w=[1.0], sigma_b=[0.1]).chi.dtype == jnp.float64


def test_the_critical_line_is_where_chi_is_one(x64):
    b = jnp.array([0.0, 0.1, 0.5, 1.0])
    w = meanfield.critical_line(tanh, sigma_b=b)
    np.testing.assert_allclose(meanfield.chi(tanh, sigma_w=w, sigma_b=b), 1, rtol=1e-12)
    np.testing.assert_allclose(w[0], 1, rtol=1e-12)
    assert np.all(np.diff(w) > 0)


def test_the_critical_line_is_exact(x64):
    golden = json.loads((Path(__file__).parents[1] / "golden" / "meanfield.json").read_text())
    _, b, w = zip(*golden["critical"]["rows"], strict=True)
    np.testing.assert_allclose(meanfield.critical_line(tanh, sigma_b=np.array(b)), np.array(w, float), rtol=1e-12)
    # Schoenholz et al. 2017 use sigma_w^2 = 1.76, sigma_b^2 = .05 on it
    assert f"{meanfield.critical_line(tanh, sigma_b=0.05**0.5) ** 2:.2f}" == "1.76"


def test_the_line_of_relu_is_a_point(x64):
    line = meanfield.critical_line(relu, sigma_b=jnp.array([0.0, 0.01, 1.0]))
    np.testing.assert_allclose(line, [2**0.5, np.nan, np.nan], rtol=1e-12)


def test_it_has_a_derivative(x64):
    f = lambda b: meanfield.critical_line(sin, sigma_b=b)
    # central differences, error h^2
    np.testing.assert_allclose(jax.grad(f)(0.4), (f(0.4 + 1e-5) - f(0.4 - 1e-5)) / 2e-5, rtol=1e-8)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^`sigma_w` must be a one-dimensional axis; got shape \(\)$"):
        meanfield.phase_diagram(selu, sigma_w=1.0, sigma_b=[0.0])
    with pytest.raises(ValueError, match=r"^`sigma_b` must satisfy sigma_b >= 0; got -1\.0$"):
        meanfield.phase_diagram(selu, sigma_w=[1.0], sigma_b=[-1.0])
    with pytest.raises(TypeError, match=r"^`sigma_w` is traced"):
        jax.jit(lambda w: meanfield.phase_diagram(selu, sigma_w=w, sigma_b=[0.0]))(jnp.ones(2))
    with pytest.raises(ValueError, match="must act elementwise"):
        meanfield.phase_diagram(jnp.sum, sigma_w=[1.0], sigma_b=[0.0])
    with pytest.raises(ValueError, match=r"^`sigma_b` must satisfy sigma_b >= 0; got -1\.0$"):
        meanfield.critical_line(selu, sigma_b=-1.0)
