"""What importing jnorm costs and leaves alone, seen in a fresh process."""

import subprocess
import sys

import pytest

HEAVY = ("flax", "matplotlib", "sklearn", "pandas", "scipy.integrate", "flint", "tyro", "torch")
LIGHT = (
    "jnorm",
    "jnorm.activations",
    "jnorm.gaussian",
    "jnorm.initializers",
    "jnorm.theory.moments",
    "jnorm.theory.fixed_points",
    "jnorm.theory.portraits",
    "jnorm.theory.meanfield",
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
