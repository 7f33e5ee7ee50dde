"""The experiment's parts against laws and published figures, and one whole start, twice, from the command line."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import networks, planes, portrait
from jnorm.activations import identity, selu
from jnorm.theory.fixed_points import iterate, solve_all
from jnorm.theory.moments import Moments, layer_map

ROOT = Path(networks.__file__).parents[1]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 17, (50, 64)).astype(np.float32)


def test_inputs_start_exactly_at_the_chosen_moments(images):
    starts = Moments(jnp.array([1.0, -0.75]), jnp.array([0.5, 2.4]))
    x = networks.inputs(jnp.asarray(images[:3]), starts, 1024)
    assert x.shape == (1024, 6)
    x = np.asarray(x, np.float64)
    # Each entry carries a few float32 roundings, 1e-7 relative; sums over 1024 of them grow no faster than that.
    np.testing.assert_allclose(x.mean(0), [1] * 3 + [-0.75] * 3, rtol=1e-6)
    np.testing.assert_allclose(x.var(0, ddof=1), [0.5] * 3 + [2.4] * 3, rtol=1e-6)
    np.testing.assert_allclose(np.corrcoef(x[:, 1], np.repeat(images[1], 16))[0, 1], 1, rtol=1e-6)


def test_weights_are_standard_normal():
    w = np.asarray(networks.normal_matrix(jax.random.key(0), 200))
    count = w.size
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # E[w^k] and Var[w^k] of N(0, 1)
    for k, (mean, var) in moments.items():
        assert abs((w**k).mean() - mean) < 4 * np.sqrt(var / count), k  # z = 4: one in 16000
    assert np.abs(np.corrcoef(w)[np.triu_indices(200, 1)]).max() < 5.5 / np.sqrt(200)  # 19900 pairs, P(z > 5.5) = 4e-8


def test_rows_are_centred_and_of_unit_norm(images):
    # The identity after one layer, from a constant and from (0, 3). A row of sum omega and sum of squares tau turns
    # them into omega, and into variance 3 * tau; with independent weights the constant comes out as N(0, 1).
    starts = Moments(jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0]))
    run = partial(networks.network, phi=identity, depth=1, width=256, examples=1)
    got = jax.jit(jax.vmap(run, in_axes=(0, None, None)))(jax.random.split(jax.random.key(3), 64), images, starts)
    fixed, random = np.asarray(got.var[:, 1]).swapaxes(0, 1)
    assert fixed[:, 0].max() < 1e-10  # a sum of 256 roundings of products of size 1/16: about (1e-7)^2
    # 64 networks of 256 units; the variance of a normal unit's square is 2 v^2. z = 4: one in 16000.
    error = np.sqrt(2 / (64 * 256))
    assert abs(random[:, 0].mean() - 1) < 4 * error
    assert abs(fixed[:, 1].mean() / 3 - 1) < 4 * error
    assert abs(random[:, 1].mean() / 3 - 1) < 4 * error


SIZES = {"depth": 6, "width": 256, "examples": 4}


@pytest.fixture(scope="module")
def measured(images):
    steps = []
    result = networks.measure(selu, portrait.STARTS, images, seeds=21, advance=steps.append, **SIZES)
    assert sum(steps) == 21
    return result


def test_measurement_is_of_its_seeds_and_starts_at_the_starts(measured, images):
    starts = Moments(*(jnp.asarray(a, jnp.float32) for a in portrait.STARTS))
    run = jax.jit(partial(networks.network, phi=selu, **SIZES))
    for seed in (0, 20):  # the last one is in a chunk that had to be filled up
        alone = run(jax.random.key(seed), images, starts)
        for index, arm in enumerate(networks.ARMS):
            for many, one in zip(measured[arm], alone, strict=True):
                assert many.shape == (21, 7, 6)
                # Another batch, another order of summation: a few roundings of numbers up to 3.
                np.testing.assert_allclose(many[seed], one[:, index], rtol=1e-5, atol=1e-6)
    for arm in networks.ARMS:
        for row in range(2):
            np.testing.assert_allclose(measured[arm][row][:, 0], np.tile(portrait.STARTS[row], (21, 1)), atol=2e-6)
            assert np.ptp(measured[arm][row][:, 1:], axis=0).min() > 0  # every seed is another network


def test_networks_follow_their_own_theory_and_not_the_other(measured):
    theory, _ = portrait.solve(portrait.layer_maps(selu), 6)
    for arm, other in zip(networks.ARMS, networks.ARMS[::-1], strict=True):
        for row, clear in ((0, 3), (1, 10)):
            own = networks.compare(measured[arm][row], theory[arm][row])
            # 36 scores that go together, 20 degrees of freedom: P(|t| > 5) = 7e-5 each, .0025 at most; fixed seeds.
            assert np.abs(own.z).max() < 5
            swapped = networks.compare(measured[arm][row], theory[other][row])
            # After one layer from (1, .5) the maps are .09 and .79 apart: here at least 4.7 and 40 standard errors.
            assert np.abs(swapped.z[0]).max() > clear


def test_theory_of_both_arms_is_the_published_one():
    theory, fields = portrait.solve(portrait.layer_maps(selu), 2)
    assert theory["fixed"].mean.dtype == np.float64
    np.testing.assert_allclose([a[1, 0] for a in theory["fixed"]], [-0.041, 0.577], atol=5e-4)  # printed to 3 digits
    np.testing.assert_allclose([a[1, 0] for a in theory["random"]], [0.045, 1.372], atol=5e-4)
    assert fields["fixed"].dvar.shape == (len(portrait.GRID["var"]), len(portrait.GRID["mean"]))


def test_comparison_counts_what_it_says():
    samples = np.zeros((4, 3, 1))
    samples[:, 1, 0] = [1, 2, 3, 4]
    samples[:, 2, 0] = 7
    got = networks.compare(samples, np.array([[0.0], [2.0], [6.0]]))
    np.testing.assert_allclose(got.deviation[:, 0], [0.5, 1.0])
    np.testing.assert_allclose(got.z[0, 0], 0.5 / (np.sqrt(5 / 3) / 2))
    assert np.isnan(got.z[1, 0])  # no spread, no score
    assert got.inside[:, 0].tolist() == [True, False]
    summary = networks.summary([got])
    assert summary["largest_deviation"] == [1.0]
    assert summary["share_theory_inside_band"] == 0.5
    assert summary["share_z_below_1.96"] == 1.0


def start(folder, number):
    """A small run that keeps its programs in a cache: the finished process, and what is cached after it."""
    sizes = {"seeds": 5, "depth": 4, "width": 64, "examples": 2, "resolution": 13}
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "experiments", "selu_fixed_point", *options, "--cache", str(folder / "cache")]
    out = ["--out", str(folder / f"out{number}")]
    done = subprocess.run([*command, *out], cwd=ROOT, capture_output=True, text=True, check=False)
    return done, {f.name for f in (folder / "cache").iterdir() if not f.name.endswith("-atime")}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The folder of a first start, its process, and what it cached."""
    folder = tmp_path_factory.mktemp("started")
    return folder, *start(folder, 0)


@pytest.fixture(scope="module")
def report(started):
    folder, done, _ = started
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out0" / "report.json").read_text())


def arrays_of(started, name):
    with np.load(started[0] / "out0" / f"{name}.npz") as arrays:
        return dict(arrays)


def test_branches_end_where_they_are_known_to(started, report):
    numbers = report["branches"]
    # Published to 6, 4 and 5 digits.
    np.testing.assert_allclose(numbers["tau_range"], [0.495589, 2.657570], atol=5e-7)
    np.testing.assert_allclose(numbers["omega_range_attracts"], [-1.0308, 0.90166], atol=5e-5)
    text = (started[0] / "out0" / "report.md").read_text()
    assert "0.411 at tau 0.8, 0.674 at tau 0.9, 1.000 at tau 1, 2.179 at tau 1.25" in text
    # SELU near zero has slopes lam * alpha and lam, far out lam and 0: in closed form.
    lam, alpha = 1.0507009873554804934, 1.6732632423543772848
    low = 1 / (lam**2 * ((1 + alpha**2) / 2 - (1 - alpha) ** 2 / (2 * np.pi)))
    high = 2 * np.pi / (lam**2 * (np.pi - 1))
    np.testing.assert_allclose(numbers["tau_range"], [low, high], rtol=1e-13)  # float64, a few operations


def test_every_point_on_a_branch_is_fixed(started, x64):
    arrays = arrays_of(started, "branches")
    names = ("tau", "omega", "standard", "masses")
    omega, tau, *point = (
        jnp.concatenate([arrays[f"{name}_{key}"] for name in names]) for key in ("omega", "tau", "mean", "var")
    )
    out = jax.jit(lambda omega, tau, x: layer_map(selu, omega=omega, tau=tau)(x))(omega, tau, Moments(*point))
    # Bisection ends at the rounding of float64; the widest points are at variance 1e9, so relative to the point.
    size = jnp.sqrt(point[1] + point[0] ** 2)
    assert float(jnp.max(jnp.abs(out.mean - point[0]) / size)) < 1e-12
    assert float(jnp.max(jnp.abs(out.var - point[1]) / size**2)) < 1e-12


def test_cycles_return_after_two_layers(started, x64):
    arrays = arrays_of(started, "branches")
    low, high = arrays["cycle_low_mean"], arrays["cycle_high_mean"]
    for start, end in ((low, high), (high, low)):
        # 1 - exp near zero and a square root in between: a few roundings.
        np.testing.assert_allclose(selu(arrays["cycle_low_omega"] * start), end, rtol=1e-13)


def test_orbits_end_where_the_branches_attract(started, report, x64):
    arrays, numbers = arrays_of(started, "branches"), report["branches"]
    omega = np.array([-1.0, 0.88, 0.5, -0.8, -1.0, 1.5, 0.88, 0.92, 0.95])
    starts = np.array([(0.1, 1), (0.05, 1), (3, 1e-4), (3, 1e-4), (3, 1e-4), (-0.5, 1), (-1, 0.01), (0.1, 1), (0.1, 1)])
    walk = jax.jit(lambda omega, x: iterate(layer_map(selu, omega=omega), x, 4000))
    rows = walk(omega, Moments(*starts.T))
    before, last = (np.stack([np.asarray(a[row]) for a in rows], 1) for row in (-2, -1))

    def on(name, omega, part=slice(None)):
        x, y = arrays[f"{name}_omega"][part], arrays[f"{name}_mean"][part]
        order = np.argsort(x)
        return np.interp(omega, x[order], y[order])

    # (0, 1) attracts up to .90166 and from -1.0308 on, even beside a cycle that does not yet attract at -.8 ...
    np.testing.assert_allclose(last[:4], [[0, 1]] * 4, atol=1e-6)  # the slowest multiplier is .98, 4000 times over
    assert -1.0 < numbers["omega_cycle_attracts"] < -0.8
    near = 1e-3  # what linear interpolation between the branches' points may be off
    # ... but does at -1, as point masses do at 1.5 and .88 from other starts than above.
    cycle = sorted([last[4, 0], before[4, 0]])
    np.testing.assert_allclose(cycle, [on("cycle_low", -1.0), on("cycle_high", -1.0)], atol=near)
    np.testing.assert_allclose(last[5], [on("masses", 1.5), 0], atol=near)
    np.testing.assert_allclose(last[6], [on("masses", 0.88), 0], atol=near)
    # Between .90166 and .93774 a positive mean attracts, beyond it runs away.
    assert 0.92 < numbers["omega_runs_away"] < 0.95
    np.testing.assert_allclose(last[7, 0], on("omega", 0.92, arrays["omega_mean"] > 0), atol=near)
    assert not last[8, 0] < 1e3


@pytest.mark.parametrize(("omega", "tau"), [pytest.param(0.0, 2.0, marks=pytest.mark.thorough), (0.8, 1.0)])
def test_a_search_of_the_box_finds_the_branches_and_nothing_else(omega, tau, started, x64):
    arrays = arrays_of(started, "branches")
    expected = []
    for name in ("tau",) if tau != 1 else ("omega", "standard"):
        at, along = (arrays[f"{name}_tau"], tau) if tau != 1 else (arrays[f"{name}_omega"], omega)
        mean, var = arrays[f"{name}_mean"], arrays[f"{name}_var"]
        for i in np.flatnonzero((at[:-1] <= along) != (at[1:] <= along)):
            part = (along - at[i]) / (at[i + 1] - at[i])
            expected.append([a[i] + part * (a[i + 1] - a[i]) for a in (mean, var)])
    found = solve_all(layer_map(selu, omega=omega, tau=tau), (Moments(-3.0, 1e-4), Moments(6.0, 60.0)))
    assert len(expected) == {2.0: 1, 1.0: 2}[tau]
    # The points of a branch lie 7 % apart: the line between them is off by up to .07^2 / 8 of the curve's bend.
    np.testing.assert_allclose(
        np.stack(found.point, 1), sorted(expected, key=lambda point: point[1]), rtol=1e-3, atol=1e-12
    )


def test_constants_of_the_plane(started, report):
    numbers, arrays = report["constants"], arrays_of(started, "constants")
    mean, var, converged = (arrays[name] for name in ("mean", "var", "converged"))
    np.testing.assert_allclose(
        list(numbers["standard"].values()), [1.05070098735548049, 1.67326324235437728], rtol=4e-15
    )
    # Where constants exist for a positive mean: mean^2 / (mean^2 + var) <= 1 / pi, as omega is 0.
    allowed = mean**2 / (mean**2 + var[:, None]) <= 1 / np.pi
    np.testing.assert_array_equal(converged[:, mean > 0], allowed[:, mean > 0])
    assert converged[:, mean == 0].all()
    assert not converged[:, mean == -1.5].all()
    np.testing.assert_array_equal(np.isfinite(arrays["radius"]), converged)
    assert numbers["share of these that attracts"] == 1.0


def test_layers_to_the_fixed_point_are_the_published_ones(started, report):
    assert report["layers"]["fixed"]["layers from mean 0"] == [27, 18, 20, 23]
    np.testing.assert_allclose(report["layers"]["random"]["points"], [[0, 1]], atol=1e-12)
    fixed, random = (arrays_of(started, "layers")[arm] for arm in networks.ARMS)
    # With omega = 0 only the start itself sees the mean; with random weights mean and variance join.
    np.testing.assert_array_equal(fixed, np.tile(fixed[:, :1], (1, 13)))
    assert np.ptp(random, axis=1).max() > 5
    np.testing.assert_array_equal(random, random[:, ::-1])


def test_a_continuum_of_resting_points_is_none():
    goals = planes.resting_points(portrait.layer_maps(identity)["fixed"])
    assert goals.mean.size == 0


def test_one_command_draws_everything(started, report):
    folder, done, _ = started
    figures = ("portrait", "portrait_by_layer", "constants", "branches", "layers")
    wanted = {f"{name}.{ending}" for name in figures for ending in ("png", "svg", "npz")}
    assert {f.name for f in (folder / "out0").iterdir()} == wanted | {"report.md", "report.json"}
    assert "5/5 seeds" in done.stderr  # the progress bar's end
    assert report["config"]["seeds"] == 5
    assert set(report["seconds"]) == {"networks", "constants", "branches", "layers"}
    own = report["networks"]["random networks, random theory"]["largest_deviation"]
    swapped = report["networks"]["random networks, fixed theory"]["largest_deviation"]
    assert swapped[1] > 0.5 > own[1]  # .79 apart after a layer from (1, .5); 5 narrow networks are within .5
    arrays = arrays_of(started, "portrait")
    assert arrays["fixed_measured_mean"].shape == (5, 5, 6)
    np.testing.assert_allclose(arrays["random_theory_var"][1, 0], 1.372, atol=5e-4)
    text = (folder / "out0" / "report.md").read_text()
    assert "for one image, mean and unbiased variance over the 64 units of a layer" in text


@pytest.mark.thorough
def test_a_second_start_compiles_nothing_and_draws_the_same(started):
    folder, _, cached = started
    done, after = start(folder, 1)
    assert done.returncode == 0, done.stderr
    assert len(cached) > 3
    assert after == cached
    for file in (folder / "out0").iterdir():
        if file.suffix in (".png", ".svg"):
            assert file.read_bytes() == (folder / "out1" / file.name).read_bytes(), file.name
