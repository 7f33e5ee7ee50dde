import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.theory import meanfield
from jnorm.theory.moments import Moments, activation_moments

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.mark.parametrize("name", ["selu", "tanh", "relu"])
def test_the_mean_turns_into_variance(name, x64):
    phi = activations.ELEMENTWISE[name]
    x = Moments(jnp.array([0.0, 0.5, -2.0]), jnp.array([1.0, 0.3, 4.0]))
    got = meanfield.layer_map(phi, sigma_w=1.3, sigma_b=0.2)(x)
    exact = activation_moments(phi, jnp.zeros(3), 1.3**2 * (x.var + x.mean**2) + 0.2**2)
    # one rounding of the pre-activation's variance; means of an odd function are what rounds in parts of order one
    np.testing.assert_allclose(got.mean, exact.mean, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(got.var, exact.var, rtol=1e-15)


def test_he_weights_keep_the_second_moment_of_relu(x64):
    x = Moments(jnp.array([0.4, 3.0]), jnp.array([1.0, 0.1]))
    y = meanfield.layer_map(activations.relu, sigma_w=np.sqrt(2))(x)
    np.testing.assert_allclose(y.var + y.mean**2, x.var + x.mean**2, rtol=1e-15)


def test_without_mean_it_is_the_map_of_fixed_weights_with_zero_sum(x64):
    y = meanfield.layer_map(activations.selu, sigma_w=1.0)(Moments(0.0, 1.0))
    # a few roundings of parts of order one
    assert abs(y.mean) < 2e-15
    assert abs(y.var - 1) < 2e-15


def test_parameters_broadcast():
    y = meanfield.layer_map(activations.relu, sigma_w=jnp.ones((1, 4)), sigma_b=0.1)(Moments(jnp.zeros((3, 1)), 1.0))
    assert y.mean.shape == y.var.shape == (3, 4)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^`sigma_w` must satisfy sigma_w >= 0; got -1\.0$"):
        meanfield.layer_map(activations.relu, sigma_w=-1.0)
    with pytest.raises(ValueError, match=r"^`sigma_b` must satisfy sigma_b >= 0; got -0\.5$"):
        meanfield.layer_map(activations.relu, sigma_w=1.0, sigma_b=-0.5)
    with pytest.raises(ValueError, match=r"^`var` must satisfy var >= 0; got -2\.0$"):
        meanfield.layer_map(activations.relu, sigma_w=1.0)(Moments(0.0, -2.0))
