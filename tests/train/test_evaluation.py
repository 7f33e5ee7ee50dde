"""Means over blocks against means over all, accuracy against scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from jnorm import losses
from jnorm.train import evaluation

METRICS = {"error": losses.squared_error, "accuracy": lambda y, t: evaluation.accuracy(y, jnp.argmax(t, -1))}


@pytest.mark.parametrize("block", [1, 5, 12, 13, 100])
def test_blocks_of_any_size_give_the_mean_over_all(block, x64):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(13, 2)), rng.normal(size=(13, 3))
    w = jnp.asarray(rng.normal(size=(2, 3)))
    seen = []

    def predict(x):
        seen.append(len(x))
        return x @ w

    got = evaluation.evaluate(predict, (jnp.asarray(x), jnp.asarray(t)), METRICS, block=block)
    np.testing.assert_allclose(got["error"], np.mean((x @ np.asarray(w) - t) ** 2), rtol=1e-14)  # sums of 39 terms
    right = accuracy_score(np.argmax(t, 1), np.argmax(x @ np.asarray(w), 1))
    np.testing.assert_allclose(got["accuracy"], right, rtol=1e-15)
    assert max(seen) <= block


def test_accuracy_takes_class_numbers_and_distributions_and_shows_nan():
    outputs = jnp.array([[3.0, 1.0], [1.0, 1.0], [0.0, jnp.inf], [jnp.nan, 2.0]])
    np.testing.assert_array_equal(evaluation.accuracy(outputs, jnp.array([0, 1, 1, 1])), [1, 0, 1, np.nan])
    np.testing.assert_array_equal(evaluation.accuracy(outputs, jnp.eye(2)[jnp.array([1, 0, 1, 0])]), [0, 1, 1, np.nan])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"`targets` must be \[...\] or \[..., classes\] for `outputs` \(4, 2\); got"):
        evaluation.accuracy(jnp.ones((4, 2)), jnp.ones((4, 3)))
    data = jnp.ones((4, 2)), jnp.ones((4, 2))
    with pytest.raises(ValueError, match=r"`mean` must return a number for each of the 4 examples; got shape \(\)"):
        evaluation.evaluate(lambda x: x, data, {"mean": lambda y, t: jnp.mean(y - t)})
    with pytest.raises(ValueError, match="first axis of one length"):
        evaluation.evaluate(lambda x: x, (jnp.ones((4, 2)), jnp.ones((3, 2))), METRICS)
    with pytest.raises(ValueError, match="`block` must be a whole number >= 1; got 0"):
        evaluation.evaluate(lambda x: x, data, METRICS, block=0)


def test_memory_of_large_sets_is_that_of_a_block():
    data = jax.ShapeDtypeStruct((100_000, 2), jnp.float32), jax.ShapeDtypeStruct((100_000, 512), jnp.float32)
    predict = lambda x: jnp.tanh(x @ jnp.ones((2, 512)))
    metrics = {"error": losses.squared_error}
    run = jax.jit(lambda *data: evaluation.evaluate(predict, data, metrics)).lower(*data).compile()
    whole = 4 * 100_000 * 512
    assert run.memory_analysis().temp_size_in_bytes < whole / 20
