"""Trainings of small classifiers that several topics share, and the averages of their runs for figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from experiments.claims.claim import Decided
from experiments.claims.drawing import half_width
from jnorm import losses
from jnorm.train import evaluation, loop

PARTS = ("train", "dev", "test")


def drawn(key: jax.Array, examples: tuple[Any, Any], count: ArrayLike, rows: int) -> tuple[Any, Any]:
    """``rows`` examples of which ``count`` are different: from a place on that the key draws, in a fixed random order.

    ``count`` may be traced, and all counts make as many steps; those that divide ``rows`` have all examples equally
    often.
    """
    size = len(examples[1])
    order = jnp.asarray(np.random.default_rng(0).permutation(size))  # sorting in every run takes long to compile
    start = jnp.floor(size * jax.random.uniform(jax.random.fold_in(key, 1))).astype(jnp.int32)
    at = order[(start + jnp.arange(rows) % jnp.asarray(count, jnp.int32)) % size]
    return jax.tree.map(lambda a: jnp.take(a, at, axis=0), examples)


def scores(
    key: jax.Array, parts: Mapping[str, Any], network: Any, optimizer: Any, *, report: Any = None, **options: Any
) -> dict[str, Any]:
    """Train a classifier; loss and accuracy of each part, and ``gap``, by how much training examples do better.

    Optimizer, penalty and so on close over their hyperparameters; ``options`` are those of `loop.trainer`.
    """
    report = loop.Report(PARTS) if report is None else report
    metrics = {"accuracy": evaluation.accuracy}
    run = loop.trainer(network, losses.softmax_cross_entropy, optimizer, metrics=metrics, report=report, **options)
    found = run(key, parts)
    return found | {"gap": found["train_accuracy"] - found["test_accuracy"]}


def kernels(path: str, leaf: Any) -> bool:
    """Chooses weights among parameters, without biases."""
    del leaf
    return path.endswith("kernel")


def norm(params: Any) -> jax.Array:
    """The norm of all weights together, without biases."""
    return jnp.sqrt(2 * losses.l2_penalty(params, where=kernels))


def averages(
    runs: Decided, name: str, arms: Sequence[Mapping[str, Any]], *, diverged: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the runs of each arm, and half the width of its 95 % interval; arms as configurations say them.

    Runs that diverged count as ``diverged``, or not at all.
    """
    means, halves = [], []
    for arm in arms:
        part = runs.result.select(**arm)
        if diverged is None:
            values = np.asarray(part[name], float)[part.done & ~part.failed]
        else:
            values = np.array(part[name], float)
            values[part.failed] = diverged
            values = values[part.done]
        means.append(values.mean(0))
        halves.append(half_width(values))
    return np.array(means), np.array(halves)
