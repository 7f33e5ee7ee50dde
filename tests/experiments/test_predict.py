"""The experiments on predictions and on repair, small: what they find, write and refuse."""

import json

import jax
import numpy as np
import pytest

from experiments import initializations, models, predict, repair
from jnorm import predict as room

FILES = {"report.md", "report.json"}


@pytest.fixture(autouse=True)
def _as_scripts():
    """Optax and Flax promote types, and experiments run as they do."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def files(name):
    return FILES | {f"{name}.{ending}" for ending in ("png", "svg", "npz")}


def test_real_rows_are_those_of_the_prediction():
    """Second moments by running the model, gradients by a shift of its input: of the last row, and of a linear one."""
    x = models.data(2, 8)
    model = models.Model(lambda w, x: jax.nn.relu(x @ w) * 2.0, lambda key: jax.random.normal(key, (8, 64)), x)
    prediction = room.predict(model.apply, model.draw(jax.random.key(0)), x, gradients=True)
    assert [row.name for row in prediction] == ["dot_general", "mul"]
    found = initializations.real(model, prediction, 4)
    drawn = [model.draw(jax.random.split(key)[0]) for key in jax.random.split(jax.random.key(1), 4)]
    exact = [[np.mean(np.square(x @ w)), np.mean(np.square(2 * np.maximum(x @ w, 0)))] for w in drawn]
    np.testing.assert_allclose(found.second[0], np.mean(exact, 0), rtol=1e-5)  # float32
    np.testing.assert_allclose(found.second[1], np.std(exact, 0, ddof=1) / 2, rtol=1e-4)
    assert found.gradient[0, 1] == pytest.approx(1.0, abs=0.5)  # of 4 x 128 normal cotangents
    assert found.gradient[0, 0] == pytest.approx(2.0, abs=1.0)  # half of them, times 2^2


def test_every_model_has_a_prediction_and_products():
    for name, model in repair.four(64, 6, 0.02).items():
        params = jax.eval_shape(model.draw, jax.random.key(0))
        assert jax.eval_shape(model.apply, params, model.x).shape[-1] == 64, name
    assert len(predict.six(64, 12)) == 6


@pytest.mark.thorough
def test_predictions_are_near_real_networks(tmp_path):
    numbers = predict.run(predict.Config(out=tmp_path, quick=True))
    assert {path.name for path in tmp_path.iterdir()} == files("predict")
    for found in numbers["gaps"].values():
        # Eight networks of 64 units: their own error, and that of theory, which is first order in depth / width.
        assert found["forward_median"] < 0.05 + 4 * found["forward_error"]
        assert found["backward_median"] < 0.1 + 4 * found["backward_error"]
    assert json.loads((tmp_path / "report.json").read_text())["gaps"] == numbers["gaps"]


@pytest.mark.thorough
def test_repaired_networks_have_products_of_size_one(tmp_path):
    numbers = repair.run(repair.Config(out=tmp_path, quick=True))
    assert {path.name for path in tmp_path.iterdir()} == files("repair")
    for found in numbers["models"].values():
        assert found["before"][0] < 0.3
        assert all(abs(end - 1) < 0.15 + 4 * found["error"] for end in found["after"])


@pytest.mark.parametrize("module", [predict, repair])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 1}, "`draws` must be a whole number >= 2; got 1"),
        ({"depth": 1}, "`depth` must be a whole number >= "),
        ({"width": 32}, "`width` must be a whole number >= 64; got 32"),
        ({"width": 70}, "`width` must be a multiple of 4; got 70"),
    ],
)
def test_bad_options_are_refused(module, options, message):
    with pytest.raises(ValueError, match=message):
        module.Config(**options)
