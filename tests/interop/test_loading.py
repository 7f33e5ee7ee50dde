"""linen and nnx are loaded apart, because each takes as long as the other; seen in fresh processes."""

import subprocess
import sys

import pytest

import jnorm


def loaded(module, *names):
    """Which of the named modules a fresh Python has loaded after importing one."""
    code = f"import {module}, sys; print(*[m for m in {names} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_one_does_not_load_the_other():
    assert loaded("jnorm.interop.flax_nnx", "jnorm.interop.flax_linen", "jnorm.interop.flax_nnx") == [
        "jnorm.interop.flax_nnx"
    ]
    ours = loaded("jnorm.interop.flax_linen", "flax.nnx", "jnorm.interop.flax_nnx", "jnorm.interop.flax_linen")
    theirs = loaded("flax.linen", "flax.nnx")  # whether linen itself takes nnx is Flax's choice
    assert ours == [*theirs, "jnorm.interop.flax_linen"]


def test_the_room_loads_what_is_named():
    assert loaded("jnorm.interop", "flax", "jnorm.interop.flax_linen", "jnorm.interop.flax_nnx") == []
    assert jnorm.interop.flax_linen.BatchNorm.__name__ == jnorm.interop.flax_nnx.BatchNorm.__name__ == "BatchNorm"
    assert {"flax_linen", "flax_nnx"} <= set(dir(jnorm.interop))
    with pytest.raises(AttributeError, match="has no attribute 'haiku'; it has flax_linen, flax_nnx"):
        _ = jnorm.interop.haiku
