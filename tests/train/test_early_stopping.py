"""Stopping against a plain loop and against scikit-learn's classifier, on the same data with the same weights."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state

from jnorm import losses
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import early_stopping, evaluation, loop

pytestmark = pytest.mark.usefixtures("unoptimized")


def reference(values, patience, tol, window, maximize=False):
    """(best epoch, epochs run) by the definition, in Python."""
    best, best_epoch, waited = np.inf, -1, 0
    for t in range(len(values)):
        if t + 1 < window:
            continue
        mean = np.mean(values[t + 1 - window : t + 1]) * (-1 if maximize else 1)
        waited = 0 if mean < best and mean <= best - tol else waited + 1
        if mean < best:
            best, best_epoch = mean, t
        if waited > patience:
            return best_epoch, t + 1
    return best_epoch, len(values)


@pytest.mark.parametrize(("window", "maximize"), [(1, False), (1, True), (4, False)])
def test_lanes_stop_where_a_plain_loop_does(window, maximize, x64):
    # Halves and quarters: means of four of them are exact, so that ties and `tol` are decided alike.
    rng = np.random.default_rng(window)
    values = rng.integers(0, 40, (60, 30)) / 4 + np.linspace(4, 0, 30).round(1)
    values[0, 5:] = np.nan
    values[1] = np.nan
    patience, tol = jnp.asarray(rng.integers(0, 6, 60)), jnp.asarray(rng.choice([0.0, 0.25, 1.0], 60))
    patience = jnp.where(jnp.arange(60) == 2, jnp.inf, patience.astype(float))

    def one(values, patience, tol):
        rule = early_stopping.patience(patience, tol=tol, window=window, maximize=maximize)
        step = lambda c, t: (c + 1, {"value": values[t], "epoch": t})
        return early_stopping.scan(step, 0, 30, rule, value=lambda o: o["value"], keep=lambda c: {"count": c})

    got = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(values, patience, tol))
    patience, tol = np.asarray(patience), np.asarray(tol)
    assert len(set(got.epochs.tolist())) > 5
    for i in range(60):
        best, epochs = reference(values[i], patience[i], tol[i], window, maximize)
        assert (got.best_epoch[i], got.epochs[i], got.last[i]) == (best, epochs, epochs), i
        # Without any best epoch, what is kept is the last.
        assert got.best["count"][i] == (best + 1 if best >= 0 else epochs)
        np.testing.assert_array_equal(got.outputs["value"][i, :epochs], values[i, :epochs])
        assert np.all(np.isnan(got.outputs["value"][i, epochs:]))
        assert np.all(got.outputs["epoch"][i, epochs:] == 0)


@pytest.mark.parametrize("tol", [0.0, 1e-4])
@pytest.mark.parametrize("value", [0.0, 1.5, 2049.0, 4e6, -3e30])
@pytest.mark.parametrize("maximize", [False, True])
def test_a_flat_score_of_any_size_stops(tol, value, maximize):
    rule = early_stopping.patience(3, tol=tol, maximize=maximize)
    step = lambda carry, t: (carry, jnp.float32(value))
    done = early_stopping.scan(step, 0, 50, rule, value=lambda v: v, keep=lambda c: c)
    assert (int(done.epochs), int(done.best_epoch)) == (5, 0)


def test_a_relative_threshold_does_not_depend_on_the_scale():
    values = 0.9 ** np.arange(30) + 1
    # Gains by the ratio to the best before: .9^t falls by .1 * .9^t of 1 + .9^t.
    expected = next(t for t in range(1, 30) if (values[t - 1] - values[t]) / values[t - 1] < 0.01)
    for scale in (1e-20, 1.0, 1e20):
        rule = early_stopping.patience(0, tol=0.0, rtol=0.01)
        curve = jnp.asarray(scale * values, jnp.float32)
        done = early_stopping.scan(lambda c, t, v=curve: (c, v[t]), 0, 30, rule, value=lambda v: v, keep=lambda c: c)
        # The best moves with every small gain, and no epoch after that gains as much.
        assert int(done.epochs) == expected + 1


def test_patience_beyond_the_whole_numbers_of_half_precision():
    # 256 + 1 is 256 in bfloat16.
    rule = early_stopping.patience(300)
    step = lambda carry, t: (carry, jnp.ones((), jnp.bfloat16))
    done = early_stopping.scan(step, 0, 400, rule, value=lambda v: v, keep=lambda c: c)
    assert int(done.epochs) == 302


def test_all_that_is_known_may_be_donated():
    rule = early_stopping.patience(3)
    known = early_stopping.init(rule)
    assert len({leaf.unsafe_buffer_pointer() for leaf in known}) == len(known)
    step = jax.jit(lambda known: early_stopping.update(rule, known, 1.0)[0], donate_argnums=0)
    assert int(step(step(known)).waited) == 1


@pytest.mark.parametrize(
    ("monitor", "larger"),
    [("dev_loss", False), ("dev_log_loss", False), ("dev_accuracy", True), ("a_b_auc", True), ("dev_r_squared", True)],
)
def test_the_direction_of_known_names_is_known(monitor, larger):
    assert early_stopping.patience(3, monitor=monitor).maximize is larger
    assert early_stopping.patience(3, monitor=monitor, maximize=not larger).maximize is not larger


def test_the_direction_of_others_must_be_said():
    rule = early_stopping.patience(3, monitor="dev_quality")
    with pytest.raises(ValueError, match=r"`maximize` must be given for 'dev_quality': True if larger .* got None"):
        early_stopping.init(rule)
    with pytest.raises(TypeError, match="`maximize` must be True, False or None; got 'max'"):
        early_stopping.patience(3, maximize="max")


def test_a_run_of_nan_keeps_its_nan():
    rule = early_stopping.patience(2)
    done = early_stopping.scan(
        lambda c, t: (c * jnp.nan, c), 1.0, 9, rule, value=lambda v: v * jnp.nan, keep=lambda c: c
    )
    assert int(done.best_epoch) == -1
    assert int(done.epochs) == 3
    assert bool(jnp.isnan(done.best))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wait": -1}, "`wait` must satisfy wait >= 0; got -1"),
        ({"wait": 1, "tol": -1.0}, "`tol` must satisfy tol >= 0; got -1.0"),
        ({"wait": 1, "rtol": -1.0}, "`rtol` must satisfy rtol >= 0; got -1.0"),
        ({"wait": 1, "window": 0}, "`window` must be a whole number >= 1; got 0"),
    ],
)
def test_bad_rules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        early_stopping.patience(**options)


def test_a_rule_is_a_pytree_of_its_numbers():
    rule = early_stopping.patience(3.0, tol=0.5, window=2)
    assert jax.tree.leaves(rule) == [3.0, 0.5, 0.0]

    @jax.jit
    def stops(rule):
        known = early_stopping.init(rule)
        for value in (1.0, 0.9, 0.8, 0.7):
            known, _, stop = early_stopping.update(rule, known, value)
        return stop

    # Means of two: .95 is the first, .85 and .75 do not beat it by .5.
    assert not stops(rule)
    assert stops(early_stopping.patience(1.0, tol=0.5, window=2))


def test_a_window_longer_than_the_training_is_refused():
    rule = early_stopping.patience(3, window=10)
    with pytest.raises(ValueError, match="`window` must satisfy window <= 5, the number of epochs; got 10"):
        early_stopping.scan(lambda c, t: (c, 0.0), 0, 5, rule, value=lambda v: v, keep=lambda c: c)


def glorot(random, *widths):
    """Weights as scikit-learn draws them for tanh, with its generator."""
    params = []
    for n_in, n_out in itertools.pairwise(widths):
        bound = np.sqrt(6 / (n_in + n_out))
        kernel, bias = random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, n_out)
        params.append({"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)})
    return params


def test_the_whole_training_is_scikit_learns(x64):
    # Full batches in the given order, plain gradient descent: both compute the same sums in double precision.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    y = np.argmax(x[:, :3] + 0.8 * rng.normal(size=(120, 3)), 1)
    patience, tol, rate, alpha, epochs = 4, 1e-3, 0.3, 0.5, 200
    peer = MLPClassifier(
        (6,),
        activation="tanh",
        solver="sgd",
        alpha=alpha,
        batch_size=90,
        learning_rate_init=rate,
        max_iter=epochs,
        shuffle=False,
        random_state=3,
        tol=tol,
        momentum=0.0,
        early_stopping=True,
        validation_fraction=0.25,
        n_iter_no_change=patience,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x, y)
    assert 10 < peer.n_iter_ < epochs

    random = check_random_state(3)
    start = glorot(random, 4, 6, 3)
    targets = LabelBinarizer().fit_transform(y)
    x_train, x_dev, y_train, y_dev = train_test_split(x, targets, random_state=random, test_size=0.25)
    network = networks.mlp((4, 6, 3), Layer(jnp.tanh, jax.nn.initializers.zeros))
    train = loop.trainer(
        networks.Network(lambda key: (start, [(), ()]), network.apply),
        losses.softmax_cross_entropy,
        lambda rate: optax.sgd(rate),
        epochs=epochs,
        batch_size=90,
        penalty=lambda params, l2: l2 * losses.l2_penalty(params, where=lambda path, _: path.endswith("kernel")),
        stop=lambda patience: early_stopping.patience(patience, monitor="dev_accuracy", tol=tol, maximize=True),
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(curves=["dev"], keep_params=True),
    )
    data = {"train": (x_train, y_train.astype(float)), "dev": (x_dev, y_dev)}
    got = jax.jit(train)(jax.random.key(0), data, rate=rate, l2=alpha / 90, patience=patience)
    assert int(got["epochs"]) == peer.n_iter_
    np.testing.assert_allclose(got["curve_dev_accuracy"][: peer.n_iter_], peer.validation_scores_, rtol=1e-12)
    for layer, kernel, bias in zip(got["params"], peer.coefs_, peer.intercepts_, strict=True):
        # Sums of 90 products over 200 contracting steps: rounding of double precision, 1e-16 each.
        np.testing.assert_allclose(layer["kernel"], kernel, rtol=1e-10)
        np.testing.assert_allclose(layer["bias"], bias, rtol=1e-10, atol=1e-13)
