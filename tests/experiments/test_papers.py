"""Figures of papers: rules decide made-up results rightly, what is measured is what NumPy says, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import __main__ as cli
from experiments import common, papers
from experiments.checks import Refused
from experiments.papers import asking, batch_norm, course, glorot, he, snn
from jnorm import initializers, losses, sweeps
from jnorm.activations import sigmoid
from jnorm.nn import batch_norm as normalizer
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.statistics import Runs
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")
SEEDS = 6


@pytest.fixture(autouse=True)
def _as_scripts():
    """Experiments run with JAX's own rules of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def command_line(monkeypatch):
    """The devices of the test run are made already, and it has its own cache."""
    monkeypatch.setattr(sweeps, "use_cores", lambda **options: None)
    monkeypatch.setattr(common, "use_cache", lambda folder: None)


def runs(means, names, metrics):
    """Made-up runs of arms, (values of ``names``): (mean of each metric), that spread by a thousandth."""
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(metrics), len(means), SEEDS))
    arrays = {name: np.array([m[i] for m in means.values()])[:, None] + noise[i] for i, name in enumerate(metrics)}
    return Runs([dict(zip(names, arm, strict=True)) for arm in means], arrays)


def selu_against_batch_norm(losses_):
    """Both networks by depth; jumps of selu are smaller."""
    means = {
        (normed, depth, snn.RATE): (losses_[depth][normed], 0.05 + 0.05 * normed)
        for normed in (False, True)
        for depth in snn.DEPTHS
    }
    return runs(means, ("normed", "depth", "rate"), ("log_loss", "jumps"))


@pytest.mark.parametrize(
    ("made_up", "word"),
    [
        ({8: (-1.0, -0.5), 16: (-1.0, -0.4), 32: (-1.0, 0.3)}, "reproduced"),
        ({8: (-0.5, -1.0), 16: (-1.0, -0.4), 32: (-1.0, 0.3)}, "reproduced in part"),
        ({8: (-1.0, -1.0), 16: (-1.0, -0.4), 32: (-1.0, 0.3)}, "reproduced in part"),  # equal is not lower by a tenth
        ({8: (-1.0, -1.0 + np.log10(1.1)), 16: (-1.0, -0.4), 32: (-1.0, 0.3)}, "undecided"),  # just a tenth
    ],
)
def test_the_rule_of_selu_against_batch_norm(made_up, word):
    assert asking.word(asking.judged(selu_against_batch_norm(made_up), snn.RULES)) == word


@pytest.mark.parametrize(
    ("normed", "word"),
    [
        ((0.98, 10.0, -1.0, -1.0), "reproduced"),
        ((0.98, 10.0, -1.0, 1.0), "reproduced in part"),
        ((0.9705, 12.5, 0.0, 0.0), "contradicted"),
    ],
)
def test_the_rule_of_batch_norm(normed, word):
    means = {(False, 0.1): (0.97, 13.0, 0.0, 0.0), (True, 0.1): normed}
    made_up = runs(means, ("normed", "rate"), ("accuracy", "log2_steps", "drift", "change"))
    assert asking.word(asking.judged(made_up, batch_norm.RULES)) == word


@pytest.mark.parametrize(("error", "word"), [(1.5, "reproduced"), (1.76, "reproduced in part")])
def test_the_rules_of_normalized_weights(error, word):
    starts = runs({("standard",): (-1.0, -0.95), ("normalized",): (-0.1, 0.02)}, ("law",), ("activations", "gradients"))
    trained = runs({("standard",): (1.76,), ("normalized",): (error,)}, ("law",), ("error",))
    verdicts = asking.judged(starts, glorot.STARTS) + asking.judged(trained, glorot.TRAINED)
    assert asking.word(verdicts) == word


@pytest.mark.parametrize(
    ("accuracies", "word"),
    [((0.95, 0.11), "reproduced"), ((0.95, 0.95), "reproduced in part"), ((0.11, 0.95), "contradicted")],
)
def test_the_rule_of_thirty_layers(accuracies, word):
    made_up = runs({(2.0,): accuracies[:1], (1.0,): accuracies[1:]}, ("gain",), ("test_accuracy",))
    assert asking.word(asking.judged(made_up, he.RULES)) == word


def test_runs_that_all_stay_at_one_class_have_stalled():
    made_up = runs({(2.0,): (0.95,), (1.0,): (0.1135,)}, ("gain",), ("test_accuracy",))
    made_up["test_accuracy"][1] = 0.1135
    assert asking.word(asking.judged(made_up, he.RULES)) == "reproduced"


def test_rounded_means_and_their_intervals():
    values = np.array([[1.0], [2.0], [3.0]])
    mean, half = asking.band(values)
    assert mean == pytest.approx([2.0])
    assert half == pytest.approx([4.302652729911275 / 3**0.5])  # Student's, two degrees of freedom
    assert asking.interval(values[:, 0], "{:.2f}") == "2.00 [-0.48, 4.48]"
    assert asking.interval(np.array([1.0, np.nan])) == "1"


@pytest.mark.parametrize("normed", [False, True])
def test_percentiles_are_those_before_and_behind_the_normalizer(normed):
    init = initializers.normal(0.5)
    layer = Layer(sigmoid, init, normalizer=normalizer if normed else None, input_init=init, readout_init=init)
    network = networks.mlp((7, 5, 4, 3), layer)
    params, state = network.init(jax.random.key(0))
    x = np.asarray(jax.random.normal(jax.random.key(1), (40, 7)))
    if normed:
        norm = params[1]["norm"]
        params[1]["norm"] = norm._replace(scale=2 * norm.scale, shift=norm.shift + 3)
    before, behind = np.asarray(batch_norm.percentiles(network, params, state, jnp.asarray(x)))

    def pre(params, y):
        z = y @ np.asarray(params["kernel"], np.float64) + (0 if normed else np.asarray(params["bias"]))
        if not normed:
            return z, z
        units = params["norm"]
        return z, (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) * np.asarray(units.scale) + np.asarray(units.shift)

    y = 1 / (1 + np.exp(-pre(params[0], x)[1]))
    for measured, expected in zip((before, behind), pre(params[1], y), strict=True):
        np.testing.assert_allclose(measured, np.percentile(expected, (15, 50, 85), axis=0), atol=2e-5)  # float32
    assert np.array_equal(before, behind) != normed
    if normed:
        assert np.abs(behind[1] - 3).max() < 1.5  # about the shift


def test_movement_is_in_spreads():
    still = np.stack([np.array([-1.0, 0.0, 1.0])] * 2)  # two looks at one unit
    moved = np.stack([[-1.0, 0.0, 1.0], [0.0, 2.0, 4.0]])  # median by 2, spread from 2 to 4
    drift, change = batch_norm.movement(np.stack([still, moved], -1))
    np.testing.assert_allclose(drift, [0, 1 / 3])
    np.testing.assert_allclose(change, [0, 1 / 3])


def test_steps_are_counted_to_what_the_same_seed_reaches_without():
    curves = np.array([[[0.5, 0.6, 0.7], [0.5, 0.6, 0.9]], [[0.7, 0.8, 0.9], [0.8, 0.8, 0.8]]])
    inputs = np.random.default_rng(0).normal(size=(2, 2, 3, 2, 3, 5))
    grid = [{"normed": False, "rate": 0.1}, {"normed": True, "rate": 0.1}]
    made = Runs(grid, {"curve": curves, "input": inputs}, np.zeros((2, 2), bool))
    found = batch_norm.summed_up(made, every=4)
    np.testing.assert_allclose(2 ** found["log2_steps"], [[12, 12], [4, 24]])  # the last never
    np.testing.assert_allclose(found["accuracy"], curves[..., -1])
    drift = batch_norm.movement(inputs[1, 0, :, 0])[0]
    assert found["drift before"][1, 0] == pytest.approx(np.log10(np.median(drift)))


def test_jumps_are_those_within_stretches():
    loss = np.abs(np.random.default_rng(0).normal(1, 0.1, 400)).astype(np.float32)
    found = snn.summed_up(jnp.asarray(loss), 40)
    np.testing.assert_allclose(found["curve"], loss.reshape(40, 10).mean(1), rtol=1e-5)
    assert float(found["log_loss"]) == pytest.approx(np.log10(loss[-20:].mean()), abs=1e-5)  # float32
    expected = np.mean([np.log10(loss[200 + 20 * i : 220 + 20 * i]).std() for i in range(10)])
    assert float(found["jumps"]) == pytest.approx(expected, rel=1e-4)


def test_signals_of_a_start_are_those_of_each_layer():
    network = glorot.network_of("normalized", 6, 8)
    params, state = network.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (20, 6))
    y = jnp.arange(20) % 10
    found = glorot.signals(network, params, state, x, y)
    values = [np.asarray(x, np.float64)]
    for block in params[:-1]:
        values.append(np.tanh(values[-1] @ np.asarray(block["kernel"], np.float64)))
    np.testing.assert_allclose(found["activation"], [a.std() for a in values[1:]], rtol=1e-4)
    logits = values[-1] @ np.asarray(params[-1]["kernel"], np.float64)
    slope = np.asarray(jax.grad(lambda z: losses.softmax_cross_entropy(z, y).sum())(jnp.asarray(logits, np.float32)))
    deviations = []
    for above, a in zip(params[:0:-1], values[:0:-1], strict=True):
        slope = (slope @ np.asarray(above["kernel"], np.float64).T) * (1 - a**2)
        deviations.append(slope.std())
    np.testing.assert_allclose(found["gradient"], deviations[::-1], rtol=1e-3)  # float32, five layers
    for name in ("activation", "gradient"):
        assert 0.95 < np.asarray(found[f"{name}_histogram"])[-1].sum() <= 1.001


def test_options_that_are_none_are_refused():
    for options, message in (
        ({"seeds": 1}, "`seeds` must be a whole number >= 2; got 1"),
        ({"figures": ("snn", "snn")}, "`figures` must hold at least one, and none twice"),
        ({"figures": ("he", "batch_norm")}, "`figures` must be one of snn, batch-norm, glorot, he; got 'batch_norm'"),
        ({"quick": True, "whole": True}, "`whole` must be False with quick"),
    ):
        with pytest.raises(ValueError, match=message):
            papers.Config(**options)


@pytest.mark.usefixtures("command_line")
def test_without_mnist_nothing_begins(tmp_path, capsys):
    arguments = ["papers", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path)]
    assert cli.main(arguments) == cli.EXITS["refused"]
    assert "train-images-idx3-ubyte" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_store_of_a_later_figure_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "he" / "store").mkdir(parents=True)
    (tmp_path / "he" / "store" / "manifest.json").write_text("{}")
    monkeypatch.setattr(course, "pixels", lambda folder: pytest.fail("went on"))
    with pytest.raises(Refused, match=r"he/store' holds a sweep: --resume continues it"):
        papers.run(papers.Config(out=tmp_path))


@pytest.mark.filterwarnings("ignore:.*runs diverged", "ignore:.*every output is the same")
@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("figure", beside(["he"], papers.FIGURES))
def test_a_quick_run_by_the_command_line(figure, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    parts = {
        part: (rng.random((size, 784), np.float32), (np.arange(size) % 10).astype(np.int32))
        for part, size in {"train": 300, "dev": 40, "test": 40}.items()
    }
    monkeypatch.setattr(course, "pixels", lambda folder: lambda standardized: parts)
    out = tmp_path / "out"
    arguments = ["papers", "--quick", "--seeds", "2", "--figures", figure, "--out", str(out)]
    assert cli.main(arguments) == 0
    report = json.loads((out / "report.json").read_text())
    ((name, found),) = report["figures"].items()
    assert name == figure
    assert found["verdict"] in ("reproduced", "reproduced in part", "contradicted", "undecided")
    assert all(set(row) == {"what", "published", "measured"} for row in found["table"])
    text = (out / "report.md").read_text()
    assert f"VERDICT: **{found['verdict']}**" in text
    assert "Quick: everything runs" in text
    files = {path.name for path in out.iterdir()}
    assert {f"{figure}.png", f"{figure}.svg", f"{figure}.npz", "report.md"} <= files
    assert files >= set(course.STORES[figure])
    assert cli.main(arguments) == cli.EXITS["refused"]
    assert "holds a sweep: --resume continues it" in capsys.readouterr().err
    assert cli.main([*arguments, "--resume"]) == 0
    again = json.loads((out / "report.json").read_text())["figures"][figure]
    assert again["table"] == found["table"]
