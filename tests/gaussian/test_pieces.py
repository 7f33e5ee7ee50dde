"""Piecewise polynomials: recognized by what they compute, and integrated in closed form, exactly."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jnorm import gaussian, jaxprs
from jnorm.gaussian._kinks import read
from jnorm.theory import closed_forms
from jnorm.theory.meanfield import Kernels, kernel_map
from jnorm.theory.moments import activation_moments, gradient_factor
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

POINT = (jax.ShapeDtypeStruct((1,), jnp.float32),)

RAMPS = {  # relu, as people write it
    "maximum": lambda z: jnp.maximum(z, 0),
    "where": lambda z: jnp.where(z > 0, z, 0.0),
    "mask": lambda z: z * (z > 0).astype(z.dtype),
    "abs": lambda z: (z + jnp.abs(z)) / 2,
    "sign": lambda z: z * (1 + jnp.sign(z)) / 2,
    "clip": lambda z: jnp.clip(z, 0, None),
}


def interpolated(z):
    return jnp.interp(z, jnp.array([-1.0, 3.0], z.dtype), jnp.array([2.0, 0.0], z.dtype))


PIECES = {  # kinks, and the polynomial between them as its coefficients from the constant on
    "hinge": (lambda z: jnp.maximum(2 * z - 1, 0), [0.5], [(0,), (-1, 2)]),
    "hard tanh": (jax.nn.hard_tanh, [-1, 1], [(-1,), (0, 1), (1,)]),
    "relu6": (jax.nn.relu6, [0, 6], [(0,), (0, 1), (6,)]),
    "jumps": (lambda z: jnp.where(z > 1, z, jnp.where(z < -2, 3.0, -1.0)), [-2, 1], [(3,), (-1,), (0, 1)]),
    "squares": (lambda z: jnp.where(z > 0.25, z * z - 1, -z), [0.25], [(0, -1), (-1, 0, 1)]),
    "interp": (
        lambda z: jnp.interp(z, jnp.array([-1.0, 3.0]), jnp.array([2.0, 0.0])),
        [-1, 3],
        [(2,), (1.5, -0.5), (0,)],
    ),
}
LAWS = [(0.0, 1.0), (0.7, 2.0), (-3.0, 0.04), (9.0, 1.0), (0.5, 1e-6), (1.0, 100.0), (0.3, 1e6)]


def exact(edges, rows, mean, var):
    """The expectation at 40 digits, from integrals of x^n exp(-x^2/2) between the edges."""
    with mpmath.workdps(40):
        scale, total = mpmath.sqrt(mpmath.mpf(var)), mpmath.mpf(0)
        ends = [-mpmath.inf, *((mpmath.mpf(at) - mpmath.mpf(mean)) / scale for at in edges), mpmath.inf]
        for low, high, row in zip(ends, ends[1:], rows, strict=False):
            peak = lambda x: mpmath.npdf(x) if mpmath.isfinite(x) else mpmath.mpf(0)
            edge = lambda x: x * mpmath.npdf(x) if mpmath.isfinite(x) else mpmath.mpf(0)
            tail = lambda x: mpmath.erfc(x / mpmath.sqrt(2)) / 2 if x > 0 else 1 - mpmath.erfc(-x / mpmath.sqrt(2)) / 2
            mass = tail(low) - tail(high)
            moments = [mass, peak(low) - peak(high), mass + edge(low) - edge(high)]
            a, b, c = (mpmath.mpf(row[i]) if i < len(row) else mpmath.mpf(0) for i in range(3))
            m = mpmath.mpf(mean)
            shifted = [a + b * m + c * m * m, (b + 2 * c * m) * scale, c * scale**2]
            total += sum(x * y for x, y in zip(shifted, moments, strict=True))
        return total


def sized(found):
    """How many numbers the largest array of a program holds."""
    return max(math.prod(v.aval.shape) for site in jaxprs.walk(found) for v in site.equation.outvars)


def test_the_degree_between_kinks():
    degree = lambda f: read(f, POINT).degree
    assert [degree(f) for f in RAMPS.values()] == [1] * len(RAMPS)
    assert [degree(f) for f, *_ in PIECES.values()] == [1, 1, 1, 1, 2, 1]
    assert [degree(jnp.sign), degree(lambda z: z**3)] == [0, 3]
    assert [degree(f) for f in (jnp.tanh, jax.nn.elu, lambda z: 1 / (1 + jnp.abs(z)))] == [None] * 3
    rounded = lambda z: jnp.maximum(z, 0).astype(jnp.bfloat16).astype(z.dtype)
    searched = lambda z: jnp.where(z**3 - z > 0.1, z, 0.0)
    assert degree(rounded) is degree(searched) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PIECES)
def test_expectations_against_40_digits(name, dtype):
    f, edges, rows = PIECES[name]
    with jax.enable_x64(dtype == "float64"):
        mean, var = (jnp.asarray(a, dtype) for a in zip(*LAWS, strict=True))
        got = np.asarray(jax.jit(partial(gaussian.expectation, f))(mean, var), float)
        truth = [float(exact(edges, rows, float(m), float(v))) for m, v in zip(mean, var, strict=True)]
        size = [float(v) ** 0.5 for v in gaussian.expectation(lambda z: f(z) ** 2, mean, var)]
    # Sixteen roundings of the root of the mean square, and what underflows.
    assert np.all(np.abs(got - truth) <= 16 * float(jnp.finfo(dtype).eps) * np.array(size) + 1e-35)


@pytest.mark.parametrize("name", RAMPS)
def test_copies_of_relu_are_as_exact_as_relu(name, x64):
    mean, var = (jnp.array(a) for a in zip(*LAWS, (-9.0, 1.0), (-30.0, 1.0), strict=True))
    m, slope = activation_moments(RAMPS[name], mean, var), gradient_factor(RAMPS[name], mean, var)
    for got, right in zip((*m, slope), closed_forms.relu(mean, var), strict=True):
        np.testing.assert_allclose(got, right, rtol=64 * 2.0**-52, atol=1e-300)  # roundings, also far out


def test_they_cost_less_than_the_quadrature():
    law = jnp.zeros(1000), jnp.ones(1000)
    run = lambda **kinks: jax.make_jaxpr(partial(gaussian.expectation, jax.nn.hard_tanh, **kinks))(*law)
    assert sized(run()) <= 16 * 1000  # the nodes of the rule for short pieces
    assert sized(run(kinks=(-1.0, 1.0))) > 48 * 1000  # kinks that are given stay with the quadrature


@pytest.mark.parametrize("name", beside(["jumps"], list(PIECES)))
def test_derivatives_are_those_of_the_quadrature(name, x64):
    f, edges, _ = PIECES[name]

    def jets(**kinks):
        e = lambda m, v: gaussian.expectation(f, m, v, **kinks)
        return jax.jit(lambda m, v: (*jax.grad(e, (0, 1))(m, v), jax.grad(jax.grad(e))(m, v)))

    for law in [(0.3, 1.5), (1.0, 0.5), (float(edges[0]), 2.0)]:
        np.testing.assert_allclose(jets()(*law), jets(kinks=edges)(*law), rtol=1e-11, atol=1e-12)


def test_a_variance_of_zero_is_the_point_itself(x64):
    steps = [lambda z: jnp.where(z > 0, 1.0, 0.0), lambda z: jnp.where(z >= 0, 1.0, 0.0)]
    assert [float(gaussian.expectation(f, 0.0, 0.0)) for f in steps] == [0, 1]
    grad = jax.grad(lambda v: gaussian.expectation(lambda z: jnp.maximum(z, 0) ** 2, 1.0, v))(0.0)
    assert grad == 1  # half the second derivative
    assert np.isnan(gaussian.expectation(lambda z: 2 * z, 1.0, jnp.array(-1.0)))


def net(weights, z):
    first, shift, second, last = weights
    hidden = jnp.maximum(z[..., None] * first.reshape(1, -1) + shift.reshape(1, -1), 0)
    return jnp.maximum(hidden @ second, 0) @ last


def test_a_network_of_two_layers_with_weights_that_are_learned(x64):
    """Value and derivatives by all weights of E[net(z)^2], against the integral piece by piece."""
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.normal(size=shape)) for shape in ((3,), (3,), (3, 2), (2,))]
    energy = lambda w: gaussian.expectation(lambda z: net(w, z) ** 2, 0.2, 1.5)
    value, slopes = jax.jit(jax.value_and_grad(energy))(weights)
    at = gaussian.kinks(partial(net, weights))
    assert len(at) > 3
    given = lambda w: gaussian.expectation(lambda z: net(w, z) ** 2, 0.2, 1.5, kinks=at)
    right, by = jax.value_and_grad(given)(weights)  # continuous: the motion of the kinks adds nothing
    np.testing.assert_allclose(value, right, rtol=1e-12)
    for a, b in zip(slopes, by, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_knots_of_a_table_that_are_learned(x64):
    """d/dx of the mean of an interpolation, where each knot moves the slopes on either side of it."""
    values = jnp.array([0.0, 1.0, -1.0])
    mean = lambda knots: gaussian.expectation(lambda z: jnp.interp(z, knots, values), 0.2, 1.5)
    knots, h = jnp.array([-1.0, 0.5, 2.0]), 1e-4
    by = jax.grad(mean)(knots)
    for i, step in enumerate(h * np.eye(3)):
        ends = [mean(knots + k * step) for k in (-2, -1, 1, 2)]
        # Fourth-order differences: h^4 times a fifth derivative, and roundings of 1e-16/h.
        assert abs(by[i] - (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)) < 1e-11


# Two dimensions

PAIRS = {
    "both": lambda u, v: jnp.maximum(u, 0) * jnp.abs(v - 1),
    "the second": lambda u, v: jnp.tanh(u) * jnp.maximum(v, 0.3),
    "the first": lambda u, v: jnp.abs(u - 1) * jnp.exp(-v * v),
    "a jump and a square": lambda u, v: jnp.where(u > 0.3, u * u, 1.0) * jnp.where(v > -0.2, v, 0.5),
}


@pytest.mark.parametrize("name", beside(["the first", "a jump and a square"], list(PAIRS)))
def test_one_side_in_closed_form_at_any_correlation(name, x64):
    f, places, mean = PAIRS[name], (-0.2, 0.0, 0.3, 1.0), jnp.array([0.3, -0.4])
    c = jnp.array([-1.0, -0.9, 0.0, 0.6, 0.999, 1.0])
    cov = jnp.array([[[2.0, 0.0], [0.0, 1.0]]]) + math.sqrt(2) * c[:, None, None] * (1 - jnp.eye(2))[None]

    def both(**kinks):
        total = lambda c: gaussian.expectation2(f, mean, c, **kinks)
        return jax.jit(lambda c: (total(c), jax.grad(lambda c: total(c).sum())(c)))(cov)

    (value, slope), (right, by) = both(), both(kinks=places)
    np.testing.assert_allclose(value, right, rtol=1e-13, atol=1e-13)
    smooth = slice(None) if name != "a jump and a square" else slice(1, -1)  # on the line they are infinite
    np.testing.assert_allclose(slope[smooth], by[smooth], rtol=0, atol=1e-10)  # 1/(1 - c^2) times 1e-13


def test_a_variance_of_zero_in_two_dimensions(x64):
    step = lambda u, v: (1 + u * u) * jnp.where(v >= 0, 1.0, 0.0)
    assert abs(gaussian.expectation2(step, jnp.zeros(2), jnp.diag(jnp.array([1.0, 0.0]))) - 2) < 1e-14


def test_arc_cosine_kernels_of_copies(x64):
    x = jnp.linspace(-1.0, 1.0, 9)
    kernels = Kernels(jnp.ones(9), 2 * jnp.ones(9), math.sqrt(2) * x, jnp.ones(9))
    step = lambda phi, **kinks: kernel_map(phi, sigma_w=1.3, sigma_b=0.2, **kinks)(kernels)
    for phi in RAMPS.values():
        for a, b in zip(step(phi), step(jax.nn.relu), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
    for phi, kinks in ((jax.nn.hard_tanh, (-1.0, 1.0)), (lambda z: jnp.where(z > 0, z + 0.5, 0.1 * z), (0.0,))):
        for a, b in zip(step(phi), step(phi, kinks=kinks), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
