"""The UCI sets of a folder with their published splits, in buckets of like size that one program reads.

Each set has a split to choose by, its published division for tuning, and splits to judge by: its published test file
where there is one, else its four published folds; of their training part 15 % drawn at random are the dev set. Values
are as published, which is standardized; where there is a test file each file is by itself, as most were published: in
six sets one of the two had been left on another scale. Note that the published division for tuning holds rows of the
test folds, as in all comparisons that use it; of sets with a test file it holds none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.checks import Refused
from jnorm.data import datasets

DEV = 512
"""The most dev examples, a random part of those that there are: more would cost more than training."""
SHARE = 0.15
"""The share of a fold's training examples that stops training."""
PARTS = ("train", "dev", "test")


class Problem(NamedTuple):
    """A data set.

    Attributes:
        name: Without ``uci/``.
        x: Inputs [examples, features].
        y: Class numbers [examples].
        classes: How many classes there are.
        splits: Numbers of the examples of each part, of the split to choose by and those to judge by.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: int
    splits: list[dict[str, np.ndarray]]


class Bucket(NamedTuple):
    """Data sets as arrays of one shape, filled up with zeros.

    Attributes:
        x: Inputs [set, example, feature].
        y: Class numbers [set, example].
        features: True numbers of features [set].
        classes: True numbers of classes [set].
        rows: Numbers of the examples of each part, [set, split, example] by part.
        sizes: How many of these are meant, [set, split] by part.
    """

    x: Any
    y: Any
    features: Any
    classes: Any
    rows: dict[str, Any]
    sizes: dict[str, Any]


def names(folder: Path | None) -> list[str]:
    """The sets in the folder, without ``uci/``. Raises `Refused` where there is none."""
    try:
        found = [name.removeprefix("uci/") for name in datasets.names(folder) if name.startswith("uci/")]
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from None
    if not found:
        raise Refused("`data_dir`, or else the variable JNORM_DATA, must name a folder with uci/<set>/; got none in it")
    return found


def read(chosen: Sequence[str], folder: Path | None) -> tuple[list[Problem], dict[str, str]]:
    """The sets, and why others could not be read, by name.

    Raises `Refused` for a split that has a row twice or leaves one out, with the rows: it would be no fair comparison.
    """
    problems, broken = [], {}
    for name in chosen:
        try:
            data = datasets.load(f"uci/{name}", folder)
        except (ValueError, OSError) as error:
            broken[name] = str(error)
            continue
        try:
            published = datasets.published(f"uci/{name}", folder)
        except OSError as error:
            broken[name] = str(error)
        except ValueError as error:
            raise Refused(str(error)) from None
        else:
            x = np.array(data.x)
            for rows in published.holdout or ():
                x[rows] = _standardized(x[rows])
            problems.append(Problem(name, x, data.y, len(data.classes), _splits(published)))
    return problems, broken


def _splits(published: datasets.Published) -> list[dict[str, np.ndarray]]:
    assert published.tuning is not None  # of a UCI set
    train, dev = published.tuning
    dev = dev[_drawn(len(dev), min(len(dev), DEV))[1]]
    found = [dict(zip(PARTS, (train, dev, dev), strict=True))]
    for train, test in published.folds if published.holdout is None else [published.holdout]:
        rest, dev = _drawn(len(train), min(max(1, round(SHARE * len(train))), DEV))
        found.append(dict(zip(PARTS, (train[rest], train[dev], test), strict=True)))
    return found


def _standardized(x: np.ndarray) -> np.ndarray:
    """Each feature with mean 0 and variance 1; a constant one is 0."""
    # On the host, as below.
    x = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    deviation = np.sqrt(np.mean(x**2, 0))
    return x / np.where(np.ptp(x, 0) > 0, deviation, np.inf)


def _drawn(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers below ``size`` without ``count`` random ones, and these; the same every time."""
    # On the host: `jnorm.data.splits` would compile a program for each of hundreds of sizes.
    numbers = np.random.default_rng(0).permutation(size)
    return np.sort(numbers[count:]), np.sort(numbers[:count])


def bucketed(problems: Sequence[Problem], count: int) -> dict[str, list[Problem]]:
    """The sets by size, cut into as many buckets of equally many sets, by name."""
    ordered = sorted(problems, key=lambda p: (max(len(p.splits[0]["train"]), len(p.splits[1]["train"])), p.name))
    cuts = np.array_split(np.arange(len(ordered)), min(count, len(ordered)))
    return {str(i): [ordered[j] for j in cut] for i, cut in enumerate(cuts)}


def stacked(problems: Sequence[Problem]) -> Bucket:
    """The sets as arrays of one shape."""
    most = max(len(p.splits) for p in problems)
    splits = [[*p.splits, *[p.splits[-1]] * (most - len(p.splits))] for p in problems]  # those too many are never run
    rows = {
        part: _filled([_filled([split[part] for split in one]) for one in splits]).astype(np.int32) for part in PARTS
    }
    sizes = {part: np.array([[len(split[part]) for split in one] for one in splits], np.int32) for part in PARTS}
    return Bucket(
        _filled([p.x for p in problems]).astype(np.float32),
        _filled([p.y for p in problems]).astype(np.int32),
        np.array([p.x.shape[1] for p in problems], np.int32),
        np.array([p.classes for p in problems], np.int32),
        rows,
        sizes,
    )


def _filled(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after another along a new axis, zeros behind those that are shorter."""
    shape = np.max([a.shape for a in arrays], 0)
    return np.stack([np.pad(a, [(0, n - m) for n, m in zip(shape, a.shape, strict=True)]) for a in arrays])
