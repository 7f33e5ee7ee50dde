"""Laws of `jnorm.gaussian`."""

from functools import partial

import jax.numpy as jnp

from jnorm import activations, gaussian
from tests.registry import COV, MEAN, ROWS, VAR, add

add("gaussian.expectation", partial(gaussian.expectation, activations.selu), MEAN, VAR)
add("gaussian.moments", partial(gaussian.moments, activations.selu), MEAN, VAR)
add("gaussian.expectation2", partial(gaussian.expectation2, lambda u, v: jnp.tanh(u) * v), ROWS[:, :2], COV)
