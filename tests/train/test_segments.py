"""Training in segments is the same training: exactly so where no number is rounded, on any machine."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.train import early_stopping, loop
from jnorm.train.loop import Report
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")

X = np.array([[1, 0], [-1, 1], [0, 1], [1, 1], [0, -1], [1, -1], [-1, -1], [-1, 0]] * 2, float)
DATA = {"train": (X, X @ [3, -2] + np.arange(16) % 3), "dev": (X[:8], X[:8] @ [2, -1])}
ALL = Report(["train"], ["dev"], ["loss", lambda step: {"batch": step.batch[1]}], keep_params=True, keep_carry=True)
STOP = early_stopping.patience(0, tol=0.5)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def exact(**options):
    """A linear map whose weights move by steps of quarters of sums of whole numbers: float64 never rounds them."""
    line = SimpleNamespace(
        init=lambda key: ({"w": jax.random.randint(key, (2,), -3, 4).astype(float)}, {"seen": jnp.zeros(())}),
        apply=lambda p, s, x, *, train, key: (x @ p["w"], {"seen": s["seen"] + 1} if train else s),
    )
    options = {"batch_size": 4, "segment": 2, "report": ALL} | options
    return loop.trainer(line, losses.squared_error, lambda rate: optax.sgd(rate, momentum=0.5), **options)


def by_segments(train, key, rate, start=None, count=None):
    """What the training returns after some of its segments, all by default."""
    carried = train.begin(key, DATA, start, rate=rate)
    more = lambda _, carried: train.advance(key, DATA, carried, rate=rate)  # refused where a shape or a dtype changes
    carried = jax.lax.fori_loop(0, train.segments if count is None else count, more, carried)
    return train.finish(key, DATA, carried, rate=rate)


def compared(one, other, many=False):
    """That two trainings return the same, of one run or of three lanes."""
    lanes = jax.random.split(jax.random.key(5), 3), jnp.array([1.0, 0.5, 0.25])
    one, other = (
        jax.jit(jax.vmap(f))(*lanes) if many else jax.jit(f)(*(lane[1] for lane in lanes)) for f in (one, other)
    )
    assert list(one) == list(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    return one


@pytest.mark.parametrize(
    ("options", "many"),
    [
        ({"epochs": 4, "order": "fixed"}, False),
        ({"epochs": 6, "stop": STOP}, True),
        ({"steps": 16, "segment": 8}, True),
        ({"epochs": 4, "report": Report(["train"], ["train"], ["loss"], lambda p, s: p, every=2)}, False),
    ],
    ids=["epochs", "stop", "steps", "every"],
)
def test_segments_are_the_training(options, many):
    train = exact(**options)
    whole = lambda key, rate: train(key, DATA, rate=rate)
    returned = compared(whole, partial(by_segments, train), many)
    if many and "stop" in options:
        assert len(set(returned["epochs"].tolist())) > 1
        assert max(returned["epochs"]) < 6


def test_segments_go_on_from_what_a_training_left():
    first = exact(epochs=3, segment=None)(jax.random.key(5), DATA, rate=0.5)["carry"]
    train = exact(epochs=2, segment=1)
    whole = lambda key, rate: train(key, DATA, first, rate=rate)
    compared(whole, lambda key, rate: by_segments(train, key, rate, first))


@pytest.mark.parametrize("stop", [None, early_stopping.patience(9)], ids=["none", "stop"])
def test_what_is_still_to_come_is_blank_and_a_run_at_its_end_stays(stop):
    train = exact(epochs=4, stop=stop)
    run = jax.jit(lambda count: by_segments(train, jax.random.key(5), 0.5, count=count))
    half, whole, beyond = (run(count) for count in (1, 2, 3))
    np.testing.assert_array_equal(half["curve_dev_loss"][:2], whole["curve_dev_loss"][:2])
    np.testing.assert_array_equal(np.isnan(half["curve_dev_loss"]), [False, False, True, True])
    assert np.isnan(half["step_loss"]).tolist() == 8 * [False] + 8 * [True]
    assert stop is None or half["epochs"] == 2
    jax.tree.map(np.testing.assert_array_equal, whole, beyond)


def test_curves_thinned_are_every_so_many_rows_of_all():
    report = lambda every: Report(["train"], ["dev"], ["loss"], lambda p, s: {"w": p["w"]}, every)
    for options in ({"epochs": 3, "segment": None}, {"steps": 10, "segment": None}):  # the last of two steps
        all_rows, thinned = (
            jax.jit(
                lambda key, every=every, options=options: exact(report=report(every), **options)(key, DATA, rate=0.5)
            )(jax.random.key(5))
            for every in (1, 2)
        )
        for name, rows in all_rows.items():
            on_the_way = name.startswith(("curve_", "probe_"))
            np.testing.assert_array_equal(thinned[name], rows[1::2] if on_the_way else rows)
            assert not on_the_way or len(thinned[name]) == 1


@pytest.mark.parametrize("impl", [thorough("threefry2x32"), "rbg"])
def test_random_keys_that_an_optimizer_holds_are_carried_as_data(impl):
    def annealed(rate, noise_key):
        return optax.chain(optax.add_noise(0.1, 0.5, noise_key), optax.sgd(rate))

    line = SimpleNamespace(init=lambda key: (jnp.ones(2), ()), apply=lambda w, state, x, *, train, key: (x @ w, state))
    options = {"epochs": 2, "segment": 1, "batch_size": 8, "report": Report(keep_params=True)}
    train = loop.trainer(line, losses.squared_error, annealed, stop=early_stopping.patience(5), **options)
    key = jax.random.key(5, impl=impl)
    carried = train.begin(key, DATA, rate=0.1)
    assert not any(jnp.issubdtype(a.dtype, jax.dtypes.extended) for a in jax.tree.leaves(carried))
    found = jax.jit(partial(by_segments, train))(key, 0.1)
    # Noise of Gaussians, and sums of eight: a few roundings of float64 apart.
    np.testing.assert_allclose(found["params"], train(key, DATA, rate=0.1)["params"], rtol=1e-13)


def test_segments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`segment` must divide epochs = 10; got 3"):
        exact(epochs=10, segment=3)
    with pytest.raises(ValueError, match="`segment` must be a whole number >= 1; got 0"):
        exact(epochs=10, segment=0)
    with pytest.raises(ValueError, match="`every` must be 1 with `stop`, which judges each epoch; got 2"):
        exact(epochs=10, stop=STOP, report=Report(every=2))
    with pytest.raises(ValueError, match="`every` must be a whole number >= 1; got 0"):
        Report(every=0)
    begin = lambda train: train.begin(jax.random.key(0), DATA, rate=0.5)
    with pytest.raises(ValueError, match="`segment` must be a multiple of the 4 steps of an epoch"):
        begin(exact(steps=12, segment=6))
    with pytest.raises(ValueError, match="`every` must divide the 2 epochs of a segment; got 4"):
        begin(exact(epochs=4, report=Report(every=4)))
    with pytest.raises(ValueError, match="`every` must satisfy every <= 4, the number of epochs; got 5"):
        exact(epochs=4, segment=None, report=Report(every=5))(jax.random.key(0), DATA, rate=0.5)
    assert not hasattr(exact(epochs=4, segment=None), "segments")
