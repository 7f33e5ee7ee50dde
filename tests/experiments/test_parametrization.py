"""The experiment on learning rates over widths, small: vertices of known curves, what it writes and refuses."""

import json

import numpy as np
import pytest

from experiments import parametrization
from experiments.common import Refused


def test_best_rates_of_known_curves():
    rates = [2.0**k for k in range(-6, 1)]
    x = np.log2(rates)
    vertex = np.array([-4.7, -1.25, -3.0])
    loss = np.exp((x - vertex[:, None]) ** 2 / 5 - 2)  # parabolas in the logarithms
    np.testing.assert_allclose(parametrization.best_rates(loss, rates), vertex, rtol=1e-12)  # roundings
    loss[0, 3:] = np.nan
    np.testing.assert_allclose(parametrization.best_rates(loss, rates), vertex, rtol=1e-12)
    ends = np.exp(np.stack([x, -x]))
    assert parametrization.best_rates(ends, rates).tolist() == [-6.0, 0.0]
    beside = np.where(x > -4, np.nan, np.exp(-x))  # the best one has no neighbour on one side
    assert parametrization.best_rates(beside, rates) == -4
    assert np.isnan(parametrization.best_rates(np.full(7, np.inf), rates))


@pytest.mark.thorough
def test_rates_transfer_and_files_are_written(tmp_path):
    numbers = parametrization.run(parametrization.Config(out=tmp_path, widths=(64, 512)))
    found = numbers["rules"]
    # Equal at the base: at the smallest rate, float32 roundings of 100 steps; large rates amplify them.
    np.testing.assert_allclose(found["mup"]["loss"][0, :, 0], found["standard"]["loss"][0, :, 0], rtol=1e-4)
    assert found["standard"]["high"] < -1  # octaves, with 95 % confidence over seeds
    assert -1 < found["mup"]["low"] < found["mup"]["high"] < 1
    assert numbers["verdicts"]["standard"] == {"verdict": "not supported", "suspects": ("3/kernel",)}
    assert numbers["verdicts"]["mup"]["suspects"] == ()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"rates.png", "rates.svg", "rates.npz", "report.md", "report.json", "store"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rules"]["mup"]["octaves"] == found["mup"]["octaves"]
    assert "| standard | " in (tmp_path / "report.md").read_text()


def test_bad_options_are_refused(tmp_path):
    config = parametrization.Config
    with pytest.raises(ValueError, match=r"`widths` must be 2 or more rising numbers; got \(64, 64\)"):
        config(widths=(64, 64))
    with pytest.raises(ValueError, match=r"`rates` must be 3 or more rising numbers; got \(0\.1, 0\.01, 0\.001\)"):
        config(rates=(0.1, 0.01, 0.001))
    with pytest.raises(ValueError, match=r"`depth` must be a whole number >= 2; got 1"):
        config(depth=1)
    with pytest.raises(ValueError, match=r"`kind` must be one of selu, .*; got 'gelu'"):
        config(kind="gelu")
    with pytest.raises(Refused, match=r"`batch` must satisfy batch <= 1257"):
        parametrization.run(config(out=tmp_path, batch=5000))
