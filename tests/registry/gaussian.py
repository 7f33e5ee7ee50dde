"""Laws of `jnorm.gaussian`."""

from functools import partial

import jax
import jax.numpy as jnp

from jnorm import activations, gaussian
from tests.registry import COV, MEAN, ROWS, VAR, add, host

add("gaussian.expectation", partial(gaussian.expectation, activations.selu), MEAN, VAR)
add("gaussian.moments", partial(gaussian.moments, activations.selu), MEAN, VAR)
add("gaussian.expectation2", partial(gaussian.expectation2, lambda u, v: jnp.tanh(u) * v), ROWS[:, :2], COV)
host("gaussian.kinks", lambda: (gaussian.kinks(jax.nn.relu6), gaussian.kinks(lambda z: jnp.sign(z**3 - z - 0.1))))
