"""What is searched: a range or a sequence of choices for each hyperparameter, and configurations drawn from them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jnorm.sweeps._configurations import Configuration, expand, sort_key, values_of
from jnorm.sweeps._numbers import is_number
from jnorm.sweeps._ranges import Range, checked

Space = Mapping[str, Range | Sequence[Any]]
"""Ranges and choices by name."""
_TURNS = 10_000  # times that as many are drawn as are wanted, where most are repetitions


def checked_space(space: Any) -> dict[str, Range | Sequence[Any]]:
    """The space, with Python's numbers.

    Raises ``ValueError`` for an empty one, for empty or repeated choices and for ranges that are none on their scale,
    ``TypeError`` for what is no mapping of names to ranges and sequences.
    """
    if not isinstance(space, Mapping):
        raise TypeError(f"`space` must map names to ranges and sequences of values; got {space!r}")
    if not space:
        raise ValueError("`space` must name at least one hyperparameter; got an empty one")
    known: dict[str, Range | Sequence[Any]] = {}
    for name, values in space.items():
        if not isinstance(name, str):
            raise TypeError(f"`space` must have texts as names; got {name!r}")
        if not isinstance(values, Range):
            known[name] = values_of(name, values)
            expand({name: known[name]})
            continue
        try:
            known[name] = checked(values, point=True)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`{name}` must be a range of numbers: {error}") from None
    return known


def different(
    space: Mapping[str, Range | Sequence[Any]], count: int, shares: Callable[[int], Mapping[str, np.ndarray]]
) -> list[Configuration]:
    """The first ``count`` different configurations at ``shares(0)``, ``shares(1)``, ...: numbers in [0, 1) by name.

    Raises ``ValueError`` where there are fewer.
    """
    size = math.prod(_size(values) for values in space.values())
    if size < count:
        raise ValueError(f"`count` must satisfy count <= {size:.0f}, the configurations; got {count}")
    found: dict[str, Configuration] = {}
    for turn in range(_TURNS):
        drawn = shares(turn)
        for point in zip(*(drawn[name] for name in space), strict=True):
            values = (at(space[name], float(share)) for name, share in zip(space, point, strict=True))
            configuration = dict(zip(space, values, strict=True))
            found.setdefault(sort_key(configuration), configuration)
            if len(found) == count:
                return list(found.values())
    raise ValueError(f"`count` must leave room: {count} different configurations were not found")


def scores_of(scores: Any, count: int) -> np.ndarray:
    """Scores of so many configurations in double precision.

    Raises ``TypeError`` for what are no numbers, ``ValueError`` for another number of them.
    """
    try:
        numbers = np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"`scores` must hold numbers; got {scores!r}") from None
    if numbers.shape != (count,):
        raise ValueError(f"`scores` must be one for each of {count} configurations; got {numbers.shape}")
    return numbers


def at(values: Range | Sequence[Any], share: float) -> Any:
    """The value at a share of the way, of choices the one whose equal part holds it."""
    return values.at(share) if isinstance(values, Range) else values[min(int(share * len(values)), len(values) - 1)]


def holds(values: Range | Sequence[Any], value: Any) -> bool:
    """Whether it is one of the values."""
    if not isinstance(values, Range):
        return value in values
    return is_number(value) and values.low <= value <= values.high


def narrowed(values: Range | Sequence[Any], best: Sequence[Any], margin: float) -> Range | Sequence[Any]:
    """The part around the best values, wider by a share ``margin`` of the whole on either side."""
    if not isinstance(values, Range):
        return [value for value in values if value in best]
    shares = [values.share(v) for v in best]
    low, high = values.at(max(min(shares) - margin, 0)), values.at(min(max(shares) + margin, 1))
    return values._replace(low=low, high=high)


def _size(values: Range | Sequence[Any]) -> float:
    if not isinstance(values, Range):
        return len(values)
    return values.high - values.low + 1 if values.whole else (1 if values.low == values.high else math.inf)
