"""Moments under a Gaussian against 20-digit ones, and laws on a million points."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.theory import closed_forms
from jnorm.theory.moments import Moments, activation_moments, gradient_factor, layer_map
from tests import oracle
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

NAMES = tuple(activations.ELEMENTWISE)
SETS = oracle.scaled_elu()
SET_IDS = [f"lam={s.lam:.3g}-alpha={s.alpha:.3g}" for s in SETS]
# What the closed forms promise over mean in [-10, 10], var in [1e-8, 1e4]: relative error of the variance, and of the
# mean over sqrt(E f^2).
ACCURACY = {"float32": (5e-6, 1e-6), "float64": (1e-12, 1e-13)}


@pytest.fixture(params=ACCURACY)
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def assert_close(got, exact, *, rtol):
    """Relative error, beside what XLA flushes to zero below the smallest normal number."""
    error = np.abs(np.float64(got) - exact) - np.finfo(got.dtype).tiny
    assert np.all(error <= rtol * np.abs(exact)), np.max(error / np.maximum(np.abs(exact), np.finfo(got.dtype).tiny))


def assert_accurate(got, exact, mean, var, dtype):
    """The promised accuracy; `exact` are mean, variance and slope."""
    rtol_var, rtol_mean = ACCURACY[dtype]
    first, spread, slope = exact
    assert all(a.dtype == dtype for a in got)
    assert np.all(np.isfinite(got))
    assert np.all(np.asarray(got.var) >= 0)
    assert np.all(np.asarray(got.slope) >= 0)
    assert_close(got.var, spread, rtol=rtol_var)
    # ReLU's is P(z > 0), to t^2/2 roundings in the far tail exp(-t^2/2).
    assert_close(got.slope, slope, rtol=np.finfo(dtype).eps * (32 + np.minimum(mean**2 / var, 1e4)))
    assert np.all(np.abs(np.float64(got.mean) - first) <= rtol_mean * np.sqrt(first**2 + spread) + np.finfo(dtype).tiny)


@jax.jit
def scaled_elu(mean, var, lam, alpha):
    return closed_forms.scaled_elu(mean, var, lam=lam, alpha=alpha)


@jax.jit
def scaled_elu_gradients(mean, var, lam, alpha):
    """[dE/dm, dE/dv, dVar/dm, dVar/dv, dslope/dm, dslope/dv][point]"""
    f = lambda m, v: jnp.stack(closed_forms.scaled_elu(m, v, lam=lam, alpha=alpha))
    return jnp.stack(jax.vmap(jax.jacrev(f, argnums=(0, 1)))(mean, var), -1).reshape(-1, 6).T


@pytest.mark.parametrize("truth", SETS, ids=SET_IDS)
def test_scaled_elu_against_exact_moments(truth, dtype):
    arguments = (np.asarray(a, dtype) for a in (truth.mean, truth.var, truth.lam, truth.alpha))  # points exact in both
    exact = truth.first, truth.spread, truth.slope
    assert_accurate(scaled_elu(*arguments), exact, truth.mean, truth.var, dtype)


@pytest.mark.parametrize("truth", SETS, ids=SET_IDS)
def test_gradients_against_exact_ones(truth, x64):
    got = np.asarray(scaled_elu_gradients(truth.mean, truth.var, truth.lam, truth.alpha))
    assert np.all(np.isfinite(got))
    exact = np.array([truth.first_by_mean, truth.first_by_var, truth.spread_by_mean, truth.spread_by_var])
    # Each is the derivative of a value that is right to 1e-13 (mean) and 1e-12 (variance), over the scale sd of the
    # inputs: relative to the larger of itself and that.
    sd, root = np.sqrt(truth.var), np.sqrt(truth.first**2 + truth.spread)
    values = np.array([1e-13 * root, 1e-13 * root, 1e-12 * truth.spread, 1e-12 * truth.spread])
    bound = values / np.array([sd, truth.var, sd, truth.var])
    assert np.all(np.abs(got[:4] - exact) <= np.maximum(bound, 1e-12 * np.abs(exact)) + np.finfo(float).tiny)


@pytest.mark.parametrize("name", oracle.elementwise_names())
def test_every_activation_against_30_digit_quadrature(name, x64):
    phi, truth = activations.ELEMENTWISE[name], oracle.elementwise(name)
    got = jax.jit(partial(activation_moments, phi))(truth.mean, truth.var)
    slope = jax.jit(partial(gradient_factor, phi))(truth.mean, truth.var)
    bound = 1e-10 * np.maximum(truth.square, 1e-3)
    assert np.all(np.abs(got.mean - truth.first) <= bound)
    assert np.all(np.abs(slope - truth.slope) <= bound)
    assert np.all(np.abs(got.var - truth.spread) <= bound)
    assert np.all(got.var >= 0)
    if activations.closed_form(phi):
        far = 1e-30  # the oracle's digits are absolute
        assert np.all(np.abs(got.var - truth.spread) <= 1e-12 * truth.spread + far)
        assert np.all(np.abs(slope - truth.slope) <= 1e-12 * truth.slope + far)
        assert np.all(np.abs(got.mean - truth.first) <= 1e-13 * np.sqrt(truth.square) + far)
    # Values carry their rounding, eps max|phi|, into a spread of sqrt(var): relative where that is far above it.
    keep = truth.spread >= 1e-8 * np.maximum(truth.square, 1e-3)
    assert_close(got.var[keep], truth.spread[keep], rtol=1e-10)


@pytest.mark.parametrize("name", [n for n in NAMES if activations.closed_form(activations.ELEMENTWISE[n])])
def test_closed_forms_agree_with_the_quadrature(name, x64):
    """Two routes to one number: giving `kinks` forces the quadrature."""
    phi, truth = activations.ELEMENTWISE[name], oracle.elementwise(name)
    keep = truth.var >= 1e-4
    mean, var = truth.mean[keep], truth.var[keep]
    exact = activation_moments(phi, mean, var)
    numeric = jax.jit(partial(activation_moments, phi, kinks=activations.kinks(phi)))(mean, var)
    bound = 1e-10 * np.maximum(truth.square[keep], 1e-3)
    assert np.all(np.abs(exact.mean - numeric.mean) <= bound)
    assert np.all(np.abs(exact.var - numeric.var) <= bound)


def test_parameters_reach_the_closed_forms(x64):
    mean, var = jnp.array([-2.0, 0.0, 0.7]), jnp.array([0.5, 1.0, 9.0])
    for phi in (
        partial(activations.leaky_relu, negative_slope=0.3),
        partial(activations.elu, alpha=1.7),
        partial(activations.celu, alpha=0.4),
        partial(activations.scaled_elu, lam=0.8, alpha=2.5),
    ):
        exact = activation_moments(phi, mean, var)
        numeric = jax.jit(partial(activation_moments, lambda z, phi=phi: phi(z)))(mean, var)
        np.testing.assert_allclose(exact.mean, numeric.mean, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(exact.var, numeric.var, rtol=1e-12)
        factors = [jax.jit(partial(gradient_factor, f))(mean, var) for f in (phi, lambda z, phi=phi: phi(z))]
        np.testing.assert_allclose(*factors, rtol=1e-12)


def test_a_closed_form_of_the_users_own_returns_three_arrays():
    """As `activations.register` says: a plain tuple of mean, variance and E[phi'^2] will do."""

    def moments(mean, var, slope):
        return slope * mean, slope**2 * var, slope**2 * jnp.ones_like(var)

    @activations.register(kinks=(), closed_form=moments)
    def line(x, slope):
        return slope * x

    phi, mean, var = partial(line, slope=2.0), jnp.array(0.5), jnp.array(1.5)
    assert [float(part) for part in activation_moments(phi, mean, var)] == [1.0, 6.0]
    assert float(gradient_factor(phi, mean, var, tau=3.0)) == 12.0


def random_points(count):
    """The plain box and, a third each, means near 0 and within 9 standard deviations of the kink; float32 numbers."""
    rng = np.random.default_rng(1)
    var = 10 ** rng.uniform(-8, 4, (3, count // 3))
    mean = rng.uniform(-10, 10, var.shape)
    mean[1] = np.sign(mean[1]) * 10 ** rng.uniform(-8, 1, var.shape[1])
    mean[2] = rng.uniform(-9, 9, var.shape[1]) * np.sqrt(var[2])
    return np.clip(mean, -10, 10).ravel().astype(np.float32), np.clip(var, 1.01e-8, 1e4).ravel().astype(np.float32)


@pytest.mark.parametrize(
    ("lam", "alpha", "count"),
    [(activations.SELU_LAMBDA, activations.SELU_ALPHA, 1_000_002), (1.0, 0.0, 99_999), (0.3, 20.0, 99_999)],
    ids=["selu", "relu", "steep"],
)
def test_random_points_in_both_precisions(lam, alpha, count):
    mean, var = random_points(count)
    constants = np.float32(lam), np.float32(alpha)  # the same function in both
    with jax.enable_x64(True):
        wide = scaled_elu(*(a.astype(np.float64) for a in (mean, var, *constants)))
        wide = closed_forms.GaussianMoments(*(np.asarray(a) for a in wide))
    assert_accurate(wide, wide, np.float64(mean), np.float64(var), "float64")  # finite and not negative
    assert_accurate(scaled_elu(mean, var, *constants), wide, np.float64(mean), np.float64(var), "float32")


def test_gradients_are_finite_at_a_million_points(dtype):
    points = (a.astype(dtype) for a in random_points(1_000_002))

    @jax.jit
    def gradients(mean, var):
        values, pull = jax.vjp(closed_forms.selu, mean, var)
        return pull(jax.tree.map(jnp.ones_like, values))  # of the sum: not finite where any of the three is not

    assert np.all(np.isfinite(gradients(*points)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("jit", beside([True], [False, True]), ids=["eager", "jit"])
def test_bad_lanes_stay_alone(name, jit):
    phi = activations.ELEMENTWISE[name]

    def f(mean, var):
        return (*activation_moments(phi, mean, var), gradient_factor(phi, mean, var))

    for value in [np.nan, *([-1.0] if jit else [])]:  # a negative value that is known raises instead
        mean, var = jnp.zeros(3), jnp.array([1.0, value, 2.0])
        for out in (jax.jit(f) if jit else f)(mean, var):
            assert np.isnan(out).tolist() == [False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_zero_variance_is_a_point_mass(name, x64):
    phi, mean = activations.ELEMENTWISE[name], jnp.array([-9.0, -0.2, 0.4, 3.0])
    got = jax.jit(partial(activation_moments, phi))(mean, jnp.zeros(4))
    # Of the quadrature's value, a rounding or two survive the sum over equal terms.
    np.testing.assert_allclose(got.mean, phi(mean), rtol=1e-14)
    np.testing.assert_allclose(got.var, 0, atol=1e-28)
    slope = jax.vmap(jax.grad(phi))(mean)
    np.testing.assert_allclose(jax.jit(partial(gradient_factor, phi))(mean, jnp.zeros(4)), slope**2, rtol=1e-13)


def test_known_bad_input_raises():
    for f in (activation_moments, gradient_factor):
        for phi in (activations.selu, activations.tanh):
            with pytest.raises(ValueError, match=r"^`var` must satisfy var >= 0; got -1\.0$"):
                f(phi, 0.0, np.array([2.0, -1.0]))
            with pytest.raises(ValueError, match=r"shapes must broadcast; got `mean` \(2,\), `var` \(3,\)"):
                f(phi, jnp.zeros(2), jnp.ones(3))
    with pytest.raises(ValueError, match=r"^`tau` must satisfy tau >= 0; got -0\.5$"):
        layer_map(activations.selu, tau=-0.5)
    with pytest.raises(ValueError, match=r"^`tau` must satisfy tau >= 0; got -0\.5$"):
        gradient_factor(activations.selu, 0.0, 1.0, tau=-0.5)
    with pytest.raises(ValueError, match=r"^`var` must satisfy var >= 0; got -1\.0$"):
        layer_map(activations.selu)(Moments(0.0, -1.0))
    with pytest.raises(ValueError, match="`f` must act elementwise"):
        activation_moments(jnp.sum, 0.0, 1.0)


def test_the_layer_map_scales_its_input(x64):
    x = Moments(jnp.array([0.5, -1.0]), jnp.array([0.3, 2.0]))
    for phi in (activations.selu, activations.tanh):
        got = layer_map(phi, omega=0.7, tau=1.2)(x)
        exact = activation_moments(phi, 0.7 * x.mean, 1.2 * x.var)
        np.testing.assert_array_equal(got.mean, exact.mean)
        np.testing.assert_array_equal(got.var, exact.var)


def test_arrays_of_weights_broadcast_against_points():
    x = Moments(jnp.zeros((3, 1)), jnp.ones((3, 1)))
    assert layer_map(activations.selu, tau=jnp.ones((1, 4)))(x).var.shape == (3, 4)


def test_selu_keeps_mean_zero_and_variance_one(x64):
    # Klambauer et al. 2017; the gradient factor there is 1.07157499245579925757.
    # A few roundings of the parts of the mean, which are .4 and cancel.
    got = layer_map(activations.selu)(Moments(0.0, 1.0))
    assert abs(got.mean) < 2e-15
    assert abs(got.var - 1) < 2e-15
    assert abs(gradient_factor(activations.selu, 0.0, 1.0) - 1.07157499245579925757) < 2e-15


def test_the_theorems_tight_extremes(x64):
    # Images of the box mu, omega in [-.1, .1], nu in [.8, 1.5], tau in [.95, 1.1] (theorem 1, interval arithmetic).
    m, v, w, t = np.meshgrid([-0.1, 0.1], [0.8, 1.5], [-0.1, 0.1], [0.95, 1.1])
    got = layer_map(activations.selu, omega=w, tau=t)(Moments(m, v))
    assert abs(got.mean.min() + 0.0310605) < 6e-8
    assert abs(got.mean.max() - 0.0677251) < 6e-8
    assert abs(got.var.min() - 0.8037118) < 6e-8
    assert abs(got.var.max() - 1.4815750) < 6e-8
    # Theorem 3 fails towards zero.
    low = layer_map(activations.selu, omega=0.1, tau=0.8)(Moments(0.1, 1e-5))
    assert abs(low.var / 1e-5 - 0.883429195476) < 1e-12


def test_any_callable_will_do(x64):
    # E[z^2] = v, Var z^2 = 2 v^2, E[(2z)^2] = 4 v; at zero mean.
    got = activation_moments(lambda z: z * z, 0.0, 1.5)
    np.testing.assert_allclose([got.mean, got.var], [1.5, 2 * 1.5**2], rtol=1e-13)
    np.testing.assert_allclose(gradient_factor(lambda z: z * z, 0.0, 1.5, tau=0.5), 0.5 * 4 * 1.5, rtol=1e-13)


THEIRS = {
    "relu": (jax.nn.relu, {}),
    "leaky_relu": (jax.nn.leaky_relu, {"negative_slope": 0.2}),
    "elu": (jax.nn.elu, {"alpha": 0.7}),
    "celu": (jax.nn.celu, {"alpha": 0.7}),
    "selu": (jax.nn.selu, {}),
    "identity": (jax.nn.identity, {}),
    "sin": (jnp.sin, {}),
}


@pytest.mark.parametrize("name", THEIRS)
def test_activations_of_other_libraries_are_what_they_are(name, x64):
    """They have the closed form of ours, and it is theirs: the quadrature of their function says the same."""
    function, parameters = THEIRS[name]
    for made in (function, partial(function, **parameters), jax.jit(partial(function, **parameters))):
        assert activations.closed_form(made) is not None
    phi, mean, var = partial(function, **parameters), np.array([-1.0, 0.3, 2.0]), np.array([0.5, 1.0, 4.0])
    exact, numeric = (activation_moments(phi, mean, var, kinks=kinks) for kinks in (None, (0.0,)))
    assert_close(exact.mean, np.asarray(numeric.mean), rtol=1e-10)
    assert_close(exact.var, np.asarray(numeric.var), rtol=1e-10)
    by = [gradient_factor(phi, mean, var, kinks=kinks) for kinks in (None, (0.0,))]
    assert_close(by[0], np.asarray(by[1]), rtol=1e-10)


def test_every_closed_form_has_its_like_in_jax():
    ours = {name: phi for name, phi in activations.ELEMENTWISE.items() if phi.__module__.startswith("jnorm.")}
    assert {name for name, phi in ours.items() if activations.closed_form(phi)} == set(THEIRS)
