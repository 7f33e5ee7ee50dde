"""One sweep on all machines of a job: every process runs this same script."""

import sys

import jax
import jax.numpy as jnp

from jnorm.sweeps import sweep, use_cores

jax.distributed.initialize()  # before JAX computes; finds SLURM and TPU pods by itself
use_cores()  # on machines without accelerators: every core is a device


def train(key, rate):
    """Gradient descent on a random quadratic."""
    curvature = jax.random.uniform(key, (100,))
    step = lambda _, w: w - rate * curvature * w
    w = jax.lax.fori_loop(0, 1000, step, jnp.ones(100))
    return {"loss": (curvature * w**2).sum() / 2}


grid = {"rate": (0.01, 0.1, 1.0)}
result = sweep(train, seeds=64, grid=grid, store=sys.argv[1])
if jax.process_index() == 0:
    print(f"{jax.process_count()} processes, {jax.device_count()} devices")
    print(f"mean losses {result['loss'].mean(1)}")
