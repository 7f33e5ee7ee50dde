"""Laws of `jnorm.predict`, which works on the host."""

import jax.numpy as jnp
import optax

from jnorm import predict
from tests.registry import host

ADAM = optax.adam(0.01)


def model(w, x):
    return jnp.tanh(jnp.tanh(x @ w[0]) @ w[1])


def rows():
    laws = [predict.Law("normal", 1 / 3), predict.Law("uniform", 1 / 64)]
    shapes = [jnp.zeros((3, 64)), jnp.zeros((64, 64))]
    return str(predict.predict(model, shapes, jnp.ones((2, 3)), laws=laws, gradients=True, optimizer=ADAM))


host("predict.predict", rows)
