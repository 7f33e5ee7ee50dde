"""What accelerators would get, read on a CPU: a sample here, and all of it in ``.ci/lowering``."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import initializers
from jnorm.nn.convolution import convolve
from tests import lowering
from tests.registry import FUNCTIONS
from tests.thorough import beside

SAMPLE = (
    "activations.gelu",
    "initializers.truncated_normal",
    "nn.batch_norm.apply",
    "nn.networks.mlp",
    "statistics.mean",
    "theory.moments.gradient_factor",
)


@pytest.mark.parametrize("name", beside(SAMPLE, FUNCTIONS))
def test_a_function_is_fit_for_accelerators(name):
    assert not lowering.function_faults(name)


BOTH = {
    "QR": (lambda: initializers.orthogonal()(jax.random.key(0), (4, 3)), ()),
    "a convolution of two forms": (convolve, (jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)))),
}


@pytest.mark.parametrize("what", BOTH)
def test_one_export_for_three_platforms_holds_what_each_one_has(what):
    call, args = BOTH[what]
    alone = [lowering.exported(call, *args, platforms=(platform,)) for platform in lowering.PLATFORMS]
    together = lowering.exported(call, *args)
    for text in alone:
        for count in (lowering.custom_calls, lambda text: set(lowering.operations(text))):
            assert set(count(text)) <= set(count(together))


HALF = jax.ShapeDtypeStruct((3,), jnp.bfloat16)
ANY = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n"), jnp.bfloat16)


def wide_gradient(x):
    return jax.grad(lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32))(x)


FAULTS = {
    "a decomposition": (lambda x: jnp.linalg.eigvalsh(jnp.outer(x, x)), HALF, "custom call .*syev"),
    "a shape that is not known": (jnp.sin, ANY, "dynamic shape"),
    "float64": (lambda x: x.astype(jnp.float64), HALF, "float64: .*f64"),
    "bits of float64": (lambda x: x.astype(jnp.float64).view(jnp.uint64), HALF, "bits of a float64"),
    "the next float64": (lambda x: jnp.nextafter(x.astype(jnp.float64), 1.0), HALF, "bits of a float64"),
    "a product in float32": (lambda x: x.astype(jnp.float32) @ x.astype(jnp.float32), HALF, "product in"),
    "a gradient in float32": (wide_gradient, HALF, "product in"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_gate_sees_faults(fault, x64):
    call, x, words = FAULTS[fault]
    found = lowering.faults(lowering.exported(call, x), "bfloat16", layer=True)
    assert any(re.search(words, line) for line in found), found


def test_the_gate_sees_float64_that_only_x64_makes(monkeypatch):
    entry = FUNCTIONS["activations.relu"]
    monkeypatch.setitem(FUNCTIONS, "faulty", entry._replace(call=lambda x: x * jnp.where(x > 0, 1.0, 0.0)))
    found = lowering.function_faults("faulty")
    assert found
    assert all(re.match("float32 under x64, (plain|vmap|grad): ", line) for line in found), found


def test_a_call_of_the_host_does_not_export():
    with pytest.raises(NotImplementedError, match="callback"):
        lowering.exported(lambda x: jax.pure_callback(np.sin, x, x), HALF)


def test_the_gate_passes_what_has_no_fault():
    assert not lowering.faults(lowering.exported(lambda x: (x @ x, jnp.sin(x)), HALF), "bfloat16", layer=True)
