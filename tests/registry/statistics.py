"""Laws of `jnorm.statistics`."""

from functools import partial

import numpy as np

from jnorm import statistics
from tests.registry import BATCHES, KEYS, LAYER, ROWS, add, each, host

COUNTS = {"gradient": "piecewise constant"}
DRAWN = {"gradient": "draws from a key"}
for _estimate in (statistics.mean, statistics.median, statistics.iqm):
    add(f"statistics.{_estimate.__name__}", partial(_estimate, axis=-1), ROWS, dtypes=LAYER)
add("statistics.bootstrap", each(partial(statistics.bootstrap, axis=-1, samples=20)), KEYS, ROWS, **DRAWN)
# Without what only tells the design.
add("statistics.components", lambda x: statistics.components(x, axes=(-2, -1))[:3], BATCHES)
add(
    "statistics.intervals",
    each(lambda key, x: statistics.intervals(key, statistics.components(x, axes=(0, 1)), samples=20)),
    *(KEYS, BATCHES),
    **DRAWN,
)
add("statistics.sign_test", partial(statistics.sign_test, axis=-1), ROWS, **COUNTS)
add("statistics.wilcoxon", partial(statistics.wilcoxon, axis=-1), ROWS, **COUNTS)
add("statistics.permutation", each(partial(statistics.permutation, axis=-1, samples=15)), KEYS, ROWS, **DRAWN)
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
    **DRAWN,
    nan="a run that diverged is counted",
)

host("statistics.subsets", lambda: statistics.subsets(3))
host("statistics.critical_difference", lambda: statistics.critical_difference(5, 20))
host("statistics.ensembles", lambda: statistics.ensembles(BATCHES[..., 0], np.max, sizes=(1, 2)))
host("statistics.power", lambda: statistics.power(0.5, 20))
host("statistics.equivalence_power", lambda: statistics.equivalence_power(0.1, 1.0, 20))
host("statistics.sample_size", lambda: statistics.sample_size(0.5))
host("statistics.equivalence_size", lambda: statistics.equivalence_size(0.1, 0.5))
host("statistics.detectable", lambda: statistics.detectable(20))

RUNS = statistics.Runs(
    [{"phi": phi, "depth": depth} for phi in ("relu", "selu") for depth in (2, 8)],
    {"accuracy": np.random.default_rng(0).normal(0.8, 0.1, (4, 6))},
    failed=np.arange(24).reshape(4, 6) == 7,
)
RULES = [
    statistics.Rule(
        **{"claim": "greater", "effect": 0.0, "diverged": "lowest", "metric": "accuracy"},
        **{"a": {"phi": "selu"}, "b": {"phi": "relu"}, "method": method},
    )
    for method in ("t", "bootstrap-iqm")
]
host("statistics.judge", lambda: [statistics.judge(RUNS, rule) for rule in RULES])
host("statistics.compare", lambda: statistics.compare(ROWS, ROWS[::-1] + 1, RULES[0], axis=1))
host("statistics.correct", lambda: statistics.correct([statistics.judge(RUNS, RULES[0])] * 3))
host("statistics.tuned", lambda: statistics.tuned(RUNS, "depth", on="accuracy")["accuracy"])
host("statistics.averaged", lambda: statistics.averaged(RUNS, "depth")["accuracy"])

THRESHOLDS = (-0.5, 0.1, 0.7)
add(
    "statistics.performance_profile",
    lambda x: statistics.performance_profile(x, THRESHOLDS, axis=(-2, -1)),
    BATCHES,
    **COUNTS,
    nan="a NaN is above no threshold",
)
add("statistics.optimality_gap", partial(statistics.optimality_gap, axis=-1), ROWS)
add(
    "statistics.probability_of_improvement",
    partial(statistics.probability_of_improvement, axis=-1, over=-2),
    *(BATCHES, np.roll(BATCHES, 1, 0)),
    **COUNTS,
)
add(
    "statistics.stratified_bootstrap",
    each(
        lambda key, x: statistics.stratified_bootstrap(
            key, x, partial(statistics.mean, axis=(-2, -1)), axis=-1, over=-2, samples=20
        )
    ),
    *(KEYS, BATCHES),
    **DRAWN,
)
host("statistics.sequential", lambda: statistics.sequential(RULES, looks=(3, 6)).judge(RUNS).verdicts)
host(
    "statistics.report",
    lambda: [statistics.report(statistics.judge(RUNS, RULES[0]), form) for form in ("text", "json")],
)
host("statistics.runs_of", lambda: statistics.runs_of({"x": np.ones((2, 3))}, ("repeat", "seed"))["x"])
host("statistics.tuning_curve", lambda: statistics.tuning_curve(ROWS, (1, 5), axis=0, support=(-9.0, 9.0)))
host("statistics.expected_best", lambda: statistics.expected_best(ROWS, (1, 5), axis=0))
