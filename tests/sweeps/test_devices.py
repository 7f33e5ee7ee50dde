"""Devices of one kind, a table of one platform, and the cores of a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import nn
from jnorm.sweeps import _devices as devices
from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps import _manifest, _sweep, load, sweep, use_cores
from tests.sweeps.test_store import chunks, rewrite, run, same

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.fixture
def gpu(monkeypatch):
    """What computes says that it is a GPU."""

    def become():
        for module in (_manifest, _sweep):
            monkeypatch.setattr(module, "platform_of", lambda mesh: "gpu")

    return become


def unfinished(folder, **options):
    result = run(folder, **options)
    (folder / "chunks" / "00000004-00000006.0of1.npz").unlink()
    return result


missing = pytest.mark.filterwarnings("ignore:runs 4 to 5 in")


@missing
def test_a_store_is_not_finished_on_another_platform(tmp_path, gpu):
    unfinished(tmp_path)
    before = chunks(tmp_path)
    gpu()
    text = (
        "another sweep:\n- platform: cpu in the store, gpu in this call, whose products and functions round otherwise; "
    )
    with pytest.raises(ValueError, match=text + ".*JAX_PLATFORMS=cpu.*, or give another folder"):
        run(tmp_path)
    assert chunks(tmp_path) == before


@missing
def test_a_store_from_before_platforms_had_names(tmp_path, gpu):
    unfinished(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())["platform"]
    del manifest["name"]
    rewrite(tmp_path, platform=manifest)
    gpu()
    with pytest.raises(ValueError, match="platform: cpu in the store, gpu in this call"):
        run(tmp_path)


def test_a_finished_store_is_read_on_any_platform(tmp_path, gpu):
    first = run(tmp_path)
    gpu()
    same(run(tmp_path), first)
    same(load(tmp_path), first)


def test_a_store_in_which_nothing_is_finished_begins_anew(tmp_path, gpu):
    first = run(tmp_path)
    for path in (tmp_path / "chunks").iterdir():
        path.unlink()
    gpu()
    with pytest.warns(UserWarning, match="count as not run"):
        same(run(tmp_path, chunk=3), first)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["platform"]["name"] == "gpu"
    assert manifest["blocks"][0]["plans"] == [[3, 1, 3, 3, 1]]  # not the plan of the other platform


@missing
def test_random_bits_that_depend_on_the_platform_are_the_reason_that_is_given(tmp_path, gpu):
    unfinished(tmp_path, impl="rbg")
    gpu()
    with pytest.raises(
        ValueError, match=r"\n- platform: cpu in the store, gpu in this call, which changes random numbers"
    ):
        run(tmp_path, impl="rbg")


@missing
def test_another_model_of_device_goes_on_with_a_warning(tmp_path):
    first = unfinished(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())["platform"]
    rewrite(tmp_path, platform=manifest | {"device": "NVIDIA A100"})
    with pytest.warns(UserWarning, match="was begun on NVIDIA A100, and 2 runs are left for cpu: rounding may differ"):
        same(run(tmp_path), first)


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_a_program_is_the_same_whatever_machine_traces_it(monkeypatch, backend):
    """Also where it has a part for each platform."""
    kernel, x = np.ones((3, 3, 2, 4), np.float32), np.ones((2, 5, 5, 2), np.float32)

    def traced():
        forward = lambda x, key: nn.dropout.dropout(key, nn.convolution.convolve(x, kernel), 0.5, train=True).sum()
        return jax.jit(jax.grad(forward)).trace(x, jax.random.key(0))

    before = traced()
    lowered = [before.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")]
    assert ["stablehlo.convolution" in text for text in lowered] == [False, True]
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert fingerprints.of_program(traced().jaxpr) == fingerprints.of_program(before.jaxpr)


def test_devices_of_two_kinds_are_refused():
    kinds = [SimpleNamespace(device_kind=kind) for kind in ("NVIDIA H200", "NVIDIA T400", "NVIDIA H200")]
    with pytest.raises(
        ValueError, match="`mesh` must hold devices of one kind; got 2 of NVIDIA H200, 1 of NVIDIA T400"
    ):
        devices.one_axis(SimpleNamespace(devices=np.array(kinds)))


def test_float64_on_a_tpu_is_said_to_be_emulated(monkeypatch):
    monkeypatch.setattr(devices, "platform_of", lambda mesh: "tpu")
    devices.warn_of_float64(None, {"x": np.zeros(1, np.float32)})
    with pytest.warns(UserWarning, match="float64 is emulated on a TPU"):
        devices.warn_of_float64(None, {"x": jax.ShapeDtypeStruct((2,), "float64")})


CORES = """
import warnings
import jax
from jnorm import sweeps
from jnorm.sweeps import _devices as devices
devices.cores = lambda: 3
if BEFORE:
    sweeps.use_cores()
print(jax.device_count())
try:
    sweeps.use_cores()
except RuntimeError as error:
    print(error)
devices.PATIENCE = -1.0
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        sweeps.sweep(lambda key: {"x": jax.random.normal(key)}, seeds=9, chunk=1)
print(*(warning.message for warning in told))
"""


FACTORS = """
import jax
import jax.numpy as jnp
from jnorm import sweeps
sweeps.use_cores(factorizations=True)
values = lambda key: jnp.linalg.svd(jax.random.normal(key, (16, 16)), compute_uv=False)[0]
train = lambda key: {"x": sum(values(k) for k in jax.random.split(key, 12))}
print(sweeps.sweep(train, seeds=32, chunk=16)["x"].shape)
"""


def fresh(code):
    chosen = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "NPROC")
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    environment = kept | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_cores_become_devices_before_jax_starts_and_idle_ones_are_told():
    runs = [fresh(CORES.replace("BEFORE", flag)) for flag in ("True", "False")]
    printed = [process.communicate(timeout=100) for process in runs]
    assert [process.returncode for process in runs] == [0, 0], printed
    before, late = (output.splitlines() for output, _ in printed)
    assert before == ["3", ""]
    assert late[0] == "1"
    assert late[1].startswith(
        "`use_cores` must be called before JAX computes anything, as it has made its devices then: "
    )
    assert late[2].startswith("this sweep runs on one of 3 cores, for about ")
    assert late[2].count("with `jnorm.sweeps.use_cores()` before JAX") == 1


def test_factorizations_in_vmapped_runs_do_not_wait_for_each_other():
    """With as many threads as cores they do, forever: all of XLA's threads wait for parts of their own in its pool."""
    run = fresh(FACTORS)
    try:
        assert run.communicate(timeout=100) == ("(1, 32)\n", "")
    finally:
        run.kill()


def test_factorizations_ask_for_threads(monkeypatch):
    monkeypatch.setenv("NPROC", "2")
    two = SimpleNamespace(local_devices=[None] * 2, devices=np.array([SimpleNamespace(platform="cpu")] * 2))
    one = SimpleNamespace(local_devices=[None], devices=np.array([SimpleNamespace(platform="cpu")]))
    gpu = SimpleNamespace(local_devices=[None] * 2, devices=np.array([SimpleNamespace(platform="gpu")] * 2))
    program = jax.make_jaxpr(jax.vmap(jax.jit(lambda a: jnp.linalg.eigvalsh(a).sum())))(jnp.ones((3, 2, 2)))
    with pytest.raises(
        ValueError, match=r"`train` holds eigh at .*, for which .*: call use_cores\(factorizations=True"
    ):
        devices.require_threads(two, program)
    devices.require_threads(two, jax.make_jaxpr(jnp.linalg.qr)(jnp.eye(2)))  # which needs none
    for mesh in (one, gpu):
        devices.require_threads(mesh, program)
    monkeypatch.setenv("NPROC", str(devices.THREADS * devices.cores()))
    devices.require_threads(two, program)


def test_cores_are_left_alone_where_the_user_has_said_how_many(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    use_cores()  # JAX has started long ago here
    assert devices.cores() >= 1
    assert sweep(lambda key: {"x": jax.random.normal(key)}, seeds=2)["x"].shape == (1, 2)
