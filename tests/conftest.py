"""A stricter JAX for every test: implicit rank and dtype promotion raise, and warnings are errors (pyproject)."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tests import compiling
from tests.thorough import in_part

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_addoption(parser):
    parser.addoption("--optimized", action="store_true", help="compile every module's programs as users do")
    parser.addoption("--thorough", action="store_true", help="also the cases marked so, of which others are a sample")
    parser.addoption("--part", default="0/1", help="I/N: of these the I-th of N parts, from 0, each case in one")
    parser.addoption("--data-dir", default=os.environ.get("JNORM_DATA"), help="folder that holds mnist/ and uci/")


def pytest_collection_modifyitems(config, items):
    asked, part = config.getoption("--thorough"), config.getoption("--part")
    stays = lambda item: not item.get_closest_marker("thorough") or (asked and in_part(item.nodeid, part))
    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = [item for item in items if stays(item)]


@pytest.fixture(scope="session")
def data_dir(request):
    folder = request.config.getoption("--data-dir")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no data folder: pass --data-dir or set JNORM_DATA")
    return Path(folder)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _gpu_marker(request):
    if request.node.get_closest_marker("gpu") and jax.default_backend() != "gpu":
        pytest.skip("needs a GPU; this machine has none")


@cache
def half_is_missing():
    """Whether XLA compiles no float16, as on processors without F16C."""
    try:
        jax.jit(lambda x: x + x)(jnp.ones(3, jnp.float16))
    except jax.errors.JaxRuntimeError:
        return True
    return False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    try:
        return (yield)
    except jax.errors.JaxRuntimeError as error:
        if "Failed to materialize symbols" in str(error) and half_is_missing():
            pytest.skip("XLA compiles no float16 on this machine")
        raise


def pytest_configure(config):
    config.programs = getattr(config, "workerinput", {}).get("programs") or tempfile.mkdtemp(prefix="programs-")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["programs"] = node.config.programs


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.programs)


@pytest.fixture(autouse=True, scope="session")
def _cached_programs(request):
    """What one module or worker compiles the next one reads."""
    jax.config.update("jax_compilation_cache_dir", request.config.programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else the folder's name is part of the keys


@pytest.fixture(scope="module")
def unoptimized(request):
    """For modules of many programs that each run once: most of their time would go into optimizing these."""
    if request.config.getoption("--optimized"):
        yield
        return
    with compiling.unoptimized():
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Loaded programs of a module go with it; all of them together would take gigabytes."""
    yield
    jax.clear_caches()
