"""Probes: what is seen is what a direct computation gives, wherever it stands, and the function stays what it was."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax

from jnorm import losses
from jnorm.activations import gelu, selu
from jnorm.interop import flax_linen
from jnorm.measure import probes, quantities
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")

X = jax.random.normal(jax.random.key(0), (6, 4))
W = 0.8 * jax.random.normal(jax.random.key(1), (3, 4, 4))
WHOLE = {"whole": lambda x: x}  # the values themselves


def exact(got, want):
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


def near(got, want):
    """A few roundings: programs that XLA fuses by other cuts."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=2e-6, atol=2e-6)


def chain(ws, x):
    """The values after each tanh."""
    out = []
    for w in ws:
        x = jnp.tanh(x @ w)
        out.append(x)
    return out


def plain(ws, x):
    return jnp.mean(chain(ws, x)[-1] ** 2)


def scanned(ws, x):
    return jnp.mean(lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, ws)[0] ** 2)


def rematerialized(ws, x):
    block = jax.checkpoint(lambda c, w: jnp.tanh(c @ w))
    for w in ws:
        x = block(x, w)
    return jnp.mean(x**2)


def nested(ws, x):
    layer = jax.jit(lambda c, w: jax.jit(lambda z: jnp.tanh(z))(c @ w))
    for w in ws:
        x = layer(x, w)
    return jnp.mean(x**2)


def branched(ws, x):
    for i, w in enumerate(ws):
        x = lax.cond(i < 5, lambda z: jnp.tanh(z), lambda z: jnp.sin(z) + 1, x @ w)
    return jnp.mean(x**2)


PROGRAMS = {
    "plain": plain,
    "scan": scanned,
    "remat": rematerialized,
    "scan of remat": lambda ws, x: jnp.mean(
        lax.scan(jax.checkpoint(lambda c, w: (jnp.tanh(c @ w), None)), x, ws)[0] ** 2
    ),
    "jit": nested,
    "cond": branched,
}


def stacked(seen, table, name="whole"):
    """What was seen of the three layers, a scan's as one array."""
    rows = [getattr(seen, table)[place.name][name] for place in seen.places]
    return rows[0] if len(rows) == 1 else jnp.stack(rows)


def cotangents_of(ws, x):
    """By zeros that are added to each value, as it is done by hand."""

    def perturbed(zeros):
        y = x
        for w, zero in zip(ws, zeros, strict=True):
            y = jnp.tanh(y @ w) + zero
        return jnp.mean(y**2)

    return jax.grad(perturbed)(jnp.zeros((3, *x.shape)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_cotangents_are_those_of_a_direct_computation(name):
    f = PROGRAMS[name]
    g = probes.watch(f, WHOLE, where="*/tanh", argnums=0)
    (value, grads), seen = g(W, X)
    same = near if "scan" in name else exact  # a scan is compiled as a whole, and then with other outputs
    same(value, f(W, X))
    near(grads, jax.grad(f)(W, X))
    same(stacked(seen, "values"), jnp.stack(chain(W, X)))
    near(stacked(seen, "cotangents"), cotangents_of(W, X))
    (again, _), compiled = jax.jit(g)(W, X)
    near(again, value)
    near(stacked(compiled, "values"), stacked(seen, "values"))
    near(stacked(compiled, "cotangents"), stacked(seen, "cotangents"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_function_is_not_changed(name):
    """Where it runs, and where it is differentiated from outside."""
    f = PROGRAMS[name]
    g = probes.watch(f, ["mean"])
    (near if "scan" in name else exact)(g(W, X)[0], f(W, X))
    got, _ = jax.grad(g, has_aux=True)(W, X)
    near(got, jax.grad(f)(W, X))


def test_lanes_of_vmap_are_axes():
    g = probes.watch(plain, WHOLE, where="*/tanh", argnums=0)
    xs = jnp.stack([X, 2 * X, -X])
    _, seen = jax.jit(jax.vmap(g, (None, 0)))(W, xs)
    for lane, x in enumerate(xs):
        one = jax.tree.map(lambda a, lane=lane: a[lane], seen)
        near(stacked(one, "values"), jnp.stack(chain(W, x)))
        near(stacked(one, "cotangents"), cotangents_of(W, x))


def test_in_a_scan_each_turn_or_every_kth_is_seen():
    def f(x):
        outer = lambda c, _: lax.scan(lambda c, t: (jnp.sin(c) + t, c), c, jnp.arange(5.0))
        return lax.scan(outer, x, None, 4)

    every = lambda k: probes.watch(f, {"value": lambda x: x}, where="*/sin", every=k)(0.3)[1]
    (row,) = every(1).values.values()
    exact(row["value"], jnp.sin(f(0.3)[1]))
    assert every(1).places[0].loops == (4, 5)
    for k, at in ((2, np.s_[::2]), ((1, 3), np.s_[:, ::3]), ((3, 2), np.s_[::3, ::2])):
        (thin,) = every(k).values.values()
        exact(thin["value"], row["value"][at])


def test_cotangents_are_thinned_too():
    g = lambda k: probes.watch(scanned, WHOLE, where="*/tanh", argnums=0, every=k)(W, X)
    near(stacked(g(2)[1], "cotangents"), stacked(g(1)[1], "cotangents")[::2])
    near(g(2)[0][1], jax.grad(scanned)(W, X))


def test_of_a_while_the_last_turn_is_seen_and_of_a_cond_the_branch_that_is_taken():
    f = lambda x: lax.while_loop(lambda c: c < 3, lambda c: c + jnp.exp(x), x)
    _, seen = probes.watch(f, {"value": lambda x: x}, where="*/add")(0.2)
    exact(next(iter(seen.values.values()))["value"], f(0.2))
    g = lambda x: lax.cond(x > 0, jnp.sin, lambda x: jnp.cos(x) * x, x)
    for x, taken in ((0.5, "sin"), (-0.5, "cos")):
        _, seen = jax.jit(probes.watch(g, ["mean"], argnums=0))(x)
        for place in seen.places:
            expected = place.operation == taken or (place.operation == "mul" and taken == "cos")
            for table in (seen.values, seen.cotangents):
                assert np.isfinite(table[place.name]["mean"]) == expected, place


@jax.custom_vjp
def pulled(x):
    return jnp.sin(x) * 2


pulled.defvjp(lambda x: (pulled(x), None), lambda _, ct: (7.0 * ct,))


@jax.custom_jvp
def steep(x):
    return jnp.sin(x) * 2


steep.defjvp(lambda x, dx: (steep(*x), 7.0 * dx[0]))


@pytest.mark.parametrize("f", [pulled, steep], ids=["vjp", "jvp"])
def test_rules_of_the_users_are_kept_and_looked_into(f):
    (value, slope), seen = probes.watch(lambda x: f(3 * x), WHOLE, argnums=0)(0.4)
    assert value == f(1.2)
    assert slope == 21
    names = {place.operation: place.name for place in seen.places}
    exact(seen.values[names["sin"]]["whole"], jnp.sin(3 * jnp.float32(0.4)))
    exact(seen.cotangents[names[f.__wrapped__.__name__]]["whole"], 1.0)
    assert names["sin"] not in seen.cotangents  # a rule says what goes through, not the operations
    assert jax.grad(lambda x: probes.watch(f, ["mean"])(x)[0])(0.4) == 7


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(4)(x)) + x


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.remat(Block)(name="b1")(Block(name="b0")(x)))


def test_flax_linen_gives_module_paths():
    model = Model()
    variables = model.init(jax.random.key(0), X)
    loss = lambda variables: jnp.sum(model.apply(variables, X) ** 2)
    _, seen = probes.watch(loss, ["mean"], where=["Model/b0", "Model/b1/Dense_0", "Model/Dense_0"], argnums=0)(
        variables
    )
    names = [place.name for place in seen.places]
    assert names[:4] == ["Model/b0/Dense_0/dot_general", "Model/b0/Dense_0/add", "Model/b0/relu", "Model/b0/add"]
    assert names[4:] == [f"Model/{m}/{op}" for m in ("b1/Dense_0", "Dense_0") for op in ("dot_general", "add")]
    assert {place.line.file for place in seen.places} == {__file__}
    assert set(seen.cotangents) == set(seen.values)
    _, back = probes.watch(jax.grad(loss), ["mean"], where="backward/Model")(variables)
    assert {"Model/b1/Dense_0", "Model/b0", "Model/Dense_0"} <= {place.module for place in back.places}
    assert all(place.backward for place in back.places)


def test_nnx_and_equinox_models_have_the_paths_of_their_parameters():
    model = nnx.Linear(4, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split({"first": model, "second": nnx.Linear(2, 2, rngs=nnx.Rngs(1))})

    def apply(state, x):
        modules = nnx.merge(graph, state)
        return modules["second"](nnx.relu(modules["first"](x)))

    _, seen = probes.watch(apply, ["mean"])(state, X)
    assert [place.module for place in seen.places] == ["first", "first", "", "second", "second"]
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(4, 2, 8, 1, key=jax.random.key(0))
    _, seen = probes.watch(lambda mlp, x: jax.vmap(mlp)(x), ["mean"])(mlp, X)  # its functions are no arrays
    modules = [place.module for place in seen.places]
    assert modules.count("layers/0") == modules.count("layers/1") == 2


def test_functions_of_jax_and_jnorm_are_one_place():
    f = lambda x: gelu(selu(jax.nn.silu(jax.nn.relu(x)))) * 2
    _, seen = probes.watch(f, "full")(X)
    assert [place.operation for place in seen.places] == ["relu", "silu", "selu", "gelu", "mul"]
    bent = [place.operation for place in seen.places if "dead" in seen.values[place.name]]
    assert bent == ["relu", "silu", "selu", "gelu"]


@pytest.mark.parametrize("phi", [jax.nn.relu, jnp.tanh, selu, jax.nn.sigmoid, gelu], ids=lambda f: f.__name__)
def test_dead_units_of_any_activation(phi):
    """Units 0 and 1 of four are far in the flat part for every example."""
    z = jnp.abs(X) * jnp.array([[-1.0, -1.0, 1.0, 1.0]]) + jnp.array([[-20.0, -30.0, 0.0, 0.0]])
    _, seen = probes.watch(phi, ["dead", "saturation"])(z)
    row = seen.values[seen.places[-1].name]
    assert row["dead"] == 0.5
    slopes = jax.vmap(jax.vmap(jax.grad(phi)))(z)
    exact(row["saturation"], jnp.mean((jnp.abs(slopes) <= 0.05).astype(float)))


def test_a_whole_training_is_a_function_too():
    """Steps of all epochs, forward and backward, with every third of them kept."""
    train, data = training()
    watched = probes.watch(lambda key: train(key, data), ["norm"], where="*Dense_0*/dot_general*", every=(1, 3))
    result, seen = jax.jit(watched)(jax.random.key(0))
    near(result["train_loss"], jax.jit(train)(jax.random.key(0), data)["train_loss"])
    in_steps = [place for place in seen.places if len(place.loops) == 2]
    assert {place.backward for place in in_steps} == {False, True}
    assert all(seen.values[place.name]["norm"].shape == (2, 2) for place in in_steps)  # 4 steps an epoch: 0 and 3


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(jnp.tanh(nn.Dense(5)(x)))


def training(**options):
    network = flax_linen.network(Small(), X[:1])
    data = {"train": (jnp.tile(X, (3, 1))[:16], jnp.zeros((16, 2)))}
    loss = losses.squared_error
    report = loop.Report(["train"], steps=[probes.steps(network, loss, ["mean"])] if options else [])
    return loop.trainer(network, loss, optax.sgd(0.1), epochs=2, batch_size=4, report=report), data


def test_a_trainer_reports_values_gradients_and_updates_of_each_step():
    train, data = training(steps=True)
    result = jax.jit(train)(jax.random.key(0), data)
    bare = jax.jit(training()[0])(jax.random.key(0), data)
    near(result["train_loss"], bare["train_loss"])
    names = {name for name in result if name.startswith("step_")}
    some = {"Small/Dense_0/dot_general/mean", "cotangent/Small/Dense_1/add/mean", "update/Dense_0/kernel"}
    assert {f"step_{name}" for name in some} <= names, names
    assert all(result[name].shape == (8,) and np.isfinite(result[name]).any() for name in names)


def test_nothing_is_compiled_again():
    traces = []

    def f(ws, x):
        traces.append(1)
        return plain(ws, x)

    g = jax.jit(probes.watch(f, argnums=0))
    for scale in (1.0, 2.0, 3.0):
        _, seen = g(scale * W, X)
    assert len(traces) == 1
    assert jax.tree.structure(seen) == jax.tree.structure(g(W, X)[1])


def test_what_is_not_there_is_said():
    g = probes.watch(plain, where="nosuch")
    with pytest.raises(
        ValueError, match=r"`where` has 'nosuch', which is not there; there are test_probes.py:\d+/dot_gen"
    ):
        g(W, X)
    with pytest.raises(ValueError, match=r"`where` chooses nothing; there are test_probes.py:"):
        probes.watch(plain, where=lambda place: False)(W, X)
    with pytest.raises(ValueError, match=r"`measures` must be one of mean, .*percentiles; got 'median'"):
        probes.watch(plain, ["median"])
    with pytest.raises(ValueError, match="`measures` must be one of cheap, full; got 'all'"):
        probes.watch(plain, "all")
    with pytest.raises(TypeError, match="`measures` must map names to functions; got 3 for 'a'"):
        probes.watch(plain, {"a": 3})
    with pytest.raises(ValueError, match="`every` must be a whole number >= 1; got 0"):
        probes.watch(plain, every=0)
    with pytest.raises(TypeError, match=r"must return a scalar; got shape \(6, 4\)"):
        probes.watch(lambda ws, x: chain(ws, x)[-1], argnums=0)(W, X)


def test_what_is_seen_prints_as_a_table():
    _, seen = probes.watch(plain, ["mean", "histogram"], where="*/tanh", argnums=0)(W, X)
    lines = str(seen).splitlines()
    assert lines[0].split() == ["mean", "cotangent", "mean"]
    assert [line.split()[0] for line in lines[1:]] == [place.name for place in seen.places]
    assert len(seen.flat()) == 2 * 2 * 3


def test_an_auxiliary_output_and_several_arguments():
    f = lambda ws, x: (plain(ws, x), x)
    ((value, aux), grads), _ = probes.watch(f, argnums=(0, 1), has_aux=True)(W, X)
    near(value, plain(W, X))
    exact(aux, X)
    for got, want in zip(grads, jax.grad(plain, (0, 1))(W, X), strict=True):
        near(got, want)


def test_half_precision_is_measured_in_float32():
    _, seen = probes.watch(lambda x: x * 2, ["mean"])(X.astype(jnp.bfloat16))
    (row,) = seen.values.values()
    assert row["mean"].dtype == jnp.float32
    exact(row["mean"], quantities.mean((X.astype(jnp.bfloat16) * 2).astype(jnp.float32)))
