"""Results with fewer configurations: the best value of a hyperparameter chosen, or all its values averaged.

>>> grid = [{"activation": phi, "rate": rate} for phi in ("relu", "selu") for rate in (0.01, 0.1)]
>>> dev = np.array([[0.8, 0.9], [0.7, 0.7], [0.6, 0.7], [0.9, 0.9]])  # two seeds
>>> result = Runs(grid, {"dev": dev, "test": dev - 0.1})
>>> best = tuned(result, "rate", on="dev")  # the best rate of each activation
>>> best.configurations, best["test"].round(3).tolist()
(({'activation': 'relu'}, {'activation': 'selu'}), [[0.7, 0.8], [0.8, 0.8]])
>>> [each_seed[0] for each_seed in best.winners]
[{'activation': 'relu', 'rate': 0.01}, {'activation': 'selu', 'rate': 0.1}]
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jnorm._ground import checks
from jnorm.statistics._keys import Places
from jnorm.statistics._runs import Result, Runs, failed_as_nan, metric_array  # noqa: F401 (Runs: the examples)


@dataclass(frozen=True)
class Reduced:
    """A result with fewer configurations: its arrays are those of another one, reduced when they are asked for.

    Attributes:
        configurations: Hyperparameter values of each configuration that is left.
        result: The other result.
        reduce: From an array ``[configuration of the other, seed, ...]`` to ``[configuration, seed, ...]``.
    """

    configurations: Sequence[Mapping[str, Any]]
    result: Result
    reduce: Callable[[np.ndarray], np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.reduce(metric_array(self.result, name))

    @property
    def failed(self) -> np.ndarray | None:
        """Which runs diverged; of several that were averaged, any."""
        failed = getattr(self.result, "failed", None)
        return None if failed is None else self.reduce(np.asarray(failed, float)) > 0

    @property
    def done(self) -> np.ndarray | None:
        """Which runs were done; of several that were averaged, all."""
        done = getattr(self.result, "done", None)
        return None if done is None else self.reduce(np.asarray(done, float)) == 1


@dataclass(frozen=True)
class Tuned(Reduced):
    """A result with hyperparameters chosen, which knows what was chosen.

    Attributes:
        rows: Which of ``result.configurations`` won, counted from 0, for every run ``[configuration, seed]``.
    """

    rows: np.ndarray

    @property
    def winners(self) -> tuple[tuple[Mapping[str, Any], ...], ...]:
        """Of ``result.configurations`` those that won: for each configuration that is left, one a seed."""
        return tuple(tuple(self.result.configurations[row] for row in rows) for rows in self.rows)


def tuned(
    result: Result, name: str | Sequence[str], *, on: str, best: str = "highest", each_seed: bool = False
) -> Tuned:
    """The result with hyperparameters chosen for every combination of the others, by the mean over the seeds.

    Choose on dev scores and judge on test scores: what was chosen on is biased upwards. A run that diverged counts as
    the worst finite one of all. The first of equals is taken.

    Args:
        result: What `judge` takes.
        name: The hyperparameter to choose, or several, together.
        on: The metric to choose by, one number a run. One that is called ``test_...`` is taken with a warning.
        best: "highest" or "lowest".
        each_seed: Choose for each seed by its own score, as where seeds are folds, or where choosing is part of what is
            repeated: then its noise is part of the spread of the runs.

    Returns:
        A result whose configurations do not name what was chosen; ``winners`` are the configurations that won.

    Raises:
        ValueError: For a name that no configuration has, a metric that is not in the result or has further axes, and an
            unknown ``best``.

    >>> runs = Runs([{"rate": 0.1}, {"rate": 1.0}], {"loss": [[0.3, 0.2], [0.1, np.nan]]})
    >>> tuned(runs, "rate", on="loss", best="lowest")["loss"].tolist()
    [[0.1, nan]]
    >>> tuned(runs, "rate", on="loss", best="lowest", each_seed=True).winners
    (({'rate': 1.0}, {'rate': 0.1}),)
    """
    checks.choice("best", best, ("highest", "lowest"))
    checks.boolean(each_seed=each_seed)
    score = np.asarray(failed_as_nan(result, metric_array(result, on)), np.float64)
    if score.ndim != 2:
        raise ValueError(f"`{on}` must have shape [configurations, seeds] to choose on; got {score.shape}")
    if on.startswith("test_"):
        text = f"what is chosen on `{on}` looks better there than it is: choose on dev scores and judge on test scores"
        warnings.warn(text, stacklevel=2)
    score = score if best == "highest" else -score
    finite = np.isfinite(score)
    score = np.where(finite, score, np.min(score, initial=np.inf, where=finite))
    score = score if each_seed else np.broadcast_to(score.mean(1, keepdims=True), score.shape)
    rest, groups = _without(result, name)
    rows = np.stack([np.asarray(group)[np.argmax(score[group], 0)] for group in groups])
    return Tuned(rest, result, lambda array: array[rows, np.arange(rows.shape[1])], rows)


def averaged(result: Result, name: str | Sequence[str]) -> Reduced:
    """The result with every metric averaged over hyperparameters, seed by seed; NaN where one run is NaN.

    Args:
        result: What `judge` takes.
        name: The hyperparameter to average over, or several.

    Returns:
        A result whose configurations do not name them.

    Raises:
        ValueError: For a name that no configuration has.

    >>> result = Runs([{"rate": 0.1}, {"rate": 1.0}], {"loss": [[0.3, 0.2], [0.1, 0.4]]})
    >>> averaged(result, "rate")["loss"].round(3).tolist()
    [[0.2, 0.3]]
    """
    rest, groups = _without(result, name)
    return Reduced(rest, result, lambda array: np.stack([np.mean(array[group], 0) for group in groups]))


def _without(result: Result, name: str | Sequence[str]) -> tuple[tuple[dict[str, Any], ...], list[list[int]]]:
    """The configurations without some hyperparameters, and the rows that each stands for."""
    names = [name] if isinstance(name, str) else list(name)
    rest: list[dict[str, Any]] = []
    groups: dict[int, list[int]] = {}
    places = Places(rest)
    for i, configuration in enumerate(result.configurations):
        others = {key: value for key, value in configuration.items() if key not in names}
        groups.setdefault(places.of(others), []).append(i)
    for one in names:
        checks.choice("name", one, dict.fromkeys(key for c in result.configurations for key in c))
    return tuple(rest), list(groups.values())
