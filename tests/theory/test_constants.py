"""Constants of a scaled ELU: their parts in 40 digits, the fixed points that they make, and where there are none."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from jnorm import activations
from jnorm.theory import _scaled_elu
from jnorm.theory.fixed_points import selu_constants
from jnorm.theory.moments import Moments, layer_map


def halves(mean, var):
    """E[z; z > 0], E[z^2; z > 0], E[exp(z) - 1; z <= 0] and E[(exp(z) - 1)^2; z <= 0] by their textbook formulas."""
    with mp.workdps(40):
        m, v = mp.mpf(mean), mp.mpf(var)
        s = mp.sqrt(v)
        above, density = mp.ncdf(m / s), mp.npdf(m / s)
        below = mp.ncdf(-m / s)
        grow = [mp.exp(k * m + k * k * v / 2) * mp.ncdf(-m / s - k * s) for k in (1, 2)]
        exact = (
            m * above + s * density,
            (m * m + v) * above + m * s * density,
            grow[0] - below,
            grow[1] - 2 * grow[0] + below,
        )
        return [float(part) for part in exact]


def test_halves_against_40_digits(x64):
    points = [(m * s, s * s) for s in (1e-3, 0.05, 0.4, 1.0, 2.5, 6.0) for m in (-4.0, -1.0, -0.2, 0.0, 0.3, 1.0, 4.0)]
    exact = np.array([halves(*point) for point in points]).T
    got = jax.jit(_scaled_elu.halves)(*np.array(points).T)
    for name, part, truth in zip(got._fields, got, exact, strict=True):
        # 64 roundings: those of the parts times t^2 / 2 = 8 in the far tail.
        np.testing.assert_allclose(part, truth, rtol=64 * 2**-52, err_msg=name)


def test_the_standard_ones(x64):
    found = selu_constants()
    # a few roundings of .4 and .2, whose quotient alpha is
    np.testing.assert_allclose(found.lam, activations.SELU_LAMBDA, rtol=1e-15)
    np.testing.assert_allclose(found.alpha, activations.SELU_ALPHA, rtol=1e-15)


def test_they_make_the_fixed_point(x64):
    """By quadrature, which shares nothing with the closed form: it is asked for by naming the kink."""
    mean, var = (a.ravel() for a in np.meshgrid([-0.4, -0.1, 0.0, 0.9], [0.3, 1.0, 2.5]))
    omega, tau = 0.3, 1.1
    found = selu_constants(mean, var, omega=omega, tau=tau)
    assert 6 < found.converged.sum() < 12
    phi = partial(activations.scaled_elu, lam=found.lam, alpha=found.alpha)
    image = jax.jit(lambda: layer_map(phi, omega=omega, tau=tau, kinks=(0.0,))(Moments(mean, var)))()
    exists = np.asarray(found.converged)
    # 1e-10 is the quadrature's accuracy.
    np.testing.assert_allclose(image.mean[exists], mean[exists], atol=1e-10)
    np.testing.assert_allclose(image.var[exists], var[exists], rtol=1e-10)
    assert np.isnan(found.lam).tolist() == np.isnan(found.alpha).tolist() == (~exists).tolist()


def test_existence_ends_where_relu_takes_over(x64):
    """For mean > 0 they exist while mean^2 / (mean^2 + var) <= A^2 / A2, 1 / pi at omega = 0; there alpha is 0."""
    edge = np.sqrt(1 / (np.pi - 1))
    found = selu_constants(edge * np.array([0.999, 1 - 1e-12, 1 + 1e-12, 1.001]), 1.0)
    assert found.converged.tolist() == [True, True, False, False]
    assert 0 <= found.alpha[1] < 1e-11  # about the distance from the edge


def test_bad_input():
    with pytest.raises(ValueError, match=r"^`var` must satisfy var > 0; got 0\.0$"):
        selu_constants(0.0, 0.0)
    with pytest.raises(ValueError, match=r"^`tau` must satisfy tau > 0; got -1\.0$"):
        selu_constants(0.0, 1.0, tau=np.array([1.0, -1.0]))
    found = selu_constants(0.0, jnp.array([1.0, 0.0, -1.0, jnp.nan]), tau=jnp.array([1.0, 1.0, 1.0, 1.0]))
    assert found.converged.tolist() == [True, False, False, False]
    assert np.isnan(found.lam).tolist() == [False, True, True, True]
