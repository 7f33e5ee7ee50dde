"""Laws of `jnorm.predict`, which works on the host."""

import jax
import jax.numpy as jnp
import optax

from jnorm import predict
from tests.registry import host

ADAM = optax.adam(0.01)


def model(w, x):
    return jnp.tanh(jnp.tanh(x @ w[0]) @ w[1])


LAWS = [predict.Law("normal", 1 / 3), predict.Law("uniform", 1 / 64)]
SHAPES = [jnp.zeros((3, 64)), jnp.zeros((64, 64))]


def rows():
    found = predict.predict(model, SHAPES, jnp.ones((2, 3)), laws=LAWS, gradients=True, optimizer=ADAM)
    return str(found), str(found.formats()), found.findings


def deep(w, x):
    return model(w, x) @ w[2]


KEYS = jax.random.split(jax.random.key(0), 3)

host("predict.predict", rows)
host(
    "predict.certificate",
    lambda: str(predict.certificate(model, SHAPES, jnp.ones((2, 3)), omega=(-0.1, 0.1), tau=2, gradients=True)),
)
host("predict.gains", lambda: predict.gains(model, SHAPES, jnp.ones((2, 3)), laws=LAWS, by="both"))
host(
    "predict.transforms",
    lambda: str(predict.transforms(deep, SHAPES + SHAPES[1:], jnp.ones((2, 3)), laws=LAWS + LAWS[1:])),
)
host("predict.laws", lambda: str(predict.laws(*(jax.random.normal(key, (8, 8)) for key in KEYS))))
