"""Laws of `jnorm.statistics`."""

from functools import partial

import numpy as np

from jnorm import statistics
from tests.registry import BATCHES, KEYS, LAYER, ROWS, add, each

PARTS = {"nan": "each value depends on some of the arguments"}
COUNTS = {"gradient": "piecewise constant"}
for _estimate in (statistics.mean, statistics.median, statistics.iqm):
    add(f"statistics.{_estimate.__name__}", partial(_estimate, axis=-1), ROWS, dtypes=LAYER)
add(
    "statistics.bootstrap",
    each(lambda key, x: statistics.bootstrap(key, x, axis=-1, samples=20)),
    *(KEYS, ROWS),
    gradient="draws from a key",
)
# Without what only tells the design.
add("statistics.components", lambda x: statistics.components(x, axes=(-2, -1))[:3], BATCHES)
add(
    "statistics.intervals",
    each(lambda key, x: statistics.intervals(key, statistics.components(x, axes=(0, 1)), samples=20)),
    *(KEYS, BATCHES),
    gradient="draws from a key",
)
add("statistics.sign_test", partial(statistics.sign_test, axis=-1), ROWS, **COUNTS)
add("statistics.wilcoxon", partial(statistics.wilcoxon, axis=-1), ROWS, **COUNTS)
add(
    "statistics.permutation",
    each(lambda key, x: statistics.permutation(key, x, axis=-1, samples=15)),
    *(KEYS, ROWS),
    gradient="draws from a key",
)
add("statistics.holm", partial(statistics.holm, axis=-1), 1 / (1 + np.exp(ROWS)) / 2)
for _effect in (statistics.cohen_d, statistics.cohen_d_paired, statistics.hedges_g):
    add(f"statistics.{_effect.__name__}", partial(_effect, axis=-1), ROWS, np.roll(ROWS, 1, 0), dtypes=LAYER)
for _effect in (statistics.probability_of_superiority, statistics.cliffs_delta):
    add(f"statistics.{_effect.__name__}", partial(_effect, axis=-1), ROWS, np.roll(ROWS, 1, 0), **COUNTS)
add("statistics.ranks", partial(statistics.ranks, axis=-1), ROWS, **COUNTS)
add("statistics.average_ranks", partial(statistics.average_ranks, axis=-1, over=-2), BATCHES, **COUNTS)
add(
    "statistics.friedman",
    partial(statistics.friedman, axis=-1, over=-2),
    # Rolled, so that not the lane BAD is the last to converge: JAX iterates the beta function until all lanes have.
    np.roll(BATCHES, 1, 0),
    **COUNTS,
)
add(
    "statistics.summary",
    partial(statistics.summary, axis=-1, samples=20),
    ROWS,
    gradient="draws from a key",
    nan="a run that diverged is counted",
)
