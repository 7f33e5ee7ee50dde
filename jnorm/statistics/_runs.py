"""What a sweep hands over: arrays by name, one row a configuration, and how to select and reduce the rows.

Anything serves that has ``configurations``, a sequence of dicts of hyperparameter values, and ``result[name]``, an
array ``[configuration, seed, ...]``: the result of ``jnorm.sweeps._sweep``, or `Runs` around anybody's arrays. Where it
has ``failed`` besides, booleans ``[configuration, seed]``, these runs diverged even if the metric is finite: the
accuracy of a network of NaN is that of chance.

>>> grid = [{"activation": phi, "rate": rate} for phi in ("relu", "selu") for rate in (0.01, 0.1)]
>>> dev = np.array([[0.8, 0.9], [0.7, 0.7], [0.6, 0.7], [0.9, 0.9]])  # two seeds
>>> result = Runs(grid, {"dev": dev, "test": dev - 0.1})
>>> best = tuned(result, "rate", on="dev")  # the best rate of each activation
>>> best.configurations, best["test"].tolist()
(({'activation': 'relu'}, {'activation': 'selu'}), [[0.7000000000000001, 0.8], [0.8, 0.8]])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from jnorm._ground import checks

Configuration = Mapping[str, Any]


class Result(Protocol):
    """What `judge` asks of a result."""

    @property
    def configurations(self) -> Sequence[Configuration]:
        """Hyperparameter values of each configuration."""

    def __getitem__(self, name: str, /) -> Any:
        """An array ``[configuration, seed, ...]``."""


@dataclass(frozen=True)
class Runs:
    """Arrays ``[configuration, seed, ...]`` by name, with the hyperparameters of each configuration.

    Raises ``ValueError`` where an array does not have one row a configuration, or ``failed`` not one flag a run.
    """

    configurations: Sequence[Configuration]
    arrays: Mapping[str, Any]
    failed: Any = None  # booleans [configuration, seed]

    def __post_init__(self) -> None:
        for name in self.arrays:
            marked(self, values(self, name))

    def __getitem__(self, name: str) -> Any:
        checks.choice("metric", name, self.arrays)
        return self.arrays[name]


@dataclass(frozen=True)
class Reduced:
    """A result with fewer configurations: its arrays are those of another one, reduced when they are asked for."""

    configurations: Sequence[Configuration]
    result: Result
    reduce: Callable[[np.ndarray], np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.reduce(values(self.result, name))

    @property
    def failed(self) -> np.ndarray | None:
        """Which runs diverged; of several that were averaged, any."""
        failed = getattr(self.result, "failed", None)
        return None if failed is None else self.reduce(np.asarray(failed, float)) > 0


class Matched(NamedTuple):
    """Rows of two arms that agree in all other hyperparameters."""

    settings: tuple[dict[str, Any], ...]
    a: list[int]
    b: list[int]


def values(result: Result, name: str) -> np.ndarray:
    """The array of a metric. Raises ``ValueError`` where it is not there or not ``[configuration, seed, ...]``.

    >>> values(Runs([{"depth": 2}], {"loss": [[0.5, 0.4]]}), "loss").shape
    (1, 2)
    """
    try:
        array = np.asarray(result[name])
    except KeyError:
        raise ValueError(f"`metric` must be in the result; got {name!r}") from None
    rows = len(result.configurations)
    if array.ndim < 2 or len(array) != rows:
        raise ValueError(f"`{name}` must have shape [{rows} configurations, seeds, ...]; got {array.shape}")
    return array


def marked(result: Result, array: np.ndarray) -> np.ndarray:
    """An array ``[configuration, seed, ...]`` with NaN for the runs that the result calls failed, if it does.

    Raises ``ValueError`` where the flags have another shape than the runs.

    >>> result = Runs([{"depth": 2}], {"accuracy": [[0.9, 0.1]]}, failed=[[False, True]])
    >>> marked(result, values(result, "accuracy"))
    array([[0.9, nan]])
    """
    failed = getattr(result, "failed", None)
    if failed is None:
        return array
    flags = np.asarray(failed, bool)
    if flags.shape != array.shape[:2]:
        raise ValueError(f"`failed` must have shape {array.shape[:2]} [configurations, seeds]; got {flags.shape}")
    if not flags.any():
        return array
    return np.where(flags.reshape(*flags.shape, *[1] * (array.ndim - 2)), np.nan, array)


def matched(result: Result, a: Configuration, b: Configuration) -> Matched:
    """The rows that ``a`` and ``b`` select, in pairs that agree in every hyperparameter that neither names.

    Raises ``ValueError`` for an arm that selects nothing, for two rows of an arm in one setting, and for a setting that
    only one arm has.

    >>> grid = [{"phi": phi, "depth": depth} for depth in (2, 8) for phi in ("relu", "selu")]
    >>> matched(Runs(grid, {}), {"phi": "selu"}, {"phi": "relu"})
    Matched(settings=({'depth': 2}, {'depth': 8}), a=[1, 3], b=[0, 2])
    """
    named = {*a, *b}
    rows: dict[str, dict[str, int]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for label, arm in (("a", a), ("b", b)):
        rows[label] = {}
        for i, configuration in enumerate(result.configurations):
            if not all(name in configuration and _same(configuration[name], v) for name, v in arm.items()):
                continue
            setting = {name: value for name, value in configuration.items() if name not in named}
            if repr(setting) in rows[label]:
                free = sorted(name for name in named - {*arm} if name in configuration)
                raise ValueError(
                    f"`{label}` must select one configuration in each setting; got two at {describe(setting)}: "
                    f"name {', '.join(free) or 'what tells them apart'} too, or reduce by `tuned` or `averaged`"
                )
            rows[label][repr(setting)] = i
            settings[repr(setting)] = setting
        if not rows[label]:
            known = {name: [c[name] for c in result.configurations if name in c] for name in arm}
            seen = "; ".join(f"{name}: {', '.join(dict.fromkeys(map(repr, v))) or 'none'}" for name, v in known.items())
            raise ValueError(f"`{label}` must select a configuration; got {describe(arm)}, there are {seen}")
    for key, setting in settings.items():
        for label in ("a", "b"):
            if key not in rows[label]:
                raise ValueError(f"both arms must have every setting; `{label}` lacks {describe(setting)}")
    return Matched(tuple(settings.values()), [rows["a"][k] for k in settings], [rows["b"][k] for k in settings])


def tuned(result: Result, name: str, *, on: str, best: str = "highest") -> Reduced:
    """The result with the hyperparameter ``name`` chosen in every other configuration, by mean ``on`` a metric.

    Choose on dev scores and judge on test scores: what was chosen on is biased upwards. A run that diverged
    counts as the worst finite one of all. ``on`` has one number a run; the first of equals is taken.

    Raises ``ValueError`` for a name that no configuration has, or a metric with further axes.

    >>> grid = [{"rate": 0.1}, {"rate": 1.0}]
    >>> tuned(Runs(grid, {"loss": [[0.3, 0.2], [0.1, np.nan]]}), "rate", on="loss", best="lowest")["loss"].tolist()
    [[0.1, nan]]
    """
    checks.choice("best", best, ("highest", "lowest"))
    score = np.asarray(marked(result, values(result, on)), np.float64)
    if score.ndim != 2:
        raise ValueError(f"`{on}` must have shape [configurations, seeds] to choose on; got {score.shape}")
    score = score if best == "highest" else -score
    finite = np.isfinite(score)
    score = np.where(finite, score, np.min(score, initial=np.inf, where=finite)).mean(1)
    rest, groups = _groups(result, name)
    chosen = [group[int(np.argmax(score[group]))] for group in groups]
    return Reduced(rest, result, lambda array: array[chosen])


def averaged(result: Result, name: str) -> Reduced:
    """The result with every metric averaged over the hyperparameter ``name``, seed by seed; NaN where one run is NaN.

    Raises ``ValueError`` for a name that no configuration has.

    >>> result = Runs([{"rate": 0.1}, {"rate": 1.0}], {"loss": [[0.3, 0.2], [0.1, 0.4]]})
    >>> averaged(result, "rate")["loss"].round(3).tolist()
    [[0.2, 0.3]]
    """
    rest, groups = _groups(result, name)
    return Reduced(rest, result, lambda array: np.stack([np.mean(array[group], 0) for group in groups]))


def describe(configuration: Configuration) -> str:
    """Hyperparameters in words.

    >>> describe({"activation": "selu", "depth": 8})
    'activation=selu, depth=8'
    """
    words = (f"{name}={getattr(value, '__name__', value)}" for name, value in configuration.items())
    return ", ".join(words) or "the only setting"


def _groups(result: Result, name: str) -> tuple[tuple[dict[str, Any], ...], list[list[int]]]:
    """The configurations without a hyperparameter, and the rows that each stands for."""
    rest: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[int]] = {}
    for i, configuration in enumerate(result.configurations):
        other = {key: value for key, value in configuration.items() if key != name}
        rest.setdefault(repr(other), other)
        groups.setdefault(repr(other), []).append(i)
    checks.choice("name", name, dict.fromkeys(key for c in result.configurations for key in c))
    return tuple(rest.values()), list(groups.values())


def _same(left: Any, right: Any) -> bool:
    return bool(np.all(left == right))
