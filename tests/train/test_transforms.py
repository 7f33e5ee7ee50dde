"""Proximal steps against scikit-learn's lasso, and a root mean of all squares against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Lasso

from jnorm import losses, paths
from jnorm.nn import networks
from jnorm.train import loop, transforms

pytestmark = pytest.mark.usefixtures("unoptimized")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
T = X @ np.array([2.0, -1.0, 0.0, 0.0, 0.5, 0.0]) + 0.1 * RNG.normal(size=40)


def linear():
    return networks.Network(lambda key: (jnp.zeros((6, 1)), ()), lambda w, s, x, *, train, key: (x @ w, s))


def test_full_batches_with_a_proximal_step_solve_the_lasso(x64):
    """Twice scikit-learn's cost: mean squared error and 2 alpha |w|_1. Zeros are exact, and the same."""
    alpha = 0.1
    optimizer = lambda rate, l1: optax.chain(optax.sgd(rate), transforms.proximal_l1(rate, l1))
    train = loop.trainer(
        linear(), losses.squared_error, optimizer, epochs=400, batch_size=40, report=loop.Report([], keep_params=True)
    )
    got = jax.jit(train)(jax.random.key(0), {"train": (X, T[:, None])}, rate=0.2, l1=2 * alpha)["params"]
    exact = Lasso(alpha, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X, T).coef_
    assert np.sum(exact == 0) >= 2
    np.testing.assert_array_equal(np.ravel(got) == 0, exact == 0)
    np.testing.assert_allclose(np.ravel(got), exact, rtol=1e-9)  # both stop within that of the minimum


def test_a_subgradient_leaves_no_exact_zeros(x64):
    """The contrast that makes the proximal step worth having."""
    penalty = lambda params: 0.2 * losses.l1_penalty(params)
    train = loop.trainer(
        linear(),
        losses.squared_error,
        optax.sgd(0.2),
        epochs=400,
        batch_size=40,
        penalty=penalty,
        report=loop.Report([], keep_params=True),
    )
    assert np.all(jax.jit(train)(jax.random.key(0), {"train": (X, T[:, None])})["params"] != 0)


def soft(z, threshold):
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)


def test_a_schedule_sets_the_threshold_and_a_mask_spares_parameters(x64):
    rate = lambda count: 0.4 - 0.1 * jnp.minimum(count, 3)
    spared = lambda params: paths.mask(params, "kernel")
    optimizer = optax.chain(optax.sgd(rate), optax.masked(transforms.proximal_l1(rate, 0.5), spared))
    w = {"kernel": jnp.array([1.0, -0.3, 0.1]), "bias": jnp.array([0.05])}
    exact = {name: np.asarray(value) for name, value in w.items()}
    state = optimizer.init(w)
    for step in range(4):
        g = {name: RNG.normal(size=value.shape) for name, value in exact.items()}
        with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats
            updates, state = optimizer.update(jax.tree.map(jnp.asarray, g), state, w)
        w = optax.apply_updates(w, updates)
        r = 0.4 - 0.1 * min(step, 3)
        exact["kernel"] = soft(exact["kernel"] - r * g["kernel"], r * 0.5)
        exact["bias"] = exact["bias"] - r * g["bias"]
        for name in w:
            np.testing.assert_allclose(w[name], exact[name], rtol=0, atol=1e-15)  # two roundings of numbers near 1


def test_the_root_of_the_mean_of_all_squares(x64):
    gradients = RNG.normal(size=(20, 3)) * np.array([1.0, 1e-3, 0.0])
    scale = transforms.scale_by_root_mean_square(1e-6)
    state = scale.init(jnp.zeros(3))
    for t, g in enumerate(gradients, 1):
        got, state = scale.update(jnp.asarray(g), state)
        exact = g / np.sqrt((np.sum(gradients[:t] ** 2, 0) + 1e-6) / t)
        np.testing.assert_allclose(got, exact, rtol=1e-14)  # a sum of twenty in double precision


def test_after_a_flat_stretch_the_mean_of_squares_bursts_and_a_moving_average_bursts_less(x64):
    """The first large gradient after t small ones: sqrt(t) of a usual step; RMSProp 10, Adagrad 1."""
    flat = np.array([1e-6] * 400 + [1.0])

    def last(scale):
        update = jax.jit(scale.update)
        state = scale.init(jnp.zeros(()))
        for g in flat:
            step, state = update(jnp.asarray(g), state)
        return float(step)

    assert last(transforms.scale_by_root_mean_square(0.0)) == pytest.approx(401**0.5, rel=1e-9)
    assert last(optax.scale_by_rms(0.99, eps=0.0)) == pytest.approx(10, rel=1e-9)
    assert last(optax.scale_by_rss(0.0, eps=0.0)) == pytest.approx(1, rel=1e-9)


def test_bad_input_names_the_rule_and_the_value():
    with pytest.raises(ValueError, match=r"`strength` must satisfy strength >= 0; got -1.0"):
        transforms.proximal_l1(0.1, -1.0)
    with pytest.raises(ValueError, match=r"`learning_rate` must satisfy learning_rate >= 0; got -0.1"):
        transforms.proximal_l1(-0.1, 1.0)
    with pytest.raises(ValueError, match="`eps` must satisfy eps >= 0; got -1"):
        transforms.scale_by_root_mean_square(-1)
    proximal = transforms.proximal_l1(0.1, jnp.array(-1.0))
    with pytest.raises(ValueError, match="`params` must be given to an update that ends in a proximal step; got None"):
        proximal.update(jnp.ones(2), proximal.init(jnp.ones(2)))
    assert np.all(np.isnan(proximal.update(jnp.ones(2), proximal.init(jnp.ones(2)), jnp.ones(2))[0]))
