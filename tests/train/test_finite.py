"""Steps that are skipped, half precision, and averages that are judged: against NumPy and plain loops of Optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.data import batches
from jnorm.nn import batch_norm, networks
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH, EPOCHS = 10, 4, 2  # a last batch of two
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, 3))
T = X @ np.array([[1.0], [-2.0], [0.5]]) + 0.1 * RNG.normal(size=(SIZE, 1))
W = RNG.normal(size=(3, 1))


def rows(epochs=EPOCHS):
    """The examples of each step, in its order."""
    order_key = loop.streams(KEY)["order_key"]
    for epoch in range(epochs):
        order = np.asarray(batches.epoch(jax.random.fold_in(order_key, epoch), SIZE, SIZE).indices[0])
        yield from (order[first : first + BATCH] for first in range(0, SIZE, BATCH))


def linear(dtype=float):
    return networks.Network(lambda key: (jnp.asarray(W, dtype), ()), lambda w, s, x, *, train, key: (x @ w, s))


def slope(w, row):
    """The gradient of the mean squared error, by the chain rule."""
    return 2 * X[row].T @ (X[row] @ w - T[row]) / len(row)


def run(network, optimizer, data=None, steps=(), **options):
    options = {"loss": losses.squared_error, "epochs": EPOCHS, "batch_size": BATCH} | options
    report = loop.Report(["train"], keep_params=True, steps=steps)
    train = loop.trainer(network, optimizer=optimizer, report=report, **options)
    return jax.jit(train)(KEY, {"train": (X, T) if data is None else data})


def normalized(own_average):
    """Batch norm and a linear map; or an average of its own in the place of the state of batch norm."""

    def init(key):
        params, state = batch_norm.init(3, dtype=float)
        return {"w": jnp.asarray(W), "norm": params}, jnp.zeros(3) if own_average else state

    def apply(params, state, x, *, train, key):
        known = batch_norm.init(3, dtype=float)[1] if own_average else state
        y, new = batch_norm.apply(params["norm"], known, x, train=train, decay=0.9)
        if own_average:
            new = 0.9 * state + 0.1 * jnp.mean(x, 0) if train else state
        return y @ params["w"], new

    return networks.Network(init, apply)


@pytest.mark.parametrize("where", ["inputs", "targets"])
@pytest.mark.parametrize("own_average", [False, True], ids=["batch norm", "an average of its own"])
def test_a_step_that_the_optimizer_skips_leaves_the_state_as_it_was(where, own_average, x64):
    """An infinite target spoils the gradient alone, an infinite input the statistics as well."""
    x, t = jnp.asarray(X), jnp.asarray(T)  # whose values a check does not look at
    bad = 7
    if where == "inputs":
        x = x.at[bad, 1].set(jnp.inf)
    else:
        t = t.at[bad].set(jnp.inf)
    optimizer = optax.apply_if_finite(optax.sgd(0.01), 100)
    got = run(normalized(own_average), optimizer, (x, t), ["skipped", "loss"])

    mean, var, count, skipped = np.zeros(3), np.zeros(3), 0.0, []
    for row in rows():
        skipped.append(bad in row)
        if bad not in row:
            count = 0.9 * count + len(row)
            w = 0.1 if own_average else len(row) / count
            mean = mean + w * (X[row].mean(0) - mean)
            var = var + w * (X[row].var(0, ddof=1) - var)
    assert sum(skipped) == EPOCHS
    np.testing.assert_array_equal(got["step_skipped"], skipped)
    np.testing.assert_array_equal(np.isfinite(got["step_loss"]), ~np.array(skipped))
    state = got["state"] if own_average else got["state"].mean
    np.testing.assert_allclose(state, mean, rtol=1e-13)  # averages of four numbers in double precision
    if not own_average:
        np.testing.assert_allclose(got["state"].var, var, rtol=1e-13)
        np.testing.assert_allclose(got["state"].count, count, rtol=1e-13)
    assert all(np.all(np.isfinite(p)) for p in jax.tree.leaves(got["params"]))


def test_without_a_guard_the_state_stays_finite_and_moves_on(x64):
    """Parameters are NaN from the bad step on; an average of the inputs still is that of all other batches."""
    x = jnp.asarray(X).at[7, 1].set(jnp.nan)
    got = run(normalized(own_average=True), optax.sgd(0.01), (x, jnp.asarray(T)), ["skipped"])
    mean = np.zeros(3)
    for row in rows():
        mean = mean if 7 in row else 0.9 * mean + 0.1 * X[row].mean(0)
    np.testing.assert_allclose(got["state"], mean, rtol=1e-13)
    np.testing.assert_array_equal(got["step_skipped"], [7 in row for row in rows()])
    assert np.all(np.isnan(got["params"]["w"]))


def test_the_gradient_norm_of_a_float16_network_neither_overflows_nor_vanishes():
    for factor in (300.0, 1e-4):
        loss = lambda y, t, factor=factor: factor * losses.squared_error(y, t)
        norms = {}
        for dtype in (np.float16, np.float32):
            # Numbers of float16, so that both networks are the same.
            data = tuple(jnp.asarray(a.astype(np.float16).astype(dtype)) for a in (X, T))
            network = networks.Network(
                lambda key, dtype=dtype: (jnp.asarray(W.astype(np.float16), dtype), ()),
                lambda w, s, x, *, train, key: (x @ w, s),
            )
            options = {"loss": loss, "epochs": 1, "batch_size": SIZE}
            if dtype == np.float16:
                with pytest.warns(UserWarning, match="`model` has parameters in float16: updates below 2e-04 of a"):
                    got = run(network, optax.sgd(0.0), data, ["gradient_norm"], **options)
            else:
                got = run(network, optax.sgd(0.0), data, ["gradient_norm"], **options)
            (norms[dtype],) = got["step_gradient_norm"]
        x, t, w = (a.astype(np.float16).astype(float) for a in (X, T, W))
        exact = factor * np.linalg.norm(2 * x.T @ (x @ w - t) / SIZE)
        assert exact > 256 or exact < 2e-3  # its square is beyond float16's largest, or lost below its least
        np.testing.assert_allclose(norms[np.float32], exact, rtol=1e-6)
        # Outputs and sums of ten are rounded to 2^-11, near the least of float16 to a few parts in a hundred.
        np.testing.assert_allclose(norms[np.float16], exact, rtol=4 * 2**-11 if factor > 1 else 0.05)


def test_half_precision_parameters_that_do_not_move_are_warned_of():
    """A step of 1e-4 on parameters near 1: in bfloat16, whose spacing below 1 is 2^-8, nothing moves."""
    steps = {}
    for dtype in (jnp.bfloat16, jnp.float32):
        network = networks.Network(
            lambda key, dtype=dtype: (jnp.full((3, 1), 0.75, dtype), ()),
            lambda w, s, x, *, train, key: (x @ w, s),
        )
        data = (jnp.ones((8, 3), dtype), jnp.zeros((8, 1), dtype))
        call = functools.partial(run, network, optax.sgd(1e-4 / 4.5), data, batch_size=8)
        if dtype == jnp.bfloat16:
            message = "`model` has parameters in bfloat16: updates below 2e-03 .* Keep parameters in float32"
            with pytest.warns(UserWarning, match=message):
                got = call()
        else:
            got = call()  # without a warning, which would be an error here
        steps[dtype] = np.asarray(got["params"], float) - 0.75
    np.testing.assert_array_equal(steps[jnp.bfloat16], 0)
    # y = 2.25, slope 2 y = 4.5: twice 1e-4, as the second slope is the same to 2e-4.
    np.testing.assert_allclose(steps[jnp.float32], -2e-4, rtol=1e-3)


def test_schedule_free_is_judged_by_its_average(x64):
    make = functools.partial(optax.contrib.schedule_free_sgd, 0.05, b1=0.9, warmup_steps=2)
    seen = []
    probe = lambda params, state: {"w": params}
    report = loop.Report(["train"], curves=["train"], probe=probe, keep_params=True)
    train = loop.trainer(linear(), losses.squared_error, make(), epochs=EPOCHS, batch_size=BATCH, report=report)
    got = jax.jit(train)(KEY, {"train": (X, T)})

    optimizer, w = make(), jnp.asarray(W)
    state = optimizer.init(w)
    with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats
        for step, row in enumerate(rows(), 1):
            updates, state = optimizer.update(jnp.asarray(slope(np.asarray(w), row)), state, w)
            w = optax.apply_updates(w, updates)
            if step % batches.steps(SIZE, BATCH) == 0:
                seen.append(np.asarray(optax.contrib.schedule_free_eval_params(state, w)))
    costs = [np.mean((X @ v - T) ** 2) for v in seen]
    np.testing.assert_allclose(got["probe_w"], seen, rtol=1e-13)
    np.testing.assert_allclose(got["params"], seen[-1], rtol=1e-13)
    np.testing.assert_allclose(got["curve_train_loss"], costs, rtol=1e-13)
    np.testing.assert_allclose(got["train_loss"], costs[-1], rtol=1e-13)
    assert abs(costs[-1] / np.mean((X @ np.asarray(w) - T) ** 2) - 1) > 0.01  # the training iterate is another


def test_averages_of_ones_own_are_judged_by_a_hook(x64):
    """Polyak's average of all iterates, kept by an optimizer of the user's, against NumPy."""

    def init(params):
        return jnp.zeros(()), params

    def update(gradient, state, params):
        count, mean = state
        new = params - 0.05 * gradient
        return -0.05 * gradient, (count + 1, mean + (new - mean) / (count + 1))

    own = optax.GradientTransformation(init, update)
    got = run(linear(), own, eval_params=lambda state, params: state[1])
    w, iterates = W, []
    for row in rows():
        w = w - 0.05 * slope(w, row)
        iterates.append(w)
    mean = np.mean(iterates, 0)
    np.testing.assert_allclose(got["params"], mean, rtol=1e-13)
    np.testing.assert_allclose(got["train_loss"], np.mean((X @ mean - T) ** 2), rtol=1e-13)
    np.testing.assert_allclose(run(linear(), own)["params"], w, rtol=1e-13)  # without it, what is trained


@pytest.mark.parametrize("opaque", [False, True])
def test_sam_is_the_rule_of_its_paper_in_numpy(opaque, x64):
    """One step up by the normalized gradient, then down from where it began by the gradient there."""
    up, rate = 0.2, 0.05
    ascend = optax.chain(optax.contrib.normalize(), optax.sgd(up))
    optimizer = optax.contrib.sam(optax.sgd(rate), ascend, sync_period=2, opaque_mode=opaque)
    got = run(linear(), optimizer, epochs=1)
    w, base = W, W
    for step, row in enumerate(rows(1)):
        gradient = slope(w, row)
        if opaque:
            w = base = w - rate * slope(w + up * gradient / np.linalg.norm(gradient), row)
        elif step % 2 == 0:  # seen from outside every other step looks around, on a batch of its own
            base, w = w, w + up * gradient / np.linalg.norm(gradient)
        else:
            w = base = base - rate * gradient
    assert opaque or not np.allclose(w, base)  # three steps: the last one looked around, and is not judged
    np.testing.assert_allclose(got["params"], base, rtol=1e-13)
    np.testing.assert_allclose(got["train_loss"], np.mean((X @ base - T) ** 2), rtol=1e-13)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda sam: optax.chain(optax.clip_by_global_norm(1e9), sam),
        lambda sam: optax.apply_if_finite(sam, 3),
        lambda sam: optax.MultiSteps(sam, 1),
    ],
    ids=["chain", "apply_if_finite", "MultiSteps"],
)
def test_what_takes_all_names_hands_sam_those_that_it_knows(wrap, opaque, x64):
    ascend = optax.chain(optax.contrib.normalize(), optax.sgd(0.2))
    sam = optax.contrib.sam(optax.sgd(0.05), ascend, sync_period=2, opaque_mode=opaque)
    got, alone = (run(linear(), optimizer, epochs=1) for optimizer in (wrap(sam), sam))
    np.testing.assert_allclose(got["params"], alone["params"], rtol=1e-7)  # MultiSteps adds up in float32
    np.testing.assert_allclose(got["train_loss"], alone["train_loss"], rtol=1e-7)


def test_names_that_one_part_needs_and_another_refuses():
    sam = optax.contrib.sam(optax.sgd(0.05), optax.sgd(0.2))
    plateau = optax.contrib.reduce_on_plateau()
    repair = r"another part refuses 'value' \(.*\): optax.GradientTransformation\(\*part\) hides it from that"
    with pytest.raises(TypeError, match=rf"`optimizer` must make its updates .*'value'; {repair}"):
        run(linear(np.float32), optax.chain(sam, plateau))
    run(linear(np.float32), optax.chain(optax.GradientTransformation(*sam), plateau))


def test_multi_steps_hand_on_what_reduce_on_plateau_needs(x64):
    """Gradients of two steps are averaged; the rate falls by half after two updates whose loss was no better."""
    rule = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.5)
    make = lambda: optax.MultiSteps(optax.chain(optax.sgd(0.01), rule), every_k_schedule=2)
    epochs = 4
    got = run(linear(), make(), epochs=epochs)
    w, best, waited, scale, gradients = W, np.inf, 0, 1.0, []
    for row in rows(epochs):
        loss, gradient = np.mean((X[row] @ w - T[row]) ** 2), slope(w, row)
        gradients.append(gradient)
        if len(gradients) == 2:  # the loss of the second counts
            improved = loss < 0.5 * best
            best, waited = min(best, loss) if improved else best, 0 if improved else waited + 1
            if waited >= 1:
                scale, waited = scale / 2, 0
            w = w - 0.01 * scale * np.mean(gradients, 0)
            gradients = []
    assert scale < 1
    np.testing.assert_allclose(got["params"], w, rtol=1e-8)  # steps of 1e-2, whose gradients it adds up in float32


def test_lookahead_is_refused():
    optimizer = optax.lookahead(optax.sgd(0.1), sync_period=3, slow_step_size=0.5)
    with pytest.raises(TypeError, match=r"`optimizer` must not be Optax's lookahead, which moves pairs of parameters"):
        run(linear(np.float32), optimizer)
    with pytest.raises(TypeError, match=r"`optimizer` must be or return an optimizer of Optax, .* got float"):
        run(linear(np.float32), 0.1)
    needy = optax.GradientTransformationExtraArgs(lambda p: (), lambda g, s, p=None, *, loss_scale: (g, s))
    with pytest.raises(TypeError, match=r"`optimizer` must make its updates of the gradient, .*loss_scale"):
        run(linear(np.float32), needy)
