"""Laws of `jnorm.measure`."""

import jax.numpy as jnp

from jnorm.measure import gradcheck
from tests.registry import host

OPTIONS = {"directions": 1, "entries": 1, "order": 1}
ANEW = "what is checked is traced and compiled anew, as part of the check"


def loss(params):
    return jnp.sum(params["w"] ** 2)


def checked():
    report = gradcheck.check(loss, {"w": jnp.array([1.0, 2.0])}, **OPTIONS)
    return report.verdict, report.leaves


host("measure.gradcheck.check", checked, compile=ANEW)
host(
    "measure.gradcheck.assert_gradients",
    lambda: gradcheck.assert_gradients(loss, {"w": jnp.array([1.0, 2.0])}, **OPTIONS),
    compile=ANEW,
)
