"""Hyperparameter search: lists of configurations for `jnorm.sweeps.sweep`, on a grid, at random, coarse to fine.

>>> space = {"learning_rate": log_uniform(1e-4, 1.0), "decay": one_minus_log_uniform(0.9, 0.999), "depth": [2, 4, 8]}
>>> coarse = random(jax.random.key(0), space, 20)
>>> scores = [abs(np.log10(c["learning_rate"]) + 2) for c in coarse]  # in a study: of `sweep(train, grid=coarse, ...)`
>>> fine = coarse_to_fine(space, coarse, scores, keep=5)
>>> 1e-4 < fine["learning_rate"].low < 1e-2 < fine["learning_rate"].high < 1.0
True

A space maps names to a `Range` or to a sequence of choices. Everything is Python numbers in double precision; the same
key gives the same configurations, and each name has a stream of its own, so that another name changes no other value.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm.sweeps._configurations import Configuration, expand, sort_key, values_of
from jnorm.sweeps._numbers import is_number, whole_number
from jnorm.sweeps._ranges import Range, checked, integers, log_uniform, one_minus_log_uniform, uniform

__all__ = [
    "Range",
    "coarse_to_fine",
    "grid",
    "integers",
    "log_uniform",
    "one_minus_log_uniform",
    "random",
    "uniform",
]

_Space = Mapping[str, Range | Sequence[Any]]


def grid(space: Mapping[str, Sequence[Any]]) -> list[Configuration]:
    """All combinations, the last name running fastest. A sweep takes such a mapping as it is.

    Args:
        space: choices by name.

    Returns:
        Configurations: a value by name each.

    Raises:
        ValueError: the space is empty, or the values of a name are none or repeated.

    >>> grid({"depth": [2, 4], "rate": [0.1, 0.2]})[:2]
    [{'depth': 2, 'rate': 0.1}, {'depth': 2, 'rate': 0.2}]
    """
    if not isinstance(space, Mapping):
        raise TypeError(f"`space` must map names to sequences of values; got {space!r}")
    return [dict(configuration) for configuration in expand(space)]


def random(key: jax.Array, space: _Space, count: int) -> list[Configuration]:
    """Different configurations, each value drawn by itself.

    Args:
        key: a random key.
        space: ranges and choices by name; every choice is equally likely.
        count: how many configurations are drawn.

    Returns:
        The configurations, in the order in which they were drawn.

    Raises:
        ValueError: the space or a set of choices is empty, choices are repeated, a range is the wrong way round or not
            on its scale, or there are fewer than ``count`` configurations.
        TypeError: the key is no key, the space no mapping of names to ranges and sequences.

    >>> space = {"depth": [2, 4], "units": integers(64, 256)}
    >>> sorted({configuration["depth"] for configuration in random(jax.random.key(0), space, 10)})
    [2, 4]
    """
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"`key` must be a random key, such as jax.random.key(0); got {key!r}")
    count, space = whole_number("count", count), _checked(space)
    sizes = [_size(values) for values in space.values()]
    if math.prod(sizes) < count:
        raise ValueError(f"`count` must satisfy count <= {math.prod(sizes):.0f}, the configurations; got {count}")
    keys = {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in space}
    different: dict[str, Configuration] = {}
    for turn in range(10_000):
        shares = {name: _shares(jax.random.fold_in(k, turn), count) for name, k in keys.items()}
        for i in range(count):
            configuration = {name: _drawn(values, float(shares[name][i])) for name, values in space.items()}
            different.setdefault(sort_key(configuration), configuration)
            if len(different) == count:
                return list(different.values())
    raise ValueError(f"`count` must leave room: {count} different configurations were not found")


def coarse_to_fine(
    space: _Space,
    configurations: Sequence[Configuration],
    scores: ArrayLike,
    *,
    keep: int,
    margin: float = 0.1,
    maximize: bool = False,
) -> dict[str, Range | Sequence[Any]]:
    """The space narrowed around the best configurations.

    A range becomes the one from their least to their greatest value, on its scale, and wider by ``margin`` of its old
    width on either side, within its old ends; of choices those stay that occur among them.

    Args:
        space: what the configurations were drawn from.
        configurations: those that were tried.
        scores: a number for each of them, of which the smallest are best; NaN is the worst score.
        keep: how many configurations count as the best.
        margin: a share of the old range, at least 0.
        maximize: whether the largest scores are best.

    Returns:
        A space, for `random`.

    Raises:
        ValueError: scores are not one for each configuration, or fewer than ``keep`` of them are not NaN; one of the
            best configurations does not lie in the space.
        TypeError: scores are no numbers; the space is not as for `random`.

    >>> space, tried = {"rate": log_uniform(1e-4, 1.0)}, [{"rate": r} for r in (1e-3, 1e-2, 1e-1)]
    >>> fine = coarse_to_fine(space, tried, [0.9, 0.1, 0.2], keep=2, margin=0.125)["rate"]
    >>> round(fine.low, 6), round(fine.high, 6)
    (0.003162, 0.316228)
    """
    space = _checked(space)
    try:
        numbers = np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"`scores` must hold numbers; got {scores!r}") from None
    if numbers.shape != (len(configurations),):
        raise ValueError(f"`scores` must be one for each of {len(configurations)} configurations; got {numbers.shape}")
    keep = whole_number("keep", keep)
    if not margin >= 0:
        raise ValueError(f"`margin` must satisfy margin >= 0; got {margin}")
    usable = int(np.sum(~np.isnan(numbers)))
    if usable < keep:
        raise ValueError(f"`keep` must satisfy keep <= {usable}, the scores that are not NaN; got {keep}")
    order = np.argsort(-numbers if maximize else numbers, kind="stable")
    best = [configurations[i] for i in order[:keep]]
    for configuration in best:
        for name, values in space.items():
            if name not in configuration or not _holds(values, configuration[name]):
                raise ValueError(
                    f"`configurations` must lie in the space, where `{name}` is {values}; got {configuration}"
                )
    return {name: _narrowed(values, [chosen[name] for chosen in best], margin) for name, values in space.items()}


def _holds(values: Range | Sequence[Any], value: Any) -> bool:
    if not isinstance(values, Range):
        return value in values
    return is_number(value) and values.low <= value <= values.high


def _narrowed(values: Range | Sequence[Any], best: Sequence[Any], margin: float) -> Range | Sequence[Any]:
    if not isinstance(values, Range):
        return [value for value in values if value in best]
    shares = [values.share(v) for v in best]
    low, high = values.at(max(min(shares) - margin, 0)), values.at(min(max(shares) + margin, 1))
    return values._replace(low=low, high=high)


def _checked(space: _Space) -> dict[str, Range | Sequence[Any]]:
    """The space, with Python's numbers."""
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


def _size(values: Range | Sequence[Any]) -> float:
    if not isinstance(values, Range):
        return len(values)
    return values.high - values.low + 1 if values.whole else (1 if values.low == values.high else math.inf)


def _drawn(values: Range | Sequence[Any], share: float) -> Any:
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]


def _shares(key: jax.Array, count: int) -> np.ndarray:
    """Uniform numbers in (0, 1) to double precision."""
    bits = np.asarray(jax.random.bits(key, (2, count), "uint32")).astype(np.float64)
    return (bits[0] + (bits[1] + 0.5) / 2**32) / 2**32
