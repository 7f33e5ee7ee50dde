"""Train, dev and test sets and folds, as arrays of indices: at random, by class, by source, or for a target source.

>>> y = np.array([0] * 60 + [1] * 20)
>>> split = stratified(jax.random.key(0), y, dev=0.1, test=0.2)
>>> [len(part) for part in split], [int(np.sum(y[part])) for part in split]  # a quarter of each part is class 1
([56, 8, 16], [14, 2, 4])

- **Sizes.** For ``dev`` and ``test`` a float is a fraction, 0 <= f < 1, rounded to the nearest count but at least 1
  unless 0; an integer is a count, as in scikit-learn. What is left trains.
- **Labels** are numbers, texts, dates or other things that compare, of one kind. Missing ones (None, NaN, NaT, pd.NA, a
  masked entry, an empty text, "nan") raise ``ValueError``.
- **Keys.** The indices of a part ascend: a key decides which examples it holds, not their order (`batches` shuffles).
  Splits, folds and batches by one key have nothing to do with each other.
  ``key=None`` takes the examples as they come, training examples first.
- **Inside jit.** Labels and sources must be known, since shapes depend on them. The key may be traced and vmapped, but
  for `by_source` and `source_folds`, which run on the host since their sizes depend on the key.
- **Results.** Indices are int32, in NumPy arrays where the key is known.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.data._classes import ascending, by_class, known_shuffled, numbered, shuffled, strata, warn_of_rare

__all__ = [
    "Fold",
    "Split",
    "by_source",
    "by_target",
    "folds",
    "random",
    "source_folds",
    "stratified",
    "stratified_folds",
]

_Key = jax.Array | None


class Split(NamedTuple):
    """Disjoint sets that cover all examples, ascending indices each.

    Attributes:
        train: Examples to train on.
        dev: Examples to choose hyperparameters and the epoch by.
        test: Examples to judge by.
    """

    train: Any
    dev: Any
    test: Any


class Fold(NamedTuple):
    """One fold, ascending indices each.

    Attributes:
        train: Examples to train on, all others.
        test: Examples that this fold is tested on.
    """

    train: Any
    test: Any


def random(key: _Key, size: int, *, dev: float = 0.15, test: float = 0.15) -> Split:
    """Three parts of ``size`` examples, drawn without regard to what they are.

    Args:
        key: A random key, or None for the examples as they come.
        size: Number of examples.
        dev: Size of the dev set, a fraction or a count.
        test: Size of the test set, a fraction or a count.

    Raises:
        ValueError: Sizes that leave no example to train on.

    >>> [len(part) for part in random(jax.random.key(0), 150)]
    [106, 22, 22]
    >>> random(None, 5, dev=1, test=0.4)
    Split(train=array([0, 1], dtype=int32), dev=array([2], dtype=int32), test=array([3, 4], dtype=int32))
    """
    counts = _counts(size, dev, test)
    order = shuffled(key, size, "splits")
    return Split(*(ascending(order, at) for at in _pieces(counts)))


def stratified(key: _Key, y: ArrayLike | Sequence[Any], *, dev: float = 0.15, test: float = 0.15) -> Split:
    """Three parts in which each class of ``y`` has its share, to less than one example if none is rare.

    Of the examples of class c the test set takes n_test n_c / n, rounded down or up by largest remainders, and of those
    that are left the dev set likewise; the key decides between equal remainders. A class of fewer members than parts
    misses some part, of which a ``UserWarning`` tells, but not training, if that has room for all such classes: one
    member of each is set aside before shares are taken. No other class gives its last member while another can give.

    Args:
        key: A random key, or None for the examples of each class as they come, and the classes in that order.
        y: Labels [examples], numbers or strings.
        dev: Size of the dev set, a fraction or a count.
        test: Size of the test set, a fraction or a count.

    Raises:
        ValueError: Sizes that leave no example to train on, labels that are not one for each example, or missing.
        TypeError: Traced labels.

    >>> y = ["cat", "dog", "dog", "cat", "dog", "dog"]
    >>> stratified(None, y, dev=0, test=3).test  # of each class, half of the examples
    array([3, 4, 5], dtype=int32)
    """
    codes, classes = numbered("y", y)
    members = np.bincount(codes)
    n_train, n_dev, n_test = _counts(len(codes), dev, test)
    warn_of_rare("y", codes, classes, 1 + (n_dev > 0) + (n_test > 0), "parts")
    size, parts = len(codes), strata(key, members, n_dev, n_test)
    order = by_class(shuffled(key, size, "splits"), codes)
    xp = np if isinstance(order, np.ndarray) else jnp
    order = xp.sort(parts * size + order) % size
    return Split(order[:n_train], order[n_train : n_train + n_dev], order[n_train + n_dev :])


def by_source(key: _Key, sources: ArrayLike | Sequence[Any], *, dev: float = 0.15, test: float = 0.15) -> Split:
    """Three parts that share no source (patient, writer, recording): examples of one source stay together.

    Sources are dealt out in random order, and each border lies between the sources where it leaves sizes nearest to
    those asked for: a part is off by at most the largest source, unless a part would be empty.

    Args:
        key: A random key, or None for the sources in the order of their first examples.
        sources: The source of each example [examples], numbers or strings.
        dev: Size of the dev set, a fraction or a count.
        test: Size of the test set, a fraction or a count.

    Raises:
        ValueError: Fewer sources than parts; otherwise as `stratified`.
        TypeError: Traced sources, or a traced key.

    >>> split = by_source(jax.random.key(0), ["a", "a", "b", "c", "c", "b"], dev=0, test=0.3)
    >>> [len(part) for part in split]
    [4, 0, 2]
    """
    codes, _ = numbered("sources", sources)
    counts = _counts(len(codes), dev, test)
    members = np.bincount(codes)
    nonempty = np.array([c > 0 for c in counts])
    if len(members) < nonempty.sum():
        raise ValueError(f"`sources` must hold at least {nonempty.sum()} sources, one a part; got {len(members)}")
    order = known_shuffled(key, len(members), "splits")
    ends = np.cumsum(members[order])
    first = 0
    part_of = np.empty(len(members), int)
    for part, target in enumerate(np.cumsum(counts)):
        if not nonempty[part]:
            continue
        last = len(members) - nonempty[part + 1 :].sum()  # one source for each of the parts to come
        stop = first + 1 + int(np.argmin(np.abs(ends[first:last] - target)))
        part_of[order[first:stop]] = part
        first = stop
    return Split(*(np.flatnonzero(part_of[codes] == part).astype(np.int32) for part in range(3)))


def by_target(key: _Key, sources: ArrayLike | Sequence[Any], target: Any, *, dev: float = 0.5) -> Split:
    """Dev and test examples from the source that counts, training examples from all others.

    Args:
        key: A random key, or None for the target's examples as they come, the dev set first.
        sources: The source of each example [examples], numbers or strings.
        target: The source of dev and test set, or a list of several.
        dev: Size of the dev set, a fraction of the target's examples or a count; the others test.

    Raises:
        ValueError: A target that is no source, no other source to train on, no example left to test on; otherwise as
            `stratified`.
        TypeError: Traced sources.

    >>> by_target(None, ["web", "app", "web", "app", "app"], "app", dev=1)
    Split(train=array([0, 2], dtype=int32), dev=array([1], dtype=int32), test=array([3, 4], dtype=int32))
    """
    codes, classes = numbered("sources", sources)
    wanted = list(target) if isinstance(target, list | tuple | set | np.ndarray) else [target]
    unknown = [t for t in wanted if t not in classes]
    if unknown or not wanted:
        known = ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")
        raise ValueError(f"`target` must be some of the sources {known}; got {(unknown or [target])[0]!r}")
    held = np.isin(codes, [classes.index(t) for t in wanted])
    if np.all(held):
        raise ValueError(f"`target` must leave a source to train on; got {target!r}, all that there are")
    examples = np.flatnonzero(held).astype(np.int32)
    size = len(examples)
    n_dev = _share("dev", dev, size)
    if n_dev >= size:
        raise ValueError(f"`dev` must leave examples to test on; got {n_dev} of the {size} of {target!r}")
    order = shuffled(key, size, "splits")
    order = (np if isinstance(order, np.ndarray) else jnp).asarray(examples)[order]
    parts = (ascending(order, at) for at in np.split(np.arange(size), [n_dev]))
    return Split(np.flatnonzero(~held).astype(np.int32), *parts)


def folds(key: _Key, size: int, count: int) -> tuple[Fold, ...]:
    """``count`` folds of ``size`` examples; every example is tested on once, test sizes differ by at most 1.

    Args:
        key: A random key, or None for blocks of neighbours.
        size: Number of examples.
        count: Number of folds.

    Raises:
        ValueError: Fewer than two folds, or more folds than examples.

    >>> [fold.test.tolist() for fold in folds(None, 5, 2)]
    [[0, 1, 2], [3, 4]]
    """
    _check_folds(size, count)
    place = np.repeat(np.arange(count), [len(p) for p in np.array_split(np.arange(size), count)])
    return _folds(shuffled(key, size, "folds"), place, count)


def stratified_folds(key: _Key, y: ArrayLike | Sequence[Any], count: int) -> tuple[Fold, ...]:
    """``count`` folds in which each class has its share to one example.

    The numbers of each class, and with ``key=None`` the folds, are those of scikit-learn's ``StratifiedKFold``, and so
    is the ``UserWarning`` of a class with fewer members than folds.

    Args:
        key: A random key, or None for blocks of neighbours in each class.
        y: Labels [examples], numbers or strings.
        count: Number of folds.

    Raises:
        ValueError: Fewer than two folds, more folds than examples, labels that are missing or not one for each example.
        TypeError: Traced labels.

    >>> [fold.test.tolist() for fold in stratified_folds(None, ["a", "a", "b", "a", "b", "a"], 2)]
    [[0, 1, 2], [3, 4, 5]]
    """
    codes, classes = numbered("y", y)
    _check_folds(len(codes), count)
    warn_of_rare("y", codes, classes, int(count), "folds")
    # Dealt out in turn through all classes, so that no fold collects their remainders; blocks within each class.
    turn = np.arange(len(codes)) % int(count)
    ranked = np.sort(codes)
    place = turn[np.lexsort((turn, ranked))]
    return _folds(by_class(shuffled(key, len(codes), "folds"), codes), place, count)


def source_folds(key: _Key, sources: ArrayLike | Sequence[Any], count: int) -> tuple[Fold, ...]:
    """``count`` folds that share no source: the largest sources first, each to the fold with the fewest examples yet.

    Args:
        key: A random key, which decides between sources of one size, or None for the order of their first examples.
        sources: The source of each example [examples], numbers or strings.
        count: Number of folds.

    Raises:
        ValueError: Fewer sources than folds; otherwise as `stratified_folds`.
        TypeError: Traced sources, or a traced key.

    >>> [fold.test.tolist() for fold in source_folds(jax.random.key(0), ["a", "a", "b", "c"], 2)]
    [[0, 1], [2, 3]]
    """
    codes, _ = numbered("sources", sources)
    members = np.bincount(codes)
    if len(members) < count:
        raise ValueError(f"`sources` must hold at least {count} sources, one a fold; got {len(members)}")
    _check_folds(len(codes), count)
    order = known_shuffled(key, len(members), "folds")
    filled = np.zeros(count, int)
    fold_of = np.empty(len(members), int)
    for source in order[np.argsort(-members[order], kind="stable")]:
        fold_of[source] = np.argmin(filled)
        filled[fold_of[source]] += members[source]
    return _folds(np.arange(len(codes), dtype=np.int32), fold_of[codes], count)


def _folds(order: Any, place: np.ndarray, count: int) -> tuple[Fold, ...]:
    """Folds of the examples in ``order``, of which ``place`` names the fold."""
    return tuple(
        Fold(*(ascending(order, np.flatnonzero(at)) for at in (place != k, place == k))) for k in range(int(count))
    )


def _check_folds(size: int, count: int) -> None:
    checks.whole(1, size=size)
    checks.whole(2, count=count)
    checks.require(lambda n: n <= size, f"`{{}}` must satisfy {{}} <= {size}, the number of examples", count=count)


def _counts(size: int, dev: float, test: float) -> tuple[int, int, int]:
    checks.whole(1, size=size)
    n_dev, n_test = (_share(name, value, size) for name, value in (("dev", dev), ("test", test)))
    if n_dev + n_test >= size:
        raise ValueError(f"`dev` and `test` must leave examples to train on; got {n_dev} and {n_test} of {size}")
    return size - n_dev - n_test, n_dev, n_test


def _share(name: str, value: Any, size: int) -> int:
    """How many examples a fraction or a count means: 1.0 could be either, so that the type decides."""
    number = np.asarray(value)
    got = f"got {number[()]}" if number.dtype.kind == "f" else f"got {value!r}"
    must = f"`{name}` must be a fraction 0 <= {name} < 1 or a whole number of examples; {got}"
    if number.ndim or number.dtype.kind not in "fiu":
        raise TypeError(must)
    if number.dtype.kind != "f" and number >= 0:
        return int(number)
    if not 0 <= number < 1:
        raise ValueError(
            f"{must}: for a number of examples write {number:.0f}" if number == np.round(number) > 0 else must
        )
    return max(1, round(float(number) * size)) if number else 0


def _pieces(counts: Sequence[int]) -> list[np.ndarray]:
    return np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
