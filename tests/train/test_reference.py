"""The trainer against a training in NumPy (`tests/train/reference.py`), alone and as lanes of ``vmap``."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import losses
from jnorm.data import batches
from jnorm.nn import batch_norm, networks
from jnorm.train import _epochs, early_stopping, evaluation, loop, schedules
from tests.thorough import beside
from tests.train import reference
from tests.train.reference import Settings

pytestmark = pytest.mark.usefixtures("unoptimized")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)), RNG.integers(0, 3, 60)
X[np.arange(60), Y] += 1  # something to learn
KEYS = jax.random.split(jax.random.key(4), 3)
RATES, L2, CLIPS = np.array([0.05, 0.4, 0.8]), np.array([0.01, 0.1, 0.0]), np.array([10.0, 0.5, 0.05])
"""Of three lanes: of the first no gradient is clipped, of the last all are."""

COMBINATIONS = {
    "one step an epoch": Settings(size=8, batch=8),
    "one example a step": Settings(size=3, batch=1, epochs=2),
    "full batches": Settings(size=12, batch=4, schedule="cosine"),
    "a rest of one": Settings(size=13, batch=4, norm=True, schedule="inverse time"),
    "a rest of all but one": Settings(size=15, batch=8, optimizer="adam"),
    "microbatches": Settings(size=12, batch=4, accumulate=2, optimizer="adam", schedule="cosine"),
    "microbatches of one, and a rest": Settings(size=14, batch=4, accumulate=4),
    "batch norm, a rest": Settings(size=15, batch=6, norm=True, optimizer="adam", schedule="inverse time"),
    "batch norm in microbatches": Settings(size=16, batch=8, accumulate=2, norm=True),
    "batch norm in microbatches, a rest in unequal ones": Settings(
        size=23, batch=8, accumulate=2, norm=True, schedule="cosine"
    ),
    "batch norm in microbatches, a rest in one piece": Settings(size=21, batch=6, accumulate=2, norm=True),
    "statistics of the batch without a state, a rest": Settings(size=15, batch=6, norm=True, running=False),
    "a rest that is left out": Settings(size=15, batch=4, drop=True, norm=True, optimizer="adam", schedule="cosine"),
    "a fixed order": Settings(size=13, batch=4, norm=True, order="fixed"),
    "an order of one's own": Settings(size=15, batch=4, accumulate=2, norm=True, order="given", schedule="cosine"),
    "a budget in steps": Settings(size=14, batch=4, epochs=2, steps=6, norm=True, optimizer="adam", schedule="cosine"),
    "a budget within the first epoch": Settings(size=14, batch=4, epochs=1, steps=2, accumulate=2),
    "stopping": Settings(size=13, batch=4, epochs=12, wait=1, tol=0.0),
    "stopping by a threshold": Settings(size=16, batch=8, epochs=12, wait=2, tol=0.02, optimizer="adam"),
    "all of it": Settings(
        20, 8, epochs=12, accumulate=2, norm=True, optimizer="adam", schedule="inverse time", wait=1, tol=0.01
    ),
}


LANES_ONLY = ("full batches", "microbatches", "batch norm in microbatches", "stopping")
"""Beside others of their kind with a rest, which run alone too."""

ALIKE = (
    "one step an epoch",
    "one example a step",
    "a rest of all but one",
    "microbatches of one, and a rest",
    "batch norm in microbatches, a rest in one piece",
    "a fixed order",
    "a budget within the first epoch",
)
"""Each of which others of the sample are like."""

UNROLLED = ("batch norm, a rest",)
"""Run as users do, two steps at a time; the others one by one, which compiles in two thirds of the time."""


def network(norm, running=True):
    """What the reference computes; kernels depend on the key and cost no compilation of a random law."""

    def init(key):
        shift = 7 * jax.random.key_data(key)[0].astype(float) / 2.0**32
        wave = lambda *shape: jnp.sin(jnp.arange(np.prod(shape), dtype=float) + shift).reshape(shape)
        scale, state = batch_norm.init(4, dtype=float)
        params = {"in": wave(3, 4), "scale": scale.scale, "shift": scale.shift, "out": wave(4, 3)}
        return params, state if norm and running else ()

    def apply(params, state, x, *, train, key):
        y = x @ params["in"]
        pair = batch_norm.Params(params["scale"], params["shift"])
        if norm and not running:
            fresh = batch_norm.init(4, dtype=float)[1]
            y, _ = batch_norm.apply(pair, fresh, y, train=True, eps=reference.EPS)
        elif norm:
            y, state = batch_norm.apply(pair, state, y, train=train, eps=reference.EPS, decay=reference.DECAY)
        else:
            y = y * params["scale"][None] + params["shift"][None]
        return jnp.tanh(y) @ params["out"], state

    return networks.Network(init, apply)


def given(s):
    """Examples of the first half, each twice, from the last on."""
    return np.arange(s.size)[::-1] // 2


def trainer(s):
    total = s.steps or s.epochs * batches.steps(s.size, s.batch, drop_remainder=s.drop)
    schedule = {
        "constant": optax.constant_schedule,
        "inverse time": lambda rate: schedules.inverse_time(rate, 0.2),
        "cosine": lambda rate: optax.cosine_decay_schedule(rate, total),
    }[s.schedule]
    rule = {"momentum": lambda rate: optax.sgd(rate, momentum=0.9), "adam": optax.adam}[s.optimizer]
    return loop.trainer(
        network(s.norm, s.running),
        losses.softmax_cross_entropy,
        lambda rate, clip: optax.chain(optax.clip_by_global_norm(clip), rule(schedule(rate))),
        epochs=None if s.steps else s.epochs,
        steps=s.steps,
        batch_size=s.batch,
        drop_remainder=s.drop,
        order=given(s) if s.order == "given" else s.order,
        accumulate=s.accumulate,
        penalty=lambda params, l2: l2 * losses.l2_penalty(params, where="out"),
        stop=None if s.wait is None else early_stopping.patience(s.wait, tol=s.tol),
        metrics={"accuracy": evaluation.accuracy},
        report=loop.Report(curves=["dev"], steps=["loss", "gradient_norm"], keep_params=True),
    )


@functools.cache
def drawn(s):
    """Of each lane the parameters at the start and the orders of its epochs, in one program."""

    def of(key):
        stream = lambda name: jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
        epochs = jax.vmap(lambda e: jax.random.fold_in(stream("train.order_key"), e))(jnp.arange(s.epochs))
        orders = jax.vmap(lambda epoch: batches.epoch(epoch, s.size, s.size).indices[0])(epochs)
        return network(s.norm).init(stream("train.init_key"))[0], orders

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of))(KEYS))


def by_hand(s, lane, parts, moved=lambda params: params):
    params, orders = jax.tree.map(lambda a: a[lane], drawn(s))
    orders = {"fixed": [orders[0]] * s.epochs, "given": [given(s)] * s.epochs}.get(s.order, orders)
    return reference.train(s, moved(params), orders, parts, rate=RATES[lane], l2=L2[lane], clip=CLIPS[lane])


def parts_of(s):
    return {"train": (X[: s.size], Y[: s.size]), "dev": (X[30:45], Y[30:45]), "test": (X[45:], Y[45:])}


@pytest.mark.parametrize("name", beside(COMBINATIONS.keys() - {*LANES_ONLY, *ALIKE}, COMBINATIONS))
def test_trainings_are_those_of_numpy(name, x64, monkeypatch):
    if name not in UNROLLED:
        monkeypatch.setattr(_epochs, "UNROLL", 1)
    s = COMBINATIONS[name]
    parts, train = parts_of(s), trainer(s)
    one = lambda key, rate, l2, clip: train(key, parts, rate=rate, l2=l2, clip=clip)
    alone = lambda *lanes: None if name in LANES_ONLY else one(*(v[0] for v in lanes))
    many, single = jax.jit(lambda *lanes: (jax.vmap(one)(*lanes), alone(*lanes)))(KEYS, RATES, L2, CLIPS)
    exact = [by_hand(s, lane, parts) for lane in range(3)]
    runs = [(f"lane {i}", i, jax.tree.map(lambda a, i=i: np.asarray(a)[i], many)) for i in range(3)]
    for place, lane, got in runs if single is None else [*runs, ("alone", 0, single)]:
        if not (s.norm and s.running):
            assert got.pop("state") == ()
        assert set(got) == set(exact[lane])
        for result, value in exact[lane].items():
            # Some ten steps, each a hundred sums of numbers of one size in double precision: a thousand roundings.
            close = lambda a, b, at=f"{result}, {place}": np.testing.assert_allclose(
                a, b, rtol=1e-12, atol=1e-12, err_msg=at
            )
            jax.tree.map(close, tuple(got[result]) if result == "state" else got[result], value)


def test_the_combinations_show_what_they_say(x64):
    """Lanes that stop at different epochs, before the last and after the best; gradients are clipped in some."""
    s = COMBINATIONS["all of it"]
    runs = [by_hand(s, lane, parts_of(s)) for lane in range(3)]
    assert all(run["epochs"] < s.epochs for run in runs)
    assert any(run["best_epoch"] < run["epochs"] - 1 for run in runs)
    assert len({run["epochs"] for run in runs}) > 1
    norms = [run["step_gradient_norm"] for run in runs]
    clipped = [np.mean(norm[np.isfinite(norm)] > clip) for norm, clip in zip(norms, CLIPS, strict=True)]
    assert clipped[0] == 0
    assert 0 < clipped[1] < clipped[2]
    assert clipped[2] == 1
