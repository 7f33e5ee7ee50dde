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
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.sweeps._configurations import Configuration, expand, sort_key

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

_SCALES = ("linear", "log", "one_minus_log")


class Range(NamedTuple):
    """An interval of numbers that is searched evenly on some scale.

    Attributes:
        low: the least value.
        high: the greatest.
        scale: ``"linear"``, ``"log"`` or ``"one_minus_log"``: what is uniform is x, log(x) or log(1 - x).
        whole: whether only whole numbers are meant, both ends included.
    """

    low: float
    high: float
    scale: str = "linear"
    whole: bool = False

    def at(self, u: float) -> float:
        """The value at a share of the way, by this scale.

        Args:
            u: the share, in [0, 1].

        Returns:
            A number in [low, high].

        >>> log_uniform(1e-4, 1.0).at(1.0), uniform(0.0, 1.0).at(0.25), integers(1, 6).at(0.99)
        (1.0, 0.25, 6)
        """
        if u in (0, 1):
            return self.high if u else self.low
        low, high = self._ends()
        t = low + u * (high - low)
        value = t if self.scale == "linear" else math.exp(t) if self.scale == "log" else 1 - math.exp(t)
        inside = min(max(value, self.low), self.high)
        return round(inside) if self.whole else inside

    def share(self, value: float) -> float:
        """The share of the way at a value: the inverse of `at`.

        Args:
            value: a number in [low, high].

        Returns:
            A number in [0, 1]; a half where low and high are one.

        >>> round(one_minus_log_uniform(0.9, 0.999).share(0.99), 9)
        0.5
        """
        low, high = self._ends()
        return (self._coordinate(value) - low) / (high - low) if high != low else 0.5

    def _ends(self) -> tuple[float, float]:
        half = 0.5 if self.whole else 0.0  # each whole number has the numbers that round to it
        return self._coordinate(self.low - half), self._coordinate(self.high + half)

    def _coordinate(self, value: float) -> float:
        if self.scale == "linear":
            return value
        return math.log(value if self.scale == "log" else 1 - value)


_Space = Mapping[str, Range | Sequence[Any]]


def uniform(low: float, high: float) -> Range:
    """Real numbers, evenly.

    Args:
        low: the least value.
        high: the greatest.

    Returns:
        The range.

    Raises:
        ValueError: low >= high.

    >>> uniform(0.0, 0.5).at(0.5)
    0.25
    """
    return _range(low, high, "linear")


def log_uniform(low: float, high: float) -> Range:
    """Real numbers whose logarithm is uniform: for learning rates.

    Args:
        low: the least value, positive.
        high: the greatest.

    Returns:
        The range.

    Raises:
        ValueError: low <= 0, or low >= high.

    >>> round(log_uniform(1.0, 100.0).at(0.5), 9)
    10.0
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", low=low)
    return _range(low, high, "log")


def one_minus_log_uniform(low: float, high: float) -> Range:
    """Numbers whose distance to 1 is log-uniform: for momentum and decays.

    Args:
        low: the least value.
        high: the greatest, below 1.

    Returns:
        The range.

    Raises:
        ValueError: high >= 1, or low >= high.

    >>> round(one_minus_log_uniform(0.9, 0.999).at(0.5), 9)
    0.99
    """
    checks.require(lambda v: v < 1, "`{}` must satisfy {} < 1", high=high)
    return _range(low, high, "one_minus_log")


def integers(low: int, high: int, *, log: bool = False) -> Range:
    """Whole numbers, equally likely or about as 1/n.

    Args:
        low: the least value.
        high: the greatest, which may occur too.
        log: whether n comes up about as often as 1/n says; then low must be at least 1.

    Returns:
        The range.

    Raises:
        ValueError: low or high is not whole, low >= high, or low < 1 with ``log``.

    >>> [integers(1, 3).at(u) for u in (0.0, 0.5, 1.0)]
    [1, 2, 3]
    """
    checks.require(lambda v: v == np.floor(v), "`{}` must be a whole number", low=low, high=high)
    if log:
        checks.require(lambda v: v >= 1, "`{}` must satisfy {} >= 1", low=low)
    return _range(int(low), int(high), "log" if log else "linear", whole=True)


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
        ValueError: the space or a set of choices is empty, choices are repeated, a range is the wrong way round, or
            there are fewer than ``count`` configurations.

    >>> space = {"depth": [2, 4], "units": integers(64, 256)}
    >>> sorted({configuration["depth"] for configuration in random(jax.random.key(0), space, 10)})
    [2, 4]
    """
    checks.whole(1, count=count)
    _check(space)
    sizes = [_size(values) for values in space.values()]
    if math.prod(sizes) < count:
        raise ValueError(f"`count` must satisfy count <= {math.prod(sizes):.0f}, the configurations; got {count}")
    keys = {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in space}
    different: dict[str, Configuration] = {}
    for turn in range(10_000):
        shares = {name: _shares(jax.random.fold_in(k, turn), count) for name, k in keys.items()}
        for i in range(count):
            configuration = {name: _drawn(values, shares[name][i]) for name, values in space.items()}
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
        ValueError: scores are not one for each configuration, or fewer than ``keep`` of them are not NaN.

    >>> space, tried = {"rate": log_uniform(1e-4, 1.0)}, [{"rate": r} for r in (1e-3, 1e-2, 1e-1)]
    >>> fine = coarse_to_fine(space, tried, [0.9, 0.1, 0.2], keep=2, margin=0.125)["rate"]
    >>> round(fine.low, 6), round(fine.high, 6)
    (0.003162, 0.316228)
    """
    _check(space)
    numbers = np.asarray(scores, np.float64)
    if numbers.shape != (len(configurations),):
        raise ValueError(f"`scores` must be one for each of {len(configurations)} configurations; got {numbers.shape}")
    checks.whole(1, keep=keep)
    checks.require(lambda m: m >= 0, "`{}` must satisfy {} >= 0", margin=margin)
    usable = int(np.sum(~np.isnan(numbers)))
    if usable < keep:
        raise ValueError(f"`keep` must satisfy keep <= {usable}, the scores that are not NaN; got {keep}")
    order = np.argsort(-numbers if maximize else numbers, kind="stable")
    best = [configurations[i] for i in order[:keep]]
    return {name: _narrowed(values, [chosen[name] for chosen in best], margin) for name, values in space.items()}


def _narrowed(values: Range | Sequence[Any], best: Sequence[Any], margin: float) -> Range | Sequence[Any]:
    if not isinstance(values, Range):
        return [value for value in values if value in best]
    shares = [values.share(v) for v in best]
    low, high = values.at(max(min(shares) - margin, 0)), values.at(min(max(shares) + margin, 1))
    return values._replace(low=low, high=high)


def _range(low: float, high: float, scale: str, *, whole: bool = False) -> Range:
    checks.require(lambda v: v > low, f"`{{}}` must satisfy {{}} > low = {low}", high=high)
    return Range(low, high, scale, whole)


def _check(space: _Space) -> None:
    if not space:
        raise ValueError("`space` must name at least one hyperparameter; got an empty one")
    expand({name: values for name, values in space.items() if not isinstance(values, Range)} or None)
    for name, values in space.items():
        if isinstance(values, Range):
            checks.choice("scale", values.scale, _SCALES)
            if values.low > values.high:
                raise ValueError(f"`{name}` must not go from high to low; got {values.low} to {values.high}")


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
