"""Random values of a wide network: sums of random parts, over axes of examples and positions and axes of units.

Units of a layer are alike and independent, so that one of them stands for all: an array keeps its axes of examples and
positions (*explicit* ones), and an axis of units has length one. What is stored of a value is linear in *atoms*, which
are random vectors over explicit indices that know their covariances: see `jnorm.predict._atoms`. Sums, residual streams
and everything else that is linear are exact then, whatever the parts have in common.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

EXACT, GAUSSIAN, SAMPLED, MARKED = range(4)
STATUS = ("exact", "gaussian", "sampled", "marked: few units")
FEW = 64  # units below which an average over them is not sharp
Atoms = tuple[tuple[int, bool], ...]


class Refused(NotImplementedError):
    """What is computed has no rule."""


class Weight(NamedTuple):
    """A parameter of independent draws that nothing has been done with but to its axes.

    Attributes:
        key: Which parameter, and how its axes have been rearranged.
        shape: Its shape.
        var: The variance of a draw.
        normal: Whether draws are normal.
    """

    key: tuple[Any, ...]
    shape: tuple[int, ...]
    var: float
    normal: bool


def alike(a: Atoms, b: Atoms) -> bool:
    """Whether an axis is the same in two values, of units or of positions, however these are grouped."""
    kinds = [{unit for size, unit in atoms if size > 1} for atoms in (a, b)]
    return a == b or (kinds[0] == kinds[1] and len(kinds[0]) < 2)


class Stack(NamedTuple):
    """What the turns of a loop leave behind, which is kept apart until anything but a loop takes it up.

    Attributes:
        parts: Values, parameters or numbers, one of each turn.
    """

    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.parts), *self.parts[0].shape)


class Random:
    """A random value, ``offset + sum of coefficient * atom``.

    Attributes:
        axes: Of each axis the factors that its size is a product of, ``(size, whether of units)``.
        offset: What is known, ``[E]`` over the flat explicit indices.
        terms: Coefficients of the atoms: ``None`` for one, ``[E]``, or a matrix ``[E, atom.size]``.
        status: How far second moments are right: an index of `STATUS`.
        law: The same of the distribution.
        centred: Whether its mean over units has been taken off, so that its sum over them is zero.
        stray: How far single draws stray, a `jnorm.predict._strays.Stray`.
    """

    def __init__(
        self,
        axes: tuple[Atoms, ...],
        offset: np.ndarray,
        terms: dict[Any, np.ndarray | None],
        *,
        status: int,
        law: int,
        own: Callable[[], np.ndarray] | None = None,
        view: "tuple[Random, np.ndarray, np.ndarray] | None" = None,
    ) -> None:
        self.axes, self.offset, self.terms = axes, offset, terms
        self.status, self.law = status, max(law, status)
        self._own, self.logical, self.centred = own, False, False
        self.stray: Any = None
        self._cov: np.ndarray | None = None
        self._selected: dict[bytes, Random] = {}
        self.base: Random
        self.scale: np.ndarray
        self.shift: np.ndarray
        self.base, self.scale, self.shift = view or (self, np.ones(()), np.zeros(()))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(size for size, _ in atoms) for atoms in self.axes)

    @property
    def small(self) -> tuple[int, ...]:
        """The shape of what is stored, an axis a factor."""
        return tuple(1 if unit else size for atoms in self.axes for size, unit in atoms)

    @property
    def size(self) -> int:
        return math.prod(self.small)

    @property
    def units(self) -> int:
        return math.prod(size for atoms in self.axes for size, unit in atoms if unit)

    @property
    def deps(self) -> frozenset[Any]:
        return frozenset().union(*(atom.deps for atom in self.terms))

    @property
    def mean(self) -> np.ndarray:
        total = np.array(np.broadcast_to(self.offset, (self.size,)), np.float64)
        for atom, a in self.terms.items():
            if np.any(atom.mean):
                total = total + apply(a, atom.mean)
        return total

    @property
    def cov(self) -> np.ndarray:
        if self._cov is None:
            if self._own is not None:
                self._cov = self._own()
            elif self.base is not self:
                scale = np.broadcast_to(self.scale, (self.size,))
                self._cov = scale[:, None] * self.base.cov * scale
            else:
                among = _between(self, self)
                self._cov = np.zeros((self.size, self.size)) if among is None else among
        return self._cov

    @property
    def gaussian(self) -> bool:
        return all(atom.gaussian for atom in self.terms)

    @property
    def common(self) -> int:
        """How many units have all that is random in common, 0 if none."""
        counts = {atom.shared for atom in self.terms}
        return counts.pop() if len(counts) == 1 else 0

    @property
    def chance(self) -> bool:
        """Whether it is what chance leaves of sums over units."""
        return bool(self.terms) and all(atom.chance for atom in self.terms)

    def like(self, axes: tuple[Atoms, ...]) -> "Random":
        """The same value with other axes of the same explicit indices in the same order."""
        if axes == self.axes:
            return self
        out = Random(axes, self.offset, self.terms, status=self.status, law=self.law, own=lambda: self.cov)
        out.base, out.scale, out.shift, out.logical = self.base, self.scale, self.shift, self.logical
        out.stray, out.centred = self.stray, self.centred
        return out


def apply(a: np.ndarray | None, vector: np.ndarray) -> np.ndarray:
    """A coefficient times ``[atom.size, ...]``."""
    if a is None:
        return vector
    return a @ vector if a.ndim == 2 else a.reshape(-1, *(1,) * (vector.ndim - 1)) * vector


def _between(u: Random, v: Random) -> np.ndarray | None:
    total = None
    for first, a in u.terms.items():
        for second, b in v.terms.items():
            part = first.covariance(second)
            if part is not None:
                part = apply(b, apply(a, part).T).T
                total = part if total is None else total + part
    return total


def covariance(u: Random, v: Random) -> np.ndarray | None:
    """The covariance ``[u, v]``; ``None`` where it is zero because they have nothing in common."""
    if u is v or (u.base is v.base and u.base is not u):
        s, t = (np.broadcast_to(x.scale, (x.size,)) for x in (u, v))
        return u.cov if u is v else s[:, None] * u.base.cov * t
    return _between(u, v)


def diagonal(v: Random) -> np.ndarray:
    """The variances ``[E]``, without the covariances where these are many."""
    if v.size <= LARGE:
        return np.diagonal(v.cov)
    if len(v.terms) == 1:
        ((atom, a),) = v.terms.items()
        if a is None or a.ndim == 1:
            return np.asarray(atom.variance * (1.0 if a is None else a**2))
    pools = [atom.pool for atom in v.terms if hasattr(atom, "pool")]
    if pools:
        return np.asarray(pools[0].rows(v).var(0))
    total = np.zeros(v.size)
    live = np.zeros(v.size, bool)
    for a in v.terms.values():
        live |= True if a is None else a != 0 if a.ndim == 1 else np.any(a != 0, 1)
    for at in np.array_split(np.flatnonzero(live), max(live.sum() // 512, 1)):
        total[at] = np.diagonal(select(v, at, _flat(at.size)).cov)
    return total


def second(u: Random, v: Random) -> np.ndarray:
    """The second moments ``E[u v']``, ``[u, v]``."""
    cov, mean = covariance(u, v), np.outer(u.mean, v.mean)
    return mean if cov is None else cov + mean


def affine(v: Random, scale: Any = 1.0, shift: Any = 0.0) -> Random:
    """``scale * v + shift``, with numbers or ``[E]``."""
    if not np.any(scale):  # what is left has nothing in common with anything
        return Random(v.axes, np.broadcast_to(shift, (v.size,)), {}, status=v.status, law=v.law)
    terms = {
        atom: np.broadcast_to(scale, (v.size,))
        if a is None
        else (np.broadcast_to(scale, (v.size,)).reshape(-1, *(1,) * (a.ndim - 1)) * a)
        for atom, a in v.terms.items()
    }
    view = (v.base, v.scale * scale, v.shift * scale + shift)
    return Random(v.axes, v.offset * scale + shift, terms, status=v.status, law=v.law, view=view)


def added(u: Random, v: Random) -> Random:
    """The sum of two values with the same axes."""
    terms = dict(u.terms)
    for atom, b in v.terms.items():
        if atom not in terms:
            terms[atom] = b
            continue
        a, b = (np.ones(u.size) if x is None else x for x in (terms[atom], b))
        if a.ndim != b.ndim:
            a, b = (np.diag(x) if x.ndim == 1 else x for x in (a, b))
        total = a + b
        if np.all(np.abs(total) <= 1e-12 * (np.abs(a) + np.abs(b))):  # as where a mean is taken off
            del terms[atom]
        else:
            terms[atom] = total

    def own() -> np.ndarray:
        cross = covariance(u, v)
        return u.cov + v.cov + (0.0 if cross is None else cross + cross.T)

    return Random(u.axes, u.offset + v.offset, terms, status=max(u.status, v.status), law=max(u.law, v.law), own=own)


def select(v: Random, index: np.ndarray, axes: tuple[Atoms, ...]) -> Random:
    """The value at other explicit indices: ``[E]`` numbers, none of them negative."""
    if index.size == v.size and np.array_equal(index, np.arange(v.size)):
        return v.like(axes)
    key = index.tobytes()
    if key not in v._selected:
        if v.base is not v:
            at = lambda a: np.broadcast_to(a, (v.size,))[index]
            v._selected[key] = affine(select(v.base, index, _flat(index.size)), at(v.scale), at(v.shift))
        else:
            v._selected[key] = _select(v, index)
    out = v._selected[key].like(axes)
    out.centred = v.centred
    return out


def _flat(size: int) -> tuple[Atoms, ...]:
    return (((size, False),),)


def _select(v: Random, index: np.ndarray) -> Random:
    terms: dict[Any, np.ndarray | None] = {}
    for atom, a in v.terms.items():
        part = _picked(atom, index) if (a is None or a.ndim == 1) else None
        if part is not None:
            terms[part] = None if a is None else a[index]
            continue
        a = np.eye(v.size)[index] if a is None else a[index] if a.ndim == 2 else np.diag(a)[index]
        part, a = _thinned(atom, a)
        if part is not None:
            terms[part] = a
    own = None if v.size > LARGE else lambda: v.cov[np.ix_(index, index)]
    offset = np.broadcast_to(v.offset, (v.size,))[index]
    return Random(_flat(index.size), offset, terms, status=v.status, law=v.law, own=own)


def _picked(atom: Any, index: np.ndarray) -> Any:
    """The same object for the same indices, so that sums know it again."""
    known = atom.__dict__.setdefault("_picks", {})
    key = index.tobytes()
    if key not in known:
        known[key] = atom.selected(index)
    return known[key]


def _thinned(atom: Any, a: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """An atom and its matrix; no atom where that is zero, and other indices of it where it only picks some."""
    if not np.any(a):
        return None, None
    found = a != 0
    if np.all(found.sum(1) == 1):
        at = found.argmax(1)
        part = _picked(atom, at)
        if part is not None:
            return part, a[np.arange(len(a)), at]
    return atom, a


LARGE = 2048  # explicit indices from which no matrix over pairs of them is made


def summed(v: Random, index: np.ndarray, axes: tuple[Atoms, ...]) -> Random:
    """Sums over explicit indices, ``[E, count]``; negative ones add nothing."""
    if index.shape[1] == 1 and np.all(index >= 0):
        return select(v, index[:, 0], axes)
    return linear(v, lambda a: gathered(a, index), axes)


def linear(v: Random, f: Callable[[np.ndarray], np.ndarray], axes: tuple[Atoms, ...]) -> Random:
    """A linear function of the explicit indices; ``f`` maps ``[E, k]`` to ``[E', k]``."""
    terms: dict[Any, np.ndarray | None] = {}
    for atom, a in v.terms.items():
        part = atom.mapped(f, a) if a is None or a.ndim == 1 else None
        if part is not None:
            terms[part] = None
        else:
            terms[atom] = f(np.eye(v.size) if a is None else np.diag(a) if a.ndim == 1 else a)
    offset = f(np.broadcast_to(v.offset, (v.size,)).astype(np.float64)[:, None])[:, 0]
    own = None if v.size > LARGE else lambda: f(f(v.cov).T).T
    return Random(axes, offset, terms, status=v.status, law=v.law, own=own)


def gathered(a: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Sums of rows of ``[E, k]``."""
    total = np.zeros((len(index), a.shape[1]))
    for column in index.T:
        total += np.where(column[:, None] >= 0, a[column], 0.0)
    return total
