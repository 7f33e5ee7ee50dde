"""Kinks that are read from programs: the right ones, at constant and at traced places, and refusals that say why."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import integrate, optimize

from jnorm import activations, gaussian, jaxprs
from jnorm.initializers import for_activation
from jnorm.nn import weight_norm
from jnorm.theory import meanfield
from jnorm.theory.moments import Moments, activation_moments, gradient_factor
from tests.gaussian.test_gaussian import compilations, sines

pytestmark = pytest.mark.usefixtures("unoptimized")

ROOT2 = math.sqrt(2)
QUARTER = np.array(0.25)
KNOTS = np.array([-1.0, 0.0, 2.0])


def slope(f):
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]


def rows(a, z):
    """Numbers along a last axis of their own, in the dtype of the points."""
    return jnp.asarray(a, z.dtype).reshape((1,) * z.ndim + (-1,))


def hinges(knots):
    """A piecewise linear function with an axis of its own for the knots."""
    return lambda z: jnp.sum(jnp.maximum(z[..., None] - rows(knots, z), 0) * rows([1.0, -2.0, 3.0], z), -1)


def folded(z):
    return lax.fori_loop(0, 2, lambda _, c: jnp.abs(c - 1), z)


def two_layers(z):
    """A network of one input: relu(relu(z) + relu(1 - z) - 2) + relu(2 relu(1 - z) - relu(z) - 1)."""
    hidden = jnp.maximum(z[..., None] * rows([1.0, -1.0], z) + rows([0.0, 1.0], z), 0)
    out = hidden @ jnp.array([[1.0, -1.0], [1.0, 2.0]], z.dtype) - rows([2.0, 1.0], z)
    return jnp.sum(jnp.maximum(out, 0), -1)


def counted(z):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.maximum(c[1] - 0.5, 0)), (0, z))[1]


def table(z):
    return jnp.arange(5.0, dtype=z.dtype)[jnp.clip(z, 0, 4).astype(int)]


def interpolated(z):
    return jnp.interp(z, jnp.asarray(KNOTS, z.dtype), jnp.array([0.5, 1.0, -1.0], z.dtype))


FOUND = {
    "abs": (lambda z: jnp.abs(z - 1), (1.0,)),
    "straight lines on both sides": (lambda z: jnp.maximum(3 * z - 1, z / 2 + 4), (2.0,)),
    "slope of a maximum": (slope(lambda z: jnp.maximum(z, 0.5)), (0.5,)),
    "clip": (lambda z: jnp.clip(2 * z + 1, -1, 1), (-1.0, 0.0)),
    "where": (lambda z: jnp.where((z > 1) & (z < 2), z, 0.0), (1.0, 2.0)),
    "select": (lambda z: jnp.select([z < -1, z < 2], [z, z**2], 0.0), (-1.0, 2.0)),
    "piecewise": (lambda z: jnp.piecewise(z, [z < -1, z >= 1], [jnp.negative, jnp.square, 0.0]), (-1.0, 1.0)),
    "soft threshold": (lambda z: jnp.sign(z) * jnp.maximum(jnp.abs(z) - 0.5, 0), (-0.5, 0.0, 0.5)),
    "floor": (lambda z: jnp.floor(jnp.clip(z, -1.5, 1)), (-1.5, -1.0, 0.0, 1.0)),
    "integers": (lambda z: jnp.clip(z, 0.5, 2.5).astype(int).astype(z.dtype), (0.5, 1.0, 2.0, 2.5)),
    "round": (lambda z: jnp.round(1.2 * jnp.tanh(z)), (-math.atanh(0.5 / 1.2), 0.0, math.atanh(0.5 / 1.2))),
    "exp": (lambda z: jnp.where(jnp.exp(-z) > 0.5, z, 0.0), (math.log(2),)),
    "square": (lambda z: jnp.maximum(z * z - 1, 0.5), (-math.sqrt(1.5), math.sqrt(1.5))),
    "never": (lambda z: jnp.where(jnp.exp(z) > -1, z, 0.0), ()),
    "bounded sine": (lambda z: jnp.sign(jnp.sin(jnp.clip(4 * z, -4, 4))), (-1.0, -math.pi / 4, 0.0, math.pi / 4, 1.0)),
    "no inverse": (lambda z: jnp.where(z**3 - z > 0.1, 1.0, 0.0), tuple(np.sort(np.roots([1, 0, -1, -0.1]).real))),
    "two curves": (lambda z: jnp.minimum(z * z, jnp.exp(z)), (optimize.brentq(lambda z: z * z - math.exp(z), -1, 0),)),
    "axis of its own": (hinges(KNOTS), tuple(KNOTS)),
    "a loop": (folded, (0.0, 1.0, 2.0)),
    "a loop that counts": (counted, (0.5, 1.0, 1.5)),
    "a second layer": (two_layers, (-1.0, 0.0, 1 / 3, 1.0, 2.0)),
    "a sum of kinked ones": (
        lambda z: jnp.maximum(jnp.maximum(z, 0) + jnp.abs(z - 1) - 1.5, 0),
        (-0.5, 0.0, 1.0, 1.25),
    ),
    "a table": (table, (0.0, 1.0, 2.0, 3.0, 4.0)),
    "interp": (interpolated, (-1.0, 0.0, 2.0)),
    "searchsorted": (lambda z: jnp.searchsorted(jnp.array([-0.5, 1.5]), z).astype(z.dtype), (-0.5, 0.0, 1.5)),
    "a sigmoid": (lambda z: jnp.tanh(2 * z - 6), (3.0,)),
    "a sigmoid of a polynomial": (jax.nn.gelu, (0.0,)),
    "a polynomial": (lambda z: z**3 - z, ()),
    "one jump, twice": (lambda z: jnp.maximum(z - 0.1, 0) + jnp.where(z > 0.1, 1.0, 0.0), (0.1,)),
    "an array": (lambda z: jnp.maximum(z, jnp.asarray(QUARTER, z.dtype)), (0.25,)),
    "a guard far out": (lambda z: z / (1 + jnp.exp(-jnp.clip(z, -80, 80))), ()),
    "a kink far out": (lambda z: jnp.maximum(z - 80, 0), (80.0,)),
}


@pytest.mark.parametrize("name", FOUND)
def test_kinks_that_are_found(name):
    f, places = FOUND[name]
    got = gaussian.kinks(f)
    assert all(isinstance(place, float) for place in got)
    np.testing.assert_allclose(got, places, rtol=1e-13, atol=1e-15)  # some roundings of what is solved


@jax.custom_jvp
def declared(z):
    return jnp.maximum(z - 0.3, 0)


declared.defjvp(lambda z, dz: (declared(*z), jnp.where(z[0] > 0.3, 1.0, 0.0) * dz[0]))

pulled = jax.custom_vjp(lambda z: jnp.maximum(z - 0.3, 0))
pulled.defvjp(lambda z: (pulled(z), z), lambda z, ct: (ct * (z > 0.3),))

NESTS = {
    "jit": jax.jit(lambda z: jax.jit(lambda z: jnp.maximum(z - 0.3, 0))(z)),
    "custom_jvp": declared,
    "its slope": slope(declared),
    "custom_vjp": pulled,
    "remat": jax.checkpoint(lambda z: jnp.maximum(z - 0.3, 0)),
    "cond": jax.vmap(lambda z: lax.cond(z > 0.3, lambda z: z, lambda z: 2 * z, z)),
    "one branch": lambda z: lax.cond(z[0] > 0.3, lambda z: z, lambda z: 2 * z, z),
    "scan": lambda z: lax.scan(lambda c, t: (jnp.maximum(c - t, 0), None), z, jnp.array([0.1, 0.2]))[0],
}


@pytest.mark.parametrize("name", NESTS)
def test_nested_calls_are_opened(name):
    np.testing.assert_allclose(gaussian.kinks(NESTS[name])[-1], 0.3, rtol=1e-7)


def test_what_the_result_does_not_need_is_not_read():
    """The sum whose gradient is an elementwise slope mixes the points, and is not used."""
    summed = lambda z: jnp.sum(jnp.maximum(z - 1, 0))
    assert gaussian.kinks(jax.grad(summed)) == (1.0,)
    assert gaussian.kinks(lambda z: jax.value_and_grad(summed)(z)[1]) == (1.0,)
    assert gaussian.kinks(lambda z: (jnp.floor(z), z)[1]) == ()


def test_registered_activations_are_read_as_they_were_registered():
    """By hand and from the program: what is read beside it are guards and unused branches, at most."""
    for name, phi in activations.ELEMENTWISE.items():
        read = gaussian.kinks(phi)
        assert set(read or (0.0,)) >= set(activations.kinks(phi)) - {()}, name
        assert len(read) <= 3


def often_folded(z):
    """2^14 places."""
    return lax.scan(lambda c, t: (jnp.abs(c - t), None), z, jnp.asarray(2.0 ** -np.arange(14), z.dtype))[0]


def smooth_layers(z):
    """A second layer that compares sums of curves."""
    hidden = jnp.tanh(z[..., None] * rows([1.0, 2.0], z))
    return jnp.sum(jnp.maximum(hidden @ jnp.ones((2, 3), z.dtype), 0), -1)


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (smooth_layers, "what is compared along an axis of its own has no inverse: `dot_general` at"),
        (often_folded, "there are too many cases: `sub` at"),
        (jnp.floor, "it jumps infinitely often where its argument is not bounded: `floor`"),
        (
            lambda z: jnp.mod(z, 1.0),
            "it jumps infinitely often where its argument is not bounded: `rem` at .*test_kinks",
        ),
        (lambda z: jnp.sign(jnp.sin(z)), "a periodic function meets a value infinitely often: `sin` at .*test_kinks"),
        (lambda z: jnp.sign(jnp.sin(z) + 0.1 * jnp.sin(2 * z)), "it jumps more than 64 times"),
        (lambda z: jnp.floor(100 * jnp.tanh(z)), "it jumps more than 64 times: `floor` at"),
        (
            lambda z: lax.while_loop(lambda c: jnp.all(c < 5), lambda c: c + 1, z),
            "how often a loop turns depends on the point, or is data: `while` at .*test_kinks",
        ),
        (
            lambda z: lax.while_loop(lambda c: c[0] < 99, lambda c: (c[0] + 1, jnp.abs(c[1] - 1)), (0, z))[1],
            "a loop is read up to 64 turns: `while` at .*test_kinks",
        ),
        (lambda z: jnp.stack([z, -z])[jnp.clip(z, 0, 1).astype(int), 0], "entries are taken of what depends on"),
    ],
)
def test_what_cannot_be_read_is_said(f, why):
    for ask in (gaussian.kinks, lambda f: gaussian.expectation(f, 0.0, 1.0)):
        with pytest.raises(ValueError, match=f"kinks of `f` cannot be read, since {why}.*; give them as `kinks=`"):
            ask(f)
    assert np.isfinite(gaussian.expectation(f, 0.0, 1.0, kinks=(0.0,)))  # which stay


@pytest.mark.parametrize("f", [jnp.sum, jnp.sort, jax.nn.softmax, lambda z: z - z.mean(), jnp.cumsum])
def test_what_is_not_elementwise_is_refused(f):
    with pytest.raises(ValueError, match="`f` must act elementwise; it mixes the points in"):
        gaussian.kinks(f)
    with pytest.raises(ValueError, match="`f` must act elementwise; it mixes the points in"):
        gaussian.expectation(f, jnp.zeros(3), 1.0)


def test_a_place_that_is_data_is_no_number():
    with pytest.raises(TypeError, match="a kink of `f` is traced, and no number"):
        jax.jit(lambda a: gaussian.kinks(lambda z: z > a))(1.0)
    with pytest.raises(ValueError, match="not bounded: `floor`"):  # how often it jumps depends on a
        jax.jit(lambda a: gaussian.expectation(lambda z: jnp.floor(jnp.clip(z, -a, a)), 0.0, 1.0))(1.0)
    with pytest.raises(TypeError, match=r"`f` must be made of jax\.numpy operations"):
        gaussian.kinks(np.tanh)


# Integrals


def density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def above(x):
    return math.erfc(x / ROOT2) / 2


def test_integrals_find_them(x64):
    got = gaussian.expectation(lambda z: jnp.abs(z - 1), 0.0, 1.0)
    assert abs(got - (2 * density(1) + 1 - 2 * above(1))) < 5e-14  # 256 roundings
    assert abs(got - 1.166630941) < 1e-9
    assert abs(gradient_factor(jax.nn.hard_tanh, 0.0, 1.0) - math.erf(1 / ROOT2)) < 1e-14
    far = activation_moments(lambda z: jnp.maximum(z - 4, 0), 0.0, 1.0).mean
    assert abs(far - (density(4) - 4 * above(4))) < 1e-15
    _, spread = gaussian.moments(lambda z: jnp.where(z > 0.7, 1.0, 0.0), 0.0, 1.0)
    assert abs(spread - above(0.7) * (1 - above(0.7))) < 1e-14


def test_whoever_takes_an_activation_finds_them():
    hinge = lambda z: jnp.maximum(z - 1, 0)
    given, key = (1.0,), jax.random.key(0)
    step = partial(meanfield.layer_map, hinge, sigma_w=1.5, sigma_b=0.1)
    np.testing.assert_allclose(step()(Moments(0.2, 1.0)), step(kinks=given)(Moments(0.2, 1.0)), rtol=1e-6)
    kernel = partial(for_activation, hinge, mode="both")
    np.testing.assert_allclose(kernel()(key, (4, 5)), kernel(kinks=given)(key, (4, 5)), rtol=1e-6)
    np.testing.assert_allclose(weight_norm.exact_gain(hinge), weight_norm.exact_gain(hinge, kinks=given), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_random_functions_against_scipy(seed, x64):
    """Nests of kinked functions of random straight lines, whose kinks nobody has written down."""
    rng = np.random.default_rng(seed)
    a, b, c, d = rng.uniform(-1, 1, 4)

    def f(xp, z):
        inner = xp.maximum(z * (1 + a) - b, 0.3 * z + c)
        return xp.where(xp.abs(inner - d) > 0.6, xp.clip(inner, -0.5, 1.5), xp.tanh(z))

    places = gaussian.kinks(partial(f, jnp))
    got = gaussian.expectation(partial(f, jnp), 0.2, 1.5)
    peak = lambda z: float(f(np, z)) * density((z - 0.2) / math.sqrt(1.5)) / math.sqrt(1.5)
    exact = integrate.quad(peak, -12, 12, points=places, limit=200, epsabs=1e-12)[0]
    assert abs(got - exact) < 1e-11  # SciPy's bound, on ten pieces
    # The places are all: between them nothing jumps, not even the slope.
    z = np.linspace(-4, 4, 4001)
    turns = np.abs(np.diff(f(np, z), 2))
    inside = np.min(np.abs(z[1:-1, None] - np.array(places)), 1) > 2.1e-3
    assert np.max(turns[inside]) < 1e-5 < np.max(turns)  # curvature of tanh times the step's square, and a jump


def test_smooth_functions_cost_what_they_did():
    """As many nodes as with one kink given, and no search."""
    run = lambda **kinks: jax.make_jaxpr(lambda m: gaussian.expectation(lambda z: jnp.sin(z - 1), m, 2.0, **kinks))(0.3)
    found, given = run(), run(kinks=(0.0,))
    assert list(sines(found.jaxpr)) == list(sines(given.jaxpr))
    assert len(list(jaxprs.walk(found))) == len(list(jaxprs.walk(given)))


# Places that are traced


def step(a):
    """E[(z > a ? 1 : .3)^2] = .09 + .91 P(z > a)"""
    return gaussian.expectation(lambda z: jnp.where(z > a, 1.0, 0.3) ** 2, 0.0, 1.0)


def test_derivatives_by_a_threshold(x64):
    a = jnp.array([1.0, 0.0, -1.7])
    first = jax.vmap(jax.grad(step))(a)
    np.testing.assert_allclose(first, -0.91 * density(a), rtol=1e-12)
    assert abs(first[0] + 0.22019) < 1e-5
    np.testing.assert_allclose(jax.grad(jax.grad(step))(0.8), 0.91 * 0.8 * density(0.8), rtol=1e-11)
    np.testing.assert_allclose(jax.jvp(step, (1.0,), (1.0,))[1], first[0], rtol=1e-12)


def test_thresholds_of_every_lane(x64):
    """Arrays that broadcast against the points, and knots on an axis of their own."""
    mean, a = jnp.array([[0.0], [0.5]]) * jnp.ones((1, 3)), jnp.array([[1.0, 0.0, -1.0]])
    f = lambda a: gaussian.expectation(lambda z: jnp.maximum(z, a[None]), mean, 1.0)
    gap = np.asarray(a - mean)
    exact = np.asarray(a) * (1 - np.vectorize(above)(gap)) + np.asarray(mean) * np.vectorize(above)(gap) + density(gap)
    np.testing.assert_allclose(f(a), exact, rtol=0, atol=1e-13)  # 256 roundings
    np.testing.assert_allclose(
        jax.grad(lambda a: f(a).sum())(a), (1 - np.vectorize(above)(gap)).sum(0, keepdims=True), rtol=1e-12
    )
    knots = jnp.asarray(KNOTS)
    by_knots = jax.grad(lambda t: gaussian.expectation(hinges(t), 0.0, 1.0))(knots)
    np.testing.assert_allclose(by_knots, [-above(-1), 2 * above(0), -3 * above(2)], rtol=1e-12)


CURVES = {
    "exp": (lambda z, a: jnp.exp(z) > a, lambda a: math.log(a)),
    "tanh": (lambda z, a: jnp.tanh(2 * z) * 3 > a, lambda a: math.atanh(a / 3) / 2),
    "no inverse": (lambda z, a: z**3 + z > a, lambda a: optimize.brentq(lambda z: z**3 + z - a, -9, 9)),
}


@pytest.mark.parametrize("name", CURVES)
def test_derivatives_where_a_curve_is_crossed(name, x64):
    compare, place = CURVES[name]
    share = lambda a: gaussian.expectation(lambda z: jnp.where(compare(z, a), 1.0, 0.0), 0.0, 1.0)
    got = jax.jit(lambda a: (share(a), jax.grad(share)(a), jax.grad(jax.grad(share))(a)))(1.3)
    h = 1e-3
    p = [place(1.3 + k * h) for k in (-2, -1, 0, 1, 2)]
    shares = [above(x) for x in p]
    assert abs(got[0] - shares[2]) < 1e-13
    # Fourth-order differences: h^4 times a fifth derivative, and roundings of 1e-16/h and /h^2.
    assert abs(got[1] - (shares[0] - 8 * shares[1] + 8 * shares[3] - shares[4]) / (12 * h)) < 1e-9
    second = (-shares[0] + 16 * shares[1] - 30 * shares[2] + 16 * shares[3] - shares[4]) / (12 * h * h)
    assert abs(got[2] - second) < 1e-7


def test_a_search_inside_a_program_finds_seven_zeros_and_says_where_there_are_more():
    f = lambda a: gaussian.expectation(lambda z: jnp.where(jnp.sin(a * z) + 0.02 * a * z > 0, 1.0, 0.0), 0.1, 1.0)
    one, many = jax.jit(f)(1.0), jax.jit(f)(20.0)
    grid = np.linspace(-8, 8, 1_600_001) + 0.1
    exact = np.mean((np.sin(grid) + 0.02 * grid > 0) * density(grid - 0.1)) * 16
    assert abs(one - exact) < 1e-5
    assert np.isnan(many)


@pytest.mark.parametrize("name", ["kinks", "searched", "threshold", "curve", "pair"])
def test_what_is_read_once_is_not_compiled_again(name):
    a = jnp.float32(0.7)
    calls = {
        "kinks": lambda a: gaussian.kinks(lambda z: jnp.sign(z**3 - z - 0.2)),
        "searched": lambda a: gaussian.expectation(lambda z: jnp.sign(z**3 - z - 0.3), a, 1.0),
        "threshold": step,
        "curve": lambda a: gaussian.expectation(lambda z: jnp.sign(z**3 + z - a), 0.0, 1.0),
        "pair": lambda a: gaussian.expectation2(lambda u, v: jnp.maximum(u, a) * v, jnp.ones(2), jnp.eye(2)),
    }
    ones = (jnp.ones(2), jnp.eye(2))
    jax.block_until_ready(ones)
    assert compilations(calls[name], a) > 0
    assert compilations(calls[name], a + 0) == 0


# Two dimensions


def test_each_variable_has_its_own(x64):
    mean, cov = jnp.array([0.3, -0.2]), jnp.array([[1.0, 0.6], [0.6, 1.3]])
    f = lambda u, v: jnp.abs(u - 1) * jnp.maximum(v, 0.4)
    got = gaussian.expectation2(f, mean, cov)
    assert abs(got - gaussian.expectation2(f, mean, cov, kinks=(0.4, 1.0))) < 1e-12


def test_a_threshold_in_two_dimensions(x64):
    """P(u > a, v > a) at correlation zero, and its derivative."""
    both = lambda a: gaussian.expectation2(
        lambda u, v: jnp.where((u > a) & (v > a), 1.0, 0.0), jnp.zeros(2), jnp.eye(2)
    )
    value, by = jax.value_and_grad(both)(0.6)
    assert abs(value - above(0.6) ** 2) < 1e-13
    assert abs(by + 2 * above(0.6) * density(0.6)) < 1e-12


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.99, -1.0])
def test_where_two_variables_meet(correlation, x64):
    """E max(u, v) = sqrt((1 - c)/pi)."""
    cov = jnp.array([[1.0, correlation], [correlation, 1.0]])
    got = gaussian.expectation2(jnp.maximum, jnp.zeros(2), cov)
    assert abs(got - math.sqrt((1 - correlation) / math.pi)) < 1e-12
