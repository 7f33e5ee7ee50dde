"""Laws of `jnorm.data`."""

import tempfile
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from jnorm.data import augment, batches, datasets, splits, standardize
from tests.registry import BATCHES, CLASSES, KEYS, LAYER, OFFSETS, POSITIVE, X, add, each, host

MISSING = "NaN is a missing value"
add("data.standardize.fit", each(lambda x: standardize.fit(x)._replace(low=None)), BATCHES, nan=MISSING)
add("data.standardize.apply", each(lambda x: standardize.apply(standardize.fit(x), x)), BATCHES, nan=MISSING)
add(
    "data.standardize.invert",
    each(lambda x, y: standardize.invert(standardize.fit(x), y)),
    BATCHES,
    BATCHES,
    nan=MISSING,
)
add(
    "data.standardize.merge",
    each(lambda x, y: standardize.merge(standardize.fit(x), standardize.fit(y))._replace(low=None)),
    *(BATCHES, BATCHES[::-1] + 1),
    nan=MISSING,
)

INDICES = {"gradient": "whole numbers", "dtype": "whole numbers"}
add("data.batches.epoch", each(lambda key: batches.epoch(key, 7, 3).indices), KEYS, **INDICES)
add("data.batches.take", each(batches.take), BATCHES, CLASSES[:, None] * np.array([0, 1]), dtypes=LAYER)
add("data.batches.divide", each(lambda order: batches.divide(order, 2).indices), KEYS.astype(np.int64) % 7, **INDICES)
host("data.batches.length", lambda: batches.length({"x": BATCHES, "y": CLASSES}))
host("data.batches.steps", lambda: batches.steps(7, 3))

MOVES = "moves pixels, some of them out of the image"
add(
    "data.augment.shift", each(lambda key, x: augment.shift(key, x[None], 1)[0]), KEYS, BATCHES, dtypes=LAYER, nan=MOVES
)
add("data.augment.flip", each(lambda key, x: augment.flip(key, x[None])[0]), KEYS, BATCHES, dtypes=LAYER)
for turn in (augment.rotate, augment.shear):
    add(
        f"data.augment.{turn.__name__}",
        each(lambda key, x, limit, turn=turn: turn(key, x[None], 10 * limit)[0]),
        *(KEYS, BATCHES, POSITIVE),
        dtypes=LAYER,
        nan=MOVES,
    )
add(
    "data.augment.noise",
    each(lambda key, x, var: augment.noise(key, x, var)),
    *(KEYS, BATCHES, POSITIVE),
    dtypes=LAYER,
)
add(
    "data.augment.shifted",
    each(lambda x, by: augment.shifted(x[None], by[None])[0]),
    BATCHES,
    OFFSETS,
    dtypes=LAYER,
    nan=MOVES,
)
for turned, angles in ((augment.rotated, 20 * X), (augment.sheared, 9 * X)):
    add(
        f"data.augment.{turned.__name__}",
        each(lambda x, angle, turned=turned: turned(x[None], angle)[0]),
        *(BATCHES, angles),
        dtypes=LAYER,
        nan=MOVES,
    )

add(
    "data.augment.crop",
    each(lambda key, x: augment.crop(key, x[None], 2)[0]),
    *(KEYS, BATCHES),
    dtypes=LAYER,
    nan="a window leaves pixels out",
)
add(
    "data.augment.cropped",
    each(lambda x, at: augment.cropped(x[None], at[None], 2)[0]),
    *(BATCHES, np.array([[0, 1], [2, 0], [1, 1], [0, 0], [4, 1]])),
    dtypes=LAYER,
    nan="a window leaves pixels out",
)
add(
    "data.augment.elastic",
    each(lambda key, x, alpha: augment.elastic(key, x[None], alpha, 1.5)[0]),
    *(KEYS, BATCHES, POSITIVE),
    dtypes=LAYER,
    nan=MOVES,
)
add(
    "data.augment.displaced",
    each(lambda x, by: augment.displaced(x[None], by[None])[0]),
    *(BATCHES, np.stack([BATCHES, BATCHES[::-1]], 1)),
    dtypes=LAYER,
    nan=MOVES,
)

LABELS = np.arange(23) % 4
host("data.splits.random", lambda: splits.random(jax.random.key(0), 23))
host("data.splits.stratified", lambda: splits.stratified(jax.random.key(0), LABELS))
host("data.splits.by_source", lambda: splits.by_source(jax.random.key(0), LABELS))
host("data.splits.by_target", lambda: splits.by_target(jax.random.key(0), LABELS, 2))
host("data.splits.folds", lambda: splits.folds(jax.random.key(0), 23, 3))
host("data.splits.stratified_folds", lambda: splits.stratified_folds(jax.random.key(0), LABELS, 3))
host("data.splits.source_folds", lambda: splits.source_folds(jax.random.key(0), LABELS, 3))


def written(write, read):
    """What is read from a file that was just written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "set")
        write(path)
        data = read(path)
        return data.x, data.y, data.classes, data.features


def npz(path):
    with path.open("wb") as file:
        np.savez(file, x=BATCHES, y=CLASSES)


host("data.datasets.load", lambda: datasets.load("iris"))
host("data.datasets.names", lambda: datasets.names())
host("data.datasets.published", lambda: datasets.published("mnist"))
host("data.datasets.from_npz", lambda: written(npz, datasets.from_npz))
FRAME = pd.DataFrame({"a": [0.5, 1.0], "kind": ["b", "a"]})
host("data.datasets.from_frame", lambda: datasets.from_frame(FRAME))
host("data.datasets.from_csv", lambda: written(lambda path: path.write_text("a,b\n1,0\n2,1\n"), datasets.from_csv))
