"""The experiment on finite width: what it writes and refuses, and its statistics."""

import json

import numpy as np
import pytest

from experiments import finite_width


@pytest.mark.thorough
def test_networks_are_near_theory(tmp_path):
    config = finite_width.Config(out=tmp_path, widths=(16, 256), depth=8, budget=3e6)
    numbers = finite_width.run(config)
    for at in numbers["leaves"].values():
        assert abs(at["log length"]["largest_gap"]) < 0.05 + 4 * at["log length"]["error"]
    names = {"finite_width.png", "finite_width.svg", "finite_width.npz", "report.md", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "report.json").read_text())["leaves"].keys() == {"relu", "tanh"}
    with np.load(tmp_path / "finite_width.npz") as arrays:
        assert arrays["relu_log"].shape == arrays["tanh_length_theory"].shape == (2, len(arrays["layers"]))


def test_a_spread_and_its_error():
    values = np.random.default_rng(0).normal(size=(4000, 3))
    found = finite_width.spread(values)
    np.testing.assert_allclose(found.error, 1 / np.sqrt(2 * 4000), rtol=0.1)
    assert np.all(np.abs(found.value - 1) < 4 * found.error)


def test_where_a_ratio_leaves():
    rate, ratio = np.array([0.1, 0.2, 0.4]), np.array([1.07, 1.2, 1.3])
    assert finite_width.leaves(ratio, np.array([0.01, 0.01, 0.01]), rate) == 0.2
    assert finite_width.leaves(ratio, np.array([0.1, 0.1, 0.1]), rate) == np.inf


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"`activations` must be one of"):
        finite_width.Config(activations=("tahn",), sigma_w=(1.0,))
    with pytest.raises(ValueError, match=r"`sigma_w` must have one number for each of `activations`; got 1"):
        finite_width.Config(sigma_w=(1.0,))
    with pytest.raises(ValueError, match=r"`widths` must be a whole number >= 2; got 1"):
        finite_width.Config(widths=(1,))
