"""Laws of `jnorm.predict`, which works on the host."""

import jax
import jax.numpy as jnp

from jnorm import predict
from tests.registry import host


def model(w, x):
    return jnp.tanh(jnp.tanh(x @ w[0]) @ w[1])


def rows():
    laws = [predict.Law("normal", 1 / 3), predict.Law("uniform", 1 / 64)]
    shapes = [jnp.zeros((3, 64)), jnp.zeros((64, 64))]
    return str(predict.predict(model, shapes, jnp.ones((2, 3)), laws=laws, gradients=True))


KEYS = jax.random.split(jax.random.key(0), 3)

host("predict.predict", rows)
host("predict.laws", lambda: str(predict.laws(*(jax.random.normal(key, (8, 8)) for key in KEYS))))
