"""Laws of `jnorm.measure`."""

from functools import cache

import jax
import jax.numpy as jnp

from jnorm import measure
from jnorm.measure import gradcheck, landscapes, probes, quantities
from tests.registry import BATCHES, KEYS, POSITIVE, ROWS, add, each, host
from tests.registry import _curvature as _curvature  # whose entries its import adds

GRID = {"x": (-1.0, 1.0), "y": (0.0, 1.0)}
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


@cache
def placed():
    from types import SimpleNamespace

    network = SimpleNamespace(apply=lambda w, state, x, *, train, key: (jnp.tanh(x @ w), state))
    region = SimpleNamespace(
        mean=(-1.0, 2.0), var=(0.0, 1.0), omega=(-4.0, 4.0), tau=(0.5, 3.5), strip=(1.0, -3.0, 3.0)
    )
    probe = probes.units(network, region)
    return jax.jit(lambda w, x: probe(SimpleNamespace(params=w, state=(), batch=(x, None), key=None)))


host("measure.probes.units", lambda: placed()(jnp.ones((3, 2)), jnp.ones((4, 3))))


def drawn(key):
    return [jax.random.normal(k, (8, 8)) / 3 for k in jax.random.split(key, 2)]


def stack(weights, x):
    return jnp.tanh(x @ weights[0]) @ weights[1]


def audited():
    return str(measure.audit(drawn, stack, jnp.ones((2, 8)), jax.random.key(0), seeds=8, gradients=True))


host("measure.audit", audited, compile="the programs of a model are traced and compiled anew, as part of the audit")


def valley(w, x):
    return jnp.sum(jnp.cos(w)) * x + jnp.sum(w**2)


TWO = jnp.asarray(ROWS[:2], jnp.float32)
add(
    "measure.landscapes.line",
    each(lambda w, x: landscapes.line(lambda w: valley(w, x), w, 2 * w, at=(0.0, 0.5, 1.0)).values),
    ROWS,
    POSITIVE,
)
add(
    "measure.landscapes.plane",
    each(lambda w, x: landscapes.plane(lambda w: valley(w, x), w, w, TWO[0].astype(w.dtype), **GRID).values),
    ROWS,
    POSITIVE,
)
add("measure.landscapes.random_direction", each(landscapes.random_direction), KEYS, BATCHES)
add("measure.landscapes.path_plane", each(lambda path: landscapes.path_plane(path).shares), BATCHES)
add("measure.landscapes.barrier", each(lambda losses: landscapes.barrier(losses, draws=16)[:1]), BATCHES)

OPTIONS = {"directions": 1, "entries": 1, "order": 1}
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
