"""Real random networks of width 4096 against the theory of infinite ones: z-scores of three."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import activations
from jnorm.theory import meanfield
from tests.thorough import beside

WIDTH, DEPTH, NETWORKS = 4096, 3, 8
SIGMA_W, SIGMA_B = 1.3, 0.2
NAMES = ("tanh", "relu", "leaky_relu", "selu", "elu", "gelu", "silu", "sin", "erf", "hard_tanh", "softplus", "mish")
FEATURES = 16
X = np.random.default_rng(0).normal(size=(2, FEATURES)).astype("float32")
X[1] = 0.6 * X[0] + 0.8 * X[1]


@partial(jax.jit, static_argnums=0)
def measured(phi, key):
    """Of the last pre-activations of two inputs both variances and the covariance; of the gradient, its square."""
    sizes = [FEATURES, *[WIDTH] * DEPTH]
    keys = jax.random.split(key, (DEPTH, 2))
    last = jax.random.normal(jax.random.fold_in(key, 1), (WIDTH,))

    def network(nudge):
        z = jnp.asarray(X)
        for i, (k, n, m) in enumerate(zip(keys, sizes, sizes[1:], strict=False)):
            h = phi(z) if i else z
            z = SIGMA_W / jnp.sqrt(n) * h @ jax.random.normal(k[0], (n, m)) + SIGMA_B * jax.random.normal(k[1], (1, m))
            z = z if i else z + nudge
        return jnp.sum(z * last[None]), z

    gradient, z = jax.grad(network, has_aux=True)(jnp.zeros((2, WIDTH)))
    products = jnp.stack([z[0] * z[0], z[1] * z[1], z[0] * z[1]]).mean(1)
    return jnp.append(products, jnp.mean(gradient[0] ** 2))


@pytest.mark.parametrize("name", beside([], NAMES))
def test_networks_are_within_three_standard_errors(name):
    """Eight of them; what the limit leaves out, 1/width, is a fortieth of one network's deviation sqrt(6 / width)."""
    phi = activations.ELEMENTWISE[name]
    runs = np.array([measured(phi, key) for key in jax.random.split(jax.random.key(7), NETWORKS)])
    step = meanfield.kernel_map(phi, sigma_w=SIGMA_W, sigma_b=SIGMA_B)
    start = meanfield.inputs(X[0], X[1], sigma_w=SIGMA_W, sigma_b=SIGMA_B)
    rows = meanfield.propagate(step, start, DEPTH - 1)
    growth = meanfield.growth(step, start.var1, DEPTH - 1)
    theory = np.array([rows.var1[-1], rows.var2[-1], rows.cov[-1], growth[-1]])
    error = runs.std(0, ddof=1) / np.sqrt(NETWORKS)
    assert np.all(error < 0.03 * np.abs(theory))  # it could fail
    assert np.all(np.abs(runs.mean(0) - theory) < 3 * error), (runs.mean(0) - theory) / error
