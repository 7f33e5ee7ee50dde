"""Orders of the data, budgets, starts and what steps show, alone and together: against plain loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.data import batches
from jnorm.nn import batch_norm, networks
from jnorm.nn.dropout import dropout
from jnorm.train import _epochs, averages, early_stopping, evaluation, loop
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH = 10, 4  # a last batch of two
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
X = np.column_stack([np.arange(SIZE), RNG.normal(size=(SIZE, 2))])  # the first column says which example it is
T = RNG.normal(size=(SIZE, 1))
W = RNG.normal(size=(3, 1))
DATA = {"train": (X, T), "dev": (X[:4] + 0.1, T[:4])}


def linear():
    return networks.Network(lambda key: (jnp.asarray(W), ()), lambda w, s, x, *, train, key: (x @ w, s))


def normalized(rate=0.0):
    """Batch norm, dropout and a linear map."""

    def init(key):
        params, state = batch_norm.init(3, dtype=float)
        return {"w": jnp.asarray(W), "norm": params}, state

    def apply(params, state, x, *, train, key):
        y, state = batch_norm.apply(params["norm"], state, x, train=train, decay=0.9)
        return dropout(key, y, rate, train=train) @ params["w"], state

    return networks.Network(init, apply)


@pytest.fixture(autouse=True)
def _one_step_at_a_time(monkeypatch):
    """Which compiles in two thirds of the time."""
    monkeypatch.setattr(_epochs, "UNROLL", 1)


def which(step):
    """The numbers of a step's examples."""
    return {"examples": step.batch[0][:, 0]}


def trainer(network=None, optimizer=None, report=None, **options):
    options = {"batch_size": BATCH} | ({} if "steps" in options else {"epochs": 2}) | options
    report = loop.Report(**{"parts": [], "keep_params": True} | (report or {}))
    model = linear() if network is None else network
    return loop.trainer(model, losses.squared_error, optimizer or optax.sgd(0.01), report=report, **options)


def run(*args, start=None, data=DATA, **options):
    return jax.tree.map(np.asarray, jax.jit(lambda start: trainer(*args, **options)(KEY, data, start))(start))


def seen(**options):
    """The examples of each step, without last batches that are not full."""
    got = run(report={"steps": [which]}, drop_remainder=True, **options)
    return np.asarray(got["step_examples"]).astype(int)


def drawn(epoch):
    key = jax.random.fold_in(loop.streams(KEY)["order_key"], epoch)
    return np.asarray(batches.epoch(key, SIZE, SIZE).indices[0])


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_orders(x64):
    steps = lambda *orders: np.concatenate([order[:8].reshape(2, 4) for order in orders])
    np.testing.assert_array_equal(seen(), steps(drawn(0), drawn(1)))
    np.testing.assert_array_equal(seen(order="fixed"), steps(drawn(0), drawn(0)))
    backwards = np.arange(SIZE)[::-1]
    for given in (jnp.asarray(backwards), backwards.tolist()):
        np.testing.assert_array_equal(seen(order=given), steps(backwards, backwards))
    turned = lambda key, epoch: jnp.roll(jnp.arange(SIZE), epoch)
    np.testing.assert_array_equal(seen(order=turned), steps(np.arange(SIZE), np.roll(np.arange(SIZE), 1)))
    own = lambda key, epoch: batches.epoch(key, SIZE, SIZE).indices[0]
    np.testing.assert_array_equal(seen(order=own), seen())


def test_an_order_may_hold_a_part_or_examples_twice(x64):
    part = np.array([7, 3, 3, 9, 0])
    np.testing.assert_array_equal(seen(order=part, batch_size=2), np.tile([[7, 3], [3, 9]], (2, 1)))
    w = W
    for row in (part[:4], part[4:]) * 2:  # with the rest
        w = w - 0.01 * 2 * X[row].T @ (X[row] @ w - T[row]) / len(row)
    got = run(order=part, report={"steps": ["loss"]})
    np.testing.assert_allclose(got["params"], w, rtol=1e-13)  # four steps of sums of four
    assert got["step_loss"].shape == (4,)


def test_a_fixed_order_is_one_for_each_lane_and_moves_with_its_key(x64):
    train = trainer(order="fixed", drop_remainder=True, report={"steps": [which]})
    keys = jax.random.split(KEY, 3)
    got = jax.jit(jax.vmap(lambda key: train(jax.random.key(0), DATA, order_key=key)))(keys)["step_examples"]
    for lane, key in enumerate(keys):
        own = jax.random.fold_in(loop.streams(key)["order_key"], 0)
        order = np.asarray(batches.epoch(own, SIZE, SIZE).indices[0])
        np.testing.assert_array_equal(got[lane].astype(int), np.tile(order[:8].reshape(2, 4), (2, 1)))


@pytest.mark.parametrize("order", ["reshuffled", "fixed"])
def test_a_batch_of_all_is_taken_as_it_is(order, x64):
    """No order is drawn, nothing is gathered; up to the order of its sums the result is that of any order."""
    train = trainer(order=order, batch_size=SIZE)
    text = str(jax.make_jaxpr(train)(KEY, DATA))
    assert "gather" not in text
    assert "sort" not in text
    given = trainer(order=np.arange(SIZE)[::-1], batch_size=SIZE)
    assert "gather" in str(jax.make_jaxpr(given)(KEY, DATA))
    w = W
    for _ in range(2):
        w = w - 0.01 * 2 * X.T @ (X @ w - T) / SIZE
    for one in (train, given):
        np.testing.assert_allclose(jax.jit(one)(KEY, DATA)["params"], w, rtol=1e-13)  # two steps of sums of ten


def test_microbatches_of_a_batch_of_all_are_others_in_each_epoch(x64):
    assert "sort" in str(jax.make_jaxpr(trainer(accumulate=2, batch_size=SIZE))(KEY, DATA))


def test_a_budget_in_steps_is_the_beginning_of_as_many_epochs(x64):
    """Steps and curves: of whole epochs theirs, at the end of one that is cut short another point."""
    report = {"steps": ["loss"], "curves": ["dev"], "probe": lambda w, s: {"w": w}, "keep_carry": True}
    options = {"network": normalized(), "optimizer": optax.adam(0.1), "report": report}
    long = run(epochs=3, **options)
    for steps in (1, 7):
        short, full = run(steps=steps, **options), steps // 3
        np.testing.assert_allclose(short["step_loss"], long["step_loss"][:steps], rtol=1e-12)  # two programs
        assert short["curve_dev_loss"].shape == (full + 1,)
        np.testing.assert_allclose(short["curve_dev_loss"][:full], long["curve_dev_loss"][:full], rtol=1e-12)
        assert_same(short["probe_w"]["w"][-1], short["params"]["w"])
        assert short["carry"].step == steps


def test_a_training_that_goes_on_is_as_one_that_did_not_end(x64):
    """Orders, dropout, augmentation, Adam and running statistics; from a carry, bit for bit."""
    options = {
        "network": normalized(0.3),
        "optimizer": optax.chain(optax.adam(0.05), averages.average_params()),
        "augment": lambda key, x: x + 0.1 * jax.random.normal(key, x.shape, x.dtype),
        "report": {"steps": ["loss", which], "curves": ["dev"], "keep_carry": True},
        "drop_remainder": True,
    }
    whole = run(epochs=5, **options)
    first = run(epochs=2, **options)
    second = run(steps=6, start=first["carry"], **options)  # three epochs more
    for name in ("step_loss", "step_examples", "curve_dev_loss"):
        assert_same(np.concatenate([first[name], second[name]]), np.asarray(whole[name]))
    for name in ("params", "state", "carry"):
        assert_same(second[name], whole[name])


def test_a_training_begins_with_what_it_is_given(x64):
    network = normalized()
    params, state = network.init(KEY)
    params["w"] = np.array([[1.0], [2.0], [3.0]])
    state = state._replace(mean=state.mean + 1, count=state.count + 7)
    got = run(
        network,
        report={"steps": [lambda step: {"w": step.params["w"], "count": step.state.count}]},
        start=(params, state),
    )
    np.testing.assert_array_equal(got["step_w"][0], params["w"])
    assert got["step_count"][0] == 7
    train = trainer(network, stop=early_stopping.patience(0, tol=1e9), epochs=4, report={"keep_carry": True})
    lanes = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), (params, state))
    stopped = jax.tree.map(lambda a: a[0], jax.jit(jax.vmap(lambda start: train(KEY, DATA, start)))(lanes))
    assert stopped["epochs"] == 2  # the first gains, the second not enough
    assert stopped["carry"].step == 6


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_probe_sees_values_gradients_and_updates(accumulate, x64):
    """The gradient by the chain rule, the update by the rule, and the network's own dropout by the key of the step."""
    if accumulate == 1:
        network = normalized(0.4)

        def probe(step):
            outputs, _ = network.apply(step.params, step.state, step.batch[0], train=True, key=step.key)
            return {"again": jnp.mean((outputs - step.batch[1]) ** 2)}

        got = run(network, report={"steps": ["loss", probe]}, drop_remainder=True)
        np.testing.assert_allclose(got["step_again"], got["step_loss"], rtol=1e-13)

    def probe(step):
        return {"gradient": step.gradient, "updates": step.updates, "w": step.params, "cost": step.loss}

    optimizer = optax.chain(optax.clip(0.5), optax.sgd(0.01))
    l2 = lambda w: losses.l2_penalty(w)
    got = run(optimizer=optimizer, penalty=l2, accumulate=accumulate, report={"steps": ["gradient_norm", probe]})
    w, i = W, 0
    for epoch in range(2):
        for first in range(0, SIZE, BATCH):
            row = drawn(epoch)[first : first + BATCH]
            error = X[row] @ w - T[row]
            gradient = 2 * X[row].T @ error / len(row) + w
            exact = {"gradient": gradient, "updates": -0.01 * np.clip(gradient, -0.5, 0.5), "w": w}
            exact |= {"cost": np.mean(error**2), "gradient_norm": np.linalg.norm(gradient)}
            for name, value in exact.items():
                np.testing.assert_allclose(got[f"step_{name}"][i], value, rtol=1e-12)  # sums of four, six steps
            w, i = w + exact["updates"], i + 1


def test_probes_go_on_as_nan_after_a_stop(x64):
    got = run(stop=early_stopping.patience(0, tol=1e9), epochs=4, report={"steps": [lambda step: {"w": step.params}]})
    assert got["step_w"].shape == (12, 3, 1)
    assert np.all(np.isfinite(got["step_w"][:6]))
    assert np.all(np.isnan(got["step_w"][6:]))


def exact_statistics(state, x):
    np.testing.assert_allclose(state.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(state.var, x.var(0, ddof=1), rtol=1e-12)


STOPS = {"to the end": None, "stopping": early_stopping.patience(1, tol=0.0)}


@pytest.mark.parametrize("name", beside(["stopping"], STOPS))
def test_statistics_are_taken_anew_for_the_parameters_that_are_evaluated(name, x64):
    """A linear map in front of batch norm: its statistics are those of all inputs under the average of the maps."""
    stop = STOPS[name]

    def init(key):
        params, state = batch_norm.init(1, dtype=float)
        return {"w": jnp.asarray(W), "norm": params}, state

    def apply(params, state, x, *, train, key):
        return batch_norm.apply(params["norm"], state, x @ params["w"], train=train, decay=0.9)

    optimizer = optax.chain(optax.sgd(0.3), averages.average_params(start=2))
    report = {"parts": ["dev"], "curves": ["dev"], "probe": lambda p, s: {"w": p["w"], "mean": s.mean}}
    report |= {"keep_carry": True, "steps": [lambda step: {"w": step.params["w"]}]}
    options = {"network": networks.Network(init, apply), "optimizer": optimizer, "report": report, "epochs": 3}
    got = run(eval_state=evaluation.fresh_state, stop=stop, **options)
    iterates = np.concatenate([got["step_w"][1:], [got["carry"].params["w"]]])[: int(got["carry"].step)]
    ends = range(3, len(iterates) + 1, 3)
    for epoch, end in enumerate(ends):
        np.testing.assert_allclose(got["probe_w"][epoch], iterates[2:end].mean(0), rtol=1e-12)
        np.testing.assert_allclose(got["probe_mean"][epoch], (X @ got["probe_w"][epoch]).mean(0), rtol=1e-12)
    exact_statistics(got["state"], X @ got["params"]["w"])
    scale, shift = got["params"]["norm"]
    z = (DATA["dev"][0] @ got["params"]["w"] - got["state"].mean) / np.sqrt(got["state"].var + 1e-5) * scale + shift
    np.testing.assert_allclose(got["dev_loss"], np.mean((z - DATA["dev"][1]) ** 2), rtol=1e-12)
    trained = run(stop=stop, **options)
    assert abs(trained["state"].mean - got["state"].mean) > 1e-3  # the running ones belong to other parameters


def test_fresh_statistics_in_batches(x64):
    """The debiased running average over a pass in an order of its own, with the rest."""
    network = normalized()
    params = network.init(KEY)[0]
    got = jax.jit(lambda: evaluation.fresh_state(KEY, network, params, X, batch_size=4))()
    order = np.asarray(batches.epoch(KEY, SIZE, SIZE).indices[0])
    rows = [X[order[:4]], X[order[4:8]], X[order[8:]]]
    weights = 0.9 ** np.arange(2, -1, -1) * [4, 4, 2]
    np.testing.assert_allclose(got.count, weights.sum(), rtol=1e-14)
    for name, parts in (("mean", [x.mean(0) for x in rows]), ("var", [x.var(0, ddof=1) for x in rows])):
        np.testing.assert_allclose(getattr(got, name), weights @ np.array(parts) / weights.sum(), rtol=1e-13)
    for size in (None, 10, 99):
        exact_statistics(evaluation.fresh_state(KEY, network, params, X, batch_size=size), X)
    with pytest.raises(ValueError, match="`x` must hold at least one example; got 0"):
        evaluation.fresh_state(KEY, network, params, X[:0])
    with pytest.raises(ValueError, match="`batch_size` must be a whole number >= 1; got 0"):
        evaluation.fresh_state(KEY, network, params, X, batch_size=0)


@pytest.mark.thorough
def test_schedule_free_is_judged_by_its_average_wherever_it_stands(x64):
    """In a chain, in one that refuses steps, with a budget in steps: as alone."""
    make = lambda: optax.contrib.schedule_free_adamw(0.1, b1=0.9)
    alone = run(optimizer=make(), steps=5, report={"keep_carry": True})
    within = run(optimizer=optax.apply_if_finite(optax.chain(optax.clip(1e9), make()), 3), steps=5)
    np.testing.assert_allclose(within["params"], alone["params"], rtol=1e-12)
    carry = jax.tree.map(jnp.asarray, alone["carry"])
    with jax.numpy_dtype_promotion("standard"):
        exact = optax.contrib.schedule_free_eval_params(carry.optimizer_state, carry.params)
    np.testing.assert_allclose(alone["params"], exact, rtol=1e-14)


def outside(**options):
    return lambda: trainer(**options)(KEY, DATA)


def begun(start, **options):
    return lambda: trainer(**options)(KEY, DATA, start)


BAD = {
    "no order": (outside(order="sorted"), ValueError, "`order` must be one of reshuffled, fixed; got 'sorted'"),
    "an order of floats": (outside(order=[0.0, 1.0]), ValueError, r"`order` must hold the numbers .*; got float64 of"),
    "a table": (outside(order=np.zeros((2, 5), int)), ValueError, r"`order` must hold .*; got int64 of shape \(2, 5\)"),
    "an example too many": (outside(order=[0, 1, 2, 10]), ValueError, "`order` must satisfy 0 <= order < 10; got 10"),
    "a negative one": (outside(order=[0, 1, 2, -1]), ValueError, "`order` must satisfy 0 <= order < 10; got -1"),
    "too few": (outside(order=[0, 1]), ValueError, "`batch_size` must satisfy batch_size <= 2, the examples of an epo"),
    "none": (outside(order=[]), ValueError, r"`order` must hold the numbers .* of shape \(0,\)"),
    "a function of floats": (
        outside(order=lambda key, epoch: jnp.ones(4)),
        ValueError,
        r"`order` must hold the numbers .*; got float\d\d of shape \(4,\)",
    ),
    "two budgets": (outside(epochs=1, steps=3), ValueError, "`epochs` or `steps` must be given, one of the two; got 1"),
    "no budget": (outside(epochs=None), ValueError, "`epochs` or `steps` must be given, .*; got None and None"),
    "no steps": (outside(steps=0), ValueError, "`steps` must be a whole number >= 1; got 0"),
    "a budget within an epoch": (
        outside(steps=4, stop=early_stopping.patience(1)),
        ValueError,
        "`steps` must be a multiple of the 3 steps of an epoch, after which training may stop; got 4",
    ),
    "no start": (begun(3.0), TypeError, r"`start` must be a pair \(params, state\), or the carry .*; got float"),
    "another width": (
        begun((W[:2], ())),
        ValueError,
        r"`start` must hold .* begin with, \(3, 1\) at \[0\]; got \(2, 1\)",
    ),
    "a parameter more": (begun((W, W)), ValueError, r"begin with, nothing at \[1\]; got \(3, 1\)"),
    "another optimizer's": (
        begun(loop.Carry(W, (), (), jnp.zeros((), int)), optimizer=optax.adam(0.1)),
        ValueError,
        r"`start` must hold .* begin with, \(\) at \.optimizer_state\[0\]\.count; got nothing",
    ),
    "steps that are a function": (
        lambda: loop.Report(steps=which),
        TypeError,
        "`steps` must be a list of names and functions; got <function which.*: put it in a list",
    ),
    "a probe without names": (
        outside(report={"steps": [lambda step: step.loss]}),
        TypeError,
        "a function in `steps` must return a dictionary of arrays; got .*Tracer",
    ),
    "two reports of one name": (
        outside(report={"steps": ["loss", lambda step: {"loss": step.loss}]}),
        ValueError,
        "must not meet in one result; two are called 'step_loss'",
    ),
    "a probe of the batch's shape": (
        outside(report={"steps": [which]}),
        ValueError,
        r"`steps` must report arrays of one shape in all steps; got \(2,\) as 'step_examples' in the last batch, of 2",
    ),
    "a hyperparameter of the training's own name": (
        outside(optimizer=lambda start: optax.sgd(start)),
        TypeError,
        "hyperparameters must have other names than `start`, which a training's own arguments have",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_rule_and_the_value(case, x64):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
