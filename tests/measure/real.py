"""Set-ups that are as they should be, on published data, which are read from a folder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnorm.data import datasets
from tests.measure.patients import GLOROT, HE, SHAPE, Setup, cross_entropy
from tests.measure.sound import chain, dense, init, layers

ROWS = 512


def images(folder):
    """Between 0 and 1, and their classes."""
    data = datasets.load("mnist", folder)
    return np.asarray(data.x[:ROWS], np.float32).reshape(ROWS, 28, 28, 1), np.asarray(data.y[:ROWS], np.int32)


def mnist_perceptron(folder):
    x, y = images(folder)
    params = layers(0, 784, 64, 64, 10)
    return Setup(chain(jax.nn.relu), params, x, y, cross_entropy, optax.adam(1e-3))


def mnist_bytes(folder):
    """Bytes, which the model divides itself."""
    x, y = images(folder)
    inside = chain(jax.nn.selu)
    apply = lambda params, x: inside(params, (jnp.asarray(x, jnp.float32) - 33) / 79)
    params = layers(0, 784, 32, 32, 32, 10, weights=init.lecun_normal())
    x = np.round(255 * x).astype(np.uint8)
    return Setup(apply, params, x, y, cross_entropy, optax.sgd(0.05, momentum=0.9))


def mnist_cnn(folder):
    x, y = images(folder)

    def apply(params, x):
        for name, stride in (("first", 4), ("second", 2)):
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, params[name], (stride, stride), "SAME", **SHAPE))
        return dense(params["out"], x.reshape(len(x), -1))

    keys = jax.random.split(jax.random.key(0))
    params = {"first": HE(keys[0], (5, 5, 1, 8)), "second": HE(keys[1], (3, 3, 8, 16)), "out": layers(0, 256, 10)[0]}
    return Setup(apply, params, x, y, cross_entropy, optax.adamw(1e-3))


def table(name, act=jax.nn.relu, optimizer=None, weights=HE, hidden=(64, 64)):
    def make(folder):
        data = datasets.load(f"uci/{name}", folder)
        x, y = np.asarray(data.x, np.float64), np.asarray(data.y, np.int32)
        spread = x.std(0)
        x = ((x - x.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
        params = layers(0, x.shape[1], *hidden, len(data.classes), weights=weights)
        return Setup(chain(act), params, x, y, cross_entropy, optimizer or optax.adam(1e-3))

    return make


def answers(folder):
    """Answers of voters, so that most examples are copies of others; the target is one of them."""
    setup = table("congressional-voting")(folder)
    return setup._replace(targets=(setup.x[:, 3] > 0).astype(np.int32))


REAL = {
    "mnist": mnist_perceptron,
    "mnist, bytes": mnist_bytes,
    "mnist, cnn": mnist_cnn,
    "abalone": table("abalone"),
    "arrhythmia": table("arrhythmia", weights=GLOROT, act=jnp.tanh),
    "answers": answers,
    "heart Switzerland": table("heart-switzerland"),  # hardly any signal
    "landsat": table("statlog-landsat", optimizer=optax.sgd(0.1, momentum=0.9)),
    "magic": table("magic", act=jax.nn.selu, weights=init.lecun_normal(), optimizer=optax.sgd(0.05)),
    "plant texture": table("plant-texture"),  # a hundred classes
    "wine": table("wine-quality-red", hidden=(), weights=init.zeros, optimizer=optax.sgd(0.1)),
}
"""By name, functions of the folder. Labels of ``uci/statlog-australian-credit`` and of the voters go with no input."""
