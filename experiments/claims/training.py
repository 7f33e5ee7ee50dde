"""Trainings of small classifiers that several topics share, and the averages of their runs for figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from experiments.claims.claim import Decided
from jnorm import losses
from jnorm.train import evaluation, loop

PARTS = ("train", "dev", "test")


def drawn(key: jax.Array, examples: tuple[Any, Any], count: ArrayLike, rows: int) -> tuple[Any, Any]:
    """``rows`` examples of which ``count`` are different, drawn from the set by the run's key.

    ``count`` may be traced, and all counts make as many steps; those that divide ``rows`` have all examples equally
    often.
    """
    order = jax.random.permutation(jax.random.fold_in(key, 1), len(examples[1]))
    at = order[jnp.arange(rows) % jnp.asarray(count, jnp.int32)]
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


def averages(runs: Decided, name: str, arms: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the runs of each arm, and half the width of its 95 % interval; arms as configurations say them."""
    means, halves = [], []
    for arm in arms:
        part = runs.result.select(**arm)
        values = np.asarray(part[name], float)[part.done & ~part.failed]
        means.append(values.mean(0))
        halves.append(1.96 * values.std(0, ddof=1) / len(values) ** 0.5)
    return np.array(means), np.array(halves)
