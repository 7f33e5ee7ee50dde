"""The experiment on transformed activations: small networks near theory, what it writes and refuses."""

import json

import numpy as np
import pytest

from experiments import transforms


def test_constants_are_those_that_were_asked_for():
    config = transforms.Config()
    made = transforms.functions(config)
    assert {(name, rule) for name, rules in made.items() for rule in rules} == {
        (name, rule) for name in transforms.FAMILIES for rule in transforms.RULES[1:]
    }
    for rules in made.values():
        assert all(found.converged for found in rules.values())
        np.testing.assert_allclose(
            rules["deep kernel shaping"].predicted.slope ** config.depth, config.slope, rtol=1e-9
        )
        np.testing.assert_allclose([rules[rule].predicted.chi for rule in transforms.RULES[1::2]], 1, rtol=1e-9)


@pytest.mark.thorough
def test_networks_are_near_theory(tmp_path):
    shallow = transforms.Config(out=tmp_path, depth=8, width=256, seeds=4, correlation=0.7)  # what 8 layers can reach
    numbers = transforms.run(shallow)
    assert numbers["converged"]
    for row in numbers["rows"].values():
        # Four networks whose correlations have a deviation of sqrt(8 / 256) at most, each averaged over 4 pairs.
        assert abs(row["correlation"]["theory"] - row["correlation"]["networks"]) < 0.15
        assert abs(np.log(row["gradient"]["theory"] / row["gradient"]["networks"])) < 0.5
    names = {"transforms.png", "transforms.svg", "transforms.npz", "report.md", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "report.json").read_text()) == numbers
    with np.load(tmp_path / "transforms.npz") as arrays:
        assert arrays["correlation"].shape == (4, 12, 8)
        assert arrays["theory_gradient"].shape == (12, 8)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"`seeds` must be a whole number >= 2; got 1"):
        transforms.Config(seeds=1)
    with pytest.raises(ValueError, match=r"`slope` must satisfy slope > 1; got 1"):
        transforms.Config(slope=1.0)
    with pytest.raises(ValueError, match=r"`correlation` must satisfy 0 < correlation < 1; got 1"):
        transforms.Config(correlation=1.0)
