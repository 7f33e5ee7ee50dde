"""What pictures read of a result: values of the runs that count, which of them belong together, and names for outputs.

A result is anything with ``configurations`` and arrays ``result[name]`` of shape [configuration, seed, ...], such as
what `jnorm.sweeps.sweep`, `jnorm.statistics.Runs` and `jnorm.statistics.tuned` give.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jnorm.statistics._keys import same
from jnorm.statistics._runs import Result, metric_array, near_names


def values(result: Result, name: str, *, further: int) -> np.ndarray:
    """A metric in double precision, NaN where a run was not done and where a number is not finite.

    Raises ``ValueError`` where it has not so many ``further`` axes beside configurations and seeds.
    """
    array = np.asarray(metric_array(result, name), np.float64)
    if array.ndim != 2 + further:
        shape = ["[configurations, seeds]", "[configurations, seeds, points]"][further]
        raise ValueError(f"`{name}` must have shape {shape} for this picture; got {array.shape}")
    flags = done(result, array).reshape(*array.shape[:2], *[1] * further)
    return np.where(flags & np.isfinite(array), array, np.nan)


def scores(result: Result, name: str) -> np.ndarray:
    """One number a run, NaN for those that diverged or were not done."""
    array = values(result, name, further=0)
    return np.where(failed(result, array), np.nan, array)


def done(result: Result, array: np.ndarray) -> np.ndarray:
    """Which runs were done, [configuration, seed]."""
    flags = getattr(result, "done", None)
    return np.ones(array.shape[:2], bool) if flags is None else np.asarray(flags, bool)


def failed(result: Result, array: np.ndarray) -> np.ndarray:
    """Which runs the result calls diverged, [configuration, seed]."""
    flags = getattr(result, "failed", None)
    return np.zeros(array.shape[:2], bool) if flags is None else np.asarray(flags, bool)


def diverged(result: Result, array: np.ndarray) -> np.ndarray:
    """How many runs of each configuration diverged: those that the result calls so, else those with a NaN."""
    if getattr(result, "failed", None) is not None:
        return failed(result, array).sum(1)
    return (done(result, array) & np.isnan(array).reshape(*array.shape[:2], -1).any(2)).sum(1)


def column(result: Result, name: str, argument: str = "by") -> list[Any]:
    """The value of a hyperparameter in each configuration.

    Raises ``ValueError`` where a configuration does not name it.
    """
    known = list(dict.fromkeys(key for one in result.configurations for key in one))
    if not all(name in one for one in result.configurations):
        listed = f"one of {', '.join(known)}" if known else "a hyperparameter, of which this result has none"
        raise ValueError(f"`{argument}` must be {listed}; got {name!r}{near_names(name, known)}")
    return [one[name] for one in result.configurations]


def places(listed: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The different values in a list, numbers in their order and others as they come, and the place of each.

    >>> places([0.1, 0.01, 0.1]), places(["selu", "relu", "selu"])
    (([0.01, 0.1], [1, 0, 1]), (['selu', 'relu'], [0, 1, 0]))
    """
    different: list[Any] = []
    for value in listed:
        if not any(same(value, other) for other in different):
            different.append(value)
    if all(isinstance(value, int | float | np.number) for value in different):
        different.sort()
    return different, [next(i for i, other in enumerate(different) if same(value, other)) for value in listed]


def words(name: str) -> str:
    """The name of an output as an axis shows it.

    >>> words("curve_dev_loss")
    'dev loss'
    """
    for prefix in ("curve_", "probe_", "step_"):
        name = name.removeprefix(prefix)
    return name.replace("_", " ")
