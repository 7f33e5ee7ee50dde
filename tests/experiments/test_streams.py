"""The experiment on random streams, small: what it finds where the answer is known, what it writes and refuses."""

import json

import numpy as np
import pytest

from experiments import streams
from experiments.common import Refused

# Without dropout its key has no effect, which a sweep tells.
pytestmark = pytest.mark.filterwarnings("ignore:every output is the same")

SMALL = {"inits": 3, "orders": 2, "dropouts": 2, "units": 8, "depth": 1, "epochs": 1}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    config = streams.Config(out=tmp_path_factory.mktemp("streams"), **SMALL)
    return config, streams.run(config)


@pytest.mark.thorough
def test_every_stream_brings_something(done):
    _, numbers = done
    assert numbers["runs"] == 12
    assert numbers["diverged"] == 0
    for score in ("test_accuracy", "test_loss"):
        table = numbers[score]
        assert table["share"].dtype == np.float64
        np.testing.assert_array_equal(table["freedom"], [2, 1, 1, 2, 2, 1, 2])
        np.testing.assert_allclose(table["share"].sum(), 1, rtol=1e-12)  # float64
        assert (table["share_low"] <= table["share_high"]).all()
    assert (numbers["test_loss"]["squares"] > 0).all()


@pytest.mark.thorough
def test_files_are_written_and_say_the_same(done):
    config, numbers = done
    names = {path.name for path in config.out.iterdir()}
    assert names == {"shares.png", "shares.svg", "shares.npz", "report.md", "report.json", "store"}
    report = json.loads((config.out / "report.json").read_text())
    assert report["test_loss"]["share"] == numbers["test_loss"]["share"].tolist()
    arrays = np.load(config.out / "shares.npz")
    assert arrays["test_loss"].shape == (3, 2, 2)
    np.testing.assert_array_equal(arrays["test_accuracy_share"], numbers["test_accuracy"]["share"])
    text = (config.out / "report.md").read_text()
    assert text.count("| initialization x data order x dropout |") == 2
    assert "diverged" not in text


@pytest.mark.thorough
def test_without_dropout_its_key_brings_nothing(tmp_path):
    numbers = streams.run(streams.Config(out=tmp_path, dropout=0.0, **SMALL))
    with_it = ["dropout" in name for name in numbers["effects"]]
    squares = numbers["test_loss"]["squares"]
    # Runs of the same key in another lane may round otherwise: float32 losses, relative 1e-6 after 40 steps, squared.
    assert squares[with_it].max() < 1e-10 * squares.sum()
    assert squares[np.logical_not(with_it)].min() > 1e4 * squares[with_it].max()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:12 of 12 runs diverged")
def test_divergence_is_said(tmp_path):
    numbers = streams.run(streams.Config(out=tmp_path, rate=1e30, **SMALL))
    assert numbers["diverged"] == 12
    assert "12 of 12 runs diverged: nothing can be said of components." in (tmp_path / "report.md").read_text()
    assert np.isnan(numbers["test_loss"]["share"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inits": 1}, "`inits` must be a whole number >= 2; got 1"),
        ({"orders": 1}, "`orders` must be a whole number >= 2; got 1"),
        ({"dropouts": 0}, "`dropouts` must be a whole number >= 2; got 0"),
        ({"rate": 0.0}, r"`rate` must satisfy rate > 0; got 0\.0"),
        ({"dropout": 1.0}, r"`dropout` must satisfy 0 <= dropout < 1; got 1\.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        streams.Config(**options)


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(Refused, match="`batch` must satisfy batch <= 1257, the training examples; got 2000"):
        streams.run(streams.Config(out=tmp_path, batch=2000))
