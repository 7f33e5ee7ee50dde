"""Hyperparameter search: configurations for `jnorm.sweeps.sweep`, evenly spread, coarse to fine, by halving, by Optuna.

>>> space = {"learning_rate": log_uniform(1e-4, 1.0), "decay": one_minus_log_uniform(0.9, 0.999), "depth": [2, 4, 8]}
>>> coarse = quasi_random(jax.random.key(0), space, 20)
>>> scores = [abs(np.log10(c["learning_rate"]) + 2) for c in coarse]  # in a study: of `sweep(train, grid=coarse, ...)`
>>> fine = coarse_to_fine(space, coarse, scores, keep=5)
>>> 1e-4 < fine["learning_rate"].low < 1e-2 < fine["learning_rate"].high < 1.0
True

A space maps names to a `Range` or to a sequence of choices. Everything is Python numbers in double precision, and the
same key gives the same configurations.

- `quasi_random` is the one to begin with: it leaves no gaps, and can be extended.
- `random` draws each value by itself, from a stream for each name, so that another name changes no other value: where
  the law of the best of n matters, as for tuning curves with exact bands, which hold for independent draws.
- `halving` trains many configurations a little and few to the end, and `from_optuna` lets a study choose.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import keys
from jnorm.sweeps._asking import AskTell, from_optuna
from jnorm.sweeps._configurations import Configuration, expand
from jnorm.sweeps._halving import halving
from jnorm.sweeps._halving_course import Plateau
from jnorm.sweeps._halving_result import HalvingResult
from jnorm.sweeps._numbers import whole_number
from jnorm.sweeps._ranges import Range, integers, log_uniform, one_minus_log_uniform, uniform
from jnorm.sweeps._spaces import Space, checked_space, different, holds, narrowed, scores_of

__all__ = [
    "AskTell",
    "HalvingResult",
    "Plateau",
    "Range",
    "coarse_to_fine",
    "from_optuna",
    "grid",
    "halving",
    "integers",
    "log_uniform",
    "one_minus_log_uniform",
    "quasi_random",
    "random",
    "uniform",
]


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


def random(key: jax.Array, space: Space, count: int) -> list[Configuration]:
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
    count, space = whole_number("count", count), checked_space(space)
    streams = {name: keys.stream(key, name) for name in space}
    return different(
        space,
        count,
        lambda turn: {name: _shares(jax.random.fold_in(own, turn), count) for name, own in streams.items()},
    )


def quasi_random(key: jax.Array, space: Space, count: int) -> list[Configuration]:
    """Different configurations that cover the space more evenly than random ones: a scrambled Halton sequence.

    Coordinate i of point n is the radical inverse of n in the i-th prime, its digits permuted at random. So among
    any p successive points one lies in each p-th part of the coordinate of base p, and likewise for p^2 and so on,
    while random points leave gaps: on average 37 % of n equal parts hold none of n random values. Every count is as
    good as any other (a Sobol sequence is at its best at powers of 2 only), and the first n of a longer call are the
    same, so that a search can grow. The names that come first have the smallest bases and are covered best; one more
    name at the end changes no other value.

    Args:
        key: a random key.
        space: ranges and choices by name; every choice is equally likely.
        count: how many configurations are drawn.

    Returns:
        The configurations, in their order. The permutations are drawn by NumPy.

    Raises:
        ValueError: as for `random`.
        TypeError: as for `random`.

    Source: Halton (1960); scrambled as in Owen (2017), arXiv:1706.02808; for hyperparameters Bousquet et al. (2017),
    arXiv:1706.03200.

    >>> space = {"learning_rate": log_uniform(1e-4, 1.0), "depth": [2, 4, 8]}
    >>> sixteen = quasi_random(jax.random.key(0), space, 16)
    >>> sorted(int(4 * space["learning_rate"].share(c["learning_rate"])) for c in sixteen[:4])
    [0, 1, 2, 3]
    >>> sixteen[:4] == quasi_random(jax.random.key(0), space, 4)
    True
    """
    from scipy.stats import qmc  # deferred: it is heavy, and only this needs it

    count, space = whole_number("count", count), checked_space(space)
    words = np.asarray(jax.random.bits(keys.stream(key, "sweeps.quasi_random"), (4,), "uint32"))
    points = qmc.Halton(len(space), rng=np.random.default_rng(words))
    return different(space, count, lambda _: dict(zip(space, points.random(count).T, strict=True)))


def coarse_to_fine(
    space: Space,
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
        A space, for `quasi_random` or `random`.

    Raises:
        ValueError: scores are not one for each configuration, or fewer than ``keep`` of them are not NaN; one of the
            best configurations does not lie in the space.
        TypeError: scores are no numbers; the space is not as for `random`.

    >>> space, tried = {"rate": log_uniform(1e-4, 1.0)}, [{"rate": r} for r in (1e-3, 1e-2, 1e-1)]
    >>> fine = coarse_to_fine(space, tried, [0.9, 0.1, 0.2], keep=2, margin=0.125)["rate"]
    >>> round(fine.low, 6), round(fine.high, 6)
    (0.003162, 0.316228)
    """
    space = checked_space(space)
    numbers = scores_of(scores, len(configurations))
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
            if name not in configuration or not holds(values, configuration[name]):
                raise ValueError(
                    f"`configurations` must lie in the space, where `{name}` is {values}; got {configuration}"
                )
    return {name: narrowed(values, [chosen[name] for chosen in best], margin) for name, values in space.items()}


def _shares(key: jax.Array, count: int) -> np.ndarray:
    """Uniform numbers in (0, 1) to double precision."""
    bits = np.asarray(jax.random.bits(key, (2, count), "uint32")).astype(np.float64)
    return (bits[0] + (bits[1] + 0.5) / 2**32) / 2**32
