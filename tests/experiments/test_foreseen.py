"""What theory foresees of claims: z-scores from made-up runs, both pages, and theory against known cases."""

import json
import math

import jax
import numpy as np
import pytest

from experiments.claims import backward, begun, chains, page, published, records, registry
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.foreseen import EXACT, LIMIT, cells, foreseen, inverse
from experiments.claims.topics import initialization
from experiments.common import Output
from jnorm.activations import identity, relu, tanh
from jnorm.theory import meanfield
from tests.thorough import beside

IDS = ("N2", "N4", "N18", "N23", "I2", "I5", "I6", "I7", "I9", "I11", "D1", "D2", "D3")


@pytest.fixture(autouse=True)
def _as_scripts():
    """Experiments run with JAX's own rules of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_scores_of_made_up_runs():
    runs = np.array([1.0, 1.2, 1.4])
    row = foreseen("a mean", 1.0, runs)
    assert row[:4] == ("a mean", LIMIT, 1.0, pytest.approx(1.2))
    assert row.error == pytest.approx(0.2 / math.sqrt(3))
    assert row.z == pytest.approx(math.sqrt(3))
    assert row.relative == pytest.approx(0.2)
    own = foreseen("by run", [1.0, 1.3, 1.3], runs)  # gaps 0, -.1, .1
    assert (own.predicted, own.z) == (pytest.approx(1.2), pytest.approx(0, abs=1e-12))
    assert own.error == pytest.approx(0.1 / math.sqrt(3))
    log = foreseen("log10", 0.0, [0.1, 0.3, 0.2], base=10)
    assert log.relative == pytest.approx(10**0.2 - 1)  # of what it is the logarithm of
    turned = inverse(row, "1 over it")
    assert (turned.predicted, turned.measured) == (1.0, pytest.approx(1 / 1.2))
    assert turned.error == pytest.approx(row.error / 1.44)


def test_the_score_of_right_theory_is_standard_normal():
    """Of 2000 sets of 32 normal runs: Student's deviation is sqrt(31/29), and its error over so many 2 %."""
    rng = np.random.default_rng(0)
    z = np.array([foreseen("x", 3.0, rng.normal(3, 2, 32)).z for _ in range(2000)])
    assert z.std() == pytest.approx(math.sqrt(31 / 29), abs=0.08)
    assert abs(z.mean()) < 0.1


def test_runs_without_a_spread_have_no_score():
    assert math.isnan(foreseen("one run", 1.0, [1.1]).z)
    assert math.isnan(foreseen("the same", 1.0, [1.1, 1.1]).z)
    row = foreseen("of zero", 0.0, [0.1, -0.2], theory=EXACT)
    assert math.isnan(row.relative)
    assert cells(row._asdict())[-1] == "-"
    assert cells({**row._asdict(), "z": None})[-2] == "-"  # as JSON has it


def test_both_pages_show_it_and_old_records_still_print(tmp_path):
    measured = {"value": 0.0, "foreseen": [foreseen("a <mean> | b", 1.0, [1.0, 1.2, 1.4])]}
    parts = (Number("a number", "value", low=-1.0),)
    some = {
        "N1": Claim("N1", "A statement.", "What.", parts, lambda config, setup: measured),
        "N2": Claim("N2", "Another.", "What.", parts, lambda config, setup: {"value": 0.0}),
    }
    output, setup = Output.open(tmp_path), Setup(range(4), tmp_path)
    for claim in some.values():
        records.measured(registry.Entry(claim, "topic", {}, {}), {}, setup, output)
    old = json.loads((tmp_path / "N2.json").read_text())
    assert old.pop("foreseen") == []
    (tmp_path / "N2.json").write_text(json.dumps(old))  # as it was before theory foresaw anything
    summary = records.summary(records.read(tmp_path))
    assert summary["claims"][0]["foreseen"][0]["z"] == pytest.approx(math.sqrt(3))
    html, text = page.html(summary, tmp_path, quick=False), published.page(summary, "")
    assert html.count("foreseen by theory") == 1
    assert "a &lt;mean&gt; | b" in html
    assert text.count("Foreseen by theory") == 1
    row = next(line for line in text.splitlines() if line.startswith("| a <mean>"))
    assert row == "| a <mean> \\| b | infinite width | 1 | 1.2 ± 0.12 (3 runs) | +1.7 | +20.00 % |"


def test_gradients_back_are_those_of_mean_field_theory():
    """The products of `growth` along the path of the length, of two inputs; relu with He's weights keeps all."""
    squares, depth = np.array([[0.5, 2.0]]), 5
    found = chains.backward(tanh, 1.2, squares, [2, depth])
    with jax.enable_x64(True):
        step = meanfield.kernel_map(tanh, sigma_w=1.2**0.5)
        grown = np.asarray(meanfield.growth(step, 1.2 * squares[0], depth))
    known = np.log10(np.sum(grown[-1] / grown[:-1], 1)) / 2
    np.testing.assert_allclose(found[0, 1], known, atol=1e-10)  # both in float64, by quadrature to 1e-12
    assert np.isnan(found[0, 0, 2:]).all()
    flat = chains.backward(relu, 2.0, squares, [depth])[0, 0]
    np.testing.assert_allclose(flat, np.log10(2) / 2, atol=1e-12)  # two examples


def test_lengths_are_those_of_the_inputs_that_networks_get():
    """Seen through layers that change nothing: the gradient's norm is that of its draws, and inputs are the same."""
    setup, sizes = Setup(range(2), None), {"units": 64, "examples": 3}
    seen = backward.squares(setup, **sizes)
    assert seen.shape == (2, 3)
    logs = backward.gradients(setup, [(lambda z: z**2, 1.0)], [2], **sizes)
    [said] = chains.backward(lambda z: z**2, 1.0, seen, [2])[:, 0][:1]
    assert logs[0, 0, 0, 0] - logs[0, 0, 0, 1] == pytest.approx(said[0] - said[1], abs=0.25)


def test_starts_of_linear_networks():
    """Sizes are products of gains, exact on average; 64 networks are within five standard errors of them."""
    x = np.random.default_rng(0).normal(size=(4, 32))
    widths, stds = (32, 64, 8), (0.1, 0.2)
    apply = begun.perceptron(identity)
    said, more = begun.told(apply, widths, stds, x)
    assert said.output == pytest.approx(np.log10(np.mean(x**2) * 0.32 * 2.56) / 2, abs=1e-6)
    by_first = np.log10(8 * 0.04 * 4 * np.mean(x**2)) / 2 - np.log10(0.1)
    assert said.slopes[0] == pytest.approx(by_first, abs=1e-6)
    assert -0.1 < more.output < 0
    seen = begun.measured(Setup(range(64), None), apply, widths, stds, x)
    assert abs(foreseen("outputs", said.output + more.output, seen.output).z) < 5
    assert abs(foreseen("gradient", said.slopes[0] + more.slopes[0], seen.slopes[:, 0]).z) < 5


def test_batch_norm_forgets_the_scale():
    x = np.random.default_rng(0).normal(size=(8, 16))
    apply = begun.perceptron(relu, norm=True)
    setup, widths = Setup(range(2), None), (16, 12, 4)
    one, ten = (begun.measured(setup, apply, widths, (std, 0.3), x).output for std in (1.0, 10.0))
    np.testing.assert_allclose(one, ten, atol=1e-4)  # but for eps


def test_products_of_matrices_have_the_exact_law():
    """Within five standard errors of 64 runs; the limit of wide matrices is left out."""
    config = initialization.Config(units=16, powers=6)
    rows = initialization.products(config, Setup(range(64), None))
    exact = [row for row in rows if row.theory == EXACT]
    assert len(exact) == 3
    assert max(abs(row.z) for row in exact) < 5


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("name", beside(("I5", "N4"), IDS))
def test_rows_of_the_claims_that_theory_can_foresee(name, tmp_path):
    entry = registry.declared()[name]
    record = records.measured(entry, entry.quick, Setup(range(4), tmp_path, None), Output.open(tmp_path))
    assert len(record["foreseen"]) >= 3
    for row in record["foreseen"]:
        assert row["runs"] == 4
        assert all(math.isfinite(row[key]) for key in ("predicted", "measured", "error", "z"))
        assert abs(row["z"]) < 30  # of four small networks
