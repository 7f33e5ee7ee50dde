"""Activations against 22-digit values, and their laws: kinks, limits, dtypes, parameters."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from jnorm import activations
from jnorm.activations import ELEMENTWISE, SELU_ALPHA, SELU_LAMBDA, kinks
from tests.golden import make_activations
from tests.passes import kept_bytes
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "activations.json").read_text())
POINTS = np.array(GOLDEN["points"])
NAMES = list(ELEMENTWISE)
EVERY = pytest.mark.parametrize("name", NAMES)
INF = np.inf


def derivatives(phi, order):
    """phi and its derivatives up to the order, by reverse mode, for an array."""
    functions = [phi]
    for _ in range(order):
        functions.append(jax.grad(functions[-1]))
    return lambda x: [jax.vmap(f)(x) for f in functions]


def wide(dtype):
    return jax.enable_x64(dtype == "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@EVERY
def test_value_and_derivatives_are_accurate(name, dtype):
    kept = POINTS.astype(dtype).astype(float) == POINTS
    x, truth = POINTS[kept], [np.array(row, dtype=float)[kept] for row in GOLDEN["functions"][name]]
    eps, tiny = float(jnp.finfo(dtype).eps), float(jnp.finfo(dtype).tiny)
    with wide(dtype):
        computed = [
            np.asarray(y).astype(float) for y in jax.jit(derivatives(ELEMENTWISE[name], 3))(jnp.asarray(x, dtype))
        ]
    for k in range(4):
        # An exponential below `tiny` is flushed to 0; before that it is multiplied by x^2 at most, x^3 in gelu'''.
        underflow = tiny * np.maximum(1, np.abs(x)) ** max(k, 2)
        # In bfloat16 x is exact, the work is done in float32, and one rounding (eps/2) remains. Elsewhere each of some
        # ten steps rounds: 8 eps (6 seen on dense grids); 20 for mish''', a sum of terms five times its size at 0.
        condition = np.abs(x * truth[k + 1])
        if dtype == "bfloat16":
            allowed = 0.5 * eps * np.abs(truth[k]) + 20 * 2.0**-23 * np.maximum(np.abs(truth[k]), condition)
        else:
            allowed = (8 if k < 3 else 20) * eps * np.maximum(np.abs(truth[k]), condition)
        error = np.abs(computed[k] - truth[k])
        worst = np.argmax(np.where(np.isnan(error), INF, error - allowed - underflow))
        assert np.all(error <= allowed + underflow), (k, x[worst], computed[k][worst], truth[k][worst])


def test_golden_file_is_what_its_script_writes():
    # The points are data; 22 digits of ball arithmetic are integers' work, and equal on every processor.
    assert sorted(set(POINTS)) == sorted(set(-POINTS)) == POINTS.tolist()
    for dtype in ("bfloat16", "float32", "float64"):
        assert np.mean(POINTS.astype(dtype).astype(float) == POINTS) > 0.3
    for name in NAMES:
        for i in (0, 60, 107, 150):
            assert make_activations.derivatives(name, POINTS[i]) == [row[i] for row in GOLDEN["functions"][name]]


def test_selu_constants_are_rounded_right_and_solve_their_equations():
    assert float("1.6732632423543772848170429916717") == SELU_ALPHA
    assert float("1.0507009873554804934193349852946") == SELU_LAMBDA
    with mp.workdps(25):
        selu = lambda z: SELU_LAMBDA * (z if z > 0 else SELU_ALPHA * mp.expm1(z))
        moment = lambda k: mp.quad(lambda z: selu(z) ** k * mp.npdf(z), [-40, -5, 0, 5, 40])
        assert abs(moment(1)) < 2e-16  # half an ulp in each constant
        assert abs(moment(2) - 1) < 4e-16


def test_selu_derivative_survives_where_expm1_is_minus_one():
    expected = SELU_LAMBDA * SELU_ALPHA * np.exp(-20.0)
    assert float(jax.grad(activations.selu)(-20.0)) == pytest.approx(expected, rel=4 * 2.0**-23)


TAILS = {  # name: the function, and where its value, slope or curvature is within a thousand times the smallest float
    "silu": (lambda x: x / (1 + mp.exp(-x)), [-91.75, -90.0, -88.0, 91.5, 90.25], [-714.75, -709.5, 712.5]),
    "mish": (lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), [-91.5, -90.25, -88.0, 46.25, 44.5], [-712.5, -709.5, 357.25]),
    "gelu": (lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2, [-13.25, -13.125, -13.0, 13.25], [-37.625, -37.5, 37.625]),
    "tanh": (mp.tanh, [-44.5, -43.75, 44.0], [-355.0, 354.75]),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), [-87.25, -85.0, 87.25], [-708.25, -707.0, 708.25]),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), [-87.25, -85.0, 87.25], [-708.25, -707.0, 708.25]),
    "erf": (mp.erf, [-9.5, -9.375, 9.375], [-26.75, -26.625, 26.625]),
}


FLUSHED = ("tanh",)  # to do better in value and slope takes another exponential


@pytest.mark.parametrize("dtype", ["float32", thorough("float64")])
@pytest.mark.parametrize("name", TAILS)
def test_only_the_result_underflows(name, dtype):
    truth, *points = TAILS[name]
    points = points[dtype == "float64"]
    tiny, eps = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).eps)
    with (
        wide(dtype),
        mp.workdps(700 if dtype == "float64" else 300),
    ):  # of which most cancel
        computed = np.float64(jax.jit(derivatives(ELEMENTWISE[name], 2))(jnp.asarray(points, dtype)))
        for i, x in enumerate(points):
            exact = [mp.diff(truth, mp.mpf(x), k, h=mp.mpf(10) ** -60) if k else truth(mp.mpf(x)) for k in range(4)]
            for k in range(2 if name in FLUSHED else 0, 3):
                # As in the body; the square of an exponential of half the argument rounds no worse.
                allowed = 8 * eps * max(abs(exact[k]), abs(x * exact[k + 1])) + tiny
                if (name, k) == ("gelu", 0):
                    allowed += abs(x) / 2 * tiny  # erfc is the factor that underflows last
                assert abs(computed[k][i] - exact[k]) <= allowed, (x, k, computed[k][i], float(exact[k]))


KINKS = {  # name: {kink: (value, first, second derivative there), all from the left}
    "relu": {0.0: (0, 0, 0)},
    "leaky_relu": {0.0: (0, 0.01, 0)},
    "elu": {0.0: (0, 1, 1)},
    "celu": {0.0: (0, 1, 1)},
    "selu": {0.0: (0, SELU_LAMBDA * SELU_ALPHA, SELU_LAMBDA * SELU_ALPHA)},
    "hard_tanh": {-1.0: (-1, 0, 0), 1.0: (1, 1, 0)},
    "softsign": {0.0: (0, 1, 2)},
}


@pytest.mark.parametrize("mode", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_take_the_branch_on_the_left(name, mode):
    phi = ELEMENTWISE[name]
    for kink, expected in KINKS[name].items():
        for zero in (kink, -kink) if kink == 0 else (kink,):
            actual = [float(f(zero)) for f in (phi, mode(phi), mode(mode(phi)))]
            assert actual == pytest.approx(expected, rel=2 * 2.0**-23)  # two roundings: lam*alpha


LIMITS = {  # name: (value, first derivative) at -inf and at inf; the second derivative tends to 0
    "identity": ((-INF, 1), (INF, 1)),
    "relu": ((0, 0), (INF, 1)),
    "leaky_relu": ((-INF, 0.01), (INF, 1)),
    "elu": ((-1, 0), (INF, 1)),
    "celu": ((-1, 0), (INF, 1)),
    "selu": ((-SELU_LAMBDA * SELU_ALPHA, 0), (INF, SELU_LAMBDA)),
    "hard_tanh": ((-1, 0), (1, 0)),
    "softsign": ((-1, 0), (1, 0)),
    "sigmoid": ((0, 0), (1, 0)),
    "tanh": ((-1, 0), (1, 0)),
    "softplus": ((0, 0), (INF, 1)),
    "squareplus": ((0, 0), (INF, 1)),
    "silu": ((0, 0), (INF, 1)),
    "gelu": ((0, 0), (INF, 1)),
    "mish": ((0, 0), (INF, 1)),
    "erf": ((-1, 0), (1, 0)),
    "sin": ((np.nan, np.nan), (np.nan, np.nan)),
}


@EVERY
def test_limits_at_infinity_and_nan_in_its_own_lane(name):
    phi = ELEMENTWISE[name]
    value, first, second, third = jax.jit(derivatives(phi, 3))(jnp.array([-INF, INF]))
    below, above = LIMITS[name]
    np.testing.assert_allclose([value, first], np.transpose([below, above]), rtol=2 * 2.0**-23)  # constants rounded
    np.testing.assert_array_equal([second, third], np.full((2, 2), np.nan if name == "sin" else 0.0))
    lanes = np.asarray(phi(jnp.array([1.0, np.nan, -1.0])))
    np.testing.assert_array_equal(np.isnan(lanes), [False, True, False])


@EVERY
def test_transformations_agree(name):
    phi = ELEMENTWISE[name]
    x = jnp.asarray(POINTS[::7], jnp.float32)
    # XLA may contract or vectorize the same formula differently: a few eps, as for its accuracy.
    close = functools.partial(np.testing.assert_allclose, rtol=8 * 2.0**-23, atol=float(jnp.finfo("float32").tiny))
    eager = phi(x)
    jitted, mapped, backward, forward, hessian = jax.jit(
        lambda x: (
            phi(x),
            jax.vmap(phi)(x),
            jax.grad(lambda v: phi(v).sum())(x),
            jax.jvp(phi, (x,), (jnp.ones_like(x),))[1],
            jax.hessian(lambda v: phi(v).sum())(x[:3]),
        )
    )(x)
    close(jitted, eager)
    close(mapped, eager)
    close(backward, forward)
    np.testing.assert_array_equal(hessian, np.diag(np.diag(hessian)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@EVERY
def test_the_backward_pass_keeps_the_argument_alone_or_on_which_line_it_lies(name, dtype):
    x = jnp.ones(64, dtype)
    straight = {"identity": {}, "relu": {"bool": 1.0}, "leaky_relu": {"bool": 1.0}, "hard_tanh": {"bool": 1.0}}
    assert kept_bytes(ELEMENTWISE[name], x) == straight.get(name, {dtype: x.dtype.itemsize})


@EVERY
def test_dtypes(name):
    phi = ELEMENTWISE[name]
    shape = functools.partial(jax.eval_shape, phi)
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        with wide(dtype):
            x = jnp.ones(2, dtype)
            assert shape(x).dtype == jax.eval_shape(jax.grad(lambda v: phi(v).sum()), x).dtype == dtype
    with jax.enable_x64(True):
        assert shape(jnp.ones(2, "float32")).dtype == "float32"
    for x in (2, 2.0, jnp.arange(3), jnp.arange(3, dtype="uint8"), np.float32(2), jnp.float16(2)):
        ours, theirs = shape(x), jax.eval_shape(jnp.tanh, x)
        assert (ours, ours.weak_type) == (theirs, theirs.weak_type)
    assert (phi(2.0) * jnp.ones(2, "bfloat16")).dtype == "bfloat16"
    for bad in (True, jnp.array([True]), 1j):
        with pytest.raises(TypeError, match=r"`x` must hold real numbers; got dtype (bool|complex64)"):
            phi(bad)


PEERS = {
    **{name: getattr(jax.nn, name) for name in ELEMENTWISE if hasattr(jax.nn, name)},
    **{"softsign": jax.nn.soft_sign, "erf": jax.lax.erf, "sin": jnp.sin},
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_jax_where_both_are_right(name):
    x = jnp.linspace(-2.03, 2.0, 40)  # neither kinks nor tails
    ours, theirs = jax.jit(lambda x: [jnp.stack(derivatives(f, 1)(x)) for f in (ELEMENTWISE[name], PEERS[name])])(x)
    # eps of the largest intermediate, about 2, after some ten operations.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=20 * 2.0**-23)


def test_parameters_are_differentiable_and_broadcast():
    x, rtol = jnp.array([[-3.0, 2.0], [-0.5, 0.0]]), 8 * 2.0**-23
    alpha, lam = jnp.array([0.5, 2.0]), jnp.float32(1.5)
    z, a, positive = np.asarray(x, float), np.asarray(alpha, float), np.asarray(x) > 0
    close = functools.partial(np.testing.assert_allclose, rtol=rtol)

    close(activations.leaky_relu(x, negative_slope=alpha), np.where(positive, z, a * z))
    close(activations.elu(x, alpha=alpha), np.where(positive, z, a * np.expm1(z)))
    close(activations.celu(x, alpha=alpha), np.where(positive, z, a * np.expm1(z / a)))
    scaled = activations.scaled_elu
    close(scaled(x, lam, alpha), np.where(positive, 1.5 * z, 1.5 * a * np.expm1(z)))
    close(scaled(x, SELU_LAMBDA, SELU_ALPHA), activations.selu(x))
    close(scaled(x, alpha=alpha, lam=lam), jax.jit(scaled)(x, lam, alpha))

    total = lambda f: lambda v: f(v).sum()
    slope = jax.grad(total(lambda v: activations.leaky_relu(x, negative_slope=v)))(alpha)
    close(slope, np.where(positive, 0, z).sum(0))
    by_lam, by_alpha = jax.jit(jax.grad(lambda *v: scaled(x, *v).sum(), argnums=(0, 1)))(lam, alpha)
    close(by_lam, np.where(positive, z, a * np.expm1(z)).sum())
    close(by_alpha, np.where(positive, 0, 1.5 * np.expm1(z)).sum(0))
    by_alpha = jax.grad(total(lambda v: activations.celu(x, alpha=v)))(alpha)
    # The two terms cancel to z^2/2 for small z: eps of each, not of the difference.
    expected = np.where(positive, 0, np.expm1(z / a) - z / a * np.exp(z / a)).sum(0)
    np.testing.assert_allclose(by_alpha, expected, rtol=0, atol=rtol)
    for alpha in (1e-16, 0.5):
        assert [float(d) for d in jax.grad(lambda x, v: activations.celu(x, alpha=v), (0, 1))(-INF, alpha)] == [0, -1]


def test_half_precision_parameters_are_not_rounded():
    x = jnp.asarray(-1.0, "bfloat16")
    assert activations.leaky_relu(x, negative_slope=0.01) == jnp.bfloat16(-0.01)
    assert activations.elu(2.0, alpha=jnp.bfloat16(1)).dtype == "bfloat16"
    with jax.numpy_dtype_promotion("standard"):
        y = activations.elu(x, alpha=jnp.float32(1.001))
        assert (y.dtype, y) == ("float32", jnp.float32(1.001) * jnp.expm1(jnp.float32(-1)))


def test_bad_parameters_are_named():
    x = jnp.ones(3)
    with pytest.raises(ValueError, match=r"shapes must broadcast; got `x` \(3,\), `alpha` \(2,\)"):
        activations.elu(x, alpha=jnp.ones(2))
    with pytest.raises(TypeError, match="`negative_slope` must hold real numbers; got dtype bool"):
        activations.leaky_relu(x, negative_slope=True)
    with pytest.raises(ValueError, match=r"`alpha` must satisfy alpha > 0; got -1\.0"):
        jax.jit(lambda x: activations.celu(x, alpha=-1.0))(x)
    with pytest.raises(TypeError, match="too many positional arguments"):
        activations.relu(x, 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_softmax_and_log_softmax(dtype):
    rows = np.array([[5.0, 2.0, -1.0, 3.0], [1e4, -1e4, 0.0, 9984.0], [-1e4, -1e4, -1e4, -1e4]])
    with wide(dtype):
        x = jnp.asarray(rows, dtype)
        eps, tiny = float(jnp.finfo(dtype).eps), float(jnp.finfo(dtype).tiny)
        rows = np.asarray(x).astype(float)
        shifted = rows - rows.max(1, keepdims=True)
        probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        # A handful of roundings; the log near probability one is an absolute error.
        assert activations.softmax(x).dtype == activations.log_softmax(x).dtype == dtype
        np.testing.assert_allclose(activations.softmax(x).astype(float), probabilities, rtol=4 * eps, atol=tiny)
        np.testing.assert_allclose(activations.log_softmax(x).astype(float), logs, rtol=4 * eps, atol=2 * eps)
        np.testing.assert_array_equal(activations.softmax(x.T, axis=0).T, activations.softmax(x))
        np.testing.assert_array_equal(activations.log_softmax(x.T, axis=0).T, activations.log_softmax(x))
        gradient = jax.jacrev(activations.log_softmax)(x[0]).astype(float)
        np.testing.assert_allclose(gradient, np.eye(4) - probabilities[0], rtol=4 * eps, atol=2 * eps)
    assert np.round(probabilities[0], 3).tolist() == [0.842, 0.042, 0.002, 0.114]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_masked_entries_count_for_nothing(name):
    phi = getattr(activations, name)
    junk = jnp.array([[1.0, np.nan, 2.0, 0.5], [INF, 0.3, -INF, -1.0], [np.nan, INF, -INF, 0.0]])
    mask = np.array([[1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    weights = jnp.where(mask, jnp.arange(12.0).reshape(3, 4), 0.0)
    total = lambda x: jnp.sum(jnp.where(mask, phi(x, where=mask), 0.0) * weights)
    values, gradient = jax.jit(lambda x: (phi(x, where=mask), jax.grad(total)(x)))(junk)
    np.testing.assert_array_equal(values[~mask], 0.0 if name == "softmax" else -INF)
    np.testing.assert_array_equal(gradient[~mask], 0.0)
    for row, keep in ((0, [0, 2, 3]), (1, [1, 3])):  # as without them, by NumPy in float64
        z, w = np.float64(junk[row, keep]), np.float64(weights[row, keep])
        p = np.exp(z) / np.exp(z).sum()
        exact = (p, p * (w - w @ p)) if name == "softmax" else (np.log(p), w - p * w.sum())
        np.testing.assert_allclose(values[row, keep], exact[0], rtol=1e-6)  # a handful of roundings
        np.testing.assert_allclose(gradient[row, keep], exact[1], atol=1e-5)
    np.testing.assert_array_equal(phi(junk.T, axis=0, where=mask.T).T, phi(junk, where=mask))
    assert np.isnan(phi(jnp.full(3, -INF))).all()
    with pytest.raises(TypeError, match="`where` must be boolean; got dtype int32"):
        phi(junk, where=mask.astype("int32"))
    with pytest.raises(ValueError, match=r"`where` must broadcast to `x`; got shapes \(3,\) and \(3, 4\)"):
        phi(junk, where=mask[:, 0])


def test_hardmax():
    x = jnp.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [np.nan, 0.0, 1.0], [-INF, INF, 0.0]])
    expected = np.array([[0, 1, 0], [1, 0, 0], [np.nan] * 3, [0, 1, 0]])
    for phi in (activations.hardmax, jax.jit(activations.hardmax), jax.vmap(activations.hardmax)):
        np.testing.assert_array_equal(phi(x), expected)
    np.testing.assert_array_equal(activations.hardmax(x.T, axis=0), expected.T)
    np.testing.assert_array_equal(jax.jacobian(activations.hardmax)(x[0]), np.zeros((3, 3)))
    assert activations.hardmax(jnp.asarray(x, "bfloat16")).dtype == "bfloat16"
    assert activations.hardmax(jnp.array([1, 2])).dtype == "float32"


@pytest.mark.parametrize("phi", [activations.softmax, activations.log_softmax, activations.hardmax])
def test_lanes_and_axes(phi):
    x = jnp.array([[1.0, np.nan, 0.0], [1.0, 2.0, 0.0]])
    np.testing.assert_array_equal(np.isnan(phi(x)), [[True] * 3, [False] * 3])
    with pytest.raises(ValueError, match=r"`axis` must satisfy -2 <= axis < 2 for `x` of shape \(2, 3\); got 2"):
        phi(x, axis=2)
    with pytest.raises(ValueError, match=r"`axis` must satisfy 0 <= axis < 0 for `x` of shape \(\); got -1"):
        phi(1.0)
    with pytest.raises(TypeError, match="`x` must hold real numbers; got dtype bool"):
        phi(x > 0)


def test_kinks():
    known = {"hard_tanh": (-1.0, 1.0), "identity": (), "sin": ()}
    for name, phi in ELEMENTWISE.items():
        assert kinks(phi) == known.get(name, (0.0,))
    assert kinks(activations.scaled_elu) == (0.0,)
    assert kinks(lambda x: x) is kinks(jnp.tanh) is None  # as an argument it means that they are found
    for wrap in (functools.partial, jax.tree_util.Partial, jax.jit, lambda f: functools.partial(jax.jit(f))):
        assert kinks(wrap(activations.hard_tanh)) == (-1.0, 1.0)
    assert set(ELEMENTWISE) == set(make_activations.branches())
