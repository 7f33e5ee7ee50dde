"""Products of a function of u and one of v: found in programs, and integrated as exactly as by the general rule."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations, gaussian, jaxprs
from jnorm.gaussian._kinks import read
from jnorm.gaussian._products import MODERATE, factors
from tests import oracle
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

POINT = jax.ShapeDtypeStruct((1,), jnp.float32)
OWN = jax.custom_jvp(lambda z: jnp.sin(z))
OWN.defjvp(lambda z, dz: (OWN(*z), 7.0 * dz[0]))

PRODUCTS = {
    "two": (lambda u, v: jnp.tanh(u) * jnp.exp(v), lambda u: jnp.tanh(u), lambda v: jnp.exp(v)),
    "with numbers": (lambda u, v: -2.0 * (u + 1) * jnp.sin(v) / 3.0, lambda u: -2 / 3 * (u + 1), jnp.sin),
    "many": (lambda u, v: u * jnp.sin(v) * jnp.cos(u) * v, lambda u: u * jnp.cos(u), lambda v: jnp.sin(v) * v),
    "a quotient": (lambda u, v: jnp.cos(v) / (2 + u**2), lambda u: 1 / (2 + u**2), jnp.cos),
    "a power": (lambda u, v: (u * jnp.sin(v)) ** 2, lambda u: u**2, lambda v: jnp.sin(v) ** 2),
    "inside a call": (jax.jit(lambda u, v: 3 * jax.jit(lambda a, b: a * b)(u, v)), lambda u: 3 * u, lambda v: v),
    "kinked": (lambda u, v: jax.nn.relu(u - 1) * jax.nn.relu(v), lambda u: jax.nn.relu(u - 1), jax.nn.relu),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_seen(name):
    f, g, h = PRODUCTS[name]
    u, v = jnp.array([1.7]), jnp.array([0.6])
    mine = factors(f, POINT)
    assert mine is not None
    np.testing.assert_allclose(mine[0](u) * mine[1](v), f(u, v), rtol=1e-6)
    # Each is its own up to a number.
    other = jnp.array([2.3])
    np.testing.assert_allclose(mine[0](other) * g(u), mine[0](u) * g(other), rtol=1e-6)
    np.testing.assert_allclose(mine[1](other) * h(v), mine[1](v) * h(other), rtol=1e-6)


@pytest.mark.parametrize(
    "f", [jnp.maximum, lambda u, v: jnp.sin(u * v), lambda u, v: u * v + u, lambda u, v: u, lambda u, v: (u + v) * v]
)
def test_what_is_no_product_is_seen_too(f):
    assert factors(f, POINT) is None


def test_derivatives_that_a_function_declares_are_kept():
    g, h = factors(lambda u, v: OWN(u) * jax.nn.relu(v), POINT)
    assert jax.grad(lambda u: g(u)[0])(jnp.array([0.3])) == 7
    assert jax.grad(lambda v: h(v)[0])(jnp.array([0.0])) == 0  # relu's own convention; that of a maximum is 1/2


def general(f):
    """The same function, of which the program is no product."""
    return lambda u, v: f(u, v) + 0.0 * jnp.sin(u + v)


@pytest.mark.parametrize("name", beside(["selu"], ["relu", "selu", "tanh"]))
def test_the_grid_is_as_exact_as_the_rule(name, x64):
    """Up to the largest correlation that it takes, on the domain that the docstring states; derivatives too."""
    phi = activations.ELEMENTWISE[name]
    f = lambda u, v: phi(u) * phi(v)
    rng = np.random.default_rng(0)
    mean, sd = rng.uniform(-3, 3, (8, 2)), rng.uniform(0.1, 2, (8, 2))
    correlation = MODERATE * np.array([1, -1, 1, -1, 0.5, 0, 0.9, -0.3]) * (1 - 1e-12)
    mean[0], sd[0], mean[1], sd[1] = 0, 2, (3, -3), 2
    cov = sd[:, :, None] * sd[:, None, :] * (np.eye(2) + (1 - np.eye(2)) * correlation[:, None, None])

    @partial(jax.jit, static_argnums=0)
    def run(f, mean, cov):
        expectation = partial(gaussian.expectation2, f, kinks=(0.0,))
        return expectation(mean, cov), *jax.grad(lambda m, c: expectation(m, c).sum(), (0, 1))(mean, cov)

    squares = [gaussian.expectation(lambda z: phi(z) ** 2, mean[:, i], cov[:, i, i], kinks=(0.0,)) for i in (0, 1)]
    bound = 1e-10 * np.maximum(np.sqrt(squares[0] * squares[1]), 1e-3)
    (value, *slopes), (exact, *right) = run(f, mean, cov), run(general(f), mean, cov)
    assert np.all(np.abs(value - exact) <= bound)
    for a, b in zip(slopes, right, strict=True):
        # Over the smallest deviation, .1, and its square: what derivatives divide by, twice for the error of both.
        scale = bound.reshape(-1, *(1,) * (a.ndim - 1)) / np.min(sd) ** 2
        assert np.all(np.abs(a - b) <= 2 * scale)


@pytest.mark.parametrize("name", beside(["tanh"], ["identity", "relu", "erf", "sin", "selu", "tanh"]))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_grid_against_exact_products(name, dtype):
    phi, truth = activations.ELEMENTWISE[name], oracle.pairs(name)
    size = np.sqrt(truth.cov[:, 0, 0] * truth.cov[:, 1, 1])
    keep = np.abs(truth.cov[:, 0, 1]) <= MODERATE * size
    assert keep.sum() >= 2
    with jax.enable_x64(dtype == "float64"):
        mean, cov = truth.mean[keep].astype(dtype), truth.cov[keep].astype(dtype)
        got = jax.jit(partial(gaussian.expectation2, lambda u, v: phi(u) * phi(v), kinks=activations.kinks(phi)))(
            mean, cov
        )
        ends = [gaussian.expectation(lambda z: phi(z) ** 2, mean[:, i], cov[:, i, i], kinks=(0.0,)) for i in (0, 1)]
    # In float64 what the docstring states; in float32 the rule's 3e-7, and 32 roundings of the values.
    allowed = 1e-10 if dtype == "float64" else 3e-7 + 32 * 2.0**-23
    size = np.maximum(np.sqrt(np.asarray(ends[0] * ends[1], float)), 1e-3)
    assert np.all(np.abs(np.asarray(got, float) - truth.product[keep]) <= allowed * size)


@pytest.mark.parametrize("name", beside(["silu"], list(activations.ELEMENTWISE)))
def test_what_guards_against_overflow_is_read_beside_another_variable(name):
    """Of a product the guards of one factor are looked at in that factor: of silu they were looked for in both."""
    phi = activations.ELEMENTWISE[name]
    point = (jax.ShapeDtypeStruct((1,), jnp.float32),)
    alone = read(phi, point).known
    assert read(lambda u, v: phi(u) * phi(v), point * 2, 0).known == alone
    assert read(lambda u, v: phi(u) * jnp.exp(v) + phi(v), point * 2, 1).known == alone


def test_one_large_correlation_takes_all_lanes_to_the_general_rule(x64):
    f = lambda u, v: jnp.tanh(u) * jnp.abs(v - 1)
    c = jnp.array([0.3, 0.999, -1.0, 0.0])
    cov = jnp.eye(2)[None] + c[:, None, None] * (1 - jnp.eye(2))[None]
    mean = jnp.zeros(2)
    together = gaussian.expectation2(f, mean, cov)
    np.testing.assert_allclose(together, gaussian.expectation2(general(f), mean, cov, kinks=(0.0, 1.0)), atol=1e-12)
    mapped = jax.vmap(lambda cov: gaussian.expectation2(f, mean, cov))(cov)
    np.testing.assert_allclose(mapped, together, atol=1e-12)
    slopes = jax.vmap(jax.grad(lambda cov: gaussian.expectation2(f, mean, cov)))(cov)
    assert np.all(np.isfinite(slopes))  # of the rule that a lane does not take too


def test_a_lane_that_is_lost_leaves_the_choice_to_the_others():
    f = lambda u, v: jnp.tanh(u) * jnp.abs(v - 1)
    cov = jnp.stack([jnp.eye(2), jnp.full((2, 2), jnp.nan), -jnp.eye(2)])
    got = gaussian.expectation2(f, jnp.zeros(2), cov)
    assert np.isnan(got).tolist() == [False, True, True]
    assert got[0] == gaussian.expectation2(f, jnp.zeros(2), cov.at[1:].set(jnp.eye(2)))[0]  # by the same rule


def test_the_grid_computes_each_function_on_the_nodes_of_one_dimension():
    """80 and 80 values, and 6400 exponentials, where the general rule needs 31 360 of each."""
    run = lambda c: gaussian.expectation2(lambda u, v: jnp.sin(u) * jnp.sin(v), jnp.zeros(2), c, kinks=(0.0,))
    program = jax.make_jaxpr(run)(jnp.eye(2))
    choices = [site for site in jaxprs.walk(program) if site.primitive == "cond"]
    (choice,) = [site for site in choices if site.params.get("branches_platforms") is None]
    general, grid = choice.bodies
    sizes = lambda body, name: [
        math.prod(site.equation.outvars[0].aval.shape) for site in jaxprs.walk(body) if site.primitive == name
    ]
    assert sizes(grid, "sin") == [80, 80]
    assert sorted(sizes(grid, "exp")) == [80, 6400]
    assert max(sizes(general, "exp")) == 280 * 112
