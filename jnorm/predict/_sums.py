"""Sums over units or positions: of products of two values, and of values with mean zero."""

import itertools

import numpy as np

from jnorm.predict._atoms import RULES, Atom, Function, Product, function_root, product_other, sampled_covariance
from jnorm.predict._pool import Pool
from jnorm.predict._values import FEW, LARGE, Random, covariance, diagonal, second

_ids = itertools.count()


class Inner(Atom):
    """Sums over ``count`` units of ``first[i] * then[j]``, ``[E, c]`` each: Gaussian with the moments of such sums."""

    gaussian = True

    def __init__(
        self, first: Random, then: Random, i: np.ndarray, j: np.ndarray, count: int, of: "Inner | None" = None
    ) -> None:
        self.first, self.then, self.i, self.j, self.count, self.size = first, then, i, j, count, len(i)
        self.whole, self.at = of or self, np.arange(len(i))
        self.deps = of.deps if of else frozenset({("inner", next(_ids))})
        self.apart = first.deps.isdisjoint(then.deps)
        self.mean = np.zeros(self.size)
        if not self.apart or (np.any(first.mean) and np.any(then.mean)):
            self.mean = count * second(first, then)[i, j].sum(-1)

    def among(self, other: "Inner") -> np.ndarray:
        """``E[a b a' b'] - E[a b] E[a' b']`` of Gaussians, or of independent values, summed over units."""
        same = [second(x, x) for x in (self.first, self.then)]
        cross = None if self.apart else second(self.first, self.then)
        total = np.zeros((self.size, other.size))
        means = [self.first.mean[a.i] * self.then.mean[a.j] for a in (self, other)]
        for k in range(self.i.shape[1]):
            for l in range(self.i.shape[1]):
                i, j, m, n = self.i[:, k], self.j[:, k], other.i[:, l], other.j[:, l]
                total += same[0][np.ix_(i, m)] * same[1][np.ix_(j, n)]
                if cross is not None:
                    total += cross[np.ix_(i, n)] * cross[np.ix_(m, j)].T
                total -= (1 if cross is None else 2) * np.outer(means[0][:, k], means[1][:, l])
        return self.count * total

    def selected(self, index: np.ndarray) -> "Inner":
        part = Inner(self.first, self.then, self.i[index], self.j[index], self.count, self.whole)
        part.at = self.at[index]
        return part

    def rows(self, pool: Pool) -> np.ndarray:
        if self.whole is not self:
            return pool.atom(self.whole)[:, self.at]
        each = min(self.count, FEW)
        count = pool.share(max(self.size, (self.first.size + self.then.size) * each))
        fresh = Pool(count * each, pool.rng)
        a, b = fresh.rows(self.first), fresh.rows(self.then)
        count = min(len(a), len(b)) // each
        a, b = (x[: count * each].reshape(count, each, -1) for x in (a, b))
        out = np.stack([(x.T @ y)[self.i, self.j].sum(-1) for x, y in zip(a, b, strict=True)])
        return self.mean + (out - each / self.count * self.mean) * np.sqrt(self.count / each)


class Outer(Atom):
    """Sums over positions of ``first[i] * then[j]``, ``[E, c]`` each, of two values at different units.

    Different units are independent, whatever the values have in common. A negative index adds nothing.
    """

    def __init__(self, first: Random, then: Random, i: np.ndarray, j: np.ndarray) -> None:
        self.first, self.then, self.i, self.j, self.size = first, then, i, j, len(i)
        self.deps = first.deps | then.deps
        self.mean = np.where((i >= 0) & (j >= 0), first.mean[i] * then.mean[j], 0.0).sum(-1)

    def among(self, other: "Outer") -> np.ndarray:
        """``sum E[a a'] E[b b'] - E[a b] E[a' b']``."""
        first, then = second(self.first, other.first), second(self.then, other.then)
        total = np.zeros((self.size, other.size))
        for e, (i, j) in enumerate(self._pairs_of()):
            for f, (k, l) in enumerate(other._pairs_of()):
                total[e, f] = np.sum(first[np.ix_(i, k)] * then[np.ix_(j, l)])
        return total - np.outer(self.mean, other.mean)

    def _pairs_of(self) -> list[tuple[np.ndarray, np.ndarray]]:
        fine = (self.i >= 0) & (self.j >= 0)
        return [(i[f], j[f]) for i, j, f in zip(self.i, self.j, fine, strict=True)]

    def selected(self, index: np.ndarray) -> "Outer":
        return Outer(self.first, self.then, self.i[index], self.j[index])

    def rows(self, pool: Pool) -> np.ndarray:
        a, b = pool.rows(self.first), pool.rows(self.then)
        count = min(len(a), len(b), pool.share(self.i.size))
        a, b = a[:count], np.roll(b[:count], 1, 0)  # of another unit
        return np.where((self.i >= 0) & (self.j >= 0), a[:, self.i] * b[:, self.j], 0.0).sum(-1)


class Total(Atom):
    """Sums over ``count`` units of a value with mean zero, which are Gaussian and as large as chance makes them."""

    gaussian = chance = True

    def __init__(self, value: Random, count: int) -> None:
        self.value, self.count, self.size = value, count, value.size
        self.mean, self.deps = np.zeros(value.size), frozenset(("total", count, dep) for dep in value.deps)

    @property
    def variance(self) -> np.ndarray:
        return self.count * diagonal(self.value)

    def rows(self, pool: Pool) -> np.ndarray:
        rows = pool.rows(self.value)
        each = min(self.count, FEW)
        count = len(rows) // each
        picks = pool.rng.integers(len(rows), size=(count, each))
        return (rows - rows.mean(0))[picks].sum(1) * np.sqrt(self.count / each)


def _totals(first: Total, then: Total) -> np.ndarray | None:
    part = covariance(first.value, then.value)
    return None if part is None else first.count * part


def _inners(first: Inner, then: Inner) -> np.ndarray:
    return first.among(then) if max(first.size, then.size) <= LARGE else sampled_covariance(first, then)


RULES.update(
    {
        (Inner, Inner): _inners,
        (Function, Inner): function_root,
        (Product, Inner): product_other,
        (Outer, Outer): lambda first, then: first.among(then),
        (Total, Total): _totals,
    }
)
