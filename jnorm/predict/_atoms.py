"""What random values are made of: vectors over explicit indices that know their means and covariances.

- `Root`: jointly Gaussian, what a random weight makes of data. Two uses of one weight are correlated as their data are.
- `Function`: of one Gaussian at each index; its covariances are Hermite series.
- `Product`: of two independent values.
- `Rows`: joint samples of units. Nothing is ever sampled of parameters.

Sums of products of two values are in `jnorm.predict._sums`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jnorm.predict import _hermite
from jnorm.predict._pool import Pool
from jnorm.predict._uses import Use
from jnorm.predict._values import (
    EXACT,
    FEW,
    GAUSSIAN,
    LARGE,
    MARKED,
    Atoms,
    Random,
    Weight,
    _flat,
    apply,
    covariance,
    diagonal,
    second,
    select,
)


class Atom:
    """A random vector of ``size`` numbers; atoms without common ``deps`` are independent."""

    gaussian = False
    chance = False  # whether it is what chance leaves of sums over units
    shared = 0  # how many units have it in common
    size: int
    mean: np.ndarray
    deps: frozenset[Any]

    def covariance(self, other: "Atom") -> np.ndarray | None:
        """``[size, other.size]``, or ``None`` where it is zero."""
        if self.deps.isdisjoint(other.deps):
            return None
        known = self.__dict__.setdefault("_pairs", {})
        if other not in known:
            part = self._covariance(other)
            known[other] = part
            if other is not self:
                other.__dict__.setdefault("_pairs", {})[self] = None if part is None else part.T
        return known[other]

    @property
    def variance(self) -> np.ndarray:
        """The diagonal of its covariance, in parts where that is large."""
        if self.size > LARGE:
            parts = [self.selected(at) for at in np.array_split(np.arange(self.size), self.size // 512)]
            if all(parts):
                return np.concatenate([part.variance for part in parts if part])
        cov = self.covariance(self)
        return np.zeros(self.size) if cov is None else np.diagonal(cov)

    def _covariance(self, other: "Atom") -> np.ndarray | None:
        for first, then, turned in ((self, other, False), (other, self, True)):
            rule = RULES.get((type(first), type(then)))
            if rule:
                part = rule(first, then)
                return part.T if turned and part is not None else part
        return sampled_covariance(self, other)

    def selected(self, index: np.ndarray) -> "Atom | None":
        """The atom of other indices, where that is more than a matrix."""
        return None

    def mapped(self, f: Callable[[np.ndarray], np.ndarray], a: np.ndarray | None) -> "Atom | None":
        """The atom of a linear function of what the coefficient makes, where that is more than a matrix."""
        return None

    def rows(self, pool: Pool) -> np.ndarray:
        raise NotImplementedError


class Root(Atom):
    """What a weight of independent draws makes of a `Use`, or the numbers of a parameter themselves."""

    gaussian = True

    def __init__(
        self,
        key: Any,
        var: float,
        use: Use | None,
        size: int,
        normal: bool = True,
        whole: "Root | None" = None,
        at: np.ndarray | None = None,
        shared: int = 0,
    ) -> None:
        self.shared = shared
        self.key, self.var, self.use, self.size = key, var, use, size
        self.mean, self.deps, self.normal = np.zeros(size), frozenset({key}), normal
        self.whole, self.at = whole or self, np.arange(size) if at is None else at  # what it is a part of, and which

    def selected(self, index: np.ndarray) -> "Atom":
        use = self.use and self.use.selected(index)
        return Root(self.key, self.var, use, index.size, self.normal, self.whole, self.at[index], self.shared)

    def rows(self, pool: Pool) -> np.ndarray:
        if self.whole is not self:
            return pool.atom(self.whole)[:, self.at]
        together = list(pool.roots[self.key])
        pool.roots[self.key].append(self)
        cov, count = _gram(self, self), pool.share(self.size)
        if not together:
            return pool.normal(count, self.size) @ _factor(cov).T
        # Given the other uses of the weight, which have been drawn.
        count = min(count, *(len(pool.known[atom]) for atom in together))
        known = np.concatenate([pool.known[atom][:count] for atom in together], 1)
        across = np.concatenate([_gram(self, atom) for atom in together], 1)
        among = np.block([[_gram(a, b) for b in together] for a in together])
        slope = across @ np.linalg.pinv(among, rcond=1e-10, hermitian=True)
        left = _factor(cov - slope @ across.T)
        return known @ slope.T + pool.normal(count, self.size) @ left.T


def _factor(cov: np.ndarray) -> np.ndarray:
    """A matrix whose square is a covariance, which may be singular."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _gram(first: Root, then: Root) -> np.ndarray:
    if first.use is None or then.use is None:
        return first.var * (first.at[:, None] == then.at)
    return first.var * first.use.gram(then.use)


def used(
    key: Any, weight: Weight, use: Use, size: int, axes: tuple[Atoms, ...], x: Any, common: Use | None = None
) -> Random:
    """What a weight makes of a use of ``x``, and of one that some units have in common."""
    terms: dict[Any, Any] = {Root(key, weight.var, use, size, weight.normal): None}
    if common:
        terms[Root((key, "common"), weight.var, common, size, weight.normal, shared=common.shared)] = None
    random = isinstance(x, Random)
    status = x.status if random else EXACT
    law = max(status, EXACT if weight.normal and not random else GAUSSIAN)
    if random and use.count * use.index.shape[1] < FEW and x.status != EXACT:
        law = MARKED
    return Random(axes, np.zeros(()), terms, status=status, law=law)


class Function(Atom):
    """A function of one Gaussian at each index: ``f`` of values ``[..., size]`` of the Gaussian ``base``."""

    def __init__(self, base: Random, node: Any) -> None:
        self.base, self.node, self.size, self.deps, self.shared = base, node, base.size, base.deps, base.common
        self._table: _hermite.Series | None = None

    @property
    def series(self) -> "_hermite.Series":
        if self._table is None:
            std = np.sqrt(np.maximum(np.diagonal(self.base.cov), 0.0))
            self._table = _hermite.series(self.node, self.base.mean, std)
        return self._table

    @property
    def mean(self) -> np.ndarray:  # type: ignore[override]
        return self.series.coefficients[0]

    def selected(self, index: np.ndarray) -> "Atom":
        return Function(select(self.base, index, _flat(index.size)), self.node.selected(index))

    def rows(self, pool: Pool) -> np.ndarray:
        return np.asarray(self.node.at(pool.rows(self.base)), np.float64)


class Product(Atom):
    """The product of two independent values of as many indices."""

    def __init__(self, first: Random, then: Random) -> None:
        self.first, self.then, self.size = first, then, first.size
        self.deps = first.deps | then.deps
        self.mean, self.chance = first.mean * then.mean, first.chance or then.chance
        self.shared = first.common if first.common == then.common else 0

    @property
    def variance(self) -> np.ndarray:
        squares = [diagonal(v) + v.mean**2 for v in (self.first, self.then)]
        return squares[0] * squares[1] - self.mean**2

    def selected(self, index: np.ndarray) -> "Atom":
        return Product(*(select(v, index, _flat(index.size)) for v in (self.first, self.then)))

    def rows(self, pool: Pool) -> np.ndarray:
        a, b = pool.rows(self.first), pool.rows(self.then)
        count = min(len(a), len(b))
        return a[:count] * b[:count]


class Rows(Atom):
    """Samples of units, made of samples of other values where they are asked for."""

    def __init__(self, size: int, deps: frozenset[Any], make: Callable[[Pool], np.ndarray], pool: Pool) -> None:
        self.size, self.deps, self.make, self.pool = size, deps, make, pool
        self._mean: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:  # type: ignore[override]
        if self._mean is None:
            self._mean = self.pool.atom(self).mean(0)
        return self._mean

    @property
    def variance(self) -> np.ndarray:
        return self.pool.atom(self).var(0)

    def rows(self, pool: Pool) -> np.ndarray:
        return self.make(pool)

    def selected(self, index: np.ndarray) -> "Atom":
        return Rows(index.size, self.deps, lambda pool: pool.atom(self)[:, index], self.pool)

    def mapped(self, f: Callable[[np.ndarray], np.ndarray], a: np.ndarray | None) -> "Atom":
        size = len(f(np.zeros((self.size, 1))))
        scaled = lambda rows: rows if a is None else rows * a
        return Rows(size, self.deps, lambda pool: f(scaled(pool.atom(self)).T).T, self.pool)


def _roots(first: Root, then: Root) -> np.ndarray | None:
    return _gram(first, then) if first.key == then.key else None


def _functions(first: Function, then: Function) -> np.ndarray | None:
    cov = covariance(first.base, then.base)
    return None if cov is None else _hermite.covariance(first.series, then.series, cov, same=first is then)


def function_root(first: Function, then: Atom) -> np.ndarray | None:
    total = None
    for atom, a in first.base.terms.items():
        part = atom.covariance(then)
        if part is not None:
            total = apply(a, part) if total is None else total + apply(a, part)
    return None if total is None else first.series.slope[:, None] * total


def _products(first: Product, then: Product) -> np.ndarray | None:
    for c, d in ((then.first, then.then), (then.then, then.first)):
        a, b = first.first, first.then
        if (a.deps | c.deps).isdisjoint(b.deps | d.deps):
            return second(a, c) * second(b, d) - np.outer(first.mean, then.mean)
    return sampled_covariance(first, then)


def product_other(first: Product, then: Atom) -> np.ndarray | None:
    for a, b in ((first.first, first.then), (first.then, first.first)):
        if b.deps.isdisjoint(then.deps):
            if not np.any(b.mean):
                return None
            whole = Random((((then.size, False),),), np.zeros(()), {then: None}, status=0, law=0)
            part = covariance(a, whole)
            return None if part is None else b.mean[:, None] * part
    return sampled_covariance(first, then)


def sampled_covariance(first: Atom, then: Atom) -> np.ndarray:
    pool = next((atom.pool for atom in (first, then) if isinstance(atom, Rows)), None) or Pool()
    a, b = pool.atom(first), pool.atom(then)
    count = min(len(a), len(b))
    a, b = (x[:count] - x[:count].mean(0) for x in (a, b))
    return a.T @ b / count


RULES: dict[tuple[type, type], Callable[..., np.ndarray | None]] = {
    (Root, Root): _roots,
    (Function, Function): _functions,
    (Function, Root): function_root,
    (Product, Product): _products,
    (Product, Root): product_other,
    (Product, Function): product_other,
}
