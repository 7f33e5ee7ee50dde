"""Matrix products: with weights, with known numbers, and of two random values."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jnorm.predict._along import Forward, along
from jnorm.predict._atoms import Rows, used
from jnorm.predict._common import apart_from, average
from jnorm.predict._copies import positions
from jnorm.predict._structure import factors, index_of
from jnorm.predict._sums import Inner, Outer
from jnorm.predict._uses import Use
from jnorm.predict._values import (
    EXACT,
    GAUSSIAN,
    LARGE,
    SAMPLED,
    Atoms,
    Random,
    Refused,
    Weight,
    added,
    alike,
    covariance,
    linear,
    second,
)

MIXED = 512  # numbers of which units become positions, so that known ones can mix them


def dot_general(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """With a weight Gaussian of covariance ``var sum_i E[x_i x'_i]``, also between two uses of one weight, and what a
    table makes of rows of its own, as logits of words that were read; with known numbers a linear map; of two random
    values Gaussian over units, by the central limit, and bilinear over positions.
    """
    (contracted, batched), pair = site.params["dimension_numbers"], list(inputs)
    if all(isinstance(x, Weight) for x in pair):
        first = pair[0]
        pair[0] = predictor.as_random(
            first, tuple(((n, i in contracted[0] and n > 1),) for i, n in enumerate(first.shape))
        )
    sides = [i for i, x in enumerate(pair) if isinstance(x, Weight)]
    if sides:
        weight = sides[0]
        made = _with_weight(pair[1 - weight], pair[weight], contracted, batched, weight, predictor)
        met = _own_rows(pair[1 - weight], pair[weight], made.axes, predictor)
        return made if met is None else added(made, met)
    if all(isinstance(x, Random) for x in pair):
        return _of_two(pair[0], pair[1], contracted, batched, predictor)
    known = 0 if isinstance(pair[1], Random) else 1
    if not np.any(pair[known]):  # as where a loop starts; of no axes that it could be told from
        return np.zeros(site.equation.outvars[0].aval.shape)
    return _with_known(pair[1 - known], np.asarray(pair[known], np.float64), contracted, batched, known, predictor)


def _plain(shape: Sequence[int]) -> tuple[Atoms, ...]:
    return tuple(((size, False),) for size in shape)


def _others(rank: int, *taken: Sequence[int]) -> list[int]:
    return [axis for axis in range(rank) if all(axis not in some for some in taken)]


def _with_weight(x: Any, weight: Weight, contracted: Any, batched: Any, side: int, predictor: Any) -> Random:
    data = 1 - side
    key = (weight.key, tuple(contracted[side]), tuple(batched[side]))
    inner, shared = contracted[data], batched[data]
    free = _others(np.ndim(x) if not isinstance(x, Random) else len(x.axes), inner, shared)
    outer = [weight.shape[axis] for axis in _others(len(weight.shape), contracted[side], batched[side])]
    new: list[Atoms] = [((size, size > 1),) for size in outer]
    if isinstance(x, Random):
        axes, where, index = x.axes, factors(x.axes), index_of(x)
        of = lambda which: [i for axis in which for i in where[axis]]
        moved = index.transpose([*of(shared), *of(free), *of(inner)])
        size = math.prod(moved.shape[: len(of(shared)) + len(of(free))])
        use_index, count = moved.reshape(size, -1), math.prod(n for axis in inner for n, unit in x.axes[axis] if unit)
        blocks = math.prod(moved.shape[: len(of(shared))])
        value: Any = x
    else:
        x = np.asarray(x, np.float64)
        axes = _plain(x.shape)
        value = x.transpose([*shared, *free, *inner]).reshape(-1, math.prod(x.shape[axis] for axis in inner))
        size = len(value)
        use_index, count = np.arange(size)[:, None], 1
        blocks = math.prod(x.shape[axis] for axis in shared)
    block = np.arange(size) // (size // blocks) if blocks > 1 else None
    use, together = Use(value, use_index, count, block), None
    apart = [n for axis in free for n, unit in axes[axis] if unit]
    if isinstance(x, Random) and len(apart) == 1:
        same = average(x, apart[0])
        if same.terms or np.any(same.mean):
            together = Use(same, use_index, count, block, apart[0])
            use = Use(apart_from(x, apart[0]), use_index, count, block)
    sides = [axes[axis] for axis in free]
    out = (*(axes[axis] for axis in shared), *((*sides, *new) if side else (*new, *sides)))
    made = used(key, weight, use, size, out, x, together)
    made.centred = isinstance(x, Random) and bool(apart) and x.centred
    if not isinstance(x, Random) or len(inner) > 1 or shared or len(outer) > 1:
        return made
    forwards = predictor.forwards.setdefault(weight.key, [])
    if not predictor.reverse:
        forwards.append((*contracted[side], Forward(x, use_index, made) if count == 1 else None))
    elif len(forwards) == 1 and forwards[0][0] != contracted[side][0] and forwards[0][1]:
        return along(made, x, forwards[0][1], len(axes) - 1 if side else 0, bool(side), predictor.pool)
    return made


def _own_rows(x: Any, weight: Weight, axes: tuple[Atoms, ...], predictor: Any) -> Random | None:
    """What a table makes of the rows of its own that a value was made of, as logits of words that were read.

    Sums over units are known: ``count * E[x_i w_vi]`` of row ``v``.
    """
    if not isinstance(x, Random):
        return None
    for (key, own), root in predictor.leaves.items():
        turned = weight.key[: len(key)] == key and weight.key[len(key) : len(key) + 1] in ((), ("transpose",))
        if (key, own) not in x.deps or not turned or len(own) != 2 or own[0][0][1] or not own[1][0][1]:
            continue
        (size, _), (count, _) = own[0][0], own[1][0]
        table = Random(own, np.zeros(()), {root: None}, status=EXACT, law=GAUSSIAN)
        found = covariance(x, table)
        plain = x.axes[-1] == own[1] and not any(unit for atoms in x.axes[:-1] for _, unit in atoms)
        if found is not None and plain and axes[:-1] == x.axes[:-1] and axes[-1] == ((size, True),):
            return predictor.frozen(count * found.reshape(*x.shape[:-1], size), axes)
    return None


def _with_known(x: Random, k: np.ndarray, contracted: Any, batched: Any, known: int, predictor: Any) -> Any:
    """Known numbers against positions: a linear map. Units that they differ for are positions then, if not too many."""
    data = 1 - known
    inner, shared = contracted[data], batched[data]
    free = _others(len(x.axes), inner, shared)
    units = [axis for axis in (*inner, *shared) if any(unit for _, unit in x.axes[axis])]
    own = lambda axis: math.prod(1 if unit else size for size, unit in x.axes[axis])
    count = math.prod(size for axis in inner for size, unit in x.axes[axis] if unit)
    order = [*batched[known], *_others(k.ndim, contracted[known], batched[known]), *contracted[known]]
    matrix = k.transpose(order)
    axes_of = [*enumerate(shared), *enumerate(inner, k.ndim - len(inner))]
    places = [(position, axis) for position, axis in axes_of if axis in units]
    same = lambda position: bool(np.all(matrix == np.take(matrix, [0], position)))
    if any(len(x.axes[axis]) > 1 or not same(position) for position, axis in places):
        fits = x.size * math.prod(x.shape[axis] for axis in units) <= MIXED
        apart = positions(x, units) if fits else None
        if apart is None:
            raise Refused("known numbers that differ from unit to unit in a product")
        return _with_known(apart, k, contracted, batched, known, predictor)
    for position, _ in places:  # the same for all units, as in a mean; they stand for one of them
        matrix = np.take(matrix, [0], position)
    rows = math.prod(matrix.shape[len(shared) : k.ndim - len(inner)])
    matrix = matrix.reshape(math.prod(own(axis) for axis in shared), rows, math.prod(own(axis) for axis in inner))
    where, index = factors(x.axes), index_of(x)
    moved = index.transpose([i for axis in (*shared, *free, *inner) for i in where[axis]])
    moved = moved.reshape(len(matrix), -1, matrix.shape[2])
    swap = known == 1

    def product(a: np.ndarray) -> np.ndarray:
        values = a[moved]  # [shared, free, inner, k]
        out = np.einsum("brc,bfck->bfrk" if swap else "brc,bfck->brfk", matrix, values)
        return out.reshape(-1, a.shape[1])

    outer = [((size, False),) for size in k.transpose(order).shape[len(shared) : k.ndim - len(inner)]]
    sides = [x.axes[axis] for axis in free]
    axes = (*(x.axes[axis] for axis in shared), *((*sides, *outer) if swap else (*outer, *sides)))
    if count > 1:
        mean = count * product(x.mean[:, None])[:, 0]
        return predictor.settled(mean, tuple(axes), x, count)
    return linear(x, product, tuple(axes))


def _of_two(x: Random, y: Random, contracted: Any, batched: Any, predictor: Any) -> Random:
    """Over units Gaussian by the central limit; over positions bilinear, and exact where the two are independent.

    They are so at different units, as those of an input and of an output whose product is the gradient by a weight.
    """
    for i, j in zip((*contracted[0], *batched[0]), (*contracted[1], *batched[1]), strict=True):
        if not alike(x.axes[i], y.axes[j]):
            raise Refused("an axis that is of units in one factor and of positions in the other")
    frees = [_others(len(v.axes), contracted[i], batched[i]) for i, v in enumerate((x, y))]
    axes = (*(x.axes[a] for a in batched[0]), *(x.axes[a] for a in frees[0]), *(y.axes[a] for a in frees[1]))
    wheres = [factors(v.axes) for v in (x, y)]
    groups: list[list[int]] = []
    for i, v in enumerate((x, y)):
        orders = [batched[i], frees[i], contracted[i]]
        groups.append([math.prod(1 if u else s for a in order for s, u in v.axes[a]) for order in orders])
    moved = [
        index_of(v)
        .transpose([k for order in (batched[i], frees[i], contracted[i]) for a in order for k in wheres[i][a]])
        .reshape(groups[i])
        for i, v in enumerate((x, y))
    ]
    b, (p, q), c = groups[0][0], (groups[0][1], groups[1][1]), groups[0][2]
    count = math.prod(size for a in contracted[0] for size, unit in x.axes[a] if unit)
    if count > 1:
        x, y = (apart_from(v, count) if other.centred else v for v, other in ((x, y), (y, x)))
    size = b * p * q
    status, law = max(x.status, y.status), max(x.law, y.law, GAUSSIAN)
    has = lambda v, some: any(unit for a in some for _, unit in v.axes[a])
    apart = has(x, frees[0]) and has(y, frees[1]) and not has(x, batched[0])
    if count > 1 or apart:
        i, j = (k.reshape(size, c) for k in np.broadcast_arrays(moved[0][:, :, None], moved[1][:, None]))
        atom: Any = Inner(x, y, i, j, count) if count > 1 else Outer(x, y, i, j)
        return Random(axes, np.zeros(()), {atom: None}, status=status, law=law if count > 1 else SAMPLED)
    out = _mixed(x, y, moved, size, axes, predictor)
    if not x.deps.isdisjoint(y.deps) or size > LARGE:
        return out
    mean = np.einsum("bpc,bqc->bpq", x.mean[moved[0]], y.mean[moved[1]]).ravel()
    large = [any(isinstance(atom, Rows | Inner) for atom in v.terms) for v in (x, y)]
    if all(large):
        return out

    def own() -> np.ndarray:
        grams: list[Any] = [
            None if wide else second(v, v)[np.ix_(m.ravel(), m.ravel())]
            for v, m, wide in zip((x, y), moved, large, strict=True)
        ]
        shapes = [m.shape for m in moved]
        if any(large):
            which = large.index(True)
            v, m, g, shape = (x, y)[which], moved[which], grams[1 - which], shapes[1 - which]
            rows = predictor.pool.rows(v)[:, m]  # [n, b, p, c]
            wide, thin = m.shape[1], shape[1]
            g = g.reshape(b, thin, c, b * thin * c).transpose(0, 2, 1, 3).reshape(b, c, -1)
            total = np.zeros((b, b * wide * thin * thin, wide))
            for row in rows:
                half = np.matmul(row, g).reshape(b * wide * thin, b, thin, c)
                total += np.matmul(half.transpose(1, 0, 2, 3).reshape(b, -1, c), row.transpose(0, 2, 1))
            total = total.reshape(b, b, wide, thin, thin, wide) / len(rows)  # [b', b, p, q, q', p']
            total = total.transpose(*((1, 2, 3, 0, 5, 4) if which == 0 else (1, 3, 2, 0, 4, 5)))
        else:
            gx, gy = (g.reshape(*s, *s) for g, s in zip(grams, shapes, strict=True))
            total = np.einsum("apcbrd,aqcbsd->apqbrs", gx, gy, optimize=True)
        return total.reshape(size, size) - np.outer(mean, mean)

    deps = x.deps | y.deps
    bilinear = Bilinear(size, deps, next(iter(out.terms)).make, predictor.pool, mean, own)
    status = max(status, SAMPLED) if any(large) else status
    return Random(axes, np.zeros(()), {bilinear: None}, status=status, law=SAMPLED, own=bilinear.exact)


class Bilinear(Rows):
    """A bilinear function of independent values, whose own moments are exact."""

    def __init__(self, size: int, deps: Any, make: Any, pool: Any, mean: np.ndarray, own: Any) -> None:
        super().__init__(size, deps, make, pool)
        self._mean, self._own = mean, own
        self._exact: np.ndarray | None = None

    def exact(self) -> np.ndarray:
        if self._exact is None:
            self._exact = self._own()
        return self._exact

    def covariance(self, other: Any) -> np.ndarray | None:
        return self.exact() if other is self else super().covariance(other)


def _mixed(x: Random, y: Random, moved: Any, size: int, axes: tuple[Atoms, ...], predictor: Any) -> Random:
    """By joint samples; where one factor is Gaussian given the other, of as many units as there are samples."""

    def make(pool: Any) -> np.ndarray:
        a, b = pool.rows(x), pool.rows(y)
        count = min(len(a), len(b), pool.share(max(size, x.size, y.size)))
        out = np.einsum("nbpc,nbqc->nbpq", a[:count][:, moved[0]], b[:count][:, moved[1]], optimize=True)
        return out.reshape(count, -1)

    atom = Rows(size, x.deps | y.deps, make, predictor.pool)
    return Random(axes, np.zeros(()), {atom: None}, status=SAMPLED, law=SAMPLED)


RULES = {"dot_general": dot_general}
