"""Exponentially weighted averages against their definition in NumPy, and averages of parameters against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm.train import averages

pytestmark = pytest.mark.usefixtures("unoptimized")

RNG = np.random.default_rng(0)


def by_definition(values, decay, debias):
    """The lecture's recursion: v = decay v + (1 - decay) x from 0, and v / (1 - decay^t)."""
    v, out = np.zeros_like(values[0]), []
    for t, x in enumerate(values, 1):
        v = decay * v + (1 - decay) * x
        out.append(v / (1 - decay**t) if debias else v)
    return np.array(out)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.98, 0.9999])
@pytest.mark.parametrize("debias", [True, False])
def test_averages_are_the_recursion(decay, debias, x64):
    values = RNG.normal(size=(60, 2))
    got = averages.exponential(values, decay, debias=debias)
    # 60 steps in double precision; 1 - decay^t of the definition loses 1 / (1 - decay) roundings.
    np.testing.assert_allclose(got, by_definition(values, decay, debias), rtol=0, atol=60 * 2e-16 / (1 - decay))


def test_a_decay_of_one_is_the_mean_of_all(x64):
    values = RNG.normal(size=50)
    np.testing.assert_allclose(averages.exponential(values, 1.0), np.cumsum(values) / np.arange(1, 51), atol=1e-14)


def test_numbers_of_the_lecture():
    """.9^10 = .349 and .98^50 = .364, about 1/e: what is left of the first weight after 1 / (1 - decay) steps."""
    for decay, steps, left in ((0.9, 10, 0.349), (0.98, 50, 0.364)):
        ones = np.zeros(steps + 1, np.float32)
        ones[0] = 1
        plain = averages.exponential(ones, decay, debias=False)
        assert abs(plain[-1] / plain[0] - left) < 5e-4
    constant = averages.exponential(np.full(9, 7.0, np.float32), 0.98)
    np.testing.assert_allclose(constant, 7.0, rtol=1e-6)  # without bias from the first step on; float32


def test_half_precision_is_computed_in_float32():
    values = jnp.asarray(RNG.normal(size=300) + 5, jnp.bfloat16)
    got = averages.exponential(values, 0.99)
    assert got.dtype == jnp.bfloat16
    exact = by_definition(np.float64(values), 0.99, True)
    np.testing.assert_allclose(np.float64(got), exact, rtol=2**-8)  # one rounding


def test_what_is_out_of_range():
    for decay in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"`decay` must satisfy 0 <= decay <= 1; got {decay}"):
            averages.exponential([1.0, 2.0], decay)
        with pytest.raises(ValueError, match=f"`decay` must satisfy 0 <= decay <= 1; got {decay}"):
            averages.average_params(decay)
        assert np.all(np.isnan(averages.exponential([1.0, 2.0], jnp.array(decay))))
    with pytest.raises(ValueError, match=r"`values` must have shape \[steps, ...\]; got \(\)"):
        averages.exponential(1.0, 0.9)
    with pytest.raises(ValueError, match="`start` must satisfy start >= 0; got -1"):
        averages.average_params(start=-1)
    average = averages.average_params()
    with pytest.raises(ValueError, match="`params` must be given to an update that averages parameters; got None"):
        average.update(jnp.ones(2), average.init(jnp.ones(2)))


@pytest.mark.parametrize(("decay", "start"), [(1.0, 0), (1.0, 3), (0.9, 0), (0.7, 2), (0.0, 0)])
def test_parameters_are_averaged_beside_any_optimizer(decay, start, x64):
    optimizer = optax.chain(optax.adam(0.1), averages.average_params(decay, start=start))
    alone = optax.adam(0.1)
    w = {"a": jnp.asarray(RNG.normal(size=3)), "b": jnp.asarray(RNG.normal())}
    gradients = RNG.normal(size=(7, 4))
    state, own, same, iterates = optimizer.init(w), alone.init(w), w, []
    for t, g in enumerate(gradients):
        gradient = {"a": jnp.asarray(g[:3]), "b": jnp.asarray(g[3])}
        with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats
            updates, state = optimizer.update(gradient, state, w)
            plain, own = alone.update(gradient, own, same)
        w, same = optax.apply_updates(w, updates), optax.apply_updates(same, plain)
        iterates.append(np.append(w["a"], w["b"]))
        entered = iterates[start:] or iterates[-1:]
        weights = decay ** np.arange(len(entered) - 1.0, -1, -1)
        got = optax.tree.get(state, "average")
        np.testing.assert_allclose(np.append(got["a"], got["b"]), weights @ entered / weights.sum(), rtol=1e-12)
        if t < start:
            np.testing.assert_array_equal(got["a"], w["a"])
    jax.tree.map(np.testing.assert_array_equal, w, same)  # the optimizer goes its way


def test_an_average_of_half_precision_is_kept_in_float32():
    """The mean of 1 and 1 + 2^-7, 1 + 2^-8, is no number of bfloat16."""
    average = averages.average_params()
    w = jnp.ones(1, jnp.bfloat16)
    state = average.init(w)
    for update in (0.0, 2**-7):
        updates, state = average.update(jnp.full(1, update, jnp.bfloat16), state, w)
        w = optax.apply_updates(w, updates)
    assert state.average.dtype == jnp.float32
    assert float(state.average[0]) == 1 + 2**-8
