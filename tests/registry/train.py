"""Laws of `jnorm.train`."""

from functools import cache

import jax
import jax.numpy as jnp
import optax

from jnorm import losses
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer
from jnorm.train import averages, early_stopping, evaluation, gradients, loop, schedules, transforms
from tests.registry import BATCHES, CLASSES, KEYS, MEAN, POSITIVE, ROWS, SIGNS, TAU, add, each, host

COUNTS = {"gradient": "piecewise constant"}
PARTS = {"nan": "each value depends on some of the arguments"}

add("train.evaluation.accuracy", evaluation.accuracy, ROWS, CLASSES, **COUNTS)
add("train.evaluation.binary_accuracy", evaluation.binary_accuracy, MEAN, SIGNS, **COUNTS)
add("train.evaluation.top_k_accuracy", lambda y, t: evaluation.top_k_accuracy(y, t, k=2), ROWS, CLASSES, **COUNTS)
add("train.evaluation.r_squared", each(lambda y, t: evaluation.r_squared(y, jnp.sin(y) + t)), ROWS, POSITIVE)
add("train.evaluation.auc", each(lambda y, t: evaluation.auc(y, jnp.arange(4) == t)), ROWS, CLASSES, **COUNTS)
host("train.evaluation.whole", lambda: evaluation.whole(jnp.max)(3.0, None))
METRICS = {"error": lambda outputs, targets: (outputs - targets) ** 2}
add(
    "train.evaluation.evaluate",
    each(lambda x, w: evaluation.evaluate(lambda x: jnp.tanh(w * x), (x, 2 * x), METRICS, block=4)),
    *(BATCHES, POSITIVE),
)

for _schedule in (schedules.inverse_time, schedules.exponential):
    add(f"train.schedules.{_schedule.__name__}", lambda a, k, t, f=_schedule: f(a, k)(t), MEAN, TAU, POSITIVE)
add("train.schedules.inverse_sqrt", lambda a, t: schedules.inverse_sqrt(a)(t), MEAN, POSITIVE)
add("train.schedules.piecewise", each(lambda a, t: schedules.piecewise(a[:2], [1])(t)), ROWS, POSITIVE + 0.1, **PARTS)


add("train.averages.exponential", each(averages.exponential), ROWS, 0.4 * POSITIVE)


def updated(optimizer):
    """The update after a first one."""
    params = jnp.array([1.0, -0.2, 0.05])
    _, state = optimizer.update(0.1 * params, optimizer.init(params), params)
    return optimizer.update(jnp.array([0.1, 0.1, -0.1]), state, params)


host("train.averages.average_params", lambda: updated(averages.average_params(0.9)))
host("train.transforms.proximal_l1", lambda: updated(transforms.proximal_l1(0.1, 2.0)))
host("train.transforms.scale_by_root_mean_square", lambda: updated(transforms.scale_by_root_mean_square()))


def one_gradient(x, w):
    """Of a penalized loss with one example that does not count."""

    def loss(w, state, x, mask, key):
        return jnp.sum(jnp.tanh(w * x) ** 2, -1), state

    mask = jnp.array([True, True, True, False, True, True])
    penalty = lambda w: w**2 / 2
    return gradients.gradient(loss, w, (), x, mask, jax.random.key(0), penalty=penalty)[:3]


add("train.gradients.gradient", each(one_gradient), BATCHES, POSITIVE)


def judged(values, tol):
    """What is known after each row's four values."""
    patience = early_stopping.patience(1, tol=tol, window=2)
    known = early_stopping.init(patience, values.dtype)
    for i in range(4):
        known, _, _ = early_stopping.update(patience, known, values[i])
    return known._replace(recent=None)


add(
    "train.early_stopping.update",
    each(judged),
    *(ROWS, POSITIVE),
    gradient="a minimum, and numbers of epochs",
    nan="NaN never improves",
)
host("train.early_stopping.init", lambda: early_stopping.init(early_stopping.patience(3, window=2)))
host("train.early_stopping.patience", lambda: jax.tree.leaves(early_stopping.patience(3, tol=0.1)))


@cache
def stopped():
    values = jnp.array([3.0, 1.0, 2.0, 2.0, 0.0])
    patience = early_stopping.patience(1)
    keep = {"value": lambda output: output, "keep": lambda carry: carry}
    return jax.jit(lambda start: early_stopping.scan(lambda c, t: (c + 1, values[t]), start, 5, patience, **keep))


@cache
def trained():
    network = networks.mlp((3, 2), Layer(jnp.tanh, jax.nn.initializers.ones))
    sgd = lambda learning_rate: optax.sgd(learning_rate)
    train = loop.trainer(network, losses.squared_error, sgd, epochs=2, batch_size=4, report=loop.Report(["train"]))
    data = {"train": (jnp.asarray(BATCHES[0], jnp.float32), jnp.asarray(BATCHES[1, :, :2], jnp.float32))}
    return jax.jit(lambda key, rate: train(key, data, learning_rate=rate))


@cache
def fresh():
    network = networks.mlp((3, 4, 2), Layer(jnp.tanh, jax.nn.initializers.ones, normalizer=batch_norm))
    params = network.init(jax.random.key(0))[0]
    return jax.jit(
        lambda key: evaluation.fresh_state(key, network, params, jnp.asarray(BATCHES[0], float), batch_size=4)
    )


host("train.evaluation.fresh_state", lambda: fresh()(jax.random.key(0)))
host("train.early_stopping.scan", lambda: stopped()(jnp.int32(0)), nans="outputs of epochs after the stop")
host("train.loop.trainer", lambda: trained()(jax.random.key(0), 0.1))
host("train.loop.streams", lambda: jax.tree.map(jax.random.key_data, loop.streams(KEYS[0], {"init_key": 3})))
