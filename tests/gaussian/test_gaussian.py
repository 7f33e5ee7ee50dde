import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jnorm import activations, gaussian
from jnorm.gaussian._panels import SIZE
from tests import oracle
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

NAMES = oracle.elementwise_names()
REACH = 8.5  # standard deviations that the rule covers


def slope(phi):
    return lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),))[1]


@pytest.mark.parametrize("kinks", [(), (0.0,), (-1.0, 1.0), (-2.0, 0.0, 0.5, 3.0)])
@pytest.mark.parametrize("points", [(), (512,), (9000,), (2 * SIZE,)])
def test_the_rule_has_at_most_256_nodes(kinks, points):
    """All at once where these are few enough values, else as many at a time as may be."""
    run = lambda m: gaussian.expectation(jnp.sin, m, 2.0, kinks=kinks)
    ((turns, values),) = sines(jax.make_jaxpr(run)(jnp.zeros(points)).jaxpr)
    count, panels = math.prod(points), len(kinks) + 1
    nodes = turns * values // (panels * count)
    assert 128 < nodes * panels <= 256
    assert (turns == 1) == (nodes * panels * count <= SIZE)
    assert values <= SIZE or values == panels * count  # one node of each panel
    assert turns == 1 or all(nodes % n or n * panels * count > SIZE for n in range(nodes // turns + 1, nodes))


def sines(jaxpr, turns=1):
    """How often each sine of a program is computed, and of how many values."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "sin":
            yield turns, equation.outvars[0].aval.size
        for value in equation.params.values():
            if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                yield from sines(inner, turns * equation.params.get("length", 1))


def test_results_do_not_depend_on_the_blocks(x64):
    """Few points take many nodes at a time, many points few; pytrees and arrays that f closes over come along."""
    mean, var, shift = jnp.array([-1.0, 0.0, 2.5]), jnp.array([[0.0], [0.3]]), jnp.array([0.1, 0.2, 0.3])

    def run(mean, var, shift):
        f = lambda z: {"a": jnp.tanh(z), "b": (z + shift.reshape((1,) * (z.ndim - 1) + (-1,))) ** 2}
        return gaussian.expectation(f, mean, var)

    few = run(mean, var, shift)
    many = run(jnp.tile(mean, 900), var, jnp.tile(shift, 900))
    assert few["a"].shape == (2, 3)
    # 64 roundings of a sum of 256 terms in another order
    jax.tree.map(lambda m, f: np.testing.assert_allclose(m[:, :3], f, rtol=1.4e-14, atol=1e-15), many, few)
    np.testing.assert_allclose(few["b"], np.add((mean + shift)[None] ** 2, var), rtol=1e-13)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("count", [512, 9000, SIZE])
def test_memory_does_not_grow_with_the_nodes(gradient, count):
    f = lambda m, v: gaussian.moments(activations.selu, m, v)[1].sum()
    run = jax.jit(jax.grad(f, (0, 1)) if gradient else f)
    points = jax.ShapeDtypeStruct((count,), "float32")
    used = run.lower(points, points).compile().memory_analysis().temp_size_in_bytes
    # Values of all nodes at once, or kept for the derivatives, would be 256 floats a point; this is a few arrays of
    # one node and two panels, or a dozen of what is computed at a time.
    assert used <= 4 * max(64 * count, 12 * SIZE)


def test_memory_does_not_grow_with_the_nodes_in_two_dimensions():
    count = 300
    run = jax.jit(jax.grad(lambda m, c: gaussian.expectation2(lambda u, v: jnp.tanh(u) * v, m, c).sum()))
    mean, cov = (jax.ShapeDtypeStruct((count, *tail), "float32") for tail in ((2,), (2, 2)))
    used = run.lower(mean, cov).compile().memory_analysis().temp_size_in_bytes
    assert used <= 280 * 112 * 4 * count / 2  # the values of half of the nodes


def compilations(f, *args):
    """How many programs XLA compiles for a call."""
    seen = []
    listener = lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    jax.monitoring.register_event_duration_secs_listener(listener)
    jax.block_until_ready(f(*args))
    jax.monitoring.unregister_event_duration_listener(listener)
    return len(seen)


WAYS = {
    "eager": lambda f: f,
    "grad": lambda f: jax.grad(lambda m, v: f(m, v)),
    "vmap": lambda f: lambda m, v: jax.vmap(lambda s: f(s * m, v))(jnp.array([1.0, 2.0])),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["expectation", "moments", "expectation2"])
def test_a_lambda_written_anew_is_not_compiled_anew(name, way):
    def call(mean, var, shift):
        if name == "expectation":
            return gaussian.expectation(lambda z: jnp.tanh(z + shift) * z, mean, var)
        if name == "moments":
            return gaussian.moments(lambda z: jnp.tanh(z + shift) * z, mean, var)[1]
        return gaussian.expectation2(lambda u, v: jnp.tanh(u + shift) * v, mean * jnp.ones(2), var * jnp.eye(2))

    def run(mean, var, shift):
        return WAYS[way](lambda m, v: call(m, v, shift))(mean, var)

    values = [jnp.float32(v) for v in (0.3, 1.1, 0.2)]
    others = [jnp.float32(v) for v in (0.4, 1.2, 0.7)]
    assert compilations(run, *values) > 0
    before = run(*values)
    assert compilations(run, *others) == 0
    assert np.all(np.abs(before - run(*others)) > 1e-3)  # and is not the old one
    assert np.array_equal(before, run(*values))


@pytest.mark.parametrize("name", NAMES)
def test_error_against_30_digit_quadrature(name, x64):
    # The accuracy that the docstring states, over |mean| <= 10, sd from 1e-4 to 10.
    phi, truth = activations.ELEMENTWISE[name], oracle.elementwise(name)
    bound = 1e-10 * np.maximum(truth.square, 1e-3)
    derivative = slope(phi)
    for integrand, exact in (
        (phi, truth.first),
        (lambda z: phi(z) ** 2, truth.square),
        (lambda z: derivative(z) ** 2, truth.slope),
    ):
        got = jax.jit(partial(gaussian.expectation, integrand, kinks=activations.kinks(phi)))(truth.mean, truth.var)
        assert got.dtype == jnp.float64
        assert np.all(np.abs(got - exact) <= bound)


@pytest.mark.parametrize("name", NAMES)
def test_float32_loses_a_few_roundings_of_the_largest_value(name):
    phi, truth = activations.ELEMENTWISE[name], oracle.elementwise(name)
    mean, var = np.float32(truth.mean), np.float32(truth.var)
    got = jax.jit(partial(gaussian.expectation, phi, kinks=activations.kinks(phi)))(mean, var)
    assert got.dtype == jnp.float32
    reach = REACH * np.sqrt(truth.var)
    largest = np.max(np.abs([phi(mean - reach), phi(mean + reach), phi(mean)]), 0)
    # 16 eps: rounding of mean, sd and nodes, and of the sum of 256 terms (whose errors are random).
    assert np.all(np.abs(got - truth.first) <= 16 * np.finfo(np.float32).eps * np.maximum(largest, 1e-3))


def test_gauss_hermite_would_fail_here(x64):
    """The oracle sees the error that splitting is there to avoid."""
    truth = oracle.elementwise("selu")
    x, w = np.polynomial.hermite_e.hermegauss(101)
    phi = slope(activations.selu)
    points = truth.mean[:, None] + np.sqrt(truth.var)[:, None] * x
    wrong = (w * np.asarray(phi(points)) ** 2).sum(-1) / w.sum()
    assert np.max(np.abs(wrong - truth.slope)) > 0.1


def test_unsplit_kinks_are_what_the_kinks_argument_repairs(x64):
    def step(z):
        return jnp.where(z > 0.7, 1.0, 0.0)

    exact = math.erfc(0.7 / math.sqrt(2)) / 2
    assert abs(gaussian.expectation(step, 0.0, 1.0, kinks=(0.7,)) - exact) < 1e-14
    assert abs(gaussian.expectation(step, 0.0, 1.0, kinks=(0.0,)) - exact) > 1e-4
    # In any order, twice, or far outside the reach: panels may be empty.
    assert abs(gaussian.expectation(step, 0.0, 1.0, kinks=(50.0, 0.7, -50.0, 0.7)) - exact) < 1e-14


def test_polynomials(x64):
    mean, var = jnp.array([0.0, 1.5, -7.0]), jnp.array([4.0, 0.01, 100.0])
    # 64 roundings of sqrt E[z^2k], and the tails beyond the reach: mass 2e-17, five times that with the power.
    for power, exact in (
        (0, jnp.ones(3)),
        (1, mean),
        (2, mean**2 + var),
        (3, mean**3 + 3 * mean * var),
        (4, mean**4 + 6 * mean**2 * var + 3 * var**2),
    ):
        got = gaussian.expectation(lambda z, p=power: z**p, mean, var)
        rounding = 64 * np.finfo(float).eps * (mean**2 + 3 * var) ** (power / 2)
        tails = 1e-16 * (np.abs(mean) + REACH * np.sqrt(var)) ** power
        assert np.all(np.abs(got - exact) <= rounding + tails)


def test_derivatives_are_those_of_the_integral(x64):
    # A step moves with the mean: E[step] = Phi(m/s), d/dm = phi(m/s)/s, d/dv = -m phi(m/s)/(2 s^3).
    mean, var = 0.4, 2.3
    step = partial(gaussian.expectation, lambda z: jnp.where(z > 0, 1.0, 0.0))
    by_mean, by_var = jax.jit(jax.grad(step, argnums=(0, 1)))(mean, var)
    density = math.exp(-mean * mean / (2 * var)) / math.sqrt(2 * math.pi * var)
    assert abs(by_mean - density) < 1e-14
    assert abs(by_var + mean / (2 * var) * density) < 1e-14


def test_derivatives_against_exact_ones_for_selu(x64):
    truth = oracle.scaled_elu()[0]
    keep = (truth.var <= 100) & (truth.var >= 1e-4)  # the stated domain; below, d/dv is a difference over s^2
    mean, var = truth.mean[keep], truth.var[keep]
    expectation = partial(gaussian.expectation, activations.selu)
    by_mean, by_var = jax.jit(jax.vmap(jax.grad(expectation, argnums=(0, 1))))(mean, var)
    scale = np.sqrt(np.maximum(truth.first[keep] ** 2 + truth.spread[keep], 1e-3))
    # The values' 1e-10, over the standard deviation for d/dm and over twice the variance for d/dv.
    assert np.all(np.abs(by_mean - truth.first_by_mean[keep]) <= 1e-10 * scale / np.sqrt(var))
    assert np.all(np.abs(by_var - truth.first_by_var[keep]) <= 1e-10 * scale / (2 * var))


def test_derivative_by_what_f_closes_over(x64):
    # E[cos(w z)] = exp(-w^2 v / 2) at zero mean.
    got = jax.grad(lambda w: gaussian.expectation(lambda z: jnp.cos(w * z), 0.0, 2.0))(0.7)
    assert abs(got + 2 * 0.7 * math.exp(-(0.7**2))) < 1e-13


def test_zero_variance_is_the_value_at_the_mean(x64):
    mean = jnp.array([-3.0, 0.0, 2.5])
    np.testing.assert_allclose(
        gaussian.expectation(activations.selu, mean, 0.0), activations.selu(mean), rtol=1e-15, atol=0
    )


def test_bad_variance():
    with pytest.raises(ValueError, match=r"^`var` must satisfy var >= 0; got -1\.0$"):
        gaussian.expectation(jnp.tanh, 0.0, -1.0)
    with pytest.raises(ValueError, match=r"`var` must satisfy var >= 0; got -2\.0"):
        gaussian.expectation(jnp.tanh, jnp.zeros(3), np.array([1.0, -2.0, 3.0]))


def test_bad_input_raises_before_f_is_called():
    def never(*points):
        raise AssertionError("f was called")

    with pytest.raises(ValueError, match="must satisfy var >= 0"):
        gaussian.expectation(never, 0.0, -1.0)
    with pytest.raises(ValueError, match=r"shapes must broadcast; got `mean` \(2,\), `var` \(3,\)"):
        gaussian.expectation(never, jnp.zeros(2), jnp.ones(3))
    with pytest.raises(TypeError, match="`mean` must hold real numbers; got dtype complex64"):
        gaussian.expectation(never, 1j, 1.0)
    with pytest.raises(ValueError, match=r"`mean` must be \[\.\.\., 2\] and `cov` \[\.\.\., 2, 2\]"):
        gaussian.expectation2(never, jnp.zeros(3), jnp.eye(3))
    for cov, rule in (
        ([[1.0, 0.5], [0.4, 1.0]], "not symmetric"),
        ([[1.0, 1.1], [1.1, 1.0]], "with a covariance above the root of the variances' product"),
        ([[0.0, 0.1], [0.1, 1.0]], "with a covariance above the root of the variances' product"),
        ([[-1.0, 0.0], [0.0, 1.0]], "with a negative variance"),
    ):
        start = f"`cov` must be symmetric and positive semidefinite; got {cov}"
        with pytest.raises(ValueError, match=f"^{re.escape(start)}, {rule}$"):
            gaussian.expectation2(never, jnp.zeros(2), cov)
        with pytest.raises(ValueError, match=rf"^{re.escape(start)} at cov\[1, 0\], {rule}$"):
            gaussian.expectation2(never, jnp.zeros(2), np.array([[np.eye(2)], [cov], [cov]]))


@pytest.mark.parametrize("name", activations.ELEMENTWISE)
def test_every_activation_against_scipy(name, x64):
    phi = activations.ELEMENTWISE[name]
    peak = 1 / math.sqrt(2 * math.pi * 2.0)
    # quad over ten standard deviations, split at the kinks that any of them has; both err by less than 1e-9.
    integrand = lambda z: float(phi(z)) * peak * math.exp(-((z - 0.5) ** 2) / 4)
    exact = integrate.quad(integrand, -14, 15, points=(-1, 0, 1), limit=200, epsabs=1e-10, epsrel=1e-10)[0]
    assert abs(gaussian.expectation(phi, 0.5, 2.0, kinks=activations.kinks(phi)) - exact) < 1e-9


def test_what_is_not_of_jax_is_refused():
    with pytest.raises(TypeError, match=r"`f` must be made of jax\.numpy operations"):
        gaussian.expectation(np.tanh, 0.0, 1.0)


def test_captured_values_are_never_stale():
    class Ramp:
        slope = 1.0

        def __call__(self, z):
            return self.slope * z

    ramp = Ramp()
    results = []
    for slope in (1.0, 2.0, 1.0):
        ramp.slope = slope
        results.append(float(gaussian.expectation(ramp, 3.0, 1.0)))
    assert results == pytest.approx([3.0, 6.0, 3.0], rel=1e-6)


def test_f_must_be_made_of_jax_operations():
    for f in (np.tanh, lambda z: np.maximum(z, 0.0)):
        with pytest.raises(TypeError, match=r"`f` must be made of jax\.numpy operations"):
            gaussian.expectation(f, 0.0, 1.0)


def test_f_must_be_elementwise():
    with pytest.raises(ValueError, match=r"`f` must act elementwise; got shape \(\)"):
        gaussian.expectation(jnp.sum, 0.0, 1.0, kinks=())
    with pytest.raises(ValueError, match=r"`f` must act elementwise; it mixes the points in `reduce_sum`"):
        gaussian.expectation(jnp.sum, 0.0, 1.0)
    with pytest.raises(ValueError, match="`f` must act elementwise"):
        gaussian.expectation2(lambda u, v: jnp.sum(u * v), jnp.zeros(2), jnp.eye(2))


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_bad_lanes_stay_alone(jit):
    def f(mean, var):
        return gaussian.expectation(activations.selu, mean, var)

    f = jax.jit(f) if jit else f
    for value in (math.nan, -1.0):  # on a device; a negative number of the host's raises instead
        got = f(jnp.zeros(3), jnp.array([1.0, value, 2.0]))
        assert np.isnan(got).tolist() == [False, True, False]


def test_half_precision_is_kept_and_computed_in_float32():
    mean, var = jnp.array([0.5, -2.0], jnp.bfloat16), jnp.array([1.0, 3.0], jnp.bfloat16)
    got = gaussian.expectation(activations.gelu, mean, var)
    assert got.dtype == jnp.bfloat16
    wide = gaussian.expectation(activations.gelu, mean.astype(jnp.float32), var.astype(jnp.float32))
    np.testing.assert_array_equal(got, wide.astype(jnp.bfloat16))


# Two dimensions


def product(phi, mean, cov):
    def f(m, c):
        return gaussian.expectation2(lambda u, v: phi(u) * phi(v), m, c, kinks=activations.kinks(phi))

    return jax.jit(f)(mean, cov)


@pytest.mark.parametrize("name", ["identity", "relu", "erf", "sin", "selu", "tanh"])
def test_products_of_two_correlated_gaussians(name, x64):
    # Correlations 0, .5, -.9, +-.999, +-1; the accuracy that the docstring states.
    phi, truth = activations.ELEMENTWISE[name], oracle.pairs(name)
    got = product(phi, truth.mean, truth.cov)
    squares = [gaussian.expectation(lambda z: phi(z) ** 2, truth.mean[:, i], truth.cov[:, i, i]) for i in (0, 1)]
    bound = 1e-10 * np.maximum(np.sqrt(squares[0] * squares[1]), 1e-3)
    assert np.all(np.abs(got - truth.product) <= bound)


def test_products_in_float32():
    truth = oracle.pairs("selu")
    got = product(activations.selu, np.float32(truth.mean), np.float32(truth.cov))
    assert got.dtype == jnp.float32
    # Largest derivative by a correlation is E[f'^2] ~ 1 times sd^2; eps for the input, sums and values.
    scale = np.sqrt(truth.cov[:, 0, 0] * truth.cov[:, 1, 1]) + np.abs(truth.mean).max(-1) ** 2
    assert np.all(np.abs(got - truth.product) <= 32 * np.finfo(np.float32).eps * scale)


def test_functions_that_are_no_products(x64):
    # E[cos(u + 2 v)] = cos(m + 2 n) exp(-Var(u + 2 v)/2)
    mean = np.array([[0.2, -0.4], [1.0, 2.0]])
    cov = np.array([[[1.0, 0.3], [0.3, 0.5]], [[2.0, -0.9], [-0.9, 1.0]]])
    direction = np.array([1.0, 2.0])
    exact = np.cos(mean @ direction) * np.exp(-(direction @ cov @ direction) / 2)
    got = jax.jit(partial(gaussian.expectation2, lambda u, v: jnp.cos(u + 2 * v)))(mean, cov)
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-13)


def test_marginals_and_exchange(x64):
    mean, cov = jnp.array([0.3, -0.8]), jnp.array([[1.2, -0.7], [-0.7, 0.6]])
    relu, gelu = activations.relu, activations.gelu

    @partial(jax.jit, static_argnums=0)
    def both(f, m, c):
        return gaussian.expectation2(f, m, c)

    of_relu, of_gelu = gaussian.expectation(relu, 0.3, 1.2), gaussian.expectation(gelu, -0.8, 0.6)
    uv = both(lambda u, v: relu(u) * gelu(v), mean, cov)
    vu = both(lambda u, v: gelu(u) * relu(v), mean[::-1], cov[::-1, ::-1])
    assert abs(both(lambda u, v: relu(u), mean, cov) - of_relu) < 1e-13
    assert abs(both(lambda u, v: gelu(v), mean, cov) - of_gelu) < 1e-13
    assert abs(both(lambda u, v: relu(u) * gelu(v), mean, jnp.diag(jnp.diag(cov))) - of_relu * of_gelu) < 1e-13
    assert abs(uv - vu) < 1e-13


def test_price_theorem(x64):
    """d/dc E[f(u) f(v)] = E[f'(u) f'(v)]: a derivative through both splits, against values."""
    mean, correlations = jnp.array([0.3, -0.2]), jnp.array([-0.999, -0.95, 0.0, 0.3, 0.99])

    def product(c, f):
        cov = jnp.eye(2) + c * (1 - jnp.eye(2))
        return gaussian.expectation2(lambda u, v: f(u) * f(v), mean, cov)

    by_correlation = jax.jit(jax.vmap(jax.grad(lambda c: product(c, activations.selu))))(correlations)
    of_slopes = jax.jit(jax.vmap(lambda c: product(c, slope(activations.selu))))(correlations)
    # 1e-10 for each side, and 1/sqrt(1 - c^2) from the derivative of the conditional spread
    assert np.all(np.abs(by_correlation - of_slopes) < 2e-10 / np.sqrt(1 - correlations**2))


def test_bad_lanes_stay_alone_in_two_dimensions():
    bad = [np.full((2, 2), np.nan), [[1, 2], [2, 1]], [[0, 0.5], [0.5, 1]], [[1, 0.5], [0.5, 0]], [[1, 0], [0, -1]]]
    cov = jnp.array([np.eye(2), *bad, 2 * np.eye(2), np.zeros((2, 2))])
    got = jax.jit(lambda c: gaussian.expectation2(lambda u, v: jnp.tanh(u) * v, jnp.ones(2), c))(cov)
    assert np.isnan(got).tolist() == [False, *[True] * 5, False, False]


def test_degenerate_covariances(x64):
    mean = jnp.array([[0.5, 2.0], [0.5, 0.5], [0.5, 0.5]])
    cov = jnp.stack([jnp.zeros((2, 2)), jnp.diag(jnp.array([0.0, 1.0])), jnp.diag(jnp.array([1.0, 0.0]))])
    half = 0.5 * gaussian.expectation(activations.relu, 0.5, 1.0)
    # 256 eps: rounding of two sums of hundreds of terms
    np.testing.assert_allclose(product(activations.relu, mean, cov), jnp.stack([1.0, half, half]), rtol=5.7e-14)


# The edge of the domain: correlations of one and variances of zero


def exact_mean(f, mean, sd):
    """Of a smooth NumPy function of a Gaussian with sd < 1, by 60 Gauss-Hermite nodes in float64: 1e-13 or better."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    return np.sum(w * f(mean + sd * x)) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize(
    ("name", "exact"), [("tanh", 0.4644029), ("selu", 1.0715750), ("gelu", 0.4558509), ("relu", 0.5)]
)
@pytest.mark.parametrize("dtype", beside(["float64"], ["float32", "float64"]))
def test_derivative_by_a_correlation_of_one_is_the_mean_square_of_the_slope(name, exact, dtype):
    phi = activations.ELEMENTWISE[name]
    with jax.enable_x64(dtype == "float64"):

        def product(c):
            cov = jnp.array([[1.0, 0.0], [0.0, 1.0]], dtype) + c * jnp.array([[0.0, 1.0], [1.0, 0.0]], dtype)
            return gaussian.expectation2(lambda u, v: phi(u) * phi(v), jnp.zeros(2, dtype), cov)

        near, one = map(float, jax.jit(jax.vmap(jax.grad(product)))(jnp.array([0.999999, 1.0], dtype)))
        # E[f'(z)^2] by SciPy, to the digits given; 64 roundings.
        integrand = lambda z: float(slope(phi)(z)) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        assert integrate.quad(integrand, -12, 12, points=[0])[0] == pytest.approx(exact, abs=1e-7)
        assert one == pytest.approx(exact, abs=1e-7 + 64 * float(jnp.finfo(dtype).eps))
        # What is left at c is the jump of the slope squared (of relu 1) times arccos(c)/(2 pi). In float32 c is off by
        # eps/2, a tenth of 1 - c, and rounding is divided by sqrt(1 - c^2).
        if dtype == "float64":
            assert near == pytest.approx(one, abs=1.2 * math.acos(0.999999) / (2 * math.pi))


SECH2 = lambda z: 1 / np.cosh(z) ** 2


@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives_on_the_line(sign, x64):
    """Of tanh(u) * sin(v), with different means and variances, against expectations of second derivatives."""
    (m, n), a, b = (0.4, -0.7), 0.8, 0.5
    cov = jnp.array([[a * a, sign * a * b], [sign * a * b, b * b]])
    f = lambda u, v: jnp.tanh(u) * jnp.sin(v)
    by_mean, by_cov = jax.jit(jax.grad(lambda m, c: gaussian.expectation2(f, m, c), (0, 1)))(jnp.array([m, n]), cov)
    along = lambda g: exact_mean(lambda x: g(m + a * x, n + sign * b * x), 0.0, 1.0)
    np.testing.assert_allclose(
        by_mean, [along(lambda u, v: SECH2(u) * np.sin(v)), along(lambda u, v: np.tanh(u) * np.cos(v))], atol=1e-12
    )
    expected = [
        [along(lambda u, v: -np.tanh(u) * SECH2(u) * np.sin(v)), along(lambda u, v: SECH2(u) * np.cos(v))],
        [0, along(lambda u, v: -np.tanh(u) * np.sin(v)) / 2],
    ]
    np.testing.assert_allclose(by_cov, expected, atol=1e-12)


@pytest.mark.parametrize("variances", [(0.0, 0.0), (0.0, 0.6), (0.6, 0.0)])
@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_derivatives_by_variances_of_zero(variances, transform, x64):
    (m, n), (a, b) = (0.4, -0.7), np.sqrt(variances)
    f = lambda u, v: jnp.tanh(u) * jnp.sin(v)
    run = jax.jit(transform(lambda m, c: gaussian.expectation2(f, m, c), (0, 1)))
    by_mean, by_cov = run(jnp.array([m, n]), jnp.diag(jnp.array(variances)))
    mean = lambda g, h: exact_mean(g, m, a) * exact_mean(h, n, b)  # independent ones
    np.testing.assert_allclose(by_mean, [mean(SECH2, np.sin), mean(np.tanh, np.cos)], atol=1e-12)
    expected = [
        [mean(lambda u: -np.tanh(u) * SECH2(u), np.sin), mean(SECH2, np.cos)],
        [0, mean(np.tanh, lambda v: -np.sin(v) / 2)],
    ]
    np.testing.assert_allclose(by_cov, expected, atol=1e-12)


def test_derivatives_on_the_edge_stay_in_their_lanes(x64):
    f = lambda c: gaussian.expectation2(lambda u, v: jnp.tanh(u) * v**2, jnp.array([0.3, 0.1]), c)
    rows = jnp.array([np.eye(2), np.ones((2, 2)), np.zeros((2, 2)), np.diag([0.0, 1.0]), np.full((2, 2), np.nan)])
    run = jax.jit(jax.grad(lambda c: jnp.sum(f(c))))
    together, alone = run(rows), [run(row) for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-13)
    assert np.isfinite(together[:4]).all()
    assert np.isnan(together[4, 0]).all()


def test_derivative_by_a_variance_of_zero_in_one_dimension(x64):
    mean = jnp.array([0.5, -1.0, 0.0])
    curvature = -2 * np.tanh(mean) * SECH2(mean)
    by_mean, by_var = jax.jit(jax.vmap(jax.grad(partial(gaussian.expectation, jnp.tanh), (0, 1)), (0, None)))(mean, 0.0)
    np.testing.assert_allclose(by_mean, SECH2(mean), rtol=1e-13)
    np.testing.assert_allclose(by_var, curvature / 2, rtol=1e-13)
    for transform in (jax.jacfwd, jax.jacrev):
        slopes = jax.jit(jax.vmap(transform(partial(gaussian.moments, jnp.tanh), 1), (0, None)))(mean, 0.0)
        np.testing.assert_allclose(slopes, [curvature / 2, SECH2(mean) ** 2], rtol=1e-13)  # Var f ~ f'^2 var


@pytest.mark.parametrize("dtype", beside(["float32"], ["float32", "float64"]))
def test_derivative_by_a_variance_of_zero_at_a_kink_is_infinite(dtype):
    """E[relu(z)] at mean zero is sqrt(var / (2 pi))."""
    with jax.enable_x64(dtype == "float64"):
        zero = jnp.zeros((), dtype)
        by_var = lambda f, m=zero, **k: float(jax.grad(lambda v: gaussian.expectation(f, m, v, **k))(zero))
        assert by_var(activations.relu) == np.inf
        assert by_var(lambda z: -jnp.abs(z)) == -np.inf
        assert by_var(activations.hard_tanh, zero + 1, kinks=(-1.0, 1.0)) == -np.inf
        assert by_var(activations.relu, zero + 1) == by_var(activations.relu, zero - 1) == 0
        # Smooth functions that are split there, those with a vanishing slope among them.
        for name, f, expected in (
            ("square", lambda z: z * z, 1.0),
            ("narrow", lambda z: jnp.cos(100 * z), -5000.0),
            ("gelu", activations.gelu, 1 / math.sqrt(2 * math.pi)),
            ("elu", activations.elu, 0.5),  # its slope has a kink: from the left
        ):
            assert by_var(f) == pytest.approx(expected, rel=1e-5), name
