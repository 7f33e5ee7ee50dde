"""The training experiments, small: what they compute, what they write, how they resume, what they refuse."""

import json

import numpy as np
import pytest

from experiments import classification, mnist, seed_sweep
from experiments.common import Refused

# A rate of 1e30 diverges, and the sweep says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*runs diverged")
SMALL = {"seeds": 3, "kinds": ("selu", "relu+bn"), "depths": (1, 2), "rates": (0.1, 1e30), "units": 8, "epochs": 2}


def test_digits_are_three_standardized_parts():
    data = classification.load("digits", None)
    assert data.classes == 10
    sizes = {part: len(x) for part, (x, _) in data.parts.items()}
    assert sizes == {"train": 1257, "dev": 270, "test": 270}
    x, y = data.parts["train"]
    # float32: the mean of 80448 numbers of size 1.
    np.testing.assert_allclose([x.mean(dtype=np.float64), x.var(dtype=np.float64)], [0, 1], atol=1e-5)
    assert np.bincount(y).min() > 115
    iris = classification.load("iris", None).parts["train"][0]
    np.testing.assert_allclose(iris.mean(0), 0, atol=1e-6)
    with pytest.raises(Refused, match="`data` must have classes; 'diabetes' is a regression"):
        classification.load("diabetes", None)
    with pytest.raises(Refused, match="`name` must be one of"):
        classification.load("digitss", None)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    config = seed_sweep.Config(out=tmp_path_factory.mktemp("sweep"), **SMALL)
    return config, seed_sweep.run(config)


@pytest.mark.thorough
def test_the_best_rate_is_chosen_and_divergence_is_counted(done):
    config, numbers = done
    assert numbers["runs"] == 2 * 2 * 2 * 3
    found = {(row["kind"], row["depth"]): row for row in numbers["results"]}
    assert set(found) == {(k, d) for k in config.kinds for d in config.depths}
    for row in found.values():
        assert row["rate"] == np.float32(0.1)
        assert row["test"].shape == (3,)
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["diverged"] == 0
    assert found["selu", 1]["diverged_at_any_rate"] == 3
    assert found["selu", 1]["mean"] > 0.8  # 80 steps: chance is .1
    assert numbers["diverged"] >= 6


@pytest.mark.thorough
def test_files_are_written_and_say_the_same(done):
    config, numbers = done
    files = {path.name for path in config.out.iterdir()}
    assert files == {"accuracy.png", "accuracy.svg", "accuracy.npz", "report.md", "report.json", "store"}
    report = json.loads((config.out / "report.json").read_text())
    assert report["results"][0]["mean"] == numbers["results"][0]["mean"]
    arrays = np.load(config.out / "accuracy.npz")
    np.testing.assert_array_equal(arrays["selu"][:, 0], numbers["results"][0]["test"])
    text = (config.out / "report.md").read_text()
    assert "| relu+bn |" in text
    assert f"{numbers['diverged']} of 24 runs diverged" in text


@pytest.mark.thorough
def test_a_store_is_continued_only_when_asked_and_only_its_own(done):
    config, numbers = done
    options = {"out": config.out, **SMALL}
    with pytest.raises(Refused, match="holds a sweep: --resume continues it, another --out starts anew"):
        seed_sweep.run(seed_sweep.Config(**options))
    again = seed_sweep.run(seed_sweep.Config(**options, resume=True))
    np.testing.assert_array_equal(again["results"][0]["test"], numbers["results"][0]["test"])
    with pytest.raises(Refused, match="belongs to another sweep"):
        seed_sweep.run(seed_sweep.Config(**options | {"units": 9}, resume=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 1}, "`seeds` must be a whole number >= 2; got 1"),
        ({"kinds": ()}, r"`kinds` must hold at least one value, and none twice; got \(\)"),
        ({"kinds": ("gelu",)}, "`kinds` must be one of selu, relu, elu, tanh, sigmoid, relu\\+bn; got 'gelu'"),
        ({"depths": (2, 2)}, r"`depths` must hold at least one value, and none twice; got \(2, 2\)"),
        ({"depths": (0,)}, "`depths` must satisfy depths >= 1; got 0"),
        ({"rates": (-0.1,)}, r"`rates` must satisfy rates > 0; got -0\.1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        seed_sweep.Config(**options)


def test_what_only_the_data_can_tell_is_refused_before_training(tmp_path):
    with pytest.raises(Refused, match="`batch` must satisfy batch <= 1257, the training examples; got 2000"):
        seed_sweep.run(seed_sweep.Config(out=tmp_path, batch=2000))
    with pytest.raises(Refused, match="`distributed` must be used where a cluster starts the processes"):
        seed_sweep.run(seed_sweep.Config(out=tmp_path, distributed=True))


def test_mnist_without_its_files_is_refused(tmp_path):
    with pytest.raises(Refused, match="train-images-idx3-ubyte"):
        mnist.run(mnist.Config(out=tmp_path, data_dir=tmp_path))
    with pytest.raises(ValueError, match="`dropout` must satisfy 0 <= dropout < 1; got 1"):
        mnist.Config(dropout=1.0)


@pytest.mark.thorough
def test_mnist_learns(tmp_path, data_dir):
    numbers = mnist.run(mnist.Config(out=tmp_path, data_dir=data_dir, seeds=2, units=64, epochs=1))
    # One epoch of a small network reaches 95 %; eight seeds of the defaults are measured by the README's command.
    assert numbers["mean"] > 0.93
    assert numbers["test_accuracy"].shape == (2,)
    assert "Mean test accuracy" in (tmp_path / "report.md").read_text()
