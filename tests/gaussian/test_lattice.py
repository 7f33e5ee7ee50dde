"""The lattice for products of smooth functions at high correlations, against the general rule."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, gaussian, jaxprs
from jnorm.gaussian import _lattice
from tests.gaussian.test_products import general
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

SMOOTH = ["tanh", "erf", "gelu", "mish", "sigmoid", "silu", "sin", "softplus"]
LEAST = (1 - (_lattice.NARROWEST[8] * _lattice.SPACING[8]) ** 2) ** 0.5  # the correlation that it ends at


def covariance(correlation, sd=(1.0, 1.0)):
    sd = np.asarray(sd) * np.ones((len(correlation), 2))
    unit = np.eye(2) + (1 - np.eye(2)) * np.asarray(correlation)[:, None, None]
    return sd[:, :, None] * sd[:, None, :] * unit


@pytest.mark.parametrize("name", beside(["tanh", "softplus"], SMOOTH))
def test_the_lattice_is_as_exact_as_the_rule_where_it_says_so(name, x64):
    """On the domain that `expectation2` states, from the least correlation to the largest; derivatives too."""
    phi = activations.ELEMENTWISE[name]
    rng = np.random.default_rng(0)
    correlation = np.array([0.8, -0.8, 0.9, -0.93, 0.95, 0.95, LEAST, -LEAST]) * (1 - 1e-12)
    correlation[:2] *= 1 + 2e-12
    mean, sd = rng.uniform(-3, 3, (8, 2)), rng.uniform(0.1, 2, (8, 2))
    mean[0], sd[0], mean[1], sd[1], mean[5], sd[5] = 0, 2, (3, -3), 2, 0, 1
    cov = covariance(correlation, sd)

    def values(mean, cov):
        return _lattice.on_a_lattice((phi, phi), tuple(mean.T), (cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]))

    rule = lambda mean, cov: gaussian.expectation2(general(lambda u, v: phi(u) * phi(v)), mean, cov, kinks=(0.0,))
    got, exact = jax.jit(values)(mean, cov)
    squares = [gaussian.expectation(lambda z: phi(z) ** 2, mean[:, i], cov[:, i, i], kinks=(0.0,)) for i in (0, 1)]
    bound = 1e-10 * np.maximum(np.sqrt(squares[0] * squares[1]), 1e-3)
    assert exact.sum() >= 6
    assert exact[5]
    assert np.all((np.abs(got - rule(mean, cov)) <= bound)[exact])
    slopes = [
        jax.jit(jax.grad(lambda m, c, f=f: f(m, c).sum(), (0, 1)))(mean, cov) for f in (rule, lambda *a: values(*a)[0])
    ]
    for right, a in zip(*slopes, strict=True):
        scale = bound.reshape(-1, *(1,) * (a.ndim - 1)) / np.min(sd) ** 2  # as in the test of the grid
        assert np.all((np.abs(a - right) <= 2 * scale)[exact])


@pytest.mark.parametrize(
    "f",
    [lambda z: jnp.abs(z), activations.selu, activations.hard_tanh, lambda z: jnp.tanh(12 * z)],
    ids=["abs", "selu", "hard_tanh", "steep"],
)
def test_what_is_not_smooth_on_its_scale_is_seen(f, x64):
    correlation = np.linspace(0.8, LEAST, 5)
    cov = covariance(correlation)
    _, exact = _lattice.on_a_lattice((f, f), (np.zeros(5),) * 2, (cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]))
    assert not np.any(exact)


def test_lanes_of_all_correlations_at_once(x64):
    """Moderate, high and lost ones need no general rule; one that is higher takes all of them there."""
    f = lambda u, v: jnp.tanh(u) * jnp.tanh(v - 1)
    cov = jnp.asarray(covariance([0.3, 0.95, -0.85, 0.0]))
    reference = gaussian.expectation2(general(f), jnp.zeros(2), cov, kinks=(0.0, 1.0))
    np.testing.assert_allclose(gaussian.expectation2(f, jnp.zeros(2), cov), reference, atol=1e-12)
    lost = gaussian.expectation2(f, jnp.zeros(2), cov.at[0].set(jnp.nan))
    assert np.isnan(lost).tolist() == [True, False, False, False]
    np.testing.assert_allclose(lost[1:], reference[1:], atol=1e-12)
    higher = gaussian.expectation2(f, jnp.zeros(2), cov.at[0].set(jnp.ones((2, 2))))
    np.testing.assert_allclose(higher[1:], reference[1:], atol=1e-12)
    slopes = jax.vmap(jax.grad(partial(gaussian.expectation2, f, jnp.zeros(2))))(cov.at[0].set(jnp.ones((2, 2))))
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("name", SMOOTH)
def test_single_precision(name):
    """To 1e-6, the square of what both rules may differ by, and 32 roundings of the values."""
    phi = activations.ELEMENTWISE[name]
    cov = covariance([0.8, -0.9, 0.95])
    f = lambda u, v: phi(u) * phi(v)
    got = gaussian.expectation2(f, np.float32([0.5, -1]), cov.astype("float32"))
    with jax.enable_x64(True):
        exact = np.asarray(gaussian.expectation2(general(f), np.array([0.5, -1]), cov, kinks=(0.0,)))
        ends = [gaussian.expectation(lambda z: phi(z) ** 2, m, 1.0, kinks=(0.0,)) for m in (0.5, -1.0)]
    assert np.all(
        np.abs(np.asarray(got, float) - exact) <= (1e-6 + 32 * 2.0**-23) * np.sqrt(np.prod(np.asarray(ends, float)))
    )


def test_functions_and_exponentials_are_computed_on_one_dimension():
    run = lambda c: gaussian.expectation2(lambda u, v: jnp.sin(u) * jnp.sin(v), jnp.zeros(2), c)
    choices = [site for site in jaxprs.walk(jax.make_jaxpr(run)(jnp.eye(2))) if site.primitive == "cond"]
    bodies = [body for site in choices if site.params.get("branches_platforms") is None for body in site.bodies]
    sizes = [
        [math.prod(s.equation.outvars[0].aval.shape) for s in jaxprs.walk(body) if s.primitive in ("sin", "exp")]
        for body in bodies
    ]
    assert sorted(max(own, default=0) for own in sizes if own) == [65, 6400, 6400, 280 * 112]
