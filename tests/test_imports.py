"""What importing jnorm costs and leaves alone, seen in a fresh process."""

import subprocess
import sys

import pytest

HEAVY = ("flax", "matplotlib", "sklearn", "pandas", "scipy.integrate", "flint", "tyro", "torch")
LIGHT = (
    "jnorm",
    "jnorm.activations",
    "jnorm.gaussian",
    "jnorm.jaxprs",
    "jnorm.initializers",
    "jnorm.theory.moments",
    "jnorm.theory.fixed_points",
    "jnorm.theory.portraits",
    "jnorm.theory.meanfield",
    "jnorm.theory.spectra",
    "jnorm.theory.parametrization",
)


def loaded(*modules):
    """Which of the heavy modules a fresh Python has loaded after importing these."""
    code = f"import {', '.join(modules)}, sys; print(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_core_imports_nothing_heavy():
    assert loaded(*LIGHT) == []


def test_the_check_sees_what_is_imported():
    pytest.importorskip("matplotlib")
    assert "matplotlib" in loaded("jnorm.plots")


def test_importing_changes_no_setting_and_compiles_nothing():
    code = """
import jax
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
)
before = dict(jax.config.values)
import {modules}
assert dict(jax.config.values) == before
assert not compiled
"""
    subprocess.run([sys.executable, "-c", code.format(modules=", ".join(LIGHT))], check=True)


def test_verdicts_need_no_device():
    """Rules, bootstraps among them, compute on the host in double precision: no device emulates it."""
    code = """
import os
os.environ["JAX_PLATFORMS"] = "no_such_platform"  # whatever touches a backend fails
import numpy as np
from jnorm import statistics

rng = np.random.default_rng(0)
runs = statistics.Runs(
    [{"phi": phi, "depth": depth} for phi in ("relu", "selu") for depth in (8, 32)],
    {"accuracy": rng.normal(0.9, 0.1, (4, 8))},
)
arms = {"a": {"phi": "selu"}, "b": {"phi": "relu"}}
for name, method in statistics.METHODS.items():
    rule = statistics.Rule(
        metric="accuracy", claim="greater", effect=0.01, diverged=0.1, method=name, paired=bool(method.paired), **arms
    )
    assert len(statistics.judge(runs, rule).settings) == 2
assert statistics.sample_size(0.5, arms=2) == 64
try:
    statistics.mean(np.ones(3), axis=0)
except RuntimeError as error:
    assert "no_such_platform" in str(error)
else:
    raise AssertionError("a device was there")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
