"""What data sets and their published splits are, and how arrays and names become one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jnorm._ground import nodes
from jnorm.data.splits import Fold


@nodes.register
@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and their labels, which are the arrays of a pytree, and static facts about them.

    Attributes:
        x: float32 [examples, features]; ``x.reshape(-1, *shape)`` restores images.
        y: int32 [examples], class numbers; float32 for a regression.
        name: The name by which it was loaded.
        classes: Names of the classes; none for a regression.
        features: Names of the features; none for pixels.
        shape: Shape of one example, (height, width, channels) for an image.
        source: Who made it, and where it is published.
    """

    x: Any
    y: Any
    name: str = field(metadata={"static": True})
    classes: tuple[str, ...] = field(metadata={"static": True})
    features: tuple[str, ...] = field(metadata={"static": True})
    shape: tuple[int, ...] = field(metadata={"static": True})
    source: str = field(metadata={"static": True})


class Published(NamedTuple):
    """The splits that come with a data set, arrays of indices.

    The UCI sets have ``tuning``, to choose hyperparameters; a model is judged by ``holdout`` where there is one and by
    the mean over ``folds`` elsewhere. The folds are four independent divisions 3 : 1 of the training file, not a
    partition: their test sets overlap, and about a third of the examples is in none of them.

    Attributes:
        tuning: One division of the training file, or None.
        folds: Divisions of the training file; none where nothing is published.
        holdout: Training and test file, or None where there is one file.
    """

    tuning: Fold | None
    folds: tuple[Fold, ...]
    holdout: Fold | None


def build(
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    classes: Iterable[Any],
    features: Iterable[Any],
    source: str,
    *,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Arrays and names as `Dataset` holds them."""
    classes, features = tuple(map(str, classes)), tuple(map(str, features))
    x, y = x.astype(np.float32, copy=False), y.astype(np.int32 if classes else np.float32)
    return Dataset(x, y, name, classes, features, shape or x.shape[1:], source)


def from_images(images: np.ndarray, white: int, y: np.ndarray, name: str, source: str) -> Dataset:
    """Grey images [examples, height, width] of the ten digits, scaled to [0, 1]."""
    x = images.reshape(len(images), -1).astype(np.float32)
    x /= white
    return build(x, y, name, range(10), (), source, shape=(*images.shape[1:], 1))


def holdout(train: int, test: int) -> Fold:
    """Training examples first, test examples after them."""
    return Fold(np.arange(train, dtype=np.int32), np.arange(train, train + test, dtype=np.int32))
