"""Laws of `jnorm.sweeps`."""

import functools
import os
import tempfile
from types import SimpleNamespace
from unittest import mock

import jax

from jnorm import sweeps
from jnorm.sweeps import search
from tests.registry import host

GRID = {"rate": (0.1, 1.0)}
SPACE = {"rate": search.log_uniform(1e-3, 1.0), "depth": [2, 4, 8]}
TRIED = [{"rate": 0.01, "depth": 2}, {"rate": 0.1, "depth": 4}, {"rate": 0.5, "depth": 8}]


def train(key, rate):
    return {"loss": rate * jax.random.uniform(key)}


@functools.cache
def folder():
    """The store of a sweep, for the time that tests run."""
    kept = tempfile.TemporaryDirectory()
    sweeps.sweep(train, seeds=2, grid=GRID, chunk=2, store=kept.name)
    return kept


host("sweeps.sweep", lambda: dict(sweeps.sweep(train, seeds=2, grid=GRID, chunk=2).outputs))


def use_cores():
    """Where the number of devices is chosen, as they are made already."""
    with mock.patch.dict(os.environ, {"JAX_NUM_CPU_DEVICES": "1"}):
        sweeps.use_cores()


host("sweeps.use_cores", use_cores)
host("sweeps.load", lambda: dict(sweeps.load(folder().name).outputs))
host("sweeps.search.uniform", lambda: search.uniform(0.0, 0.5))
host("sweeps.search.log_uniform", lambda: search.log_uniform(1e-4, 1.0))
host("sweeps.search.one_minus_log_uniform", lambda: search.one_minus_log_uniform(0.9, 0.999))
host("sweeps.search.integers", lambda: search.integers(1, 100, log=True))
host("sweeps.search.grid", lambda: search.grid({"rate": [0.1, 1.0], "depth": [2, 4]}))
host("sweeps.search.quasi_random", lambda: search.quasi_random(jax.random.key(0), SPACE, 5))
host("sweeps.search.random", lambda: search.random(jax.random.key(0), SPACE, 5))


def told():
    """An Optuna study that was asked and told."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ask, tell = search.from_optuna(study, SPACE)
    asked = ask(3)
    tell(asked, [0.3, 0.1, 0.2])
    return asked, study.best_value


host("sweeps.search.from_optuna", told)
DESCENT = SimpleNamespace(
    segments=4,
    begin=lambda key, rate: jax.random.uniform(key),
    advance=lambda key, carried, rate: carried * (1 - rate),
    finish=lambda key, carried, rate: {"loss": carried},
)


def halved():
    result = search.halving(DESCENT, {"rate": (0.1, 0.2, 0.3, 0.4)}, score="loss", seeds=2)
    return result.best, result.trained, dict(result.finalists.outputs)


host("sweeps.search.halving", halved)
host("sweeps.search.coarse_to_fine", lambda: search.coarse_to_fine(SPACE, TRIED, [0.3, 0.1, 0.2], keep=2))
