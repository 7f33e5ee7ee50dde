"""Laws of `jnorm.data`."""

import numpy as np

from jnorm.data import augment, batches, standardize
from tests.registry import BATCHES, CLASSES, KEYS, LAYER, OFFSETS, POSITIVE, X, add, each

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
MOVES = "moves pixels, some of them out of the image"
add("data.batches.permutation", each(lambda key: batches.permutation(key, 7)), KEYS, **INDICES)
add("data.batches.epoch", each(lambda key: batches.epoch(key, 7, 3).indices), KEYS, **INDICES)
add("data.batches.take", each(batches.take), BATCHES, CLASSES[:, None] * np.array([0, 1]), dtypes=LAYER)
add(
    "data.augment.shift", each(lambda key, x: augment.shift(key, x[None], 1)[0]), KEYS, BATCHES, dtypes=LAYER, nan=MOVES
)
add("data.augment.flip", each(lambda key, x: augment.flip(key, x[None])[0]), KEYS, BATCHES, dtypes=LAYER)
add(
    "data.augment.rotate",
    each(lambda key, x, limit: augment.rotate(key, x[None], 10 * limit)[0]),
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
add(
    "data.augment.rotated",
    each(lambda x, angle: augment.rotated(x[None], angle)[0]),
    BATCHES,
    20 * X,
    dtypes=LAYER,
    nan=MOVES,
)
