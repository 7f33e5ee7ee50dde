"""What random values are made of: vectors over explicit indices that know their means and covariances.

- `Root`: jointly Gaussian, what a random weight makes of data. Two uses of one weight are correlated as their data are.
- `Function`: of one Gaussian at each index; its covariances are Hermite series.
- `Product`: of two independent values.
- `Inner`: sums over units of products of two values, Gaussian by the central limit theorem.
- `Rows`: joint samples of units. Nothing is ever sampled of parameters.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from jnorm.predict import _hermite
from jnorm.predict._uses import Use
from jnorm.predict._values import FEW, LARGE, Random, _flat, apply, covariance, second, select

COUNT = 4096  # units that are sampled, fewer where one takes many numbers
NUMBERS = 2**22
_ids = itertools.count()


class Pool:
    """Joint samples of units, ``[count, size]`` for each atom."""

    def __init__(self, count: int = COUNT, rng: np.random.Generator | None = None) -> None:
        self.count, self.rng = count, rng or np.random.default_rng(0)
        self.known: dict[Any, np.ndarray] = {}

    def rows(self, v: Random) -> np.ndarray:
        """Samples of a value, as many as there are of all of its atoms."""
        parts = [(a, self.atom(atom)) for atom, a in v.terms.items()]
        count = min([len(rows) for _, rows in parts], default=1)
        total = np.broadcast_to(v.offset, (count, v.size)).astype(np.float64)
        for a, rows in parts:
            rows = rows[:count]
            total = total + (rows if a is None else rows * a if a.ndim == 1 else rows @ a.T)
        return total

    def atom(self, atom: Any) -> np.ndarray:
        if atom not in self.known:
            self.known[atom] = atom.rows(self)
        return self.known[atom]

    def share(self, size: int) -> int:
        return max(min(self.count, NUMBERS // max(size, 1)), min(self.count, 64))


class Atom:
    """A random vector of ``size`` numbers; atoms without common ``deps`` are independent."""

    gaussian = False
    size: int
    mean: np.ndarray
    deps: frozenset[Any]

    def covariance(self, other: "Atom") -> np.ndarray | None:
        """``[size, other.size]``, or ``None`` where it is zero."""
        if self.deps.isdisjoint(other.deps):
            return None
        for first, then, turned in ((self, other, False), (other, self, True)):
            rule = _RULES.get((type(first), type(then)))
            if rule:
                part = rule(first, then)
                return part.T if turned and part is not None else part
        return _sampled(self, other)

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

    def __init__(self, key: Any, var: float, use: Use | None, size: int, normal: bool = True) -> None:
        self.key, self.var, self.use, self.size = key, var, use, size
        self.mean, self.deps, self.normal = np.zeros(size), frozenset({key}), normal

    def rows(self, pool: Pool) -> np.ndarray:
        together = [atom for atom in pool.known if isinstance(atom, Root) and atom.key == self.key]
        cov = _gram(self, self)
        if not together:
            return pool.rng.standard_normal((pool.share(self.size), self.size)) @ _factor(cov).T
        # Given the other uses of the weight, which have been drawn.
        known = np.concatenate([pool.known[atom] for atom in together], 1)
        across = np.concatenate([_gram(self, atom) for atom in together], 1)
        among = np.block([[_gram(a, b) for b in together] for a in together])
        slope = across @ np.linalg.pinv(among, rcond=1e-10, hermitian=True)
        left = _factor(cov - slope @ across.T)
        return known @ slope.T + pool.rng.standard_normal((len(known), self.size)) @ left.T


def _factor(cov: np.ndarray) -> np.ndarray:
    """A matrix whose square is a covariance, which may be singular."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _gram(first: Root, then: Root) -> np.ndarray:
    if first.use is None or then.use is None:
        return first.var * np.eye(first.size)
    return first.var * first.use.gram(then.use)


class Function(Atom):
    """A function of one Gaussian at each index: ``f`` of values ``[..., size]`` of the Gaussian ``base``."""

    def __init__(self, base: Random, node: Any) -> None:
        self.base, self.node, self.size, self.deps = base, node, base.size, base.deps
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
        self.mean = first.mean * then.mean

    def rows(self, pool: Pool) -> np.ndarray:
        a, b = pool.rows(self.first), pool.rows(self.then)
        count = min(len(a), len(b))
        return a[:count] * b[:count]


class Inner(Atom):
    """Sums over ``count`` units of ``first[i] * then[j]``, ``[E, c]`` each: Gaussian with the moments of such sums."""

    gaussian = True

    def __init__(self, first: Random, then: Random, i: np.ndarray, j: np.ndarray, count: int) -> None:
        self.first, self.then, self.i, self.j, self.count, self.size = first, then, i, j, count, len(i)
        self.deps = frozenset({("inner", next(_ids))})
        self.mean = np.zeros(self.size)
        if not first.deps.isdisjoint(then.deps) or (np.any(first.mean) and np.any(then.mean)):
            self.mean = count * second(first, then)[i, j].sum(-1)
        self._cov: np.ndarray | None = None

    @property
    def cov(self) -> np.ndarray:
        """``E[a b a' b'] - E[a b] E[a' b']`` of Gaussians, or of independent values, summed over units."""
        if self._cov is None:
            apart = self.first.deps.isdisjoint(self.then.deps)
            same = [second(x, x) for x in (self.first, self.then)]
            cross = None if apart else second(self.first, self.then)
            total = np.zeros((self.size, self.size))
            mean = self.first.mean[self.i] * self.then.mean[self.j]
            for k in range(self.i.shape[1]):
                for l in range(self.i.shape[1]):
                    i, j, m, n = self.i[:, k], self.j[:, k], self.i[:, l], self.j[:, l]
                    total += same[0][np.ix_(i, m)] * same[1][np.ix_(j, n)]
                    if cross is not None:
                        total += cross[np.ix_(i, n)] * cross[np.ix_(m, j)].T
                    total -= (1 if cross is None else 2) * np.outer(mean[:, k], mean[:, l])
            self._cov = self.count * total
        return self._cov

    def rows(self, pool: Pool) -> np.ndarray:
        each = min(self.count, FEW)
        count = pool.share(max(self.size, (self.first.size + self.then.size) * each))
        fresh = Pool(count * each, pool.rng)
        a, b = fresh.rows(self.first), fresh.rows(self.then)
        count = min(len(a), len(b)) // each
        a, b = (x[: count * each].reshape(count, each, -1) for x in (a, b))
        out = np.stack([(x.T @ y)[self.i, self.j].sum(-1) for x, y in zip(a, b, strict=True)])
        return self.mean + (out - each / self.count * self.mean) * np.sqrt(self.count / each)


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


def _function_root(first: Function, then: Atom) -> np.ndarray | None:
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
    return _sampled(first, then)


def _product_other(first: Product, then: Atom) -> np.ndarray | None:
    for a, b in ((first.first, first.then), (first.then, first.first)):
        if b.deps.isdisjoint(then.deps):
            if not np.any(b.mean):
                return None
            whole = Random((((then.size, False),),), np.zeros(()), {then: None}, status=0, law=0)
            part = covariance(a, whole)
            return None if part is None else b.mean[:, None] * part
    return _sampled(first, then)


def _inners(first: Inner, then: Inner) -> np.ndarray | None:
    return first.cov if first is then and first.size <= LARGE else _sampled(first, then)


def _sampled(first: Atom, then: Atom) -> np.ndarray:
    pool = next((atom.pool for atom in (first, then) if isinstance(atom, Rows)), None) or Pool()
    a, b = pool.atom(first), pool.atom(then)
    count = min(len(a), len(b))
    a, b = (x[:count] - x[:count].mean(0) for x in (a, b))
    return a.T @ b / count


_RULES: dict[tuple[type, type], Callable[..., np.ndarray | None]] = {
    (Root, Root): _roots,
    (Function, Function): _functions,
    (Function, Root): _function_root,
    (Product, Product): _products,
    (Product, Root): _product_other,
    (Product, Function): _product_other,
    (Inner, Inner): _inners,
    (Function, Inner): _function_root,
}
