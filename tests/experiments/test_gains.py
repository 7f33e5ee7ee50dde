"""The experiment on gains: known values, what it writes and refuses."""

import json

import numpy as np
import pytest

from experiments import gains


@pytest.mark.thorough
def test_known_gains_and_files(tmp_path):
    numbers = gains.run(gains.Config(out=tmp_path))
    # He et al. 2015 for relu; E[z^2] = 1 for the identity; SELU's fixed point (0, 1).
    for name, forward, backward in (("relu", 2.0, 2.0), ("identity", 1.0, 1.0)):
        assert numbers["gains"][name] == pytest.approx({"forward": forward, "backward": backward}, rel=1e-12)
    assert numbers["gains"]["selu"]["forward"] == pytest.approx(1, rel=1e-12)  # float64
    assert {path.name for path in tmp_path.iterdir()} == {
        "gains.png",
        "gains.svg",
        "gains.npz",
        "report.md",
        "report.json",
    }
    assert json.loads((tmp_path / "report.json").read_text()) == numbers
    with np.load(tmp_path / "gains.npz") as arrays:
        assert (np.diff(arrays["forward"]) >= 0).all()
    assert "| relu | 2.0000 | 2.0000 |" in (tmp_path / "report.md").read_text()


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"`var` must satisfy var > 0; got 0\.0"):
        gains.Config(var=0.0)
