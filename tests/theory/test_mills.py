"""Mills' ratio against its definition in 60 digits: the polynomial derived anew, its differences, erfcx."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from jnorm._ground.mills import _CHEBYSHEV
from jnorm.theory import mills

EPS = {"float32": np.finfo("float32").eps, "float64": np.finfo("float64").eps}


def ratio(x):
    """(1 - Phi(x)) / phi(x)."""
    return mp.sqrt(mp.pi / 2) * mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(2))


@cache
def difference(*x):
    """Divided difference of the ratio at float arguments, confluent ones through R' = x R - 1 and R'' = R + x R'."""
    with mp.workdps(60):
        if len(x) == 1:
            return ratio(mp.mpf(x[0]))
        if x[0] != x[-1]:
            return (difference(*x[1:]) - difference(*x[:-1])) / (mp.mpf(x[-1]) - mp.mpf(x[0]))
        point, value = mp.mpf(x[0]), difference(x[0])
        slope = point * value - 1
        return slope if len(x) == 2 else (value + point * slope) / 2


@pytest.fixture(params=EPS)
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def test_the_coefficients_are_those_of_the_interpolant():
    """(x + 5) R(x) at 60 Chebyshev points of u = 1 - 8 / (x + 5), in 60 digits."""
    with mp.workdps(60):
        count = 60
        angles = [(2 * k + 1) * mp.pi / (2 * count) for k in range(count)]
        values = []
        for angle in angles:
            x = 8 / (1 - mp.cos(angle)) - 5
            values.append((x + 5) * ratio(x))
        for n, ours in enumerate(_CHEBYSHEV):
            exact = 2 * sum(v * mp.cos(n * a) for v, a in zip(values, angles, strict=True)) / count
            exact = exact / 2 if n == 0 else exact
            assert abs(ours - exact) < 1e-17 + 1e-16 * abs(exact), n  # floats nearest to them


def test_values_and_differences(dtype):
    x = np.concatenate([[-1.0, -0.5, 0.0, 1e-3, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0], [1.0 + 1e-3, 1.0 + 1e-6]])
    points = np.asarray(list(itertools.combinations_with_replacement(sorted(x), 3)), dtype)
    got = jax.jit(mills.differences)(*points.T)
    a, b, c = points.astype(float).T
    # Roundings: a few for the polynomial's value; more for its differences, and for R(x2), which is reached from x0
    # by differences whose terms cancel where x2 is a hundred times farther out.
    errors = []
    for value, arguments in (
        (got.r0, (a,)),
        (got.r1, (b,)),
        (got.r2, (c,)),
        (got.r01, (a, b)),
        (got.r012, (a, b, c)),
        (got.r00, (a, a)),
        (got.r000, (a, a, a)),
    ):
        exact = np.array([float(difference(*row)) for row in zip(*arguments, strict=True)])
        errors.append(np.max(np.abs(np.float64(value) / exact - 1)) / EPS[dtype])
    assert max(errors) < 64, errors
    assert errors[0] < 4


def test_derivatives_of_both_orders(x64):
    """R' = x R - 1, R'' = R + x R', R''' = 2 R' + x R'' in 60 digits, by the values and by their derivatives."""
    x = jnp.array([-1.0, 0.0, 0.7, 3.0, 30.0])
    value = lambda t: mills.differences(t, t, t)
    slope = jax.vmap(jax.jacfwd(value))(x)
    curve = jax.vmap(jax.jacfwd(jax.jacrev(lambda t: value(t).r0)))(x)
    for i, t in enumerate(x.tolist()):
        first, second = difference(t, t), 2 * difference(t, t, t)
        with mp.workdps(60):
            third = 2 * first + t * second
        assert float(slope.r0[i]) == pytest.approx(float(first), rel=1e-13)
        assert float(slope.r01[i]) == pytest.approx(float(second), rel=1e-13)  # both arguments move
        assert float(slope.r000[i]) == pytest.approx(float(third) / 2, rel=1e-12)
        assert float(curve[i]) == pytest.approx(float(second), rel=1e-13)


def test_erfcx(dtype):
    x = np.asarray([*np.linspace(-5, 30, 141), 9.3, 26.55, 1e3, 1e8], dtype)  # 9.3 and 26.55: zeros elsewhere
    got, by_x = jax.jit(jax.vmap(jax.value_and_grad(mills.erfcx)))(x)
    with mp.workdps(60):
        values = [mp.exp(mp.mpf(float(t)) ** 2) * mp.erfc(mp.mpf(float(t))) for t in x]
        slopes = [2 * mp.mpf(float(t)) * value - 2 / mp.sqrt(mp.pi) for t, value in zip(x, values, strict=True)]
    bound = EPS[dtype] * (8 + 2 * np.minimum(x, 0) ** 2)  # below zero exp(x^2) of a rounded square: x^2 roundings
    assert np.all(np.abs(got / np.array(values, float) - 1) <= bound)
    assert np.all(np.abs(by_x / np.array(slopes, float) - 1) <= 4 * bound)
