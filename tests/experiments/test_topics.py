"""What claims measure of layers, inputs and surfaces, against other libraries, NumPy and cases known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.claims.claim import Setup
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from experiments.claims.topics import (
    error_surfaces,
    moving_inputs,
    normalized_training,
    sharpness,
    stalled_units,
    steady_inputs,
)
from jnorm.activations import sigmoid
from jnorm.nn import batch_norm, networks


@pytest.fixture(autouse=True)
def _as_scripts():
    """Experiments run with JAX's own rules of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_how_far_a_distribution_has_moved_is_what_scipy_says():
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    b = 2 * b + 1
    by_unit = [stats.wasserstein_distance(a[:, i], b[:, i]) / a[:, i].std() for i in range(3)]
    assert float(steady_inputs.transport(a, b)) == pytest.approx(np.mean(by_unit), rel=1e-5)
    assert float(steady_inputs.transport(a, a[::-1])) == 0  # the same distribution of other examples
    assert float(steady_inputs.moved(a, a + 2 * a.std(0))) == pytest.approx(2, rel=1e-5)
    assert float(steady_inputs.moved(a, a[::-1])) > 1


@pytest.mark.parametrize("normed", [0.0, 1.0])
def test_steps_of_earlier_layers_are_told_from_whole_steps(normed):
    network = networks.mlp((5, 4, 4, 4, 2), layer(sigmoid, 1.0, normalizer=switched(normed)))
    params, state = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (40, 5))
    far = lambda new: steady_inputs.look(network, params, new, state, x)
    moved = lambda at, name, value: [*params[:at], params[at] | {name: value}, *params[at + 1 :]]
    last = far(moved(2, "kernel", 2 * params[2]["kernel"] + 0.1))  # of no layer's inputs but its own
    assert float(jnp.max(last["earlier"])) == 0
    assert float(last["step"][0]) > 0.1
    shifted = far(moved(0, "bias", params[0]["bias"] + 1))
    assert (float(jnp.max(shifted["earlier"])) < 1e-4) == (normed == 1)  # batch norm takes a bias off again
    scaled = far(moved(2, "kernel", 3 * params[2]["kernel"]))
    assert float(scaled["step"][0]) > 0.1
    assert (float(scaled["step"][1]) < 1e-2) == (normed == 1)  # and any scale, but for its eps
    norm = params[2]["norm"]["norm"]
    turned = far(moved(2, "norm", {"norm": norm._replace(scale=norm.scale + 3.0)}))
    assert float(turned["scale"]) == pytest.approx(3 * 4**0.5 / 3, rel=1e-6)  # of one layer in three
    assert float(turned["shift"]) == 0


def test_normalization_repairs_moments_alone():
    mixed = jax.random.normal(jax.random.key(0), (4000, 6)) @ jax.random.normal(jax.random.key(1), (6, 6))
    skewed = jnp.exp(mixed / 2)
    params, state = batch_norm.init(6)
    params = params._replace(scale=params.scale * 3, shift=params.shift + 2)
    after, _ = batch_norm.apply(params, state, skewed, train=True)
    found = steady_inputs.repaired(steady_inputs.Views(skewed, after), params, jax.random.key(2))
    assert float(found["off"]) < 1e-3
    assert float(found["turned"]) < 1e-4
    known = np.linalg.eigvalsh(np.corrcoef(np.asarray(skewed).T))[-1]
    assert float(found["top"]) == pytest.approx(known, rel=1e-3)
    cut = [stats.kstest((c - c.mean()) / c.std(), "norm").statistic for c in np.asarray(skewed).T]
    assert float(found["normal"]) == pytest.approx(np.mean(cut), abs=0.03)  # less that of 4000 normal numbers


def test_a_jump_passes_no_batch_norm():
    x = jax.random.normal(jax.random.key(0), (30, 4))
    offset = jnp.array([20.0, 0.0, 0.0, -20.0])
    for normed, passes in ((0.0, True), (1.0, False)):
        norm = stalled_units.jumping(offset, normed)
        params, state = norm.init(4)
        plain, _ = switched(normed).apply(params, state, x, train=True)
        y, _ = norm.apply(params, state, x, train=True)
        np.testing.assert_allclose(y - plain, jnp.broadcast_to(offset * passes, y.shape), atol=1e-4)
    before, after = np.array([[[3.0, 1.0], [4.0, 0.0]], [[3.5, 1.0], [4.0, 0.0]]])
    np.testing.assert_allclose(stalled_units.updates(before, after), [0.1, 0.0])


def test_inputs_swing_and_rest():
    at = lambda count: moving_inputs.offset(jax.random.key(0), count, 200, moving=50, period=25.0)
    swing = np.stack([at(count) for count in range(50)])
    np.testing.assert_allclose(swing[:25], swing[25:], atol=1e-4)
    np.testing.assert_allclose(swing.mean(0), 0, atol=1e-5)
    assert 0.99 * moving_inputs.FAR < np.abs(swing).max() <= moving_inputs.FAR
    assert float(jnp.max(jnp.abs(at(50)))) == 0
    assert float(moving_inputs.left(jnp.array([1.0, 4.0, 1e6]))) == pytest.approx(np.log10(0.5), rel=1e-6)


def test_gradients_of_a_bowl_turn_as_its_curvature_says():
    curvatures, w, step = jnp.array([1.0, 10.0]), jnp.array([1.0, 0.1]), jnp.array([0.3, -0.2])
    found = error_surfaces.turned(lambda w: curvatures * w, w, step)
    assert float(found) == pytest.approx(np.hypot(0.3, 2.0) / np.sqrt(2), rel=1e-6)
    descents = np.array([[1.0, 0.5, 0.3, 0.2], [1.0, 0.1, 0.2, 3.0], [1.0, 2.0, np.inf, np.nan]])
    assert error_surfaces.stays(jnp.asarray(descents)).tolist() == [True, False, False]


def test_weights_under_a_batch_norm_may_be_scaled(tmp_path):
    found = error_surfaces.scaled(Setup(range(2), tmp_path))
    assert np.max(np.abs(found["loss"])) < 1e-12
    assert np.max(np.abs(found["free"])) < 1e-8
    assert np.all(found["condition"] > 0.1)


def test_a_batch_of_any_size_is_averaged_over_its_own_examples():
    values = jnp.arange(8.0)
    assert [float(sharpness.shares(size, 8) @ values) for size in (1, 4, 8)] == [0.0, 1.5, 3.5]


def test_units_are_told_by_their_weights_and_by_what_they_do():
    rows = normalized_training.rows(jax.random.normal(jax.random.key(0), (20, 7)))
    np.testing.assert_allclose(jnp.sum(rows, 0), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.sum(rows**2, 0), 1, rtol=1e-6)
    params = normalized_training.begun(jax.random.key(1), (20, 7, 3), 3, 0.0)
    x = jax.random.normal(jax.random.key(2), (50, 20))
    found = jax.tree.map(np.asarray, normalized_training.units(params, x))
    y = np.asarray(x)
    for at, kernel in enumerate([params["first"], *params["hidden"]]):
        y = np.asarray(jax.nn.selu(y @ np.asarray(kernel)))
        known = {"omega": kernel.sum(0), "tau": (kernel**2).sum(0), "mean": y.mean(0), "var": y.var(0)}
        for name, value in known.items():
            np.testing.assert_allclose(found[name][at], value, atol=1e-4)
    inside = normalized_training.within({"a": jnp.array([0.0, 2.0]), "b": jnp.array([1.0, 1.0])}, {"a": (-1, 1)})
    assert inside.tolist() == [True, False]


def test_backward_factors_of_networks_are_those_of_theory(tmp_path):
    """Within a tenth of a decade: 256 units, 16 examples, four seeds."""
    config = normalized_training.Config(transient=3, width=256, examples=16)
    found = normalized_training.transient(config, Setup(range(4), tmp_path))
    np.testing.assert_allclose(found["measured"].mean(0), found["theory"], atol=0.1)
    assert found["theory"][0, 0] == pytest.approx(3 * np.log10(1.0716), abs=1e-4)
