"""Gradients of masked batches against the gradient over the valid examples, in one piece and in several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import losses as jlosses
from jnorm.train import gradients

pytestmark = pytest.mark.usefixtures("unoptimized")

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))
PARAMS = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}


def losses(params, state, batch, mask, key):
    x, t = batch
    y = jnp.tanh(x @ params["w"] + params["b"][None])
    return jnp.sum(jnp.square(y - t), -1), state + 1


def penalty(params):
    return 0.3 * jlosses.l1_penalty(params) + 0.2 * jlosses.l2_penalty(params, where="w")


def by_hand(valid, extra):
    """Mean loss over the valid rows and its gradient, by the chain rule in NumPy."""
    x, t = X[valid], T[valid]
    y = np.tanh(x @ PARAMS["w"] + PARAMS["b"])
    down = 2 * (y - t) * (1 - y**2) / len(x)
    grads = {"w": x.T @ down, "b": down.sum(0)}
    value = loss = np.mean(np.sum((y - t) ** 2, 1))
    if extra:
        value += 0.3 * sum(np.abs(p).sum() for p in PARAMS.values()) + 0.1 * np.sum(PARAMS["w"] ** 2)
        grads = {k: g + 0.3 * np.sign(PARAMS[k]) for k, g in grads.items()}
        grads["w"] += 0.2 * PARAMS["w"]
    return loss, value, grads


@pytest.mark.parametrize("accumulate", [1, 2, 3, 12])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_microbatches_and_masks_give_the_gradient_over_the_valid_examples(accumulate, masked, extra, x64):
    valid = np.arange(12) < 7 if masked else np.ones(12, bool)
    mask = jnp.asarray(valid) if masked else None
    batch = jnp.where(valid[:, None], X, 1e3), jnp.asarray(T)  # what is not valid must not matter
    options = {"penalty": penalty if extra else None, "accumulate": accumulate}
    got = gradients.gradient(losses, PARAMS, jnp.zeros(()), batch, mask, jax.random.key(0), **options)
    loss, value, grads = by_hand(valid, extra)
    np.testing.assert_allclose([got.loss, got.value], [loss, value], rtol=1e-14)  # sums of 24 terms of one size
    for name in grads:
        np.testing.assert_allclose(got.params[name], grads[name], rtol=1e-13, atol=1e-15)
    assert got.state == accumulate


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("dirt", [np.nan, np.inf, -1.0])
def test_what_stands_in_examples_that_do_not_count_does_not_matter(accumulate, dirt, x64):
    valid = np.isin(np.arange(12), [1, 2, 6, 10])
    batch = jnp.where(valid[:, None], X, dirt), jnp.where(valid[:, None], T, dirt)
    got = gradients.gradient(losses, PARAMS, 0.0, batch, jnp.asarray(valid), jax.random.key(0), accumulate=accumulate)
    loss, _, grads = by_hand(valid, False)
    np.testing.assert_allclose(got.loss, loss, rtol=1e-14)
    for name in grads:
        np.testing.assert_allclose(got.params[name], grads[name], rtol=1e-13, atol=1e-15)


def test_a_loss_that_is_no_number_an_example_is_refused():
    mean = lambda *args: (jnp.mean(losses(*args)[0]), args[1])
    with pytest.raises(ValueError, match=r"`loss` must return a number for each of the 12 examples; got shape \(\)"):
        gradients.gradient(mean, PARAMS, 0.0, (jnp.asarray(X), jnp.asarray(T)), None, jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"`mask` must hold a boolean for each of the 12 examples; got shape \(12, 1\)"
    ):
        gradients.gradient(losses, PARAMS, 0.0, (X, T), jnp.ones((12, 1), bool), jax.random.key(0))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_without_a_valid_example_the_loss_is_nan_and_nothing_moves(accumulate):
    batch, mask = (jnp.asarray(X), jnp.asarray(T)), jnp.zeros(12, bool)
    with jax.numpy_dtype_promotion("standard"):
        got = gradients.gradient(losses, PARAMS, 0.0, batch, mask, jax.random.key(0), accumulate=accumulate)
    assert bool(jnp.isnan(got.loss))
    assert all(bool(jnp.all(g == 0)) for g in jax.tree.leaves(got.params))


def test_microbatches_draw_from_keys_of_their_own():
    def noisy(w, state, x, mask, key):
        return w * jax.random.normal(key, x.shape), state

    key = jax.random.key(3)
    got = gradients.gradient(noisy, 1.0, (), jnp.ones(6), None, key, accumulate=2).params
    draws = [jax.random.normal(jax.random.fold_in(key, i), (3,)) for i in range(2)]
    np.testing.assert_allclose(got, np.mean(draws), rtol=1e-6)  # a sum of 6 in float32


def test_half_precision_is_added_up_in_float32():
    # 256 + 1 is 256 in bfloat16: seven ones would be lost one by one.
    x = jnp.array([256.0] + [1.0] * 7, jnp.bfloat16)
    linear = lambda w, state, x, mask, key: (w * x, state)
    got = gradients.gradient(linear, jnp.ones((), jnp.bfloat16), (), x, None, jax.random.key(0), accumulate=8)
    assert got.params.dtype == jnp.bfloat16
    assert float(got.params) == float(jnp.asarray(263 / 8, jnp.bfloat16))


def test_numbers_of_microbatches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="`accumulate` must divide the batch of 12 examples; got 5"):
        gradients.gradient(losses, PARAMS, 0.0, (X, T), None, jax.random.key(0), accumulate=5)
    with pytest.raises(ValueError, match="`accumulate` must be a whole number >= 1; got 0"):
        gradients.gradient(losses, PARAMS, 0.0, (X, T), None, jax.random.key(0), accumulate=0)
