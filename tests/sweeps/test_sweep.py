import functools
import logging
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.sweeps import _plans as plans
from jnorm.sweeps import _reuse, load, search, sweep
from jnorm.sweeps._configurations import describe, expand, seed_numbers
from jnorm.sweeps._divergence import failed_runs, not_finite
from jnorm.sweeps._plans import Plan
from jnorm.train.loop import trainer
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

GRID = {"rate": (0.3, 0.01, 0.1), "decay": (0.0, 0.5)}


def train(key, rate, decay, depth=1):
    """Gradient descent with decay on |tanh(w) - 1|^2 from a random start; depth repeats the tanh."""
    start = jax.random.normal(key, (4,))

    def loss(w):
        for _ in range(depth):
            w = jnp.tanh(w)
        return jnp.sum((w - 1) ** 2)

    step = lambda w, _: (w - rate * (jax.grad(loss)(w) + decay * w), loss(w))
    w, curve = jax.lax.scan(step, start, None, length=20)
    return {"loss": loss(w), "weights": w, "curve": curve, "start": start}


def plain(seed, **configuration):
    """What a run is, without any engine."""
    return jax.jit(train)(jax.random.key(seed), **configuration)


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_every_run_is_train_with_its_key_and_its_configuration():
    result = sweep(train, seeds=(5, 0, 2), grid=GRID, chunk=4)
    assert result["loss"].shape == (6, 3)
    assert result["curve"].shape == (6, 3, 20)
    assert result.configurations[1] == {"rate": 0.3, "decay": 0.5}
    for c, configuration in enumerate(result.configurations):
        for s, seed in enumerate((5, 0, 2)):
            alone = plain(seed, **configuration)
            np.testing.assert_array_equal(result["start"][c, s], alone["start"])
            for name in ("loss", "weights", "curve"):
                # vmap may fuse otherwise: a few ulps of 20 steps that contract
                np.testing.assert_allclose(result[name][c, s], alone[name], rtol=2e-5, atol=2e-6)
    assert result.failures == ()


@pytest.mark.parametrize("chunk", [1, 4, "auto"])
def test_the_order_of_configurations_and_seeds_changes_no_bit(chunk):
    # the plan of "auto" is measured: it is the same for both here since so few short runs pay no trial
    one = sweep(train, seeds=(0, 1, 2), grid=GRID, chunk=chunk)
    other = sweep(train, seeds=(2, 0, 1), grid={"decay": (0.5, 0.0), "rate": (0.1, 0.3, 0.01)}, chunk=chunk)
    for c, configuration in enumerate(one.configurations):
        part = other.select(**configuration)
        for name in one:
            np.testing.assert_array_equal(part[name][0, [1, 2, 0]], one[name][c])


def test_chunks_change_results_by_rounding_only():
    one = sweep(train, seeds=7, grid=GRID, chunk=1)
    for chunk in (2, 5, 64):
        other = sweep(train, seeds=7, grid=GRID, chunk=chunk)
        for name in one:  # 20 steps of rounding at 1e-7 each, none of which grows
            np.testing.assert_allclose(one[name], other[name], rtol=2e-5, atol=2e-6)


DRAWS = {
    "key": lambda key: jax.random.normal(key, (2,)),
    "split": lambda key: jax.random.normal(jax.random.split(key, 3)[1], (2,)),
    "own rbg in scan": lambda key: jax.lax.scan(
        lambda a, _: (a, jax.random.normal(jax.random.key(jax.random.bits(key) >> 1, impl="rbg"))), 0, length=2
    )[1],
    "raw": lambda key: jax.random.normal(jax.random.PRNGKey(jax.random.bits(key) >> 1), (2,)),
    "permuted": lambda key: jax.random.permutation(key, jnp.arange(8.0)),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("default", beside(["rbg"], ["threefry2x32", "rbg"]))
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_draws_are_those_of_the_run_alone_whatever_runs_beside_it(draw, default, impl):
    run = lambda key, scale: {"x": scale * DRAWS[draw](key)}
    with jax.default_prng_impl(default):
        once = jax.jit(lambda key: DRAWS[draw](key))  # written anew: what jit has traced does not follow the default
        alone = np.stack([once(jax.random.key(s, impl=impl)) for s in range(5)])
        for chunk in (1, 3, "auto"):
            result = sweep(run, seeds=5, grid={"scale": (1.0, 2.0)}, chunk=chunk, impl=impl)
            np.testing.assert_array_equal(result["x"], [alone, 2 * alone])  # scaling by 2 is exact


def test_keys_do_not_follow_the_default():
    draw = lambda key: {"x": jax.random.normal(key)}
    with jax.default_prng_impl("rbg"):
        same(sweep(draw, seeds=3), sweep(draw, seeds=3))
        one = sweep(draw, seeds=3)
    same(one, sweep(draw, seeds=3))


def compilations(caplog, call):
    """Names of the programs that XLA compiles during a call, if none was compiled before."""
    _reuse._lowered.clear()
    jax.config.update("jax_log_compiles", True)  # for all threads, which the context manager is not
    try:
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            call()
    finally:
        jax.config.update("jax_log_compiles", False)
    said = [re.match(r"Finished XLA compilation of (\S+) in", record.getMessage()) for record in caplog.records]
    return [match[1] for match in said if match]


def test_a_grid_of_rates_is_one_compilation_and_static_values_are_one_each(caplog):
    rates = np.geomspace(1e-3, 0.1, 25)
    grid = {"rate": rates, "decay": (0.0, 0.1)}
    sweep(train, seeds=3, grid=GRID)  # making keys takes programs of its own, once
    for chunk in (4, "auto"):
        assert compilations(caplog, lambda c=chunk: sweep(train, seeds=3, grid=grid, chunk=c)) == ["jit(sweep)"]
    grid = {"rate": rates, "decay": (0.0,), "depth": (1, 2, 3)}
    done = compilations(caplog, lambda: sweep(train, seeds=2, grid=grid, static=["depth"], chunk=4))
    assert [name for name in done if "sweep" in name] == ["jit(sweep)"] * 3


def test_train_is_traced_no_oftener_for_more_configurations():
    calls = []

    def counted(key, rate):
        calls.append(rate)
        return {"x": jax.random.normal(key) * rate}

    sweep(counted, seeds=40, grid={"rate": np.linspace(0.1, 1, 30)})
    assert len(calls) <= 2  # what it returns, and the program


def test_static_values_make_their_own_program():
    grid = {"rate": (0.1, 0.2), "decay": (0.0,), "depth": (2, 1)}
    result = sweep(train, seeds=2, grid=grid, static=("depth",), chunk=3)
    for c, configuration in enumerate(result.configurations):
        alone = jax.jit(train, static_argnames="depth")(jax.random.key(1), **configuration)
        np.testing.assert_allclose(result["loss"][c, 1], alone["loss"], rtol=2e-5)


def test_functions_may_be_static_and_selected_by():
    def run(key, phi):
        return {"y": phi(jax.random.normal(key))}

    result = sweep(run, seeds=3, grid={"phi": (jax.nn.relu, jnp.tanh)}, static=("phi",))
    assert (result.select(phi=jax.nn.relu)["y"] >= 0).all()
    assert (result.select(phi=jnp.tanh)["y"] < 1).all()


def test_shared_data_are_an_argument_and_not_a_constant():
    data = {"x": np.arange(1000.0), "key": jax.random.key(3), "n": 4}

    def run(key, shared, scale):
        return {"y": scale * shared["x"].sum() + shared["n"].astype(float) + 0 * jax.random.normal(shared["key"])}

    result = sweep(run, seeds=1, grid={"scale": (1.0, 2.0)}, shared=data)
    np.testing.assert_array_equal(result["y"], [[499504], [999004]])


def test_without_a_grid_there_are_seeds_alone():
    result = sweep(lambda key: {"x": jax.random.normal(key)}, seeds=[3, 1])
    assert result.configurations == ({},)
    np.testing.assert_array_equal(result["x"][0], [jax.random.normal(jax.random.key(s)) for s in (3, 1)])


def test_configurations_may_be_listed():
    listed = [{"rate": 0.1, "decay": 0}, {"rate": 0.3, "decay": 0.5}]
    result = sweep(train, seeds=2, grid=listed, chunk=2)
    np.testing.assert_array_equal(result["loss"][1], sweep(train, seeds=2, grid=GRID, chunk=2)["loss"][1])


def test_a_diverged_run_is_nan_in_its_own_lane_and_counted():
    def run(key, rate):
        w = jax.lax.fori_loop(0, 200, lambda _, w: w - rate * w, jax.random.normal(key))
        return {"loss": w * jnp.where(jnp.isfinite(w), 1.0, jnp.nan), "curve": jnp.full(3, jnp.nan)}

    seen = []
    with pytest.warns(UserWarning, match=r"3 of 6 runs diverged.*3 with rate=100.0 \(`loss`\)"):
        result = sweep(run, seeds=3, grid={"rate": (0.1, 100.0)}, chunk=6, progress=seen.append, finite=["loss"])
    assert result.failures == (({"rate": 100.0}, 0), ({"rate": 100.0}, 1), ({"rate": 100.0}, 2))
    assert np.isnan(result["loss"][1]).all()
    assert np.isfinite(result["loss"][0]).all()
    assert (seen[-1].done, seen[-1].total, seen[-1].diverged) == (6, 6, 3)
    assert str(seen[-1]).endswith("0:00:00 left, 3 diverged")


def test_which_runs_have_failed():
    scalars = {"a": np.array([1.0, np.inf]), "curve": np.array([[np.nan], [0.0]]), "n": np.array([1, 2])}
    assert failed_runs(scalars, 2).tolist() == [True, True]
    assert failed_runs(scalars, 2, ["a"]).tolist() == [False, True]
    assert failed_runs(scalars, 2, []).tolist() == [False, False]
    assert failed_runs({"curve": scalars["curve"]}, 2).tolist() == [True, False]
    assert failed_runs(scalars | {"diverged": np.array([True, False])}, 2).tolist() == [True, False]
    assert failed_runs({"n": scalars["n"]}, 2).tolist() == [False, False]


def test_traced_values_are_floats_unless_they_are_said_to_be_whole():
    def run(key, lr):
        return {"square": lr * lr, "slope": jax.grad(lambda r: r**2)(lr)}

    result = sweep(run, seeds=1, grid={"lr": (100000,)}, chunk=1)
    # As int32 the square would wrap around to 1410065408, and the gradient be an error.
    assert result["square"].tolist() == [[1e10]]
    assert result["slope"].tolist() == [[2e5]]
    assert result.configurations == ({"lr": 100000},)
    index = lambda key, n, on: {"taken": jnp.arange(4)[n], "on": on}
    result = sweep(index, seeds=1, grid={"n": (1, 3.0), "on": (True, False)}, integers=["n"], chunk=4)
    assert result["taken"].ravel().tolist() == [1, 1, 3, 3]
    assert result["on"].dtype == bool
    assert sweep(lambda key, r: {"r": r}, seeds=1, grid={"r": (np.inf,)}, chunk=1, finite=[])["r"] == np.inf


def test_a_curve_that_diverges_counts_though_the_accuracy_looks_well(tmp_path):
    def run(key, rate):
        step = lambda w, _: (w - rate * w, w**2)
        w, curve = jax.lax.scan(step, 1.0 + jax.random.uniform(key), None, length=40)
        return {"loss": curve, "test": jnp.where(jnp.isfinite(w), 0.9, 0.1) + 0 * rate}

    text = "2 of 4 runs diverged.* 2 with rate=1000.0 \\(`loss` from step 7\\)"  # (999^7)^2 = 1e42, beyond float32
    with pytest.warns(UserWarning, match=text):
        result = sweep(run, seeds=2, grid={"rate": (0.1, 1000)}, chunk=4, store=tmp_path)
    assert result.failed.tolist() == [[False, False], [True, True]]
    assert result.causes == ({"loss": 7}, {"loss": 7})
    np.testing.assert_array_equal(np.isnan(result.masked("test")), result.failed)
    np.testing.assert_array_equal(load(tmp_path).failed, result.failed)
    chosen = sweep(run, seeds=2, grid={"rate": (0.1, 1000)}, chunk=4, store=tmp_path, finite=["test"])
    assert not chosen.failed.any()
    assert not load(tmp_path).failed.any()


def test_what_an_early_stop_leaves_out_does_not_count():
    nan = np.nan
    epochs = np.array([2, 2, 4, 3])
    curve = np.array([[1, 1, nan, nan], [1, nan, nan, nan], [1, 1, 1, 1], [1, nan, 1, nan]])
    assert not_finite({"epochs": epochs, "curve_dev_loss": curve}, 4)["curve_dev_loss"].tolist() == [-1, 1, -1, 1]
    assert not_finite({"epochs": epochs, "loss": curve}, 4)["loss"].tolist() == [2, 1, -1, 1]
    assert not_finite({"curve_dev_loss": curve}, 4)["curve_dev_loss"].tolist() == [2, 1, -1, 1]
    steps = np.repeat(curve[:3], 3, 1)
    steps[1, 3:5] = 1.0  # five steps, in the middle of an epoch
    assert not_finite({"epochs": epochs[:3], "step_loss": steps}, 3)["step_loss"].tolist() == [-1, 5, -1]


def test_what_has_no_effect_is_told_once():
    run = lambda key, rate, decay: {"x": 2 * rate}
    with pytest.warns(UserWarning, match="same whatever the `key` and `decay`: does `train` use it") as told:
        sweep(run, seeds=3, grid=GRID, chunk=4)
    assert len(told) == 1
    sweep(run, seeds=1, grid={"rate": (0.1, 0.2), "decay": (0.0,)}, chunk=4)


def test_float64_and_bfloat16(tmp_path):
    run = lambda key, rate: {"x": (jax.random.normal(key) * rate), "y": jnp.full(2, rate).astype(jnp.bfloat16)}
    with jax.enable_x64(True):
        result = sweep(run, seeds=2, grid={"rate": (0.1, 1.0)}, store=tmp_path / "a")
        assert result["x"].dtype == np.float64
        assert result["x"][0, 0] == 0.1 * jax.random.normal(jax.random.key(0))
    assert result["y"].dtype == jnp.bfloat16
    same(load(tmp_path / "a"), result)


def test_a_result_as_xarray():
    xarray = pytest.importorskip("xarray")
    result = sweep(train, seeds=2, grid=GRID, chunk=4)
    data = result.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert data["curve"].dims == ("configuration", "seed", "curve_0")
    part = data["loss"].isel(configuration=(data["rate"] == 0.1) & (data["decay"] == 0.5))
    np.testing.assert_array_equal(part.values, result.select(rate=0.1, decay=0.5)["loss"])


def test_a_mesh_of_any_shape_and_kind():
    mesh = jax.make_mesh((1, 1), ("a", "b"), (jax.sharding.AxisType.Explicit,) * 2)
    same(sweep(train, seeds=3, grid=GRID, chunk=2, mesh=mesh), sweep(train, seeds=3, grid=GRID, chunk=2))


def test_plain_lines_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    sweep(train, seeds=2, grid=GRID, chunk=6, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sweep: 0/12 runs")
    assert lines[-1].startswith("sweep: 12/12 runs")


def test_a_bar_where_rich_is(capsys):
    pytest.importorskip("rich")
    sweep(train, seeds=2, grid=GRID, chunk=6, progress=True)
    assert "12/12 runs" in capsys.readouterr().err


class Fake:
    """A program whose calls take as long as they are told: the clock moves instead."""

    mesh = None

    def __init__(self, clock, seconds, compiling=1.0, memory=0):
        self.clock, self.took, self.seconds, self.memory = clock, seconds, compiling, memory


def mesh_of(platform, devices=1):
    """What a plan asks of a mesh."""
    return SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)] * devices), size=devices)


def chosen(monkeypatch, per_run, runs, memory=lambda width: 0, backend="cpu", room=1e9, most=1e9):
    """The width that is chosen where `width` runs side by side take per_run(width) seconds each; and all tried.

    A device tells that it has ``room``, and has memory for ``most`` runs side by side.
    """
    clock, tried = [0.0], []
    monkeypatch.setattr(plans.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(plans.memory, "free", lambda mesh: room)

    def build(plan):
        tried.append(plan.width)
        if plan.width > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.")
        return Fake(clock, per_run(plan.width) * plan.width, memory=memory(plan.width))

    def call(program, count):
        clock[0] += program.took
        return {}, np.zeros(0)

    def lacks(plan, words, following):
        assert plan.width > most
        assert following is not None
        assert "hbm" in words

    trials = [plans.trial(width, runs, 1, 8) for width in plans.widths(runs, mesh_of(backend))]
    return plans.choose(trials, runs, build, call, lacks).plan, tried


def test_runs_go_side_by_side_where_that_is_faster(monkeypatch):
    assert chosen(monkeypatch, lambda width: 0.1 / min(width, 64), 10_000)[0].width == 64
    # a convolution with kernels of its own in every run: the first trial is the last
    plan, tried = chosen(monkeypatch, lambda width: 0.1 * (1 if width == 1 else 3), 10_000)
    assert (plan.width, tried) == (1, [1, 2])
    assert plan.chunk == 20  # two seconds of work


def test_nothing_is_tried_that_cannot_pay(monkeypatch):
    assert chosen(monkeypatch, lambda width: 0.1 / width, 8)[1] == [1]
    assert chosen(monkeypatch, lambda width: 3600.0, 4)[1] == [1]


def test_width_stays_within_memory(monkeypatch):
    plan, tried = chosen(monkeypatch, lambda width: 0.1 / width, 10_000, lambda width: 1e7 * width)
    assert (plan.width, tried) == (8, [1, 2, 8, 64])


def test_accelerators_begin_with_the_widest_that_fits(monkeypatch):
    wide = lambda width: 1.0 / width  # a call takes as long for any number
    assert chosen(monkeypatch, wide, 1000, backend="gpu")[1] == [1000]
    plan, tried = chosen(monkeypatch, wide, 100_000, lambda width: 1e6 * width, backend="gpu")
    assert (plan.width, tried) == (256, [4096, 256, 16])
    plan, tried = chosen(monkeypatch, lambda width: 0.1 * width, 100_000, backend="gpu")
    assert (plan.width, tried) == (16, [4096, 256, 16])


def test_what_does_not_fit_leaves_the_best_or_what_is_smaller(monkeypatch):
    wide = lambda width: 1.0 / width
    plan, tried = chosen(monkeypatch, lambda width: 0.1 / width, 10_000, most=60)
    assert (plan.width, tried) == (8, [1, 2, 8, 64])
    plan, tried = chosen(monkeypatch, wide, 100_000, backend="gpu", most=300)
    assert (plan.width, tried) == (256, [4096, 256, 16])
    plan, tried = chosen(monkeypatch, wide, 100, backend="gpu", most=5)
    assert (plan.width, tried) == (4, [100, 16, 16, 8, 4])  # the second time with fewer in a row


def test_room_that_is_not_told_is_not_taken_for_any(monkeypatch):
    wide = lambda width: 1.0 / width
    plan, tried = chosen(monkeypatch, wide, 100_000, backend="gpu", room=None)  # a device that does not tell
    assert (plan.width, tried) == (4096, [16, 256, 4096])
    plan, tried = chosen(monkeypatch, wide, 100_000, backend="gpu", room=None, most=300)
    assert (plan.width, tried) == (256, [16, 256, 4096])
    for backend, least in (("gpu", 16), ("cpu", 1)):  # a program that does not tell
        plan, _ = chosen(monkeypatch, wide, 100_000, lambda width: None, backend=backend)
        assert plan.width == least
    plan, tried = chosen(monkeypatch, lambda width: 0.1 / width, 10_000, lambda width: 1e12)
    assert (plan.width, tried) == (1, [1, 2])


def test_a_plan_cuts_all_runs_once_also_with_other_devices():
    plan = Plan(width=3, groups=4, first=6, chunk=18, devices=2)
    assert plan.cuts(50) == [(0, 6), (6, 24), (24, 42), (42, 50)]
    assert plan.cuts(4) == [(0, 4)]
    for devices in (1, 3, 7):
        other = plan.on(devices)
        assert other.cuts(50) == plan.cuts(50)
        assert other.width * other.groups * devices >= plan.chunk


@pytest.mark.parametrize(
    ("grid", "error", "text"),
    [
        ({}, ValueError, "`grid` must name at least one hyperparameter"),
        ([], ValueError, "`grid` must hold at least one configuration"),
        ({"rate": ()}, ValueError, "`rate` must have at least one value"),
        ({"rate": "fast"}, TypeError, "`rate` must be a sequence of values; got 'fast'"),
        ({"rate": 0.1}, TypeError, "`rate` must be a sequence of values; got 0.1"),
        ({"rate": (0.1, 0.2, 0.1)}, ValueError, "`rate` must not repeat a value; got 0.1"),
        ({"rate": (1, 1.0)}, ValueError, "`grid` must not repeat itself"),
        ({"rate": (float("nan"),)}, ValueError, "`rate` must not be NaN"),
        ([{"rate": 1}, {"decay": 1}], ValueError, "`decay`, `rate` is not in all of them"),
        ([{"rate": 1}, {"rate": 1}], ValueError, "`grid` must not repeat itself"),
        ({"f": (lambda x: x, lambda x: 2 * x)}, ValueError, "`f` must not repeat a value"),
        ({"f": (object(),)}, ValueError, "has no stable name"),
        ({"rate": {0.1, 0.2}}, TypeError, "`rate` must be a sequence, as a set has no order"),
        ({"rate": {"a": 1}}, TypeError, "`rate` must be a sequence of values; got {'a': 1}"),
        ({"rate": b"ab"}, TypeError, "`rate` must be a sequence of values; got b'ab'"),
        ({"rate": np.array(0.1)}, TypeError, "`rate` must be a sequence of values"),
        ({"rate": search.uniform(0, 1)}, TypeError, r"`rate` must be a sequence of values; got Range\("),
        ({"rate": np.ones((2, 2))}, ValueError, r"single values; got an array of shape \(2, 2\)"),
        ({"rate": [jnp.ones(1)]}, TypeError, r"`rate` must hold single values; got an array of shape \(1,\)"),
        ({1: (2,)}, TypeError, "`grid` must have texts as names; got 1 in"),
        (3, TypeError, "`grid` must map names to sequences of values, .*; got 3$"),
        ("ab", TypeError, "`grid` must map names to sequences of values, .*; got 'ab'"),
        ([{"rate": 1}, ("rate", 2)], TypeError, r"`grid` must map .*; got \('rate', 2\) in it"),
    ],
)
def test_bad_grids(grid, error, text):
    with pytest.raises(error, match=text):
        expand(grid)


@pytest.mark.parametrize(
    ("seeds", "error", "text"),
    [
        (0, ValueError, "`seeds` must name at least one seed; got 0"),
        ([], ValueError, "`seeds` must name at least one seed"),
        ((1, 2, 1), ValueError, "`seeds` must not repeat one; got 1 twice"),
        ((-1,), ValueError, "`seeds` must satisfy 0 <= seed < 2\\^31; got -1"),
        ((2**31,), ValueError, "got 2147483648"),
        (1.5, TypeError, "`seeds` must be a count or a sequence of whole numbers; got 1.5"),
        (True, TypeError, "got True"),
        ([0, True], TypeError, "a count or a sequence of whole numbers; got"),
        ({1, 2}, TypeError, "`seeds` must be a sequence, as a set has no order"),
        ({1: 2}, TypeError, "a count or a sequence of whole numbers; got"),
        (b"ab", TypeError, "a count or a sequence of whole numbers; got"),
        ([[0, 1]], TypeError, "a count or a sequence of whole numbers; got"),
        (20261129, ValueError, r"`seeds` must be 2\^24 at most, .*; for this one seed give \[20261129\]"),
        (2**31, ValueError, "`seeds` must be 2\\^24 at most, as results are held in memory; got 2147483648$"),
    ],
)
def test_bad_seeds(seeds, error, text):
    with pytest.raises(error, match=text):
        seed_numbers(seeds)


def test_seeds_of_numpy_and_jax():
    assert seed_numbers(np.arange(3)) == seed_numbers(jnp.arange(3)) == seed_numbers(np.int64(3)) == (0, 1, 2)
    assert describe(np.float32(0.5)) == 0.5


def shapes(key, depth):
    return {"x": jnp.zeros(depth)}


@pytest.mark.parametrize(
    ("run", "options", "error", "text"),
    [
        (
            train,
            {"grid": {"rat": (0.1,), "decay": (0.0,)}},
            TypeError,
            "must accept train\\(key, rat=..., decay=...\\)",
        ),
        (train, {"grid": {"rate": (0.1,)}}, TypeError, "missing a required argument: 'decay'"),
        (train, {"grid": GRID, "shared": np.ones(3)}, TypeError, "multiple values for argument 'rate'"),
        (
            train,
            {"grid": GRID, "static": ("depth",)},
            ValueError,
            "must name .*\\(rate, decay\\); got `depth`",
        ),
        (train, {"grid": GRID, "static": "rate"}, TypeError, "`static` must be a sequence of names; got the string"),
        (train, {"grid": {"rate": ("a",), "decay": (0.0,)}}, ValueError, "`rate` must hold numbers, or be named in"),
        (
            train,
            {"grid": GRID, "integers": "rate"},
            TypeError,
            "`integers` must be a sequence of names; got the string",
        ),
        (train, {"grid": GRID, "integers": ["depth"]}, ValueError, "`integers` must name .*; got `depth`"),
        (train, {"grid": GRID, "integers": ["rate"], "static": ["rate"]}, ValueError, "`rate` is in `static` too"),
        (train, {"grid": GRID, "integers": ["rate"]}, ValueError, "`rate` must hold whole numbers of int32; got 0.01"),
        (
            train,
            {"grid": {"rate": (2**40,), "decay": (0.0,)}, "integers": ["rate"]},
            ValueError,
            "`rate` must hold whole numbers of int32; got 1099511627776",
        ),
        (
            train,
            {"grid": {"rate": (2**24 + 1,), "decay": (0.0,)}},
            ValueError,
            "`rate` must hold numbers that float32 can hold; got 16777217: name it in `integers`",
        ),
        (train, {"grid": {"rate": (1e39,), "decay": (0.0,)}}, ValueError, "float32 can hold; got 1e.39: rescale it"),
        (
            train,
            {"grid": {"rate": (1e-50,), "decay": (0.0,)}},
            ValueError,
            "float32 can hold; got 1e-50: below .* for 0; rescale it",
        ),
        (train, {"grid": {"rate": (10**400,), "decay": (0.0,)}}, ValueError, "`rate` must hold numbers that float32"),
        (train, {"grid": GRID, "chunk": 0}, ValueError, '`chunk` must be "auto" or a whole number >= 1; got 0'),
        (train, {"grid": GRID, "chunk": "big"}, ValueError, '`chunk` must be "auto" or a whole number'),
        (
            train,
            {"grid": GRID, "impl": "threefry"},
            ValueError,
            "`impl` must be an implementation of .*; got 'threefry'",
        ),
        (train, {"grid": GRID, "impl": None}, TypeError, "`impl` must be the name of .*; got None"),
        (lambda key: jnp.ones(3), {}, TypeError, "`train` must return a dict of arrays by name; got"),
        (lambda key: {}, {}, TypeError, "`train` must return a dict of arrays by name; got"),
        (lambda key: {"loss": "low"}, {}, TypeError, "its output `loss` is str 'low'"),
        (lambda key: {"p": {"w": jnp.ones(3)}}, {}, TypeError, "its output `p` is dict"),
        (lambda key: {"k": key}, {}, TypeError, "return jax.random.key_data\\(k\\)"),
        (lambda key: {"run": jnp.ones(3)}, {}, ValueError, "must not call an output `run`"),
        (
            shapes,
            {"grid": {"depth": (1, 2)}, "static": ["depth"]},
            ValueError,
            "float32\\[1\\] with {'depth': 1}",
        ),
        (lambda key, shared: {"x": 1.0}, {"shared": {"a": "text"}}, TypeError, "`shared\\['a'\\]` must be an array"),
    ],
)
def test_bad_calls(run, options, error, text):
    with pytest.raises(error, match=text):
        sweep(run, seeds=2, **options)


FLOATS = {"decay": (0.0,)}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mesh": "cpu"}, TypeError, "`mesh` must be a jax.sharding.Mesh, .*; got 'cpu'"),
        ({"store": ""}, ValueError, "`store` must name a folder .*; got ''"),
        ({"store": 3}, TypeError, "`store` must be the path of a folder, a text or a Path; got 3"),
        ({"store": b"a"}, TypeError, "`store` must be the path of a folder, .*; got b'a'"),
        ({"chunk": True}, TypeError, '`chunk` must be "auto" or a whole number >= 1; got True'),
        ({"chunk": 2.0}, ValueError, '`chunk` must be "auto" or a whole number >= 1; got 2.0'),
        ({"chunk": None}, TypeError, '`chunk` must be "auto" or a whole number >= 1; got None'),
        ({"progress": "yes"}, TypeError, "`progress` must be True, False or a function of a Progress; got 'yes'"),
        ({"finite": ["y"]}, ValueError, r"`finite` must name outputs of `train` \(curve, .*\); got 'y'"),
        ({"finite": 3}, TypeError, "`finite` must be a sequence of names; got 3"),
        ({"static": None}, TypeError, "`static` must be a sequence of names; got None"),
        ({"integers": [3]}, TypeError, r"`integers` must be a sequence of names; got \[3\]"),
        ({"train": None}, TypeError, "`train` must be a function train\\(key, .*; got None"),
        ({"grid": {"rate": (True, 0.5)} | FLOATS}, ValueError, "`rate` must hold booleans or numbers, not both"),
        ({"grid": {"rate": (1e-45,)} | FLOATS}, ValueError, "got 1e-45: below 1.18e-38 XLA takes numbers for 0"),
        ({"grid": {"rate": (1e-38,)} | FLOATS}, ValueError, "got 1e-38: below 1.18e-38 XLA takes numbers for 0"),
        ({"grid": {"rate": (0.1, np.float32(0.1))} | FLOATS}, ValueError, "and 0.1 are one number of float32"),
        ({"grid": {"rate": (10**400, 1.0)} | FLOATS}, ValueError, "`rate` must hold numbers that float32 can hold"),
        ({"shared": 2**31}, ValueError, "`shared` must hold whole numbers of int32; got 2147483648: give differences"),
        ({"shared": [1, {"t": np.array([0, -(2**40)])}]}, ValueError, r"`shared\[1\]\['t'\]` .*; got -1099511627776"),
        ({"shared": np.array([2**32], np.uint64)}, ValueError, "whole numbers of uint32; got 4294967296"),
        ({"shared": np.array([0.1, -1e39])}, ValueError, "`shared` must hold numbers that float32 .*; got -1e.39"),
        ({"shared": 10**400}, TypeError, "`shared` must be an array of JAX's dtypes; got object"),
        ({"shared": np.zeros(1, np.longdouble)}, TypeError, "`shared` must be an array of JAX's dtypes"),
        ({"shared": np.ma.array([1.0], mask=[True])}, TypeError, "`shared` must be an array without a mask"),
    ],
)
def test_bad_arguments_are_refused_before_any_compile(caplog, options, error, text):
    if np.finfo(np.longdouble).bits == 64 and "JAX's dtypes" in text and "object" not in text:
        pytest.skip("longdouble is float64 here")
    run = (lambda key, shared, rate, decay: train(key, rate, decay)) if "shared" in options else train

    def call():
        with pytest.raises(error, match=text):
            sweep(**{"train": run, "seeds": 2, "grid": GRID} | options)

    # The keys of two seeds may be made, once.
    assert not [name for name in compilations(caplog, call) if "sweep" in name or "train" in name]


def classifier(classes=3):
    """A trainer of scores w x."""
    init = lambda key: (jax.random.normal(key, (2, classes)), ())
    apply = lambda w, state, x, *, train, key: (x @ w, state)
    network = SimpleNamespace(init=init, apply=apply)
    return trainer(network, losses.softmax_cross_entropy, optax.sgd, epochs=1, batch_size=4)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("partial", [False, True])
def test_data_that_do_not_fit_say_so_before_anything_runs(partial, array):
    x, y = np.ones((8, 2), np.float32), np.arange(8) % 3
    train, grid = classifier(), {"learning_rate": (0.1, 0.2)}
    if partial:
        train, grid = functools.partial(train, learning_rate=0.1), None
    with pytest.raises(ValueError, match=r"`shared`: `data`, part 'train': .* 0 <= targets < 3; got 3; classes are"):
        sweep(train, seeds=2, grid=grid, shared={"train": (array(x), array(y + 1))})
    x[5, 1] = np.nan
    with pytest.raises(UserWarning, match=r"NaN or infinite inputs in part 'train', first at \[5, 1\]"):
        sweep(train, seeds=2, grid=grid, shared={"train": (array(x), y)})


def test_a_check_that_cannot_look_at_numpy_data_stops_nothing():
    def run(key, shared):
        return {"x": shared.at[0].set(jax.random.normal(key))}

    run.check = lambda shared: run(None, shared)  # NumPy's arrays have no `at`
    assert sweep(run, seeds=2, shared=np.ones(2), chunk=2)["x"].shape == (1, 2, 2)
    run.check = lambda: None  # something else of this name
    assert sweep(run, seeds=2, shared=np.ones(2), chunk=2)["x"].shape == (1, 2, 2)


def test_names_may_come_from_a_generator():
    run = lambda key, depth: {"x": jnp.full((), np.nan), "y": jnp.ones(depth).sum() + jax.random.uniform(key)}
    names = lambda *listed: (name for name in listed)
    with pytest.warns(UserWarning, match="2 of 2 runs diverged"):  # and `depth` is static: it is a shape
        result = sweep(run, seeds=2, grid={"depth": names(3)}, static=names("depth"), finite=names("x"), chunk=2)
    assert result.finite == ("x",)
    assert result.failed.all()


def test_unknown_names_of_a_result():
    result = sweep(train, seeds=2, grid=GRID, chunk=6)
    with pytest.raises(KeyError, match="`acc` is not an output; there are curve, loss, start, weights"):
        result["acc"]
    with pytest.raises(ValueError, match="`depth` is not a hyperparameter of this sweep; there are: rate, decay"):
        result.select(depth=1)
    with pytest.raises(ValueError, match=r"`rate` has no value 0.5; there are 0.3, 0.01, 0.1"):
        result.select(rate=0.5)
