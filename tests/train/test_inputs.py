"""What strangers bring to the trainer: names that meet, metrics, data that do not fit, modules of Flax."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import log_loss

from jnorm import losses
from jnorm.data import batches
from jnorm.interop import flax_linen
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer
from jnorm.train import early_stopping, evaluation, loop

pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH, EPOCHS = 10, 4, 8
KEY = jax.random.key(5)
RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(20, 3)), RNG.integers(0, 3, 20)
W = RNG.normal(size=(3, 3))


def linear():
    return networks.Network(lambda key: (jnp.asarray(W, float), ()), lambda w, s, x, *, train, key: (x @ w, s))


def trainer(model=None, optimizer=None, **options):
    options = {"epochs": 1, "batch_size": BATCH} | options
    if model is None:
        model = linear()
    return loop.trainer(model, losses.softmax_cross_entropy, optimizer or optax.sgd(0.5), **options)


def data(**parts):
    """NumPy arrays, whose values Python knows; float32, as the parameters outside of float64."""
    x = X.astype(np.float32)
    return {"train": (x[:SIZE], Y[:SIZE]), "dev": (x[SIZE:], Y[SIZE:])} | parts


def sparse(outputs, targets):
    """A metric whose best epoch is not the loss's: how far the outputs are from 0."""
    return jnp.mean(jnp.square(outputs), -1)


def test_names_that_end_in_loss_are_what_they_say(x64):
    train = trainer(
        epochs=EPOCHS,
        stop=early_stopping.patience(jnp.inf, monitor="dev_aux_loss", tol=0.0),
        metrics={"aux_loss": sparse, "log_loss": losses.softmax_cross_entropy, "loss_rate": sparse},
        report=loop.Report(
            curves=["dev"], steps=["loss"], probe=lambda w, state: {"loss": w, "step_loss": w[0]}, keep_params=True
        ),
    )
    pairs = {"train": (X[:SIZE], Y[:SIZE]), "dev": (X[SIZE:], Y[SIZE:])}
    got = jax.jit(train)(KEY, pairs)
    path = np.asarray(got["probe_loss"])
    outputs = X[SIZE:] @ path  # of each epoch's parameters
    p = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    aux = np.mean(outputs**2, (1, 2))
    logs = [log_loss(Y[SIZE:], q, labels=range(3)) for q in p]
    assert np.argmin(aux) != np.argmin(logs)
    assert int(got["best_epoch"]) == np.argmin(aux)
    np.testing.assert_array_equal(got["params"], path[np.argmin(aux)])
    # Means of ten numbers in double precision.
    np.testing.assert_allclose(got["curve_dev_aux_loss"], aux, rtol=1e-13)
    np.testing.assert_allclose(got["curve_dev_loss_rate"], aux, rtol=1e-13)
    for name in ("log_loss", "loss"):
        np.testing.assert_allclose(got[f"curve_dev_{name}"], logs, rtol=1e-13)
        np.testing.assert_allclose(got[f"dev_{name}"], logs[np.argmin(aux)], rtol=1e-13)
    np.testing.assert_array_equal(got["probe_step_loss"], path[:, 0])
    assert got["step_loss"].shape == (EPOCHS * batches.steps(SIZE, BATCH),)


def test_a_part_is_told_from_a_metric_by_what_there_is():
    """With the metric aux_loss, dev_aux_loss is a loss of dev_aux where there is such a part, and no dev."""
    x, y = X.astype(np.float32), Y
    train = trainer(
        stop=early_stopping.patience(1, monitor="dev_aux_loss"), metrics={"aux_loss": sparse}, report=loop.Report([])
    )
    for part in ("dev", "dev_aux"):
        shapes = jax.eval_shape(train, KEY, {"train": (x, y), part: (x, y)})
        assert set(shapes) == {"epochs", "best_epoch"}
    asked = "`data` must have a part 'dev'; got 'train', 'test'; `monitor` = 'dev_aux_loss' asks for it"
    with pytest.raises(ValueError, match=asked):
        train(KEY, {"train": (x, y), "test": (x, y)})
    with pytest.raises(ValueError, match="part 'dev' is empty: `monitor` = 'dev_aux_loss' cannot judge by it"):
        train(KEY, {"train": (x, y), "dev": (x[:0], y[:0])})


def test_results_of_one_name_are_refused():
    both = r"two are called 'dev_aux_loss', 'aux_loss' on 'dev' and 'loss' on 'dev_aux': rename one"
    with pytest.raises(ValueError, match=rf"names of parts, metrics and probes .* {both}"):
        trainer(metrics={"aux_loss": sparse})(KEY, data(dev_aux=data()["dev"]))


def test_metrics_of_scikit_learn_are_refused_by_name():
    train = jax.jit(trainer(metrics={"log_loss": log_loss}))
    with pytest.raises(TypeError, match=r"`log_loss` must compute with jax.numpy, as it is compiled; got log_loss, wh"):
        train(KEY, data())


def test_what_the_last_batch_alone_breaks_names_it():
    """Batch norm in ghost batches of four, and a last batch of two."""

    def apply(params, state, x, *, train, key):
        return batch_norm.apply(params, state, x, train=train, ghost=4)

    train = trainer(networks.Network(lambda key: batch_norm.init(3), apply))
    with pytest.raises(ValueError, match=r"`ghost` must divide .*; this is the last batch, of 2 examples: `drop_rem"):
        train(KEY, data())
    with pytest.raises(ValueError, match=r"`ghost` must divide .*`drop_remainder` leaves it out"):
        train.check(data())


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ([evaluation.accuracy], TypeError, r"`metrics` must be a dictionary, such as \{.*\}; got a list"),
        (evaluation.accuracy, TypeError, r"`metrics` must be a dictionary, such as \{.*\}; got a function"),
        ({"loss": evaluation.accuracy}, ValueError, "`metrics` must have other names than 'loss', .*; got 'loss'"),
        ({"accuracy": 0.5}, TypeError, r"`metrics` must map names to functions .*; got 0.5 as 'accuracy'"),
        ({"": evaluation.accuracy}, TypeError, r"`metrics` must map names to functions .* as ''"),
        ({0: evaluation.accuracy}, TypeError, r"`metrics` must map names to functions .* as 0"),
    ],
)
def test_metrics_that_are_none_are_refused_where_the_trainer_is_built(metrics, error, message):
    with pytest.raises(error, match=message):
        trainer(metrics=metrics)


def test_whether_larger_is_better_is_known_or_asked_for():
    message = "`maximize` must be given for 'dev_score': True if larger values are better, else False; got None"
    with pytest.raises(ValueError, match=message):
        trainer(stop=early_stopping.patience(1, monitor="dev_score"), metrics={"score": sparse})
    late = trainer(stop=lambda wait: early_stopping.patience(wait, monitor="dev_score"), metrics={"score": sparse})
    with pytest.raises(ValueError, match=message):
        late(KEY, data(), wait=1)
    # The best epoch by a direction that was given, or that is known of the metric whatever it is called.
    for metric, options, larger in (
        (sparse, {"maximize": True}, True),
        (sparse, {"maximize": False}, False),
        (evaluation.accuracy, {}, True),
        (losses.softmax_cross_entropy, {}, False),
    ):
        stop = early_stopping.patience(jnp.inf, monitor="dev_score", tol=0.0, **options)
        train = trainer(epochs=4, stop=stop, metrics={"score": metric}, report=loop.Report(curves=["dev"]))
        got = jax.jit(train)(KEY, data())
        curve = np.asarray(got["curve_dev_score"])
        assert int(got["best_epoch"]) == (np.argmax(curve) if larger else np.argmin(curve))


def with_nan(array, at):
    array = array.copy()
    array[at] = np.nan
    return array


SQUARES = data()["train"][0]
BAD_DATA = {
    "no dictionary": (
        lambda: data()["train"],
        TypeError,
        r"`data` must be a dictionary, such as \{\"train\": \(inputs, targets\)\}; got a tuple",
    ),
    "an array": (lambda: X, TypeError, "`data` must be a dictionary, .*; got a ndarray"),
    "three arrays": (
        lambda: data(dev=(X, Y, Y)),
        ValueError,
        r"`data` must hold pairs \(inputs, targets\); got tuple of 3",
    ),
    "lists": (
        lambda: data(dev=(SQUARES, Y[:SIZE].tolist())),
        TypeError,
        "`data` must hold arrays, the examples first; got a list as targets of part 'dev': np.asarray makes one of it",
    ),
    "empty lists": (lambda: data(dev=([], [])), TypeError, "got a list as inputs of part 'dev'"),
    "inputs and targets of two lengths": (
        lambda: data(dev=(SQUARES, Y[:3])),
        ValueError,
        r"`data` must be arrays with a first axis of one length; got shapes .* in part 'dev'",
    ),
    "an empty part": (
        lambda: data(dev=(SQUARES[:0], Y[:0])),
        ValueError,
        r"`data` must have at least one example in each part; part 'dev' is empty: (leave it out|`monitor`)",
    ),
    "nothing to train on": (lambda: data(train=(SQUARES[:0], Y[:0])), ValueError, "'train' is empty: there is noth"),
    "labels from 1 on": (
        lambda: data(train=(SQUARES, Y[:SIZE] + 1)),
        ValueError,
        r"`data`, part 'train': `targets` must satisfy 0 <= targets < 3; got 3.*; classes are counted from 0",
    ),
    "a label of -1": (
        lambda: data(dev=(SQUARES, Y[:SIZE] - 1)),
        ValueError,
        "`data`, part 'dev': `targets` must satisfy 0 <= targets < 3; got -1.*",
    ),
    "classes as floats": (
        lambda: data(train=(SQUARES, Y[:SIZE].astype(np.float32))),
        TypeError,
        "`targets` of shape .* are class numbers and must be integers; got float32",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_do_not_fit_are_refused_before_any_compile(case):
    make, error, message = BAD_DATA[case]
    loop.streams(KEY)  # small programs of their own
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    for train in (trainer(), trainer(stop=early_stopping.patience(1))):
        with pytest.raises(error, match=message):
            train(KEY, make())
    assert not compiled
    with pytest.raises(error, match=message):
        trainer().check(make())


def test_nan_in_the_data_is_warned_of():
    x = with_nan(SQUARES, (2, 1))
    message = r"`data` has NaN or infinite inputs in part 'train', first at \[2, 1\]; every loss that sees them is NaN"
    train = trainer(report=loop.Report(["train"]))
    with pytest.warns(UserWarning, match=message):
        jax.eval_shape(lambda key: train(key, {"train": (x, Y[:SIZE])}), KEY)
    soft = with_nan(np.eye(3, dtype=np.float32)[Y[:SIZE]], (4, 0))
    with pytest.warns(UserWarning, match=r"`data` has NaN or infinite targets in part 'train', first at \[4, 0\]"):
        jax.eval_shape(lambda key: train(key, {"train": (SQUARES, soft)}), KEY)


def test_what_nobody_knows_under_jit_is_nan_and_check_says_why():
    """The values of a traced array: 1 to 3 for three classes, and NaN."""
    train = trainer(optimizer=lambda rate: optax.sgd(rate), report=loop.Report(["train"]))
    run = jax.jit(train)
    sound, labels = data(), data(train=(SQUARES, Y[:SIZE] + 1))
    dirty = data(train=(with_nan(SQUARES, (2, 1)), Y[:SIZE]))
    on_device = lambda pairs: jax.tree.map(jnp.asarray, pairs)
    assert [bool(jnp.isnan(run(KEY, on_device(d), rate=0.1)["train_loss"])) for d in (sound, labels, dirty)] == [
        False,
        True,
        True,
    ]
    assert train.check(on_device(sound), rate=0.1) is None
    with pytest.raises(ValueError, match="`data`, part 'train': `targets` must satisfy 0 <= targets < 3; got 3"):
        train.check(on_device(labels), rate=0.1)
    with pytest.warns(UserWarning, match=r"`data` has NaN or infinite inputs in part 'train', first at \[2, 1\]"):
        train.check(on_device(dirty), rate=0.1)
    with pytest.raises(TypeError, match="missing hyperparameters: `rate`; got none"):
        train.check(on_device(sound))


def test_images_without_a_channel_axis_are_refused():
    network = networks.cnn((1, 4), 3, Layer(jnp.tanh, jax.nn.initializers.ones))
    images = np.zeros((SIZE, 8, 8), np.float32)
    good = jax.eval_shape(
        trainer(network, report=loop.Report(["train"])), KEY, {"train": (images[..., None], Y[:SIZE])}
    )
    assert good["train_loss"].shape == ()
    with pytest.raises(ValueError, match=r"channel.*\(10, 8, 8\)"):
        trainer(network)(KEY, {"train": (images, Y[:SIZE])})


class Flagged(flax.linen.Module):
    """Batch norm and dropout behind a flag that has another name."""

    rate: float = 0.0

    @flax.linen.compact
    def __call__(self, x, is_training: bool = False):
        x = flax.linen.Dense(4)(x)
        x = flax.linen.BatchNorm(use_running_average=not is_training, momentum=0.9)(x)
        x = flax.linen.Dropout(self.rate, deterministic=not is_training)(flax.linen.tanh(x))
        return flax.linen.Dense(3)(x)


def test_a_linen_module_with_another_flag_trains_as_in_a_loop_of_flax():
    module, example = Flagged(), jnp.ones((1, 3))
    with pytest.raises(ValueError, match=r"`in_training` must say how Flagged is told to train, .*is_training"):
        flax_linen.network(module, example)
    train = trainer(
        flax_linen.network(module, example, in_training={"is_training": True}),
        epochs=2,
        batch_size=5,
        report=loop.Report(["dev"], keep_params=True, steps=["loss"]),
    )
    x = X.astype(np.float32)
    got = jax.jit(train)(KEY, data())

    keys = loop.streams(KEY)
    variables = module.init(keys["init_key"], example)
    params, stats, seen = variables["params"], variables["batch_stats"], []

    @jax.jit
    def step(params, stats, x, y):
        def cost(params):
            z, new = module.apply(
                {"params": params, "batch_stats": stats}, x, is_training=True, mutable=["batch_stats"]
            )
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, y)), new["batch_stats"]

        (loss, stats), gradient = jax.value_and_grad(cost, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), stats, loss

    for epoch in range(2):
        order = np.asarray(batches.epoch(jax.random.fold_in(keys["order_key"], epoch), SIZE, SIZE).indices[0])
        for row in (order[:5], order[5:]):
            params, stats, loss = step(params, stats, x[row], Y[row])
            seen.append(loss)
    # Four steps through batch norm of five examples, in float32 by two programs.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    close(got["step_loss"], seen)
    jax.tree.map(close, got["params"], params)
    jax.tree.map(close, got["state"]["batch_stats"], stats)
    outputs = np.asarray(module.apply({"params": params, "batch_stats": stats}, X[SIZE:]))
    p = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    np.testing.assert_allclose(got["dev_loss"], log_loss(Y[SIZE:], p, labels=range(3)), rtol=1e-4)


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_a_losss_mask_is_no_hyperparameter_but_a_models_is(x64):
    """A model that prunes its weights names `mask` too: its values must not reach the loss."""
    with pytest.raises(TypeError, match="unknown hyperparameters: `mask`; known are `augment_key`, `class_weights`, "):
        trainer()(KEY, data(), mask=np.ones(BATCH, bool))

    def model(mask):
        return networks.Network(
            lambda key: (jnp.asarray(W), ()), lambda w, s, x, *, train, key: (x @ jnp.where(mask, w, 0), s)
        )

    train = trainer(model, batch_size=SIZE, report=loop.Report(["train"], keep_params=True))
    mask, weights = np.arange(9).reshape(3, 3) % 2 == 0, np.array([0.5, 1.0, 2.0])
    got = jax.jit(train)(KEY, {"train": (X[:SIZE], Y[:SIZE])}, mask=mask, class_weights=weights)
    x, y = X[:SIZE], Y[:SIZE]
    gradient = x.T @ ((softmax(x @ (W * mask)) - np.eye(3)[y]) * weights[y][:, None]) / SIZE * mask
    w = W - 0.5 * gradient
    np.testing.assert_allclose(got["params"], w, rtol=1e-13)  # one step of sums of ten
    cost = -np.mean(weights[y] * np.log(softmax(x @ (w * mask))[np.arange(SIZE), y]))
    np.testing.assert_allclose(got["train_loss"], cost, rtol=1e-13)


def test_a_mask_that_a_loss_cannot_do_without_is_a_hyperparameter():
    loss = lambda outputs, targets, mask: mask * losses.softmax_cross_entropy(outputs, targets)
    train = loop.trainer(linear(), loss, optax.sgd(0.5), epochs=1, batch_size=BATCH)
    with pytest.raises(TypeError, match="missing hyperparameters: `mask`; got none"):
        train(KEY, data())
