"""Laws of `jnorm.measure`."""

from functools import cache

import jax
import jax.numpy as jnp

from jnorm import measure
from jnorm.measure import gradcheck, probes, quantities
from tests.registry import BATCHES, add, each, host
from tests.registry import _curvature as _curvature  # whose entries its import adds

COUNTS = {"gradient": "piecewise constant"}

for _name in ("mean", "variance", "norm", "largest", "example_correlation", "unit_correlation", "effective_rank"):
    add(f"measure.quantities.{_name}", each(getattr(quantities, _name)), BATCHES)
for _name in ("sign_balance", "saturation", "dead", "rank"):
    add(f"measure.quantities.{_name}", each(getattr(quantities, _name)), BATCHES, **COUNTS)
add("measure.quantities.percentiles", each(lambda x: quantities.percentiles(x, (10, 50))), BATCHES)
add(
    "measure.quantities.histogram",
    each(lambda x: quantities.histogram(x, (-1.0, 0.0, 1.0))),
    BATCHES,
    nan="NaN counts nowhere",
    **COUNTS,
)


def loss(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


@cache
def watched():
    return jax.jit(probes.watch(loss, argnums=0))


@cache
def searched():
    return jax.jit(lambda x: measure.first_nonfinite(jnp.log, x))


@cache
def stepped():
    from types import SimpleNamespace

    line = SimpleNamespace(apply=lambda w, state, x, *, train, key: (w * x, state))
    probe = probes.steps(line, lambda y, t: (y - t) ** 2, ["mean"], where="*/mul")

    def at(w):
        return probe(SimpleNamespace(params=w, state=(), batch=(w, w), key=None, gradient=w, updates=w))

    return jax.jit(at)


host("measure.probes.watch", lambda: watched()(jnp.ones((3, 2)), jnp.ones((4, 3))))
host("measure.probes.steps", lambda: stepped()(jnp.ones(3)))
host("measure.first_nonfinite", lambda: searched()(jnp.ones(3)))

ANEW = "what is checked is traced and compiled anew, as part of the check"


def examined():
    x = jnp.linspace(-1, 1, 24).reshape(12, 2)
    loss = lambda outputs, targets: jnp.mean((outputs - targets) ** 2)
    found = measure.doctor(lambda w, x: x @ w, jnp.full((2, 1), 0.5), x, x[:, :1], loss, steps=4)
    return str(found)


host("measure.doctor", examined, compile=ANEW)

OPTIONS = {"directions": 1, "entries": 1, "order": 1}


def squares(params):
    return jnp.sum(params["w"] ** 2)


def checked():
    report = gradcheck.check(squares, {"w": jnp.array([1.0, 2.0])}, **OPTIONS)
    return report.verdict, report.leaves


host("measure.gradcheck.check", checked, compile=ANEW)
host(
    "measure.gradcheck.assert_gradients",
    lambda: gradcheck.assert_gradients(squares, {"w": jnp.array([1.0, 2.0])}, **OPTIONS),
    compile=ANEW,
)
