"""Flax modules under `trainer`: the same numbers as loops written with Flax alone, also in lanes; and clear errors."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jnorm import losses
from jnorm.data import batches
from jnorm.interop import flax_linen, flax_nnx
from jnorm.train import loop

# Each program runs once: what it costs is compiling it.
pytestmark = pytest.mark.usefixtures("unoptimized")

SIZE, BATCH, EPOCHS, RATE = 11, 4, 2, 0.1  # a last batch of three
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), RNG.integers(0, 2, 30)
KEYS = jax.random.split(jax.random.key(5), 3)


@pytest.fixture(autouse=True)
def flax_promotes_implicitly():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def data():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    return {"train": (x[:SIZE], y[:SIZE]), "test": (x[SIZE:], y[SIZE:])}


def trained(model, keys=KEYS, **hyperparameters):
    """What `trainer` makes of a model, one lane a key."""
    train = loop.trainer(
        model,
        losses.softmax_cross_entropy,
        optax.adam(RATE),
        epochs=EPOCHS,
        batch_size=BATCH,
        report=loop.Report(keep_params=True),
    )
    return jax.jit(jax.vmap(lambda key: train(key, data(), **hyperparameters)))(keys)


def rows(key):
    """The examples of each step, and its key for dropout."""
    keys = loop.streams(key)
    order_keys = [jax.random.fold_in(keys["order_key"], e) for e in range(EPOCHS)]
    orders = [batches.epoch(key, SIZE, SIZE).indices[0] for key in order_keys]
    steps = [order[first : first + BATCH] for order in orders for first in range(0, SIZE, BATCH)]
    return [(row, jax.random.fold_in(keys["dropout_key"], t)) for t, row in enumerate(steps)]


def cost(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def assert_same(got, exact):
    assert jax.tree.structure(got) == jax.tree.structure(exact)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        # Double precision; Adam divides by the root of squares, where a rounding of a small gradient counts in full.
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


class Linen(nn.Module):
    """Batch norm of Flax, dropout of Flax. No bias before batch norm: Adam would blow up the rounding of its zeros."""

    rate: float = 0.4

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(5, param_dtype=float, use_bias=False)(x)
        options = {"param_dtype": float, "force_float32_reductions": False}
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, **options)(x)
        x = nn.Dropout(self.rate, deterministic=not train)(nn.tanh(x))
        return nn.Dense(2, param_dtype=float)(x)


def test_a_linen_module_trains_as_in_a_loop_of_flax(x64):
    module, optimizer = Linen(), optax.adam(RATE)

    def by_hand(key):
        variables = module.init(loop.streams(key)["init_key"], jnp.ones((1, 3)), train=False)
        params, stats = variables["params"], variables["batch_stats"]
        memory = optimizer.init(params)

        def mean_loss(params, stats, x, y, key):
            variables = {"params": params, "batch_stats": stats}
            y_hat, new = module.apply(variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
            return cost(y_hat, y), new["batch_stats"]

        x, y = data()["train"]
        for row, own in rows(key):
            grads, stats = jax.grad(mean_loss, has_aux=True)(params, stats, x[row], y[row], own)
            updates, memory = optimizer.update(grads, memory, params)
            params = optax.apply_updates(params, updates)
        x, y = data()["test"]
        loss = cost(module.apply({"params": params, "batch_stats": stats}, x, train=False), y)
        return {"params": params, "state": {"batch_stats": stats}, "test_loss": loss}

    got = trained(flax_linen.network(module, jnp.ones((1, 3))))
    assert_same(got, jax.jit(jax.vmap(by_hand))(KEYS))
    assert len(set(got["test_loss"].tolist())) == len(KEYS)


class Nnx(nnx.Module):
    """The same for nnx, with two layers of dropout, whose masks must differ."""

    def __init__(self, rngs, rate=0.4):
        self.first = nnx.Linear(3, 5, rngs=rngs, param_dtype=float, use_bias=False)
        self.norm = nnx.BatchNorm(5, rngs=rngs, momentum=0.9, param_dtype=float)
        for statistic in (self.norm.mean, self.norm.var):
            statistic.set_value(statistic[...].astype(float))  # float32 in Flax, whatever the type of the parameters
        self.dropouts = nnx.List([nnx.Dropout(rate, rngs=rngs) for _ in range(2)])
        self.last = nnx.Linear(5, 2, rngs=rngs, param_dtype=float)

    def __call__(self, x):
        x = self.dropouts[0](jnp.tanh(self.norm(self.first(x))))
        return self.last(self.dropouts[1](x))


def test_an_nnx_module_trains_as_in_a_loop_of_flax(x64):
    def by_hand(key):
        model = Nnx(nnx.Rngs(loop.streams(key)["init_key"]))
        optimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)
        model.train()
        x, y = data()["train"]
        for row, own in rows(key):
            nnx.reseed(model, default=own)
            optimizer.update(model, nnx.grad(lambda m, i: cost(m(x[i]), y[i]))(model, row))
        model.eval()
        x, y = data()["test"]
        _, params, _, state = nnx.split(model, nnx.Param, nnx.RngState, ...)
        parts = {"params": nnx.to_pure_dict(params), "state": nnx.to_pure_dict(state)}
        return parts | {"test_loss": cost(model(x), y)}

    got = trained(flax_nnx.network(Nnx))
    assert_same(got, jax.jit(jax.vmap(by_hand))(KEYS))
    assert len(set(got["test_loss"].tolist())) == len(KEYS)


def test_what_was_trained_goes_back_into_an_nnx_module(x64):
    got = jax.tree.map(lambda a: a[0], trained(flax_nnx.network(Nnx), KEYS[:1]))
    model = Nnx(nnx.Rngs(0))
    nnx.update(model, got["params"])
    nnx.update(model, got["state"])
    model.eval()
    x, y = data()["test"]
    np.testing.assert_allclose(cost(model(x), y), got["test_loss"], rtol=1e-12)


class Field(nn.Module):
    train: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=not self.train)(x)


class Training(nn.Module):
    @nn.compact
    def __call__(self, x, training=True):
        return nn.Dropout(0.5, deterministic=not training)(x)


class NnxDeterministic(nnx.Module):
    def __init__(self, *, rngs):
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, *, deterministic):
        return self.dropout(x, deterministic=deterministic)


@pytest.mark.parametrize(
    "network",
    [
        *[flax_linen.network(m, jnp.ones((1, 3))) for m in (Field(), Field(False), Training(), nn.Dropout(0.5))],
        *[flax_nnx.network(make) for make in (NnxDeterministic, partial(nnx.Dropout, 0.5))],
    ],
)
def test_train_reaches_the_module(network):
    params, state = network.init(jax.random.key(0))
    x, keys = jnp.ones((40, 40)), jax.random.split(jax.random.key(1))
    run = lambda key: network.apply(params, state, x, train=True, key=key)[0]
    assert set(np.unique(run(keys[0]))) == {0.0, 2.0}
    np.testing.assert_array_equal(run(keys[0]), run(keys[0]))
    assert not np.array_equal(run(keys[0]), run(keys[1]))
    np.testing.assert_array_equal(network.apply(params, state, x, train=False, key=None)[0], x)


def test_batch_norm_itself_is_a_network():
    x = jnp.asarray(X, jnp.float32)
    for network in (
        flax_linen.network(nn.BatchNorm(), x),
        flax_nnx.network(partial(nnx.BatchNorm, 3)),
        flax_linen.network(flax_linen.BatchNorm(), x),
        flax_nnx.network(partial(flax_nnx.BatchNorm, 3)),
    ):
        params, state = network.init(jax.random.key(0))
        y, moved = network.apply(params, state, x, train=True, key=None)
        np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-6)  # float32
        assert not np.allclose(jax.tree.leaves(moved)[0], jax.tree.leaves(state)[0])
        assert network.apply(params, moved, x, train=False, key=None)[1] is moved


def test_other_streams_get_keys_of_their_own():
    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x):
            draw = lambda name: jax.random.normal(self.make_rng(name), x.shape)
            return jnp.stack([draw("dropout"), draw("noise"), draw("noise")])

    class NnxNoise(nnx.Module):
        def __init__(self, rngs):
            self.own = nnx.Rngs(dropout=0, noise=0)  # equal seeds must not stay equal
            lanes = nnx.Rngs(lanes=0).lanes
            self.lanes = lanes.split(2) if hasattr(lanes, "split") else lanes.fork(split=2)  # before Flax 0.12.6

        def __call__(self, x):
            draw = lambda key: jax.random.normal(key, x.shape)
            several = jax.vmap(draw)(self.lanes.key[...])
            return jnp.stack([draw(self.own.dropout()), draw(self.own.noise()), draw(self.own.noise()), *several])

    x = jnp.ones(3)
    noise = flax_linen.network(Noise(), x)
    for network in (noise, flax_nnx.network(NnxNoise)):
        # Linen draws in its initialization too, from the key of that.
        y, _ = network.apply(*network.init(jax.random.key(0)), x, train=True, key=jax.random.key(1))
        assert len(np.unique(y)) == y.size
        other, _ = network.apply(*network.init(jax.random.key(0)), x, train=True, key=jax.random.key(2))
        assert not np.intersect1d(y, other).size


@pytest.mark.thorough
def test_a_rate_may_be_a_traced_hyperparameter():
    class Model(nn.Module):
        rate: float

        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(2)(flax_linen.AlphaDropout(self.rate, deterministic=not train)(nn.Dense(5)(x)))

    def nnx_model(rate, rngs):
        layers = nnx.Linear(3, 5, rngs=rngs), flax_nnx.AlphaDropout(rate, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)
        return nnx.Sequential(*layers)

    rates = jnp.array([0.0, 0.3])
    for model in (
        lambda rate: flax_linen.network(Model(rate), jnp.ones((1, 3))),
        lambda rate: flax_nnx.network(partial(nnx_model, rate)),
    ):
        train = loop.trainer(model, losses.softmax_cross_entropy, optax.sgd(RATE), epochs=1, batch_size=BATCH)
        lanes = jax.jit(jax.vmap(lambda rate, train=train: train(KEYS[0], data(), rate=rate)))(rates)["test_loss"]
        for lane, rate in zip(lanes, (0.0, 0.3), strict=True):
            alone = jax.jit(partial(train, rate=rate))(KEYS[0], data())["test_loss"]
            np.testing.assert_allclose(lane, alone, rtol=1e-5)  # float32, three steps
        assert lanes[0] != lanes[1]


@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_what_a_module_sows_is_left_out():
    class Sowing(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            y = self.linear(x)
            self.sow(nnx.Intermediate, "seen", y)
            return y

    class LinenSowing(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(2)(x)
            self.sow("intermediates", "seen", y)
            return y

    for network in (flax_nnx.network(Sowing), flax_linen.network(LinenSowing(), jnp.ones((1, 3)))):
        params, state = network.init(jax.random.key(0))
        assert state == network.apply(params, state, jnp.ones((1, 3)), train=True, key=jax.random.key(1))[1] == {}


def test_wrong_modules_are_refused():
    with pytest.raises(TypeError, match=r"`module` must be a flax.linen.Module; got <class '.*Linen'>"):
        flax_linen.network(Linen, jnp.ones((1, 3)))
    with pytest.raises(TypeError, match=r"`make` must be a function, such as lambda rngs: Model\(rngs=rngs\); got Nnx"):
        flax_nnx.network(Nnx(nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"`make` must return a flax.nnx.Module; got Dense"):
        flax_nnx.network(lambda rngs: nn.Dense(2))
    network = flax_nnx.network(Nnx)
    with pytest.raises(ValueError, match="`key` must be a random key where train=True and the module has random"):
        network.apply(*network.init(jax.random.key(0)), jnp.ones((2, 3)), train=True, key=None)


@pytest.mark.parametrize(
    ("module", "adapter"),
    [
        (Linen(), "flax_linen.network"),
        (Linen, "flax_linen.network"),
        (nn.BatchNorm(), "flax_linen.network"),
        (nnx.Linear(3, 2, rngs=nnx.Rngs(0)), "flax_nnx.network"),
        (Nnx, "flax_nnx.network"),
    ],
)
def test_a_bare_module_is_sent_to_its_adapter(module, adapter):
    options = {"loss": losses.softmax_cross_entropy, "optimizer": optax.sgd(RATE), "epochs": 1, "batch_size": BATCH}
    with pytest.raises(TypeError, match=rf"`model` must be or return a pair .*: jnorm.interop.{adapter}\("):
        loop.trainer(module, **options)
    train = loop.trainer(lambda: module, **options)
    with pytest.raises(TypeError, match=rf"`model` must be or return a pair .*: jnorm.interop.{adapter}\("):
        train(jax.random.key(0), data())


def test_other_models_without_init_and_apply_are_refused():
    options = {"loss": losses.softmax_cross_entropy, "optimizer": optax.sgd(RATE), "epochs": 1, "batch_size": BATCH}
    with pytest.raises(TypeError, match=r"`model` must be or return a pair init\(key\), apply\(.*\); got tuple"):
        loop.trainer((lambda key: (), lambda *args: args), **options)
    train = loop.trainer(lambda: "mlp", **options)
    with pytest.raises(TypeError, match=r"`model` must be or return a pair init\(key\), apply\(.*\); got str"):
        train(jax.random.key(0), data())


class IsTraining(nn.Module):
    """Flags by other names, which would leave dropout off for ever."""

    @nn.compact
    def __call__(self, x, is_training: bool = False):
        return nn.Dropout(0.5, deterministic=not is_training)(x)


class Required(nn.Module):
    @nn.compact
    def __call__(self, x, training_mode):
        return nn.BatchNorm(use_running_average=not training_mode)(x)


class Inference(nn.Module):
    inference: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.Sequential([nn.Dropout(0.5, deterministic=self.inference)])(x)


class Fixed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return flax_linen.BatchNorm(use_running_average=False)(x)


class NnxIsTraining(nnx.Module):
    def __init__(self, *, rngs):
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, is_training=False):
        return self.dropout(x, deterministic=not is_training)


class NnxInference(NnxIsTraining):
    def __call__(self, x, inference=True):
        return self.dropout(x, deterministic=inference)


LINEN = lambda module, **options: flax_linen.network(module, jnp.ones((1, 3)), **options)
FLAGS = {
    "default": (LINEN, IsTraining(), {"is_training": True}, "for it holds Dropout, and it takes is_training"),
    "required": (
        LINEN,
        Required(),
        {"training_mode": True},
        "for its call cannot do without training_mode",
    ),
    "field": (LINEN, Inference(), {"inference": False}, "for it holds Dropout, and it takes inference"),
    "nnx": (flax_nnx.network, NnxIsTraining, {"is_training": True}, "for it holds Dropout, and it takes is_training"),
    "nnx inverted": (
        flax_nnx.network,
        NnxInference,
        {"inference": False},
        "for it holds Dropout, and it takes inference",
    ),
}


@pytest.mark.parametrize("case", FLAGS)
def test_a_flag_by_another_name_is_asked_for_and_taken(case):
    network, module, in_training, reason = FLAGS[case]
    ((name, value),) = in_training.items()
    text = rf"`in_training` must say how \w+ is told to train, {reason}.* in_training=\{{'{name}': {value}\}}, with"
    with pytest.raises(ValueError, match=text):
        network(module)
    model = network(module, in_training=in_training)
    params, state = model.init(jax.random.key(0))
    x = jnp.asarray(X, jnp.float32)
    y, moved = model.apply(params, state, x, train=True, key=jax.random.key(1))
    if case == "required":
        np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-6)  # float32
        assert moved["batch_stats"] != {}
    else:
        kept = np.asarray(y) != 0
        np.testing.assert_array_equal(np.asarray(y)[kept], 2 * np.asarray(x)[kept])
        assert 0 < kept.mean() < 1
        np.testing.assert_array_equal(model.apply(params, moved, x, train=False, key=None)[0], x)


def test_modules_without_a_flag_are_taken_where_both_modes_are_the_same():
    assert LINEN(nn.Dense(2)).init(jax.random.key(0))[1] == {}  # nothing differs
    with pytest.raises(ValueError, match=r"it holds BatchNorm, and it takes no argument .*in_training=\{\} where"):
        LINEN(Fixed())
    network = LINEN(Fixed(), in_training={})
    params, state = network.init(jax.random.key(0))
    _, moved = network.apply(params, state, jnp.asarray(X, jnp.float32), train=True, key=None)
    assert moved["batch_stats"]["BatchNorm_0"]["count"].tolist() == [len(X)] * 3


def test_bad_names_of_flags_are_refused():
    with pytest.raises(ValueError, match=r"`in_training` must name arguments of IsTraining: .*; got \['trainning'\]"):
        LINEN(IsTraining(), in_training={"trainning": True})
    with pytest.raises(ValueError, match=r"`in_training` must name arguments of NnxIsTraining: .*; got \['train'\]"):
        flax_nnx.network(NnxIsTraining, in_training={"train": True})
    with pytest.raises(ValueError, match="`in_training` must be a dictionary of names and booleans; got 'is_training'"):
        LINEN(IsTraining(), in_training="is_training")
