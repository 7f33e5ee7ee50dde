"""Results as tables for people, for pandas and for xarray: nothing is lost on the way, and the way back is exact."""

import html.parser
import re
import sys
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jnorm.sweeps import SweepResult, load, sweep

RNG = np.random.default_rng(0)
GRID = tuple(
    {"activation": phi, "rate": rate, "widths": widths}
    for phi in (jax.nn.relu, jax.nn.selu)
    for rate in (0.01, 0.1)
    for widths in ((64, 64), None)
)
SEEDS = (3, 1, 2)


def whole(**outputs):
    """A result with outputs of every kind, a run that diverged and two that were not done."""
    failed, done = np.zeros((8, 3), bool), np.ones((8, 3), bool)
    failed[1, 2], done[5, 1:] = True, False
    curve = RNG.normal(size=(8, 3, 4)).astype(np.float32)
    curve[1, 2, 2:] = np.nan
    outputs = {
        "accuracy": RNG.uniform(size=(8, 3)),
        "correct": RNG.integers(0, 2, (8, 3)).astype(bool),
        "curve_dev_loss": curve,
        "half": RNG.normal(size=(8, 3)).astype(ml_dtypes.bfloat16),
        "probe_var": RNG.uniform(size=(8, 3, 4, 2)).astype(np.float16),
        "rank": RNG.integers(-9, 9, (8, 3)).astype(np.int32),
        "spectrum": RNG.normal(size=(8, 3, 5)),
        "step_loss": RNG.normal(size=(8, 3, 12)),
    } | outputs
    origin = {
        "versions": {"jax": "0.10.2"},
        "revision": "a" * 40,
        "until": {"rule": "r", "looks": [1, 3], "over": True},
    }
    return SweepResult(outputs, GRID, SEEDS, failed, ("accuracy", "curve_dev_loss"), done, origin)


def test_the_text_is_this():
    loss = np.array([[0.5, 0.4, 0.45], [0.3, 0.2, np.nan], [0.1, np.nan, np.nan]])
    grid = tuple({"activation": jax.nn.selu, "rate": rate} for rate in (0.01, 0.1, 1.0))
    outputs = {"curve_loss": np.ones((3, 3, 30), np.float32), "epochs": np.full((3, 3), 30), "loss": loss}
    result = SweepResult(outputs, grid, (0, 1, 2), np.isnan(loss))
    assert repr(result).splitlines() == [
        "SweepResult: 3 configurations, 3 seeds, 9 runs",
        "configurations  activation selu; rate 0.01, 0.1, 1",
        "seeds           0 to 2",
        "output          lowest median    highest median",
        "loss            0.3 at rate 0.1  0.45 at rate 0.01",
        "epochs          30 at rate 0.01  30 at rate 0.01",
        "and             curve_loss [30]",
        "diverged        3 of 9 runs: 1 with rate 0.1; 2 with rate 1",
    ]
    assert str(result) == f"{result}" == repr(result)


def test_any_text_has_ten_lines_and_a_hundred_columns_at_most():
    for number in (1, 2, 40):
        for outputs in (1, 6, 30):
            names = [f"{kind}_{'x' * (3 * i)}" for i in range(outputs) for kind in ("dev", "curve")]
            arrays = {n: np.ones((number, 5, *([9] if n.startswith("curve") else []))) for n in names}
            grid = tuple({f"hyperparameter_{k}": i * k for k in range(9)} for i in range(number))
            text = repr(SweepResult(arrays, grid, tuple(range(5)), np.ones((number, 5), bool)))
            assert len(text.splitlines()) <= 10
            assert max(map(len, text.splitlines())) <= 100
            assert text.isascii()


def test_the_best_is_no_configuration_of_which_half_the_runs_diverged():
    for _ in range(50):
        values, failed = RNG.uniform(size=(4, 5)), RNG.random((4, 5)) < 0.4
        done = RNG.random((4, 5)) < 0.8
        result = SweepResult(
            {"x": values}, tuple({"i": i} for i in range(4)), tuple(range(5)), failed & done, None, done
        )
        for sign, column in ((1, 1), (-1, 2)):
            medians = [
                np.median(
                    [sign * v if not f else np.inf for v, f in zip(values[c][done[c]], failed[c][done[c]], strict=True)]
                )
                if done[c].any()
                else np.inf
                for c in range(4)
            ]
            best = min(range(4), key=lambda c: medians[c])
            wanted = f"{sign * medians[best]:.4g} at i {best}" if medians[best] < np.inf else "-"
            row = next(line for line in repr(result).splitlines() if line.startswith("x "))
            assert re.split(" {2,}", row)[column] == wanted


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def test_notebooks_get_a_table_of_all_outputs_and_no_code():
    result = whole(**{"<script>alert(1)</script>": np.ones((8, 3))})
    reader = Reader()
    reader.feed(result._repr_html_())
    assert reader.open == []
    assert set(result) <= set(reader.cells)
    assert "diverged: 1 of 22 runs: 1 with relu, rate 0.01, widths None" in reader.cells
    assert {"float16 [4, 2]", "bfloat16"} <= set(reader.cells)


def test_a_row_a_run():
    result = whole()
    table = result.to_pandas()
    assert list(table) == ["activation", "rate", "widths", "seed", "accuracy", "correct", "half", "rank", "failed"]
    assert len(table) == 22  # two of 24 were not done
    places = [(c, s) for c, s in np.ndindex(8, 3) if result.done[c, s]]
    for (c, s), row in zip(places, table.itertuples(index=False), strict=True):
        assert (row.activation, row.rate) == (
            f"jax._src.nn.functions.{GRID[c]['activation'].__name__}",
            GRID[c]["rate"],
        )
        assert row.widths == ("null" if GRID[c]["widths"] is None else "[64, 64]")
        assert row.seed == SEEDS[s]
        assert (row.accuracy, row.correct, row.half, row.rank, row.failed) == tuple(
            array[c, s] for array in (*(result[n] for n in ("accuracy", "correct", "half", "rank")), result.failed)
        )
    assert [str(table[n].dtype) for n in ("rate", "seed", "correct", "failed")] == ["float64", "int64", "bool", "bool"]


@pytest.mark.parametrize(
    ("along", "names"),
    [
        ("epoch", ["curve_dev_loss"]),
        ("step", ["step_loss"]),
        ("spectrum_0", ["spectrum"]),
        (("epoch", "probe_var_1"), ["curve_dev_loss", "probe_var"]),
        (["probe_var_1", "epoch"], ["curve_dev_loss", "probe_var"]),
    ],
)
def test_a_row_a_point(along, names):
    result = whole()
    table = result.to_pandas(along)
    axes = [along] if isinstance(along, str) else list(along)
    assert list(table) == [
        *["activation", "rate", "widths", "seed", *axes],
        *sorted(["accuracy", "correct", "half", "rank", *names]),
        "failed",
    ]
    first = {"epoch": 1, "step": 1}
    rows = {
        (GRID.index(c), s): part
        for (c, s), part in (
            (
                (
                    {
                        "activation": getattr(jax.nn, key[0].rpartition(".")[2]),
                        "rate": key[1],
                        "widths": None if key[2] == "null" else (64, 64),
                    },
                    SEEDS.index(key[3]),
                ),
                part,
            )
            for key, part in table.groupby(["activation", "rate", "widths", "seed"])
        )
    }
    assert len(rows) == 22
    for (c, s), part in rows.items():
        for row in part.itertuples(index=False):
            at = {axis: getattr(row, axis) - first.get(axis, 0) for axis in axes}
            for name in names:
                own = (
                    ("epoch", "probe_var_1")
                    if name == "probe_var"
                    else axes
                    if name == "spectrum"
                    else axes[-1:]
                    if axes[-1] in first
                    else axes[:1]
                )
                value = result[name][(c, s, *(at[axis] for axis in own))]
                np.testing.assert_equal(getattr(row, name), value)
            assert row.accuracy == result["accuracy"][c, s]
            assert row.failed == result.failed[c, s]


def test_pandas_gives_every_array_back():
    result = whole()
    back = result.to_pandas("epoch").pivot(
        index=["activation", "rate", "widths", "seed"], columns="epoch", values="curve_dev_loss"
    )
    assert back.shape == (22, 4)
    kept = result["curve_dev_loss"][result.done]
    order = result.to_pandas().reset_index().set_index(["activation", "rate", "widths", "seed"])["index"]
    np.testing.assert_array_equal(back.loc[order.index].to_numpy(), kept)


def test_rows_that_an_early_stop_left_empty_are_left_out_and_those_of_a_divergence_are_not():
    curve = np.arange(12.0).reshape(1, 3, 4)
    curve[0, 0, 2:] = curve[0, 1, 1:] = np.nan  # the first stopped after 2 epochs, the second diverged
    step = np.repeat(curve, 2, 2)
    outputs = {"curve_loss": curve, "step_loss": step, "step_skipped": step > 0, "epochs": np.array([[2, 4, 4]])}
    result = SweepResult(outputs, ({},), (0, 1, 2), np.array([[False, True, False]]))
    assert result.to_pandas("epoch").groupby("seed").size().tolist() == [2, 4, 4]
    assert result.to_pandas("step").groupby("seed").size().tolist() == [4, 8, 8]
    assert result.to_pandas("epoch", every=5)["epoch"].max() == 20


def test_names_that_are_taken_get_an_underscore_and_come_back():
    grid = ({"seed": 0, "epoch": 5, "rate": 0.1}, {"seed": 1, "epoch": 5, "rate": 0.1})
    outputs = {"rate": np.ones((2, 2)), "failed": np.ones((2, 2)), "curve_x": np.ones((2, 2, 3))}
    result = SweepResult(outputs, grid, (0, 1), np.zeros((2, 2), bool))
    assert list(result.to_pandas("epoch")) == [
        "seed_",
        "epoch_",
        "rate",
        "seed",
        "epoch",
        "rate_",
        "failed_",
        "curve_x",
        "failed",
    ]
    same(SweepResult.from_xarray(result.to_xarray()), result)


def test_curves_of_other_lengths_have_axes_of_their_own():
    outputs = {f"curve_{n}": np.ones((1, 1, length)) for n, length in (("a", 3), ("b", 5), ("c", 3))}
    result = SweepResult(outputs, ({},), (0,), np.zeros((1, 1), bool))
    assert [result.to_xarray()[n].dims[2] for n in outputs] == ["epoch", "curve_b_0", "epoch"]
    assert list(result.to_pandas("curve_b_0")) == ["seed", "curve_b_0", "curve_b", "failed"]


def test_bad_tables():
    with pytest.raises(
        ValueError, match=r"`along` must name axes of outputs \(epoch, probe_var_1, spectrum_0, step\); got 'epo'"
    ):
        whole().to_pandas("epo")
    with pytest.raises(ValueError, match="none has epoch and step: make a table of each"):
        whole().to_pandas(["epoch", "step"])
    with pytest.raises(
        ValueError, match="`dataset` must have dimensions configuration and seed and a variable `failed`"
    ):
        SweepResult.from_xarray(whole().to_xarray().drop_vars("failed"))


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_without_its_package_a_table_names_the_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf'needs {package}: pip install "jnorm\[analysis\]"'):
        getattr(whole(), f"to_{package}")()


def same(a, b, *, wide=False):
    """Two results, but for functions, which become their names, and tuples, which become lists."""
    written = lambda v: f"{v.__module__}.{v.__qualname__}" if callable(v) else list(v) if isinstance(v, tuple) else v
    for one, other in zip(a.configurations, b.configurations, strict=True):
        assert {n: written(v) for n, v in one.items()} == {n: written(v) for n, v in other.items()}
    assert (a.seeds, a.finite, list(a)) == (b.seeds, b.finite, list(b))
    for left, right in ((a.failed, b.failed), (a.done, b.done), *((a[n], b[n]) for n in a)):
        assert left.dtype == right.dtype or (wide and left.dtype.kind == right.dtype.kind == "i")
        np.testing.assert_array_equal(left, right)


@pytest.mark.filterwarnings("ignore:numpy.ndarray size changed")
@pytest.mark.parametrize("engine", [None, "scipy", "h5netcdf"])
def test_a_file_of_netcdf_holds_all_of_a_result(engine, tmp_path):
    xarray = pytest.importorskip("xarray")
    result = whole(big=np.full((8, 3), 2**31 - 1), seen=np.arange(24, dtype=np.uint8).reshape(8, 3))
    data = result.to_xarray()
    if engine:
        pytest.importorskip(engine)
        data.to_netcdf(tmp_path / "sweep.nc", engine=engine)
        with xarray.open_dataset(tmp_path / "sweep.nc", engine=engine) as opened:
            data = opened.load()
    back = SweepResult.from_xarray(data)
    if engine == "scipy":  # netCDF 3 has no unsigned numbers: these come back signed, and xarray says so nowhere
        assert back["seen"].dtype == np.int8
        back.outputs["seen"] = back["seen"].astype(np.uint8)
    same(back, result, wide=engine == "scipy")
    assert list(back.configurations[0]) == list(GRID[0])
    assert back.origin == result.origin
    assert data["curve_dev_loss"].dims[2] == data["probe_var"].dims[2] == "epoch"
    assert back.select(activation=jax.nn.selu, widths=[64, 64]).failed.shape == (2, 3)


def test_a_product_unfolds_into_axes_of_hyperparameters():
    result = whole()
    data = result.to_xarray().set_index(configuration=["activation", "rate", "widths"]).unstack("configuration")
    assert dict(data.sizes) == {
        "activation": 2,
        "rate": 2,
        "widths": 2,
        "seed": 3,
        "epoch": 4,
        "probe_var_1": 2,
        "spectrum_0": 5,
        "step": 12,
    }
    part = data["accuracy"].sel(rate=0.1, widths="null", activation="jax._src.nn.functions.selu")
    np.testing.assert_array_equal(part, result["accuracy"][7])


class Until:
    """Goes on to the last look for every second configuration."""

    looks = (1, 3)

    def __call__(self, result):
        return [c % 2 == 1 for c in range(len(result.configurations))]

    def __str__(self):
        return "every second one"


def test_what_made_a_result_goes_with_it(tmp_path):
    train = lambda key, rate: {"x": rate * jax.random.normal(key), "curve_y": rate * jnp.ones(3)}
    options = {"until": Until(), "grid": {"rate": (0.1, 1.0)}, "chunk": 2}
    kept, loose = sweep(train, store=tmp_path, **options), sweep(train, **options)
    assert kept.done.tolist() == loose.done.tolist() == [[True, False, False], [True] * 3]
    for result in (kept, load(tmp_path), SweepResult.from_xarray(kept.to_xarray()), kept.select(rate=1.0)):
        assert result.origin["until"]["rule"] == "every second one"
        assert result.origin["versions"]["jax"] == jax.__version__
        assert result.origin["platform"]["name"] == jax.default_backend()
    data = loose.to_xarray()
    assert '"rule": "every second one", "looks": [1, 3]' in data.attrs["until"]
    assert f'"jax": "{jax.__version__}"' in data.attrs["versions"]
    same(SweepResult.from_xarray(data), loose)
    assert len(loose.to_pandas()) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(SweepResult.from_xarray(load(tmp_path).to_xarray()), load(tmp_path))
