"""A value as one, some of it, or copies of it: positions as if they were units, and units as positions.

Units are independent, so that units that meet positions are as many copies of one unit: as in the gradient behind a
layer that takes all pixels of an image as one vector.
"""

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jnorm.predict._atoms import RULES, Atom
from jnorm.predict._pool import Pool
from jnorm.predict._values import LARGE, Atoms, Random, Refused, _flat, affine, alike, covariance, diagonal, second

_ids = itertools.count()


class Value(Atom):
    """A value as one atom."""

    def __init__(self, value: Random) -> None:
        self.value, self.size, self.mean = value, value.size, value.mean
        self.deps, self.gaussian = value.deps, value.gaussian

    @property
    def variance(self) -> np.ndarray:
        return diagonal(self.value)

    def _covariance(self, other: Atom) -> np.ndarray | None:
        if isinstance(other, Value):
            return covariance(self.value, other.value)
        return covariance(self.value, Random(_flat(other.size), np.zeros(()), {other: None}, status=0, law=0))

    def rows(self, pool: Pool) -> np.ndarray:
        return pool.rows(self.value)


class Picked(Atom):
    """A value at one of ``index[e]``, at random and the same one for all ``e``: positions as if they were units."""

    def __init__(self, value: Random, index: np.ndarray) -> None:
        self.value, self.index, self.size = value, index, len(index)
        self.mean, self.deps = value.mean[index].mean(1), frozenset({("picked", next(_ids))})

    def _covariance(self, other: Atom) -> np.ndarray:
        if self.value.size > LARGE:
            if self.size > 1:
                raise Refused("so many positions as if they were units")
            square = np.mean(diagonal(self.value) + self.value.mean**2)[None, None]
        else:
            i, j = self.index[:, None], self.index[None]
            square = second(self.value, self.value)[i, j].mean(-1)
        return np.asarray(square - np.outer(self.mean, self.mean))

    def rows(self, pool: Pool) -> np.ndarray:
        rows = pool.rows(self.value)
        at = self.index[:, pool.rng.integers(self.index.shape[1], size=len(rows))].T
        return np.take_along_axis(rows, at, 1)


class Copies(Atom):
    """Independent copies of an atom, one for each unit of some axes: index ``of[e]`` of copy ``at[e]``."""

    def __init__(self, atom: Atom, of: np.ndarray, at: np.ndarray, among: tuple[int, ...]) -> None:
        self.atom, self.of, self.at, self.among, self.size = atom, of, at, among, len(of)
        self.mean, self.gaussian = atom.mean[of], atom.gaussian
        self.shared, self.chance = atom.shared, atom.chance
        self.deps = frozenset(("copies", among, dep) for dep in atom.deps)

    @property
    def variance(self) -> np.ndarray:
        return self.atom.variance[self.of]

    def selected(self, index: np.ndarray) -> "Atom":
        return Copies(self.atom, self.of[index], self.at[index], self.among)

    def rows(self, pool: Pool) -> np.ndarray:
        rows = pool.atom(self.atom)
        units, which = np.unique(self.at, return_inverse=True)
        others = np.stack([_others(len(rows), int(unit)) for unit in units], 1)
        return rows[others[:, which], self.of]


@functools.cache
def _others(count: int, unit: int) -> np.ndarray:
    """Samples of another unit, the same for all values of it; what was the opposite of another one is so again."""
    half = np.random.default_rng(unit).permutation(count // 2)
    return np.concatenate([half, half + count // 2, np.arange(count // 2 * 2, count)])


def _copies(first: Copies, then: Copies) -> np.ndarray | None:
    part = first.atom.covariance(then.atom)
    return None if part is None else part[np.ix_(first.of, then.of)] * (first.at[:, None] == then.at)


def positions(x: Random, where: Collection[int]) -> Random | None:
    """A value whose axes ``where`` are of positions; ``None`` where these were too many."""
    axes = [tuple((size, unit and axis not in where) for size, unit in atoms) for axis, atoms in enumerate(x.axes)]
    out = _positions(x, axes)
    whole = lambda axis, atoms: ((x.shape[axis], False),) if axis in where else atoms
    return out and out.like(tuple(whole(axis, atoms) for axis, atoms in enumerate(axes)))


def meeting(x: Random, other: Random) -> Random:
    """A value with positions where its units are those of another value that it has nothing in common with."""
    if len(x.axes) != len(other.axes) or not x.deps.isdisjoint(other.deps):
        return x
    own, axes = list(x.axes), list(x.axes)
    for axis, (mine, theirs) in enumerate(zip(x.axes, other.axes, strict=True)):
        if x.shape[axis] != other.shape[axis] or alike(mine, theirs):
            continue
        if all(unit for _, unit in mine):
            own[axis], axes[axis] = tuple((size, True) for size, _ in theirs), theirs
        elif not any(unit for _, unit in theirs):
            axes[axis] = tuple((size, False) for size, _ in mine)
    return x if axes == list(x.axes) else _positions(x.like(tuple(own)), axes) or x


def _positions(x: Random, axes: Sequence[Atoms]) -> Random | None:
    """The same with axes of the same factors, of which fewer are of units."""
    pairs = [
        (size, unit, kept)
        for own, new in zip(x.axes, axes, strict=True)
        for (size, unit), (_, kept) in zip(own, new, strict=True)
    ]
    gone = [size if unit and not kept else 1 for size, unit, kept in pairs]
    small = [1 if kept else size for size, _, kept in pairs]
    if math.prod(gone) == 1:
        return x
    if math.prod(small) > LARGE:
        return None
    before = [1 if unit else size for size, unit, _ in pairs]
    of = np.broadcast_to(np.arange(x.size).reshape(before), small).ravel()
    at = np.broadcast_to(np.arange(math.prod(gone)).reshape(gone), small).ravel()
    out = _copied(x, of, at, tuple(size for size in gone if size > 1)).like(tuple(axes))
    out.centred = x.centred
    return out


def _copied(x: Random, of: np.ndarray, at: np.ndarray, among: tuple[int, ...]) -> Random:
    known = x.__dict__.setdefault("_copies", {})  # so that it is the same value again
    key = of.tobytes(), at.tobytes()
    if key not in known:
        picked = lambda a: np.broadcast_to(a, (x.size,))[of]
        flat: tuple[Atoms, ...] = (((len(of), False),),)
        if x.base is not x:
            known[key] = affine(_copied(x.base, of, at, among).like(flat), picked(x.scale), picked(x.shift))
        else:
            lines = all(a is None or a.ndim == 1 for a in x.terms.values())
            parts: dict[Any, Any] = x.terms if lines else {Value(x): None}
            terms = {Copies(atom, of, at, among): None if a is None else picked(a) for atom, a in parts.items()}
            offset = picked(x.offset) if lines else np.zeros(())
            own = lambda: x.cov[np.ix_(of, of)] * (at[:, None] == at)
            known[key] = Random(flat, offset, terms, status=x.status, law=x.law, own=own)
    return known[key]


RULES[Copies, Copies] = _copies
