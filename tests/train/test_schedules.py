"""Schedules against their formulas, against Optax where it can say the same, with every coefficient traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm.train import schedules

COUNTS = np.arange(50)

# name: (schedule of three coefficients, the formula at a time t, in NumPy)
CASES = {
    "inverse_time": (
        lambda a, k, n, **o: schedules.inverse_time(a, k, steps=n, **o),
        lambda a, k, t: a / (1 + k * t),
    ),
    "inverse_sqrt": (lambda a, k, n, **o: schedules.inverse_sqrt(a, steps=n, **o), lambda a, k, t: a / np.sqrt(1 + t)),
    "exponential": (lambda a, k, n, **o: schedules.exponential(a, k, steps=n, **o), lambda a, k, t: a * k**t),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("staircase", [False, True])
def test_formula_with_every_coefficient_traced(name, staircase):
    schedule, formula = CASES[name]
    values = lambda a, k, n: jax.vmap(schedule(a, k, n, staircase=staircase))(jnp.asarray(COUNTS))
    a, k, n = (jnp.array([0.3, 2.0, 1e-3]), jnp.array([0.9, 0.5, 0.0]), jnp.array([7, 1, 20]))
    got = jax.jit(jax.vmap(values))(a, k, n)
    for row, *own in zip(got, a.tolist(), k.tolist(), n.tolist(), strict=True):
        t = COUNTS // own[2] if staircase else COUNTS / own[2]
        np.testing.assert_allclose(row, formula(*own[:2], t), rtol=1e-5)  # float32 powers up to 50
    assert got.dtype == jnp.float32


@pytest.mark.parametrize("staircase", [False, True])
def test_exponential_is_optaxs_where_that_one_is_defined(staircase):
    own = schedules.exponential(0.1, 0.8, steps=10, staircase=staircase)
    peer = optax.exponential_decay(0.1, 10, 0.8, staircase=staircase)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose([own(c) for c in COUNTS], [peer(c) for c in COUNTS], rtol=1e-6)


def test_piecewise_is_optaxs_with_traced_values_and_boundaries():
    peer = optax.piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1})
    run = jax.jit(lambda values, edges: jax.vmap(schedules.piecewise(values, edges))(jnp.asarray(COUNTS)))
    got = run(jnp.array([1.0, 0.5, 0.05]), jnp.array([10, 20]))
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(got, [peer(c) for c in COUNTS], rtol=1e-6)


def test_an_optimizer_takes_them_and_they_are_differentiable(x64):
    def end(rate, decay):
        optimizer = optax.sgd(schedules.inverse_time(rate, decay, steps=2))
        w, memory = jnp.ones(()), optimizer.init(jnp.ones(()))
        for _ in range(4):
            updates, memory = optimizer.update(w, memory, w)
            w = optax.apply_updates(w, updates)
        return w

    rates = 0.3 / (1 + 0.5 * np.arange(4) / 2)
    np.testing.assert_allclose(end(0.3, 0.5), np.prod(1 - rates), rtol=1e-14)
    slope = -np.prod(1 - rates) * np.sum(rates / 0.3 / (1 - rates))
    np.testing.assert_allclose(jax.grad(end)(0.3, 0.5), slope, rtol=1e-13)


def test_bad_coefficients_are_refused():
    with pytest.raises(ValueError, match="`rate` must satisfy rate >= 0; got -1"):
        schedules.inverse_time(0.1, -1)
    with pytest.raises(ValueError, match="`steps` must satisfy steps > 0; got 0"):
        schedules.inverse_sqrt(0.1, steps=0)
    with pytest.raises(ValueError, match=r"`decay` must satisfy decay >= 0; got -0\.5"):
        schedules.exponential(0.1, -0.5)
    with pytest.raises(ValueError, match="`boundaries` must ascend"):
        schedules.piecewise([1.0, 0.5, 0.1], [20, 10])
    with pytest.raises(ValueError, match=r"one more than `boundaries`; got shapes \(2,\) and \(2,\)"):
        schedules.piecewise([1.0, 0.5], [20, 10])
