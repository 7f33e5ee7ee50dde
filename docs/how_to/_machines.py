"""One sweep on all machines of a job: every process runs this same script."""

import sys

import jax

jax.distributed.initialize()  # before anything is computed; finds SLURM, Open MPI, Kubernetes and TPU pods by itself

from jnorm.sweeps import sweep, use_cores  # noqa: E402

use_cores()  # on machines without accelerators: every core is a device


def train(key, rate):
    """Gradient descent on a random quadratic."""
    curvature = jax.random.uniform(key, (100,))
    w = jax.lax.fori_loop(0, 1000, lambda _, w: w - rate * curvature * w, jax.numpy.ones(100))
    return {"loss": (curvature * w**2).sum() / 2}


result = sweep(train, seeds=64, grid={"rate": (0.01, 0.1, 1.0)}, store=sys.argv[1])
if jax.process_index() == 0:
    print(f"{jax.process_count()} processes, {jax.device_count()} devices, loss {result['loss'].mean(1)}")
