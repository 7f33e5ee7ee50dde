"""Training against plain Python loops, step by step; laws between its options; lanes, streams and compilations."""

import inspect
import math
from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.activations import selu
from jnorm.data import batches
from jnorm.interop import flax_linen
from jnorm.nn import batch_norm, networks
from jnorm.nn.dropout import alpha_dropout
from jnorm.nn.layers import Layer, Normalizer
from jnorm.train import early_stopping, evaluation, loop
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH, EPOCHS = 11, 4, 2  # a last batch of three
STEPS = EPOCHS * batches.steps(SIZE, BATCH)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), RNG.integers(0, 2, 30)


def wave(key, shape, dtype=float):
    """Weights that depend on the key and cost no compilation of a random law."""
    shift = jax.random.key_data(key)[0].astype(dtype) / 2.0**32
    return jnp.sin(jnp.arange(math.prod(shape), dtype=dtype) + 7 * shift).reshape(shape)


def data(dtype=np.float32):
    x = jnp.asarray(X, dtype)
    y = jnp.asarray(Y)
    return {"train": (x[:SIZE], y[:SIZE]), "dev": (x[SIZE:20], y[SIZE:20]), "test": (x[20:], y[20:])}


def mlp(rate=None, **options):
    drop = None if rate is None else partial(alpha_dropout, rate=rate)
    return networks.mlp((3, 4, 2), Layer(jnp.tanh, wave, dropout=drop, input_init=wave, readout_init=wave, **options))


def trainer(model=None, optimizer=None, *, loss=losses.softmax_cross_entropy, report=None, **options):
    """A trainer of a small network that reports its parameters and what the dictionary ``report`` adds."""
    options = {"epochs": EPOCHS, "batch_size": BATCH} | options
    options["report"] = loop.Report(**{"keep_params": True} | (report or {}))
    if model is None:
        model = mlp()
    return loop.trainer(model, loss, optimizer or (lambda learning_rate: optax.sgd(learning_rate)), **options)


def by_hand(network, optimizer, key, pairs, *, cost=losses.softmax_cross_entropy, penalty=lambda p: 0.0):
    """The same training as a Python loop over steps, each batch cut to its valid examples."""
    x, y = pairs

    def mean_loss(params, state, x, y, key):
        outputs, state = network.apply(params, state, x, train=True, key=key)
        loss = jnp.mean(cost(outputs, y))
        return loss + penalty(params), (state, loss)

    def run(key):
        keys = loop.streams(key)
        params, state = network.init(keys["init_key"])
        memory, history = optimizer.init(params), []
        for epoch in range(EPOCHS):
            order = batches.epoch(jax.random.fold_in(keys["order_key"], epoch), SIZE, SIZE).indices[0]
            for first in range(0, SIZE, BATCH):
                row = order[first : first + BATCH]
                own = jax.random.fold_in(keys["dropout_key"], len(history))
                grads, (state, loss) = jax.grad(mean_loss, has_aux=True)(params, state, x[row], y[row], own)
                with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats
                    updates, memory = optimizer.update(grads, memory, params)
                params = optax.apply_updates(params, updates)
                history.append(jnp.stack([loss, optax.tree.norm(grads)]))
        return params, state, jnp.stack(history)

    return jax.jit(run)(key)


def assert_close(got, exact, roundings):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
        eps = np.finfo(b.dtype).eps
        np.testing.assert_allclose(a, b, rtol=roundings * eps, atol=roundings * eps * np.max(np.abs(b)))


def test_linear_regression_is_the_loop_in_numpy(x64):
    w0 = RNG.normal(size=(3, 1))
    network = networks.Network(lambda key: (jnp.asarray(w0), ()), lambda w, s, x, *, train, key: (x @ w, s))
    x, t = X[:SIZE], X[:SIZE] @ np.array([[1.0], [-2.0], [0.5]])
    train = trainer(
        network,
        lambda rate, decay: optax.sgd(rate, momentum=decay),
        loss=losses.squared_error,
        report={"steps": ["loss", "gradient_norm"]},
    )
    got = train(jax.random.key(4), {"train": (x, t)}, rate=0.1, decay=0.9)

    w, velocity, seen = w0.copy(), np.zeros_like(w0), []
    order_key = loop.streams(jax.random.key(4))["order_key"]
    for epoch in range(EPOCHS):
        order = np.asarray(batches.epoch(jax.random.fold_in(order_key, epoch), SIZE, SIZE).indices[0])
        for first in range(0, SIZE, BATCH):
            row = order[first : first + BATCH]
            error = x[row] @ w - t[row]
            gradient = 2 * x[row].T @ error / len(row)
            seen.append((np.mean(error**2), np.linalg.norm(gradient)))
            velocity = 0.9 * velocity + gradient
            w = w - 0.1 * velocity
    # Six steps of sums of four: rounding of double precision.
    np.testing.assert_allclose(got["params"], w, rtol=1e-13)
    np.testing.assert_allclose(np.stack([got["step_loss"], got["step_gradient_norm"]], 1), seen, rtol=1e-13)


@pytest.mark.parametrize("accumulate", [thorough(1), 2])
def test_steps_are_those_of_a_python_loop(accumulate, x64):
    """Alpha dropout, Adam, a penalty; twice the same batch where it goes in microbatches without dropout."""
    pairs = data(float)
    rate = 0.2 if accumulate == 1 else 0.0
    penalty = lambda params, l1: l1 * losses.l1_penalty(params)
    train = trainer(
        lambda rate: mlp(rate),
        lambda learning_rate, b1: optax.adam(learning_rate, b1=b1),
        penalty=penalty,
        accumulate=accumulate,
        report={"steps": ["loss", "gradient_norm"]},
    )
    key = jax.random.key(1)
    got = jax.jit(train)(key, pairs, rate=rate, learning_rate=0.05, b1=0.8, l1=0.01)
    params, _, history = by_hand(
        mlp(rate), optax.adam(0.05, b1=0.8), key, pairs["train"], penalty=partial(penalty, l1=0.01)
    )
    assert got["step_loss"].shape == (STEPS,)
    # Adam divides by the root of squares: one rounding of a small gradient counts in full: 1e4 roundings.
    assert_close(got["params"], params, 1e4)
    np.testing.assert_allclose(np.stack([got["step_loss"], got["step_gradient_norm"]], 1), history, rtol=1e-11)


def masked_batch_norm():
    """A network that takes the mask, by hand: linear, batch norm, tanh, linear."""

    def init(key):
        params, state = batch_norm.init(4, dtype=float)
        return {"in": wave(key, (3, 4)), "out": wave(key, (4, 2)), "norm": params}, state

    def apply(params, state, x, *, train, key, mask=None):
        z, state = batch_norm.apply(params["norm"], state, x @ params["in"], train=train, mask=mask)
        return jnp.tanh(z) @ params["out"], state

    return networks.Network(init, apply)


def without_mask(network):
    return networks.Network(network.init, lambda p, s, x, *, train, key: network.apply(p, s, x, train=train, key=key))


def test_the_remainder_may_be_left_out(x64):
    """The same as training on the examples that fill batches alone, others in each epoch."""
    seen = []
    network = networks.Network(
        lambda key: (jnp.zeros((3, 2)), ()),
        lambda w, s, x, *, train, key: (seen.append(len(x)) if train else None) or (x @ w, s),
    )
    options = {"loss": losses.squared_error, "report": {"steps": ["loss"]}, "epochs": 3}
    pairs = {"train": (jnp.asarray(X[:SIZE]), jnp.asarray(X[:SIZE, :2]))}
    got = jax.jit(trainer(network, optax.sgd(0.1), drop_remainder=True, **options))(jax.random.key(2), pairs)
    assert set(seen) == {BATCH}
    w, history, left_out = np.zeros((3, 2)), [], []
    for epoch in range(3):
        key = jax.random.fold_in(loop.streams(jax.random.key(2))["order_key"], epoch)
        order = np.asarray(batches.epoch(key, SIZE, SIZE).indices[0])
        left_out.append(set(order[8:].tolist()))
        for row in (order[:4], order[4:8]):
            error = X[row] @ w - X[row, :2]
            history.append(np.mean(error**2))
            w = w - 0.1 * 2 * X[row].T @ error / error.size
    np.testing.assert_allclose(got["step_loss"], history, rtol=1e-13)  # six steps of sums of four
    np.testing.assert_allclose(got["params"], w, rtol=1e-13, atol=1e-15)
    assert len(left_out[0] | left_out[1] | left_out[2]) > 3
    with pytest.raises(TypeError, match="`drop_remainder` must be True or False; got 'no'"):
        trainer(drop_remainder="no")


@pytest.mark.parametrize("takes_mask", [thorough(True), False])
def test_statistics_of_the_last_batch_are_of_its_valid_examples(takes_mask, x64):
    network = masked_batch_norm()
    key, pairs = jax.random.key(2), data(float)
    train = trainer(network if takes_mask else without_mask(network), optax.sgd(0.1), report={"steps": ["loss"]})
    got = jax.jit(train)(key, pairs)
    params, state, history = by_hand(network, optax.sgd(0.1), key, pairs["train"])
    assert_close(got["params"], params, 1e3)  # six steps of sums of four, divided by standard deviations down to .1
    assert_close(got["state"], state, 1e3)
    np.testing.assert_allclose(got["step_loss"], history[:, 0], rtol=1e-12)
    # Batches of 4, 4 and 3 examples, of which older ones fade; a few sums in double precision.
    np.testing.assert_allclose(
        got["state"].count, np.sum([4, 4, 3, 4, 4, 3] * 0.99 ** np.arange(5, -1, -1)), rtol=1e-14
    )


def test_batch_norm_of_the_library_learns_in_microbatches():
    norm = Normalizer(batch_norm.init, batch_norm.apply)
    train = trainer(mlp(normalizer=norm), accumulate=2, report={"steps": ["loss"]})
    got = jax.jit(train)(jax.random.key(0), data(), learning_rate=0.1)
    # Microbatches of two, and of what remains; twelve sums in float32.
    np.testing.assert_allclose(
        got["state"][0].count, np.sum([2, 2, 2, 2, 2, 1] * 2 * 0.99 ** np.arange(11, -1, -1)), rtol=1e-6
    )
    assert np.all(np.isfinite(got["step_loss"]))


def test_l2_under_sgd_is_decoupled_decay(x64):
    l2 = jax.jit(trainer(penalty=lambda params, strength: strength * losses.l2_penalty(params)))
    decoupled = trainer(
        optimizer=lambda learning_rate, strength: optax.chain(
            optax.add_decayed_weights(strength), optax.scale_by_learning_rate(learning_rate)
        )
    )
    args = jax.random.key(3), data(float)
    a = l2(*args, learning_rate=0.2, strength=0.1)
    b = jax.jit(decoupled)(*args, learning_rate=0.2, strength=0.1)
    assert_close(a["params"], b["params"], 100)
    assert abs(a["test_loss"] - l2(*args, learning_rate=0.2, strength=0.0)["test_loss"]) > 1e-3


def test_clipping_bounds_the_step_and_is_off_beyond_the_gradient():
    def clipped(learning_rate, clip):
        return optax.chain(optax.clip_by_global_norm(clip), optax.sgd(learning_rate))

    train = jax.jit(trainer(optimizer=clipped, epochs=1, batch_size=SIZE, report={"steps": ["gradient_norm"]}))
    key = jax.random.key(0)
    start = mlp().init(loop.streams(key)["init_key"])[0]
    free = train(key, data(), learning_rate=0.5, clip=1e6)
    (norm,) = free["step_gradient_norm"]

    def moved(clip):
        end = train(key, data(), learning_rate=0.5, clip=clip)["params"]
        return float(optax.tree.norm(optax.tree.sub(end, start)))

    np.testing.assert_allclose(moved(1e6), 0.5 * norm, rtol=1e-5)  # float32, differences of numbers of size 1
    np.testing.assert_allclose(moved(norm / 3), 0.5 * norm / 3, rtol=1e-5)


def test_gradient_noise_is_annealed_and_has_its_own_stream():
    # No gradient at all: what moves the parameters is the noise, of variance eta / (1 + t)^gamma, t = 0, 1, ...
    count = 20_000
    network = networks.Network(lambda key: (jnp.zeros(count), ()), lambda w, s, x, *, train, key: (x, s))
    train = trainer(
        network,
        lambda eta, gamma, noise_key: optax.chain(optax.add_noise(eta, gamma, noise_key), optax.sgd(1.0)),
        loss=losses.squared_error,
        epochs=4,
        batch_size=SIZE,
        report={"probe": lambda params, state: {"w": params}},
    )
    pairs = {"train": (jnp.ones((SIZE, 1)), jnp.ones((SIZE, 1)))}
    run = jax.jit(train)
    path = run(jax.random.key(0), pairs, eta=0.3, gamma=0.55)["probe_w"]
    var = np.var(np.diff(np.asarray(path), axis=0, prepend=0), axis=1)
    expected = 0.3 / np.arange(1, 5) ** 0.55
    # Variances of 20000 normal numbers: standard error sqrt(2 / 20000) = .01; z = 4.
    np.testing.assert_allclose(var / expected, 1, atol=0.04)
    same = run(jax.random.key(9), pairs, eta=0.3, gamma=0.55, noise_key=0)
    np.testing.assert_array_equal(path, same["probe_w"])


@pytest.fixture(scope="module")
def everything():
    """A compiled training that uses every stream and every kind of hyperparameter, and how often it was traced."""
    traces = []

    def model(rate, slope=1.0):
        traces.append(rate)
        return networks.mlp(
            (3, 4, 2),
            Layer(
                lambda z: selu(slope * z),
                wave,
                dropout=partial(alpha_dropout, rate=rate),
                input_init=wave,
                readout_init=wave,
            ),
        )

    def optimizer(learning_rate, weight_decay, clip, eta, noise_key):
        return optax.chain(
            optax.clip_by_global_norm(clip),
            optax.add_noise(eta, 0.55, noise_key),
            optax.adamw(learning_rate, weight_decay=weight_decay),
        )

    train = trainer(
        model,
        optimizer,
        penalty=lambda params, l1: l1 * losses.l1_penalty(params),
        augment=lambda key, x: x + 0.1 * jax.random.normal(key, x.shape, x.dtype),
        stop=lambda patience: early_stopping.patience(patience),
        metrics={"accuracy": evaluation.accuracy},
        report={"curves": ["dev"], "steps": ["loss"]},
        epochs=4,
    )
    return train, traces


HYPER = {
    "rate": 0.1,
    "slope": 1.0,
    "learning_rate": 0.03,
    "weight_decay": 0.01,
    "clip": 5.0,
    "eta": 0.01,
    "l1": 1e-3,
    "smoothing": 0.1,
    "patience": 1.0,
}


@pytest.mark.thorough
def test_one_compilation_serves_all_values(everything):
    train, traces = everything
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    run, seen = jax.jit(train), set()
    key, pairs = jax.random.key(0), data()
    values = {name: jnp.float32(value) for name, value in HYPER.items()}
    seeds = {name: jnp.uint32(5) for name in loop.STREAMS}
    seen.add(float(run(key, pairs, **values, **seeds)["test_loss"]))
    for name in [*HYPER, *loop.STREAMS]:
        changed = values | seeds | {name: seeds[name] + 1 if name in seeds else values[name] * 1.5}
        if name == "patience":
            changed[name] = jnp.float32(0.0)
        before, built = len(compiled), len(traces)
        got = run(key, pairs, **changed)
        jax.block_until_ready(got)
        assert (len(compiled), len(traces)) == (before, built), name
        if name not in ("patience", "clip"):
            seen.add(float(got["test_loss"]))
    assert len(seen) == 1 + len(HYPER) - 2 + len(loop.STREAMS)  # and every one of them mattered


def test_lanes_are_single_runs_and_a_diverged_one_is_alone():
    report = {"curves": ["dev"]}
    train = trainer(stop=early_stopping.patience(1), metrics={"accuracy": evaluation.accuracy}, report=report, epochs=6)
    pairs, keys = data(), jax.random.split(jax.random.key(1), 5)
    rates = jnp.array([0.01, 3.0, jnp.nan, 1e-6, 0.5])
    run = lambda key, rate: train(key, pairs, learning_rate=rate)
    many, one = jax.jit(jax.vmap(run))(keys, rates), jax.jit(run)
    assert len(set(many["epochs"].tolist())) > 1
    for i in range(5):
        single = one(keys[i], rates[i])
        for name, value in single.items():
            for a, b in zip(jax.tree.leaves(many[name]), jax.tree.leaves(value), strict=True):
                # Batched sums may be ordered otherwise: float32 over twelve steps.
                np.testing.assert_allclose(a[i], b, rtol=2e-4, atol=1e-5, err_msg=f"{name} of lane {i}")
    assert [bool(v) for v in jnp.isnan(many["test_loss"])] == [False, False, True, False, False]
    assert [bool(v) for v in jnp.isnan(many["test_accuracy"])] == [False, False, True, False, False]


def test_early_stopping_keeps_the_parameters_of_the_best_epoch():
    report = {"curves": ["dev"], "probe": lambda params, state: {"out": params[1]["kernel"]}}
    options = {"epochs": 12, "report": report}
    free = jax.jit(trainer(**options))(jax.random.key(5), data(), learning_rate=1.5)
    curve = np.asarray(free["curve_dev_loss"])
    patience = 2
    stop = early_stopping.patience(patience, tol=0.0)
    got = jax.jit(trainer(stop=stop, **options))(jax.random.key(5), data(), learning_rate=1.5)
    best, waited, end = 0, 0, 12
    for t in range(12):
        waited = 0 if t == 0 or curve[t] <= curve[best] else waited + 1
        best = t if curve[t] < curve[best] else best
        if waited > patience:
            end = t + 1
            break
    assert 1 < end < 12
    assert best < end - 1
    assert (int(got["epochs"]), int(got["best_epoch"])) == (end, best)
    np.testing.assert_allclose(got["curve_dev_loss"][:end], curve[:end], rtol=1e-5)  # two programs in float32
    assert np.all(np.isnan(got["curve_dev_loss"][end:]))
    np.testing.assert_allclose(got["params"][1]["kernel"], free["probe_out"][best], rtol=1e-4)
    np.testing.assert_allclose(got["dev_loss"], curve[best], rtol=1e-5)


def test_each_stream_moves_what_it_says():
    train = trainer(lambda rate: mlp(rate), report={"steps": ["loss"]})
    run = jax.jit(train)
    key, pairs = jax.random.key(0), data()
    own = dict.fromkeys(loop.STREAMS, key)
    base = run(key, pairs, learning_rate=0.0, rate=0.3, **own)
    other = jax.random.key(77)
    for name in ("init_key", "order_key", "dropout_key"):
        got = run(key, pairs, learning_rate=0.0, rate=0.3, **own | {name: other})
        same = bool(jnp.all(got["params"][0]["kernel"] == base["params"][0]["kernel"]))
        assert same == (name != "init_key"), name
        assert not np.array_equal(got["step_loss"], base["step_loss"]), name
    # The order alone: without dropout and without learning, the same losses in another order.
    plain = [run(key, pairs, learning_rate=0.0, rate=0.0, **own | {"order_key": k})["step_loss"] for k in (key, other)]
    weights = np.tile([4, 4, 3], EPOCHS)
    totals = [np.sum(weights * np.asarray(p)) for p in plain]
    np.testing.assert_allclose(totals[0], totals[1], rtol=1e-6)  # sums of 33 in float32
    assert not np.allclose(*plain)


def test_seeds_and_keys_say_the_same():
    key = jax.random.key(8)
    for seed in (8, jnp.uint32(8), key, jax.random.key_data(key)):
        assert loop.streams(seed)["init_key"] == loop.streams(jax.random.key(0), {"init_key": seed})["init_key"]
        assert loop.streams(seed)["init_key"] == loop.streams(key)["init_key"]
    with pytest.raises(TypeError, match="`init_key` must be a random key or a whole number; got float32 of shape"):
        loop.streams(key, {"init_key": 0.5})


def test_a_flax_module_trains_as_the_same_network(x64):
    module = flax.linen.Sequential(
        [flax.linen.Dense(4, param_dtype=float), flax.linen.tanh, flax.linen.Dense(2, param_dtype=float)]
    )
    own = mlp()
    adapted = flax_linen.network(module, jnp.ones((1, 3)))

    def init(key):
        params, _ = own.init(key)
        return {"layers_0": params[0], "layers_2": params[1]}, {}

    args = jax.random.key(6), data(float)
    a = jax.jit(trainer(adapted._replace(init=init)))(*args, learning_rate=0.3)
    b = jax.jit(trainer(own))(*args, learning_rate=0.3)
    assert_close([a["params"]["layers_0"], a["params"]["layers_2"]], b["params"], 100)
    np.testing.assert_allclose(a["test_loss"], b["test_loss"], rtol=1e-13)


def test_optimizers_that_search_along_a_line_get_what_they_need(x64):
    # Full batches of a quadratic: L-BFGS with its line search solves least squares to its tolerance.
    network = networks.Network(lambda key: (jnp.zeros((3, 1)), ()), lambda w, s, x, *, train, key: (x @ w, s))
    x, t = X[:SIZE], RNG.normal(size=(SIZE, 1))
    train = trainer(network, optax.lbfgs(), loss=losses.squared_error, epochs=12, batch_size=SIZE)
    got = jax.jit(train)(jax.random.key(0), {"train": (x, t)})
    np.testing.assert_allclose(got["params"], np.linalg.lstsq(x, t)[0], rtol=1e-6)


def test_the_gradient_with_respect_to_a_learning_rate_is_exact(x64):
    train = trainer(epochs=1)
    key, pairs = jax.random.key(0), data(float)
    f = lambda rate: train(key, pairs, learning_rate=rate)["test_loss"]
    h = 1e-4
    above, below = jax.jit(jax.vmap(f))(jnp.array([0.2 + h, 0.2 - h]))
    central = (above - below) / (2 * h)
    # Central differences: h^2 / 6 times a third derivative of order one.
    reverse, forward = jax.jit(lambda rate: (jax.grad(f)(rate), jax.jacfwd(f)(rate)))(0.2)
    np.testing.assert_allclose([reverse, forward], central, rtol=1e-6)


def test_reports_have_the_promised_names_and_shapes():
    report = {
        "curves": ["dev", "train"],
        "steps": ["loss", "gradient_norm"],
        "probe": lambda params, state: {"norm": jnp.stack([jnp.linalg.norm(p["kernel"]) for p in params])},
        "keep_params": False,
    }
    key = jax.random.key(0)
    train = trainer(metrics={"accuracy": evaluation.accuracy}, report=report)
    shapes = jax.eval_shape(partial(train, learning_rate=0.1), key, data())
    curves = {f"curve_{part}_{name}": (EPOCHS,) for part in ("dev", "train") for name in ("loss", "accuracy")}
    ends = {f"{part}_{name}": () for part in ("dev", "test") for name in ("loss", "accuracy")}
    steps = {"step_loss": (STEPS,), "step_gradient_norm": (STEPS,)}
    assert {k: v.shape for k, v in shapes.items()} == curves | ends | steps | {"probe_norm": (EPOCHS, 2)}
    quiet = trainer(report={"keep_params": False, "parts": []})
    assert jax.eval_shape(partial(quiet, learning_rate=0.1), key, data()) == {}


def test_the_signature_says_what_can_be_given(everything):
    train, _ = everything
    parameters = inspect.signature(train).parameters
    assert set(parameters) == {"key", "data", "start", *HYPER, "class_weights", *loop.STREAMS}
    needed = {name for name, p in parameters.items() if p.default is p.empty}
    assert needed == {"key", "data", "rate", "learning_rate", "weight_decay", "clip", "eta", "l1", "patience"}
    anything = inspect.signature(trainer(optimizer=lambda learning_rate, **_: optax.sgd(learning_rate))).parameters
    assert anything["hyperparameters"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number >= 1; got 0"),
        ({"batch_size": 2.5}, "`batch_size` must be a whole number >= 1; got 2.5"),
        ({"accumulate": 3}, "`accumulate` must divide batch_size = 4; got 3"),
        ({"report": {"steps": ["lossy"]}}, "`steps` must be one of loss, gradient_norm, skipped; got 'lossy'"),
        (
            {"stop": early_stopping.patience(1, monitor="dev_accuracy")},
            "`monitor` must be <part>_<metric> with one of loss; got 'dev_accuracy'",
        ),
    ],
)
def test_bad_options_are_refused_where_the_trainer_is_built(options, message):
    with pytest.raises(ValueError, match=message):
        trainer(**options)


def test_what_is_no_stopping_rule_is_refused():
    with pytest.raises(TypeError, match=r"`stop` must be or return what early_stopping.patience does; got int"):
        trainer(stop=3)
    train = trainer(stop=lambda wait: wait)
    with pytest.raises(TypeError, match=r"`stop` must be or return what early_stopping.patience does; got float"):
        train(jax.random.key(0), data(), learning_rate=0.1, wait=3.0)
    train = trainer(stop=lambda wait: early_stopping.patience(wait, monitor="dev_accuracy"))
    with pytest.raises(ValueError, match="`monitor` must be <part>_<metric> with one of loss; got 'dev_accuracy'"):
        train(jax.random.key(0), data(), learning_rate=0.1, wait=3.0)


def test_a_string_is_not_a_list_of_names():
    with pytest.raises(TypeError, match="`curves` must be a list of names; got the string 'dev'"):
        loop.Report(curves="dev")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": None}, "`data` must have a part 'train'; got 'dev', 'test'"),
        ({"dev": None}, "`data` must have a part 'dev'; got 'train', 'test'"),
        ({"train": jnp.ones((3, 2))}, r"`data` must hold pairs \(inputs, targets\); got ArrayImpl as 'train'"),
        ({"test": (jnp.ones((3, 3)), jnp.ones(2))}, "`data` must be arrays with a first axis of one length"),
        (
            {"train": (jnp.ones((3, 3)), jnp.ones(3, int))},
            "`batch_size` must satisfy batch_size <= 3, the examples; got 4",
        ),
    ],
)
def test_bad_data_are_refused_before_any_compile(change, message):
    pairs = {name: pair for name, pair in (data() | change).items() if pair is not None}
    with pytest.raises(ValueError, match=message):
        trainer(report={"curves": ["dev"]})(jax.random.key(0), pairs, learning_rate=0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing hyperparameters: `learning_rate`; got none"),
        (
            {"learning_rate": 0.1, "rate": 1.0},
            "unknown hyperparameters: `rate`; known are `augment_key`, `class_weights`, `dropout_key`, ",
        ),
    ],
)
def test_hyperparameters_that_nothing_names_are_refused(values, message):
    with pytest.raises(TypeError, match=message):
        trainer()(jax.random.key(0), data(), **values)


def test_a_loss_that_is_a_mean_already_is_refused():
    train = trainer(loss=lambda y, t: jnp.mean(losses.softmax_cross_entropy(y, t)))
    with pytest.raises(ValueError, match=r"`loss` must return a number for each of the 4 examples; got shape \(\)"):
        train(jax.random.key(0), data(), learning_rate=0.1)
