"""No false alarm: public functions of jnorm that have a gradient, and those of `jax.nn`, in both precisions.

The thorough cases are a sample; `.ci/attacks/gradients.py` goes through all of them.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.measure import gradcheck
from tests.registry import FUNCTIONS, ROWS
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

OURS = [name for name, entry in FUNCTIONS.items() if "gradient" not in entry.exceptions]
COARSE = {"data.augment.noise": ("rounding",)}  # draws others in float64, so that float32 is checked in itself
HEADS = jnp.asarray(np.random.default_rng(5).normal(size=(2, 3, 2, 4)), jnp.float32)
THEIRS = {name: (f, ROWS) for name, f in vars(jax.nn).items() if inspect.isroutine(f) or hasattr(f, "__wrapped__")}
OTHERS = {
    "log1mexp": (jax.nn.log1mexp, np.abs(ROWS)),
    "dot_product_attention": (lambda x: jax.nn.dot_product_attention(x, x[:, ::-1], jnp.sin(x)), HEADS),
}
NOT_OF_FLOATS = {"one_hot", "scaled_matmul", "scaled_dot_general", "get_scaled_dot_general_config"}
THEIRS = {name: case for name, case in (THEIRS | OTHERS).items() if name not in NOT_OF_FLOATS}


def weighted(call, arguments):
    """A loss of the floating arguments: the results, with weights that do not cancel."""
    moving = [i for i, a in enumerate(arguments) if jnp.issubdtype(a.dtype, jnp.floating)]

    def loss(params):
        full = list(arguments)
        for i, a in zip(moving, params, strict=True):
            full[i] = a
        floats = [a for a in jax.tree.leaves(call(*full)) if jnp.issubdtype(a.dtype, jnp.floating)]
        weights = [jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape) for a in floats]
        return jnp.sum(jnp.stack([jnp.sum(w * a) for w, a in zip(weights, floats, strict=True)]))

    return loss, [arguments[i] for i in moving]


def alarm(call, arguments, dtype, order, allowed=()):
    with jax.enable_x64(dtype == "float64"):
        made = [jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for a in arguments]
        report = gradcheck.check(*weighted(call, made), directions=1, entries=4, order=order)
    return "" if report.verdict in ("right", "kink", *allowed) else str(report)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", beside(["activations.selu", "losses.huber"], ["activations.selu", "losses.huber", *OURS[::8]])
)
def test_ours(name, dtype):
    entry = FUNCTIONS[name]
    assert not alarm(entry.call, entry.arguments, dtype, order=1, allowed=COARSE.get(name, ()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", beside(["softmax"], ["softmax", *list(THEIRS)[::4]]))
def test_theirs(name, dtype):
    call, x = THEIRS[name]
    assert not alarm(call, [np.asarray(x)], dtype, order=2)


def test_the_sweep_is_whole():
    assert len(OURS) > 100
    assert {"relu", "gelu", "softmax", "logsumexp", "dot_product_attention", "standardize", "glu"} <= set(THEIRS)
