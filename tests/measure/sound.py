"""Set-ups that are as they should be, and differ in everything else."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets

from tests.measure.patients import (
    CLASSES,
    GLOROT,
    HE,
    SHAPE,
    Setup,
    cross_entropy,
    digits,
    layer_norm,
    normal,
    sound,
    square,
)

init = jax.nn.initializers


@cache
def table(name):
    """A table of scikit-learn, standardized."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:300]
    x, y = x[rows], y[rows]
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def layers(key, *sizes, weights=HE):
    keys = jax.random.split(jax.random.key(key), len(sizes))
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=False)
    return [{"w": weights(k, (m, n), jnp.float32), "b": jnp.zeros(n)} for k, m, n in pairs]


def dense(params, x):
    return x @ params["w"] + params["b"].reshape((1,) * (x.ndim - 1) + (-1,))


def chain(act, last=lambda x: x):
    def apply(params, x):
        x = x.reshape(len(x), -1)
        for layer in params[:-1]:
            x = act(dense(layer, x))
        return last(dense(params[-1], x))

    return apply


def regression():
    x, y = table("diabetes")
    y = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
    return Setup(chain(jnp.tanh), layers(0, 10, 32, 1, weights=GLOROT), x, y, square, optax.adam(3e-3))


def logistic_regression():
    x, y = table("breast_cancer")
    loss = lambda outputs, y: jnp.mean(jax.nn.softplus(outputs[:, 0]) - y * outputs[:, 0])
    return Setup(chain(jnp.tanh), layers(0, 30, 1, weights=init.zeros), x, y.astype(np.float32), loss, optax.sgd(0.1))


def probabilities():
    x, y = table("breast_cancer")

    def loss(p, y):
        p = jnp.clip(p[:, 0], 1e-6, 1 - 1e-6)
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))

    params = layers(0, 30, 32, 1)
    apply = chain(jax.nn.relu, jax.nn.sigmoid)
    return Setup(apply, params, x, y.astype(np.float32), loss, optax.rmsprop(1e-3))


def autoencoder():
    x = digits()[0].reshape(-1, 64)
    params = layers(0, 64, 32, 8, 32, 64)
    return Setup(chain(jax.nn.elu, jax.nn.sigmoid), params, x, x, square, optax.adam(3e-3))


def smoothed():
    targets = (0.9 * np.eye(CLASSES)[digits()[1]] + 0.01).astype(np.float32)
    loss = lambda outputs, targets: -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(outputs), -1))
    return sound("perceptron", act=jax.nn.silu)._replace(targets=targets, loss=loss, optimizer=optax.lion(3e-4))


def residual():
    def apply(params, x):
        x = dense(params[0], x.reshape(len(x), -1))
        for up, down in zip(params[1:-1:2], params[2:-1:2], strict=True):
            x = x + dense(down, jax.nn.gelu(dense(up, layer_norm(x))))
        return dense(params[-1], layer_norm(x))

    params = layers(0, 64, 32, *(64, 32) * 8, CLASSES, weights=init.lecun_normal())
    return Setup(apply, params, *digits(), cross_entropy, optax.adamw(1e-3, weight_decay=0.01))


def selu():
    params = layers(0, 64, *[32] * 6, CLASSES, weights=init.lecun_normal())
    return Setup(chain(jax.nn.selu), params, *digits(), cross_entropy, optax.sgd(0.05, momentum=0.9))


def warm_up():
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 200, 2000)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.1))
    return sound("transformer", act=jax.nn.gelu)._replace(optimizer=tx)


def language():
    """The next of some tokens that go round, one in five at random."""
    rng = np.random.default_rng(0)
    text = np.where(rng.random((200, 13)) < 0.2, rng.integers(0, 12, (200, 13)), (np.arange(13) * 5 % 12)[None])
    text = (text + rng.integers(0, 12, (200, 1))) % 12
    keys = iter(jax.random.split(jax.random.key(1), 16))
    draw = lambda *shape: normal(shape[0] ** -0.5)(next(keys), shape)
    params = {"table": draw(12, 32), "at": draw(12, 32), "head": draw(32, 12)}
    params |= {name: draw(32, 32) for name in ("q", "k", "v", "o")} | {"up": draw(32, 64), "down": draw(64, 32)}

    def apply(p, tokens):
        x = p["table"][tokens] + p["at"][None]
        y = layer_norm(x)
        scores = jnp.einsum("nqd,nkd->nqk", y @ p["q"], y @ p["k"]) / np.sqrt(32).astype(np.float32)
        scores = jnp.where(jnp.tril(jnp.ones((1, 12, 12), bool)), scores, -1e9)
        x = x + jax.nn.softmax(scores) @ (y @ p["v"]) @ p["o"]
        return layer_norm(x + jax.nn.relu(layer_norm(x) @ p["up"]) @ p["down"]) @ p["head"]

    loss = lambda outputs, t: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), t[..., None], -1))
    return Setup(apply, params, text[:, :-1].astype(np.int32), text[:, 1:].astype(np.int32), loss, optax.adam(3e-3))


SOUND = {
    "perceptron": lambda: sound("perceptron"),
    "regression": regression,
    "logistic regression": logistic_regression,
    "probabilities": probabilities,
    "autoencoder": autoencoder,
    "smoothed labels": smoothed,
    "residual": residual,
    "selu": selu,
    "warm-up": warm_up,
    "language": language,
    "batch norm": lambda: sound("cnn", norm="batch")._replace(optimizer=optax.sgd(0.05, momentum=0.9)),
    "flax batch norm": lambda: sound("flax perceptron", norm="batch"),
    "flax cnn": lambda: sound("flax cnn", act=jax.nn.leaky_relu),
    "flax transformer": lambda: sound("flax transformer", act=jax.nn.gelu),
    "slow": lambda: sound("perceptron", act=jnp.tanh)._replace(optimizer=optax.sgd(0.01)),
    "last layer of zeros": lambda: last_zero(),
}


def last_zero():
    setup = sound("perceptron")
    return setup._replace(params=setup.params | {"out/w": jnp.zeros((32, CLASSES))}, optimizer=optax.sgd(0.1))


# ----- mistakes that no entry was written for, or that stand elsewhere


def with_loss(loss, **changes):
    return sound("perceptron")._replace(loss=loss, **changes)


def over_examples_in_loss():
    return with_loss(lambda o, t: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(o, axis=0), t[:, None], 1)))


def masked(model="perceptron"):
    setup = sound(model)
    frozen = {name: "held" if name.startswith("second") else "free" for name in setup.params}
    tx = optax.multi_transform({"held": optax.set_to_zero(), "free": optax.adam(1e-3)}, frozen)
    return setup._replace(optimizer=tx)


def half_masked():
    setup = sound("perceptron")
    tx = optax.masked(optax.sgd(0.1), {name: not name.startswith("second") for name in setup.params})
    return setup._replace(optimizer=tx)


def halves():
    setup = sound("perceptron")
    cast = lambda a: jnp.asarray(a, jnp.float16)
    params = jax.tree.map(cast, setup.params)
    return setup._replace(params=params, x=(setup.x * 16 * 600).astype(np.float16))


def over_examples():
    setup = sound("perceptron")
    return setup._replace(apply=lambda params, x: jax.nn.softmax(setup.apply(params, x), axis=0) * 10)


def sees_all():
    setup = language()

    def apply(p, tokens):
        x = p["table"][tokens] + p["at"][None]
        x = x + (jnp.mean(x, 1, keepdims=True) @ p["v"])
        return layer_norm(jax.nn.relu(x @ p["up"]) @ p["down"]) @ p["head"]

    return setup._replace(apply=apply)


def wrong_rule():
    @jax.custom_vjp
    def act(x):
        return jax.nn.relu(x)

    act.defvjp(lambda x: (act(x), x), lambda x, ct: (jnp.where(x < 0, ct, 0.0),))
    return sound("perceptron", act=act)


def channels_first():
    """Images (n, 1, 8, 8) for a convolution that takes the last axis for channels."""

    def apply(params, x):
        x = jax.lax.conv_general_dilated(x, params["conv"], (1, 1), "SAME", **SHAPE)
        return dense(params["out"], jax.nn.relu(x).reshape(len(x), -1))

    params = {"conv": HE(jax.random.key(0), (3, 3, 8, 8)), "out": layers(0, 64, CLASSES)[0]}
    return sound("perceptron")._replace(apply=apply, params=params, x=digits()[0].transpose(0, 3, 1, 2))


def binary(**changes):
    x, y = table("breast_cancer")
    loss = lambda z, y: jnp.mean(jax.nn.softplus(z[:, 0]) - y * z[:, 0])
    setup = Setup(chain(jax.nn.relu), layers(0, 30, 32, 1), x, y.astype(np.float32), loss, optax.adam(1e-3))
    return setup._replace(**changes)


OTHERS = {
    "wrong sign": (lambda: with_loss(lambda o, t: -cross_entropy(o, t)), "loss of the wrong sign"),
    "rate zero": (lambda: sound("perceptron")._replace(optimizer=optax.adam(0.0)), "parameters still"),
    "labels from one": (lambda: sound("perceptron")._replace(targets=digits()[1] + 1), "labels out of range"),
    "channels first": (
        lambda: channels_first(),
        "axes out of order",
    ),
    "bytes": (lambda: sound("perceptron")._replace(x=digits()[0] * 255), "data unscaled"),
    "relu at the end": (lambda: sound("perceptron", last=jax.nn.relu), "targets out of reach"),
    "tanh at the end": (lambda: regression()._replace(apply=chain(jax.nn.relu, jnp.tanh)), "targets out of reach"),
    "held": (masked, "parameters still"),
    "half masked": (half_masked, "updates go uphill"),
    "weight decay": (
        lambda: sound("perceptron")._replace(optimizer=optax.adamw(1e-3, weight_decay=100.0)),
        "weight decay too large",
    ),
    "float16": (halves, "numbers not finite"),
    "copies": (lambda: _copies(), "copies of examples"),
    "one label": (lambda: sound("perceptron")._replace(targets=np.full(256, 3, np.int32)), "targets all alike"),
    "over examples": (over_examples, "examples mixed"),
    "over examples in the loss": (over_examples_in_loss, "loss mixes examples"),
    "rate of nothing": (lambda: sound("perceptron")._replace(optimizer=optax.adam(1e-12)), "rate too small"),
    "rate of a hundred": (lambda: sound("perceptron")._replace(optimizer=optax.sgd(100.0)), "rate too large"),
    "scaled twice": (
        lambda: sound("perceptron")._replace(x=(digits()[0] / 255 - 0.3) / 0.3),
        "data unscaled",
    ),
    "future": (sees_all, "outputs see the future"),
    "wrong rule": (wrong_rule, "gradient wrong"),
    "sigmoid twice": (lambda: binary(apply=chain(jax.nn.relu, jax.nn.sigmoid)), "sigmoid twice"),
    "signs for classes": (lambda: binary(targets=2 * binary().targets - 1), "targets beyond 0 and 1"),
    "uphill": (lambda: sound("perceptron")._replace(optimizer=optax.scale_by_adam()), "updates go uphill"),
    "same data": (lambda: sound("perceptron")._replace(x=np.ones_like(digits()[0])), "data all alike"),
    "small weights": (lambda: sound("perceptron", weights=normal(1e-4)), "weights too small"),
}


def _copies():
    x, labels = digits()
    rows = np.arange(len(x)) % 40
    return sound("perceptron")._replace(x=x[rows], targets=labels[rows])
