"""What a sweep hands over: arrays by name, one row a configuration.

Anything serves that has ``configurations``, a sequence of dicts of hyperparameter values, and ``result[name]``, an
array ``[configuration, seed, ...]``: what ``jnorm.sweeps.sweep`` returns, or `Runs` around anybody's arrays. Where it
has ``failed`` besides, booleans ``[configuration, seed]``, these runs diverged even if the metric is finite: the
accuracy of a network of NaN is that of chance.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np


class Result(Protocol):
    """What `judge` asks of a result."""

    @property
    def configurations(self) -> Sequence[Mapping[str, Any]]:
        """Hyperparameter values of each configuration."""

    def __getitem__(self, name: str, /) -> Any:
        """An array ``[configuration, seed, ...]``."""


@dataclass(frozen=True)
class Runs:
    """Arrays by name, with the hyperparameters of each configuration.

    Attributes:
        configurations: Hyperparameter values of each configuration.
        arrays: By the name of a metric, ``[configuration, seed, ...]``.
        failed: Booleans ``[configuration, seed]``: runs that diverged whatever the metric says. None if none did.

    Raises:
        ValueError: Where an array does not have one row a configuration, or ``failed`` not one flag a run.

    >>> runs = Runs([{"depth": 2}, {"depth": 8}], {"accuracy": [[0.9, 0.8], [0.7, 0.1]]})
    >>> runs["accuracy"][1]
    [0.7, 0.1]
    """

    configurations: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, Any]
    failed: Any = None

    def __post_init__(self) -> None:
        for name in self.arrays:
            failed_as_nan(self, metric_array(self, name))

    @classmethod
    def of_arms(cls, arms: Mapping[Any, Any], *, name: str = "arm", metric: str = "value") -> Self:
        """Runs of arms that were measured by hand, of one metric.

        Args:
            arms: By the value of the hyperparameter, its runs ``[seed]``.
            name: The hyperparameter.
            metric: The metric.

        Returns:
            Runs ``[arm, seed]``.

        Raises:
            ValueError: For arms with unequal numbers of runs.

        >>> Runs.of_arms({"relu": [0.9, 0.8], "selu": [0.7, 0.9]}, name="phi", metric="accuracy").configurations
        [{'phi': 'relu'}, {'phi': 'selu'}]
        """
        counts = {arm: np.shape(runs) for arm, runs in arms.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"`arms` must have as many runs each; got {counts}")
        return cls([{name: arm} for arm in arms], {metric: np.stack([np.asarray(runs) for runs in arms.values()])})

    def __getitem__(self, name: str) -> Any:
        if name not in self.arrays:
            raise ValueError(
                f"`metric` must be one of {', '.join(self.arrays)}; got {name!r}{near_names(name, self.arrays)}"
            )
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)


def metric_array(result: Result, name: str) -> np.ndarray:
    """The array of a metric.

    Args:
        result: The result.
        name: The metric.

    Returns:
        The array ``[configuration, seed, ...]``.

    Raises:
        ValueError: Where it is not there, or has another shape.

    >>> metric_array(Runs([{"depth": 2}], {"loss": [[0.5, 0.4]]}), "loss").shape
    (1, 2)
    """
    try:
        array = np.asarray(result[name])
    except KeyError:
        known = list(result) if isinstance(result, Iterable) else []
        among = f", which has {', '.join(known)}" if known else ""
        raise ValueError(f"`metric` must be in the result{among}; got {name!r}{near_names(name, known)}") from None
    rows = len(result.configurations)
    if array.ndim < 2 or len(array) != rows:
        raise ValueError(f"`{name}` must have shape [{rows} configurations, seeds, ...]; got {array.shape}")
    return array


def near_names(name: str, known: Iterable[str]) -> str:
    """A question after a name that is nearly one of those known.

    Args:
        name: The unknown name.
        known: Those that there are.

    Returns:
        Text to put behind an error; empty where none is near.

    >>> near_names("acuracy", ["accuracy", "loss"])
    ': did you mean accuracy?'
    """
    close = difflib.get_close_matches(str(name), list(known), n=2)
    return f": did you mean {' or '.join(close)}?" if close else ""


def failed_as_nan(result: Result, array: np.ndarray) -> np.ndarray:
    """An array of the result with NaN for the runs that the result calls failed, if it calls any so.

    Args:
        result: The result.
        array: ``[configuration, seed, ...]``.

    Returns:
        The array, or a copy.

    Raises:
        ValueError: Where the flags have another shape than the runs, or the result has runs that were not done: how
            many were done depends on what they showed, and only the rule that stopped them allows for that.

    >>> result = Runs([{"depth": 2}], {"accuracy": [[0.9, 0.1]]}, failed=[[False, True]])
    >>> failed_as_nan(result, metric_array(result, "accuracy"))
    array([[0.9, nan]])
    """
    done = getattr(result, "done", None)
    if done is not None and not np.all(done):
        text = "`result` must have all its runs: seeds were added until a rule had decided, and what it says of them is"
        raise ValueError(f"{text} `until.judge(result)`; for others, run the seeds that are missing")
    failed = getattr(result, "failed", None)
    if failed is None:
        return array
    flags = np.asarray(failed, bool)
    if flags.shape != array.shape[:2]:
        raise ValueError(f"`failed` must have shape {array.shape[:2]} [configurations, seeds]; got {flags.shape}")
    if not flags.any():
        return array
    return np.where(flags.reshape(*flags.shape, *[1] * (array.ndim - 2)), np.nan, array)


def describe(configuration: Mapping[str, Any]) -> str:
    """Hyperparameters as text.

    Args:
        configuration: Values by name.

    Returns:
        One line.

    >>> describe({"activation": "selu", "depth": 8})
    'activation=selu, depth=8'
    """
    parts = (f"{name}={getattr(value, '__name__', value)}" for name, value in configuration.items())
    return ", ".join(parts) or "the only setting"
