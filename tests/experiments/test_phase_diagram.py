"""The experiment on order and chaos: small networks near theory, what it writes and refuses."""

import json

import numpy as np
import pytest

from experiments import phase_diagram


@pytest.mark.thorough
def test_networks_are_near_theory(tmp_path):
    sizes = {"grid": 3, "seeds": 4, "width": 256, "depth": 8, "resolution": 20}
    numbers = phase_diagram.run(phase_diagram.Config(out=tmp_path, **sizes))
    assert numbers["largest_gap"] < 0.15  # four networks whose correlations have a deviation of sqrt(8 / 256) at most
    assert numbers["share_within"] > 0.8
    assert 0 < numbers["chaotic"] < 1
    names = {"phase_diagram.png", "phase_diagram.svg", "phase_diagram.npz", "report.md", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "report.json").read_text()) == numbers
    with np.load(tmp_path / "phase_diagram.npz") as arrays:
        assert arrays["measured"].shape == (4, 9, 8)
        assert arrays["theory"].shape == (9, 9)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"`activation` must be one of"):
        phase_diagram.Config(activation="tahn")
    with pytest.raises(ValueError, match=r"`weights` must satisfy 0 <= low < high; got 2, 1"):
        phase_diagram.Config(weights=(2.0, 1.0))
    with pytest.raises(ValueError, match=r"`seeds` must be a whole number >= 2; got 1"):
        phase_diagram.Config(seeds=1)
