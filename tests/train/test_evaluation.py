"""Means over blocks against means over all, accuracy against scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score, top_k_accuracy_score

from jnorm import losses
from jnorm._ground.elementary import power_below
from jnorm.train import evaluation

pytestmark = pytest.mark.usefixtures("unoptimized")

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


def test_one_score_for_two_classes_has_an_accuracy_of_its_own():
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=(40, 1)).astype(np.float32), rng.integers(0, 2, (40, 1))
    exact = accuracy_score(targets, scores > 0)
    assert 0 < exact < 1
    for known in (targets, 2 * targets - 1, targets.astype(bool)):
        np.testing.assert_allclose(np.mean(evaluation.binary_accuracy(scores, known)), exact, rtol=1e-6)
    p = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(np.mean(evaluation.binary_accuracy(p, targets, threshold=0.5)), exact, rtol=1e-6)
    bad = evaluation.binary_accuracy(jnp.array([1.0, jnp.nan, 1.0]), jnp.array([1, 1, 2]))
    np.testing.assert_array_equal(bad, [1, np.nan, np.nan])
    for targets in (jnp.zeros(3, int), jnp.zeros((3, 1))):
        with pytest.raises(ValueError, match=r"`outputs` must have at least two classes .*\(3, 1\): .*binary_accuracy"):
            evaluation.accuracy(jnp.ones((3, 1)), targets)
    with pytest.raises(ValueError, match=r"`targets` must be 1 \(yes\), or 0 or -1 \(no\); got 2"):
        evaluation.binary_accuracy(jnp.ones(2), np.array([1, 2]))
    with pytest.raises(ValueError, match=r"`targets` must have the shape of `outputs`, \(2, 1\); got \(2,\)"):
        evaluation.binary_accuracy(jnp.ones((2, 1)), np.array([1, 0]))


def test_class_numbers_that_no_class_has_are_no_errors_of_the_network():
    y = jnp.eye(3)
    with pytest.raises(ValueError, match="`targets` must satisfy 0 <= targets < 3; got 3"):
        evaluation.accuracy(y, np.array([1, 2, 3]))
    np.testing.assert_array_equal(evaluation.accuracy(y, jnp.array([0, -1, 3])), [1, np.nan, np.nan])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_is_scikit_learns(k):
    rng = np.random.default_rng(2)
    y, t = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 5, 60)
    got = evaluation.top_k_accuracy(y, t, k=k)
    np.testing.assert_allclose(np.mean(got), top_k_accuracy_score(t, y, k=k, labels=range(5)), rtol=1e-6)
    np.testing.assert_array_equal(evaluation.top_k_accuracy(y, t, k=1), evaluation.accuracy(y, t))
    ties = evaluation.top_k_accuracy(jnp.zeros((3, 3)), jnp.arange(3), k=2)
    np.testing.assert_array_equal(ties, [1, 1, 0])
    with pytest.raises(ValueError, match="`k` must be a whole number, 1 <= k < 5, the number of classes; got 5"):
        evaluation.top_k_accuracy(y, t, k=5)


@pytest.mark.parametrize("block", [7, 100])
def test_metrics_that_are_no_means_see_all_examples_at_once(block, x64):
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    got = evaluation.evaluate(lambda x: x, (jnp.asarray(x), jnp.asarray(t)), {"r": evaluation.r_squared}, block=block)
    np.testing.assert_allclose(got["r"], r2_score(t, x), rtol=1e-13)  # sums of 40
    scores, labels = np.round(rng.normal(size=40), 1), rng.integers(0, 2, 40)  # with ties
    exact = roc_auc_score(labels, scores)
    metrics = {"auc": evaluation.auc, "error": losses.squared_error}
    got = evaluation.evaluate(lambda x: x, (jnp.asarray(scores), jnp.asarray(labels)), metrics, block=block)
    np.testing.assert_allclose(got["auc"], exact, rtol=1e-14)
    np.testing.assert_allclose(got["error"], np.mean((scores - labels) ** 2), rtol=1e-13)
    two = np.stack([-scores, 0 * scores], 1)
    np.testing.assert_allclose(evaluation.auc(two, labels), exact, rtol=1e-14)
    assert np.isnan(evaluation.auc(scores, 0 * labels))
    with pytest.raises(ValueError, match=r"`outputs` must be \[examples\], .* got \(40, 3\) and \(40,\)"):
        evaluation.auc(np.ones((40, 3)), labels)
    with pytest.raises(ValueError, match=r"`spread` must return one number for all examples.* got shape \(2,\)"):
        evaluation.evaluate(lambda x: x, (x, t), {"spread": evaluation.whole(lambda y, t: jnp.std(y, 0))})


@pytest.mark.parametrize("errors", [1e-20, 1.0, 1e12])
@pytest.mark.parametrize("size", [1e-35, 1e-25, 1.0, 1e20, 5e37])
def test_r_squared_of_numbers_of_any_size(size, errors):
    rng = np.random.default_rng(4)
    t = (size * rng.normal(size=(40, 2))).astype(np.float32)
    with np.errstate(over="ignore"):
        y = (t + size * errors * rng.normal(size=(40, 2))).astype(np.float32)
    if not np.isfinite(y).all():
        y = np.zeros_like(t)  # predicts the mean, nearly
    a, b = y.astype(np.float64), t.astype(np.float64)
    spread = np.sum((b - b.mean(0)) ** 2, 0)
    value, slope = np.mean(1 - np.sum((a - b) ** 2, 0) / spread), -(a - b) / spread
    got, slopes = jax.value_and_grad(evaluation.r_squared)(jnp.asarray(y), jnp.asarray(t))
    np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)  # sums of 40 in float32, and 1 - what is about 1
    turned = jax.grad(evaluation.r_squared, 1)(jnp.asarray(y), jnp.asarray(t))
    turn = -slope + np.sum((a - b) ** 2, 0) / spread * (b - b.mean(0)) / spread
    for ours, exact in ((slopes, slope), (turned, turn)):
        kept = ((np.abs(exact) > 1e-37) | (exact == 0)) & (np.abs(exact) < 1e38)
        np.testing.assert_allclose(ours[kept], exact[kept], rtol=1e-4)  # the mean's rounding, where a target is near it


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_power_of_two_below_a_number_is_exact(dtype):
    info = np.finfo(dtype)
    powers = np.ldexp(np.ones((), dtype), np.arange(info.minexp, info.maxexp))
    x = np.concatenate([powers, np.nextafter(powers[1:], 0), np.nextafter(powers, np.inf), [info.max]]).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(power_below)(jnp.asarray(x))
    exact = np.ldexp(np.ones((), dtype), np.minimum(np.frexp(x)[1] - 1, info.maxexp - 2))
    np.testing.assert_array_equal(got, exact)


def test_r_squared_of_constant_targets_is_not_decided_by_rounding():
    with pytest.raises(ValueError, match=r"`outputs` must hold at least one prediction; got shape \(0, 2\)"):
        evaluation.r_squared(jnp.ones((0, 2)), jnp.ones((0, 2)))
    t = jnp.full(7, 0.1)  # their mean in float32 is another number
    assert evaluation.r_squared(jnp.zeros(7), t) == -jnp.inf
    assert jnp.isnan(evaluation.r_squared(t, t))
    assert evaluation.r_squared(jnp.full(2, 1e-30), jnp.zeros(2)) == -jnp.inf
    assert jnp.isnan(evaluation.r_squared(jnp.array([jnp.nan, 1.0]), jnp.array([1.0, 2.0])))


def test_half_precision_outputs_are_judged_in_float32():
    data = jnp.full((4, 1), 400.0, jnp.float16), jnp.zeros((4, 1), jnp.float16)
    got = evaluation.evaluate(lambda x: x, data, {"error": losses.squared_error})
    assert got["error"] == 160_000  # beyond 65504, the largest of float16


def test_an_empty_set_has_no_mean():
    with pytest.raises(ValueError, match="`data` must hold at least one example"):
        evaluation.evaluate(lambda x: x, (jnp.ones((0, 2)), jnp.ones((0, 2))), METRICS)


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
