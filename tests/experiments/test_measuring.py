"""Experiments that measure networks: what they write, what theory and lecture say of it, and what they refuse."""

import json

import jax
import numpy as np
import pytest

from experiments import audit, critical_points, initialization, landscape
from jnorm.activations import ELEMENTWISE

MODULES = {"audit": audit, "critical_points": critical_points, "initialization": initialization, "landscape": landscape}


@pytest.fixture(autouse=True)
def _as_scripts():
    """Optax and Flax promote types, and experiments run as they do."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.thorough) for name in MODULES])
def test_what_is_written(name, tmp_path):
    options = {"activations": ("tanh",), "units": 20} if name == "initialization" else {}
    numbers = MODULES[name].run(MODULES[name].Config(out=tmp_path, quick=True, **options))
    names = {f"{name}.png", f"{name}.svg", f"{name}.npz", "report.md", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    read = json.loads((tmp_path / "report.json").read_text())
    assert read.keys() == numbers.keys()
    if name == "audit":  # three faults were planted, at blocks 2, 4 and 6
        assert [fault.partition(" equation ")[2].partition(",")[0] for fault in read["faults"]] == ["10", "23", "30"]


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_histograms_that_are_predicted_are_those_of_draws(name):
    """Of one layer: shares of 400 000 draws, within five standard errors of each bin and the steps of the quantiles."""
    phi, ends = ELEMENTWISE[name], initialization.ENDS[name]
    stds, shares = initialization.predicted(phi, 0.1, 400, 1, ends)
    values = np.asarray(phi(2.0 * jax.random.normal(jax.random.key(0), (400_000,))))
    drawn = np.histogram(values, initialization.BINS, ends)[0] / values.size
    assert np.abs(shares[0] - drawn).max() < 5 * np.sqrt(0.5 / values.size) + 1e-4
    assert stds[0] == pytest.approx(values.std(), rel=5 / np.sqrt(values.size))


def test_descent_leaves_the_saddle_along_the_diagonal():
    ends = critical_points.descents(np.array([[1.5, -1.45], [-1.45, 1.5]]), 0.05, 400)[:, -1]
    np.testing.assert_allclose(ends[:, 0] * ends[:, 1], 1, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: audit.Config(blocks=7), "`blocks` must be a whole number >= 8; got 7"),
        (lambda: audit.Config(gains=(0.0,)), "`gains` must satisfy gains > 0; got 0.0"),
        (lambda: critical_points.Config(decay=0.0), "`decay` must satisfy decay > 0; got 0.0"),
        (lambda: initialization.Config(activations=("tahn",)), "`activations` must be one of"),
        (lambda: initialization.Config(activations=()), "`activations` must name at least one"),
        (lambda: landscape.Config(seeds=1), "`seeds` must be a whole number >= 2; got 1"),
    ],
)
def test_bad_options_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
