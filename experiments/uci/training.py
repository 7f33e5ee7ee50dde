"""One run: a network on one split of one data set, trained for a budget of steps, stopped early by the dev set.

Everything but the shapes of a bucket, the kind of network, its units and its greatest depth is traced: the set, the
split, the learning rate, the depth below the greatest, the form and the rate of dropout.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.uci.data import Bucket
from experiments.uci.networks import Size, network
from jnorm import losses
from jnorm.train import early_stopping, evaluation, loop

CHECKPOINTS = 20
"""How often a run is judged on its dev set, at equal distances."""
WINDOW = 2
"""Checkpoints in the moving average that is judged, a tenth of all as in the paper."""
EPOCHS = 100
"""Passes over the training examples after which a run ends, if its steps do not end it before."""


class Fixed(NamedTuple):
    """What is fixed for all sets of a bucket: steps between two checkpoints, and the most classes."""

    steps: int
    outputs: int


def fixed(bucket: Bucket, batch: int, most: int) -> Fixed:
    """As many steps as `EPOCHS` passes over the largest training set take, but ``most`` in all."""
    largest = int(np.max(bucket.sizes["train"]))
    return Fixed(max(1, min(most, -(-EPOCHS * largest // batch)) // CHECKPOINTS), max(2, int(np.max(bucket.classes))))


def order(key: jax.Array, number: Any, *, size: Any, rows: int, count: int) -> jax.Array:
    """Numbers of ``count`` of ``size`` examples, padded to ``rows``: all in a random order, again and again."""
    drawn = jnp.where(jnp.arange(rows) < size, jax.random.uniform(key, (rows,)), 2.0)
    return jnp.argsort(drawn)[jnp.arange(count) % size]


def cross_entropy(logits: jax.Array, targets: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Of (class, weight), whose weights have mean 1 over what is averaged."""
    return losses.softmax_cross_entropy(logits, targets[0]) * targets[1]


def accuracy(logits: jax.Array, targets: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Of (class, weight), likewise."""
    return evaluation.accuracy(logits, targets[0]) * targets[1]


def part_of(bucket: Bucket, part: str, number: Any, split: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Inputs and (class, weight) of a part of a split; rows that only fill it up have weight 0, and 1 is the mean."""
    rows, size = bucket.rows[part][number, split], bucket.sizes[part][number, split]
    count = len(rows)
    weights = jnp.where(jnp.arange(count) < size, count / jnp.asarray(size, jnp.float32), 0)
    return bucket.x[number][rows], (bucket.y[number][rows], weights)


def train_of(batch: int, known: Mapping[str, Fixed]) -> Any:
    """``train(key, buckets, bucket=, kind=, units=, cap=, number=, split=, rate=, ...)``; ``known`` is by bucket."""

    def train(
        key: jax.Array,
        shared: Mapping[str, Bucket],
        *,
        bucket: str,
        kind: str,
        units: int,
        cap: int,
        number: Any,
        split: Any,
        rate: Any,
        depth: Any = None,
        conic: Any = None,
        dropout: Any = None,
    ) -> dict[str, jax.Array]:
        data = jax.tree.map(jnp.asarray, shared[bucket])
        size = Size(data.features[number], data.classes[number], cap if depth is None else depth, conic)
        parts = {part: part_of(data, part, number, split) for part in data.rows}
        x, (y, _) = parts["train"]
        parts["train"] = x, (y, jnp.ones(len(y)))
        model = network(
            kind, size, inputs=x.shape[1], outputs=known[bucket].outputs, units=units, depth=cap, rate=dropout
        )
        count = known[bucket].steps * batch
        run = loop.trainer(
            model,
            cross_entropy,
            lambda rate: optax.sgd(rate),
            epochs=CHECKPOINTS,
            batch_size=batch,
            order=partial(order, size=data.sizes["train"][number, split], rows=len(y), count=count),
            stop=early_stopping.patience(jnp.inf, monitor="dev_accuracy", window=WINDOW),
            metrics={"accuracy": accuracy},
            report=loop.Report(parts=("test",), curves=("dev",)),
        )
        done = run(key, parts, rate=rate)
        return {name: done[name] for name in ("curve_dev_accuracy", "test_accuracy", "best_epoch")}

    return train
