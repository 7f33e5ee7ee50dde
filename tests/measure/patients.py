"""Set-ups that train, and what is done to them: three models, in plain JAX and in Flax, and mistakes of every kind."""

from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from sklearn.datasets import load_digits

CLASSES, COUNT = 10, 256
HE, GLOROT = jax.nn.initializers.he_normal(), jax.nn.initializers.glorot_normal()
SHAPE = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


class Setup(NamedTuple):
    apply: Any
    params: Any
    x: Any
    targets: Any
    loss: Any
    optimizer: Any

    def arguments(self):
        return tuple(self)


class Options(NamedTuple):
    """What a model is made with; the defaults train."""

    act: Any = jax.nn.relu
    weights: Any = HE
    bias: float = 0.0
    stop: bool = False
    deep: int = 0
    norm: Any = None  # "batch" or "running"
    units: int = CLASSES
    last: Any = None


@cache
def digits():
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)[:COUNT]
    return x, labels.astype(np.int32)[:COUNT]


def cross_entropy(outputs, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], 1))


def square(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


# ----- plain JAX: parameters by name, drawn where they are first used


class Draw:
    """Parameters of a run with ``params = None`` are drawn, and else taken."""

    def __init__(self, options, params):
        self.options, self.params, self.key = options, {} if params is None else params, jax.random.key(7)
        self.drawing = params is None

    def get(self, name, make):
        if self.drawing:
            self.key, mine = jax.random.split(self.key)
            self.params[name] = make(mine)
        return self.params[name]

    def dense(self, name, x, units, bias=0.0):
        w = self.get(f"{name}/w", lambda key: self.options.weights(key, (x.shape[-1], units)))
        return x @ w + self.get(f"{name}/b", lambda key: jnp.full(units, bias)).reshape((1,) * (x.ndim - 1) + (-1,))

    def convolution(self, name, x, units, bias=0.0, stride=1):
        w = self.get(f"{name}/w", lambda key: self.options.weights(key, (3, 3, x.shape[-1], units)))
        y = lax.conv_general_dilated(x, w, (stride, stride), "SAME", **SHAPE)
        return y + self.get(f"{name}/b", lambda key: jnp.full(units, bias)).reshape(1, 1, 1, -1)

    def norm(self, x):
        if self.options.norm is None:
            return x
        axes = tuple(range(x.ndim - 1))
        row = lambda a: a.reshape((1,) * len(axes) + (-1,))
        mean, var = row(jnp.zeros(x.shape[-1])), row(jnp.ones(x.shape[-1]))
        if self.options.norm == "batch":
            mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * row(self.get("scale", lambda key: jnp.ones(x.shape[-1])))


def layer_norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def ending(draw, x):
    o = draw.options
    for i in range(o.deep):
        x = o.act(draw.dense(f"deep{i}", x, 32))
    x = draw.dense("out", x, o.units)
    return o.last(x) if o.last else x


def perceptron(draw, x):
    o = draw.options
    x = o.act(draw.norm(draw.dense("first", x.reshape(len(x), -1), 32, o.bias)))
    x = lax.stop_gradient(x) if o.stop else x
    return ending(draw, o.act(draw.dense("second", x, 32, o.bias)))


def cnn(draw, x):
    o = draw.options
    x = o.act(draw.norm(draw.convolution("first", x, 8, o.bias, stride=2)))
    x = o.act(draw.convolution("second", x, 16, o.bias))
    x = lax.stop_gradient(x) if o.stop else x
    x = x.reshape(-1, 2, 2, 2, 2, 16).mean((2, 4)).reshape(len(x), -1)
    return ending(draw, o.act(draw.dense("third", x, 32, o.bias)))


def transformer(draw, x):
    """Rows of the image are tokens."""
    o = draw.options
    x = draw.norm(draw.dense("embed", x[..., 0], 32)) + draw.get("at", lambda key: 0.1 * o.weights(key, (1, 8, 32)))
    x = lax.stop_gradient(x) if o.stop else x
    y = layer_norm(x)
    q, k, v = (draw.dense(name, y, 32).reshape(-1, 8, 4, 8) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(8).astype(np.float32))
    x = x + draw.dense("mix", jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(-1, 8, 32), 32)
    x = x + draw.dense("down", o.act(draw.dense("up", layer_norm(x), 64, o.bias)), 32)
    return ending(draw, layer_norm(x).mean(1))


def plain(model, options):
    draw = Draw(options, None)
    model(draw, digits()[0][:2])
    return lambda params, x: model(Draw(options, params), x), draw.params


# ----- the same in Flax


class Part(nn.Module):
    options: Options

    def dense(self, x, units, bias=0.0):
        return nn.Dense(units, kernel_init=self.options.weights, bias_init=nn.initializers.constant(bias))(x)

    def norm(self, x):
        if self.options.norm is None:
            return x
        return nn.BatchNorm(use_running_average=self.options.norm == "running")(x)

    def ending(self, x):
        o = self.options
        for _ in range(o.deep):
            x = o.act(self.dense(x, 32))
        x = self.dense(x, o.units)
        return o.last(x) if o.last else x


class Perceptron(Part):
    @nn.compact
    def __call__(self, x):
        o = self.options
        x = o.act(self.norm(self.dense(x.reshape(len(x), -1), 32, o.bias)))
        x = lax.stop_gradient(x) if o.stop else x
        return self.ending(o.act(self.dense(x, 32, o.bias)))


class Cnn(Part):
    @nn.compact
    def __call__(self, x):
        o = self.options
        conv = partial(nn.Conv, kernel_size=(3, 3), kernel_init=o.weights, bias_init=nn.initializers.constant(o.bias))
        x = o.act(self.norm(conv(8, strides=(2, 2))(x)))
        x = o.act(conv(16)(x))
        x = lax.stop_gradient(x) if o.stop else x
        x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return self.ending(o.act(self.dense(x, 32, o.bias)))


class Transformer(Part):
    @nn.compact
    def __call__(self, x):
        o = self.options
        at = self.param("at", lambda key: 0.1 * o.weights(key, (1, 8, 32)))
        x = self.norm(self.dense(x[..., 0], 32)) + at
        x = lax.stop_gradient(x) if o.stop else x
        x = x + nn.MultiHeadDotProductAttention(4, kernel_init=o.weights)(nn.LayerNorm()(x))
        x = x + self.dense(o.act(self.dense(nn.LayerNorm()(x), 64, o.bias)), 32)
        return self.ending(nn.LayerNorm()(x).mean(1))


def flax(module, options):
    model = module(options)
    variables = model.init(jax.random.key(7), digits()[0][:2])
    params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    return lambda params, x: model.apply({"params": params} | state, x, mutable=["batch_stats"])[0], params


MODELS = {
    "perceptron": partial(plain, perceptron),
    "cnn": partial(plain, cnn),
    "transformer": partial(plain, transformer),
    "flax perceptron": partial(flax, Perceptron),
    "flax cnn": partial(flax, Cnn),
    "flax transformer": partial(flax, Transformer),
}


def sound(model, **options):
    apply, params = MODELS[model](Options(**options))
    return Setup(apply, params, *digits(), cross_entropy, optax.adam(1e-3))


# ----- what is done to it


def normal(std):
    return lambda key, shape, dtype=jnp.float32: std * jax.random.normal(key, shape, dtype)


def zeros(key, shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype)


def twice(model):
    return sound(model, last=jax.nn.softmax)


def broadcast(model):
    return sound(model, units=1)._replace(targets=(digits()[1] - 4.5).astype(np.float32) / 3, loss=square)


def scales(model):
    x, _ = digits()
    factors = 10 ** np.random.default_rng(0).uniform(-3, 4, (8, 8, 1))
    return sound(model)._replace(x=((x - x.mean(0)) * factors).astype(np.float32))


def shuffled(model):
    return sound(model)._replace(targets=np.random.default_rng(0).permutation(digits()[1]))


def rows_of_zeros(model):
    targets = np.eye(CLASSES, dtype=np.float32)[np.minimum(digits()[1] + 1, 9)] * (digits()[1] < 9)[:, None]
    loss = lambda outputs, targets: -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(outputs), -1))
    return sound(model)._replace(targets=targets.astype(np.float32), loss=loss)


def summed(model):
    loss = lambda outputs, labels: len(labels) * cross_entropy(outputs, labels)
    return sound(model)._replace(loss=loss, optimizer=optax.sgd(0.1))


def missing(model):
    x = digits()[0].copy()
    x[3, 2, 2] = np.nan
    return sound(model)._replace(x=x)


def rate(model):
    """One with which a model does not train; with 0.1 the small convolutions do."""
    return 1.0 if "cnn" in model else 0.1


CATALOGUED = {  # how it is made, and the entry that should name it
    "softmax twice": (twice, "softmax twice"),
    "targets broadcast": (broadcast, "targets broadcast"),
    "features on scales": (scales, "features differ in size"),
    "rate too large": (lambda m: sound(m)._replace(optimizer=optax.adam(rate(m))), "rate too large"),
    "rate too small": (lambda m: sound(m)._replace(optimizer=optax.adam(1e-7)), "rate too small"),
    "zero weights": (lambda m: sound(m, weights=zeros), "units all alike"),
    "no nonlinearity": (lambda m: sound(m, act=lambda x: x), "no nonlinearity"),
    "dead relus": (lambda m: sound(m, bias=-20.0), "units dead"),
    "twelve sigmoids": (
        lambda m: sound(m, act=jax.nn.sigmoid, deep=12, weights=GLOROT),
        "gradient vanishes",
    ),
    "deviation one": (lambda m: sound(m, weights=normal(1.0)), "weights too large"),
    "stop_gradient": (lambda m: sound(m, stop=True), "no gradient comes back"),
    "shuffled labels": (shuffled, "labels of others"),
    "rows of zeros": (rows_of_zeros, "targets of zeros"),
    "running statistics": (lambda m: sound(m, norm="running"), "running statistics"),
    "summed loss": (summed, "loss summed"),
    "NaN": (missing, "NaN in the data"),
}
