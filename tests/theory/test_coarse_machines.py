"""What is promised where ``exp`` and ``expm1`` are off by many roundings: multiples of their error, and no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, gaussian
from jnorm._ground import elementary
from jnorm.theory import closed_forms

pytestmark = pytest.mark.usefixtures("unoptimized", "x64")

MEAN, VAR = (a.ravel() for a in np.meshgrid([-10.0, -2.5, -0.3, 0.0, 0.4, 3.0, 10.0], np.geomspace(1e-6, 1e4, 11)))


def coarse(f, error):
    """A function whose relative error is anything up to ``error``, another one at each point."""
    return lambda x: f(x) * (1 + error * jnp.sin(1e5 * x + 1e9 * f(x)))


@pytest.fixture(params=[1e-9, 1e-5])
def rough(request, monkeypatch):
    """Makes the machine's functions rough; programs that are traced from then on feel it."""

    def apply():
        for name in ("exp", "expm1"):
            monkeypatch.setattr(elementary, name, coarse(getattr(elementary, name), request.param))
        return request.param

    return apply


def both(f, rough):
    """Results before and after, in programs of different shapes, so that none is taken for the other."""
    fine, error = f(MEAN, VAR), rough()
    shape = (1, len(MEAN)) if error > 1e-8 else (len(MEAN), 1)
    return error, fine, jax.tree.map(np.ravel, f(MEAN.reshape(shape), VAR.reshape(shape)))


def test_closed_forms_lose_a_few_times_that_error(rough):
    error, fine, (mean, var, slope) = both(closed_forms.selu, rough)
    # Sums of like signs of at most three factors, of which each is off by the error.
    assert np.all(np.abs(mean - fine.mean) <= 4 * error * np.sqrt(fine.mean**2 + fine.var))
    assert np.all(np.abs(var - fine.var) <= 4 * error * fine.var)
    assert np.all(np.abs(slope - fine.slope) <= 4 * error * fine.slope)
    assert np.max(np.abs(var - fine.var) / fine.var) > error / 4  # the roughness was felt


def test_quadrature_loses_twice_that_error(rough):
    error, fine, got = both(lambda m, v: gaussian.expectation(activations.tanh, m, v), rough)
    # The weights are normalized: E[f] moves by at most twice the error times E|f - E[f]|, which is at most 1.
    assert np.all(np.abs(got - fine) <= 2 * error)
    assert np.max(np.abs(got - fine)) > error / 100
