"""How large the numbers of a value are: the law of ``|v|``, as masses over parts of octaves.

Gaussians have it in closed form, functions of a Gaussian from a grid that gets finer geometrically towards zero and
towards kinks, products of independent values by a convolution of logarithms, and everything else from its samples.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from jnorm.predict import _hermite
from jnorm.predict._atoms import Function, Product
from jnorm.predict._pool import Pool
from jnorm.predict._values import Random, _flat, affine, select

PARTS = 16  # of an octave
DEEP = 40  # octaves below a scale whose mass, 2^-40, does not count
FAR = 10.0  # standard deviations
MOST = 1100  # octaves on both sides, beyond those of float64
EVEN = 4097  # points of a grid between them
SHOWN = 32  # explicit indices that stand for all


class Sizes(NamedTuple):
    """The law of ``|v|``, averaged over units, examples and positions.

    Attributes:
        zero: The probability of 0.
        start: The first part of an octave: part k holds ``2^(k/16) <= |v| < 2^((k+1)/16)``.
        mass: Probabilities of the parts.
    """

    zero: float
    start: int
    mass: np.ndarray

    def below(self, size: float) -> float:
        """``P(0 < |v| < size)``."""
        at = PARTS * np.log2(size) - self.start
        return float(np.interp(at, np.arange(len(self.mass) + 1), np.append(0.0, np.cumsum(self.mass))))

    def above(self, size: float) -> float:
        """``P(|v| >= size)``; in a part its logarithm is a straight line over the square, as that of a Gaussian is."""
        at = PARTS * np.log2(size) - self.start
        if at >= len(self.mass):
            return 0.0
        whole = int(np.floor(max(at, 0.0)))
        left, then = self.mass[whole:].sum(), self.mass[whole + 1 :].sum()
        along = np.expm1((at - whole) * np.log(4) / PARTS) / np.expm1(np.log(4) / PARTS) if at > 0 else 0.0
        return float(left * (then / left) ** along) if then > 0 else float(left * (1 - along))

    def quantile(self, share: float) -> float:
        """The size below which that share of the numbers lies that are not zero."""
        whole = np.append(0.0, np.cumsum(self.mass))
        return float(np.exp2((self.start + np.interp(share * whole[-1], whole, np.arange(len(whole)))) / PARTS))


class _Laws(NamedTuple):
    """The same of each explicit index: ``zero [E]``, ``mass [E, parts]``."""

    zero: np.ndarray
    start: int
    mass: np.ndarray


def sizes(v: Random, pool: Pool) -> Sizes:
    """The law of the sizes of a value, of at most `SHOWN` of its explicit indices; what is sampled is in a pool."""
    index = np.arange(v.size)
    if v.size > SHOWN:
        index = np.sort(np.random.default_rng(0).choice(v.size, SHOWN, replace=False))
    laws = _laws(v, index, pool)
    mass = laws.mass.mean(0)
    held = np.flatnonzero(mass)
    first, last = (held[0], held[-1] + 1) if held.size else (0, 1)
    return Sizes(float(laws.zero.mean()), laws.start + int(first), mass[first:last])


def _laws(v: Random, index: np.ndarray, pool: Pool) -> _Laws:
    if v.gaussian:
        some = select(v, index, _flat(index.size))
        return _normal(some.mean, np.sqrt(np.maximum(np.diagonal(some.cov), 0.0)))
    if len(v.terms) == 1:
        ((atom, a),) = v.terms.items()
        if isinstance(atom, Function) and (a is None or a.ndim == 1):
            scale = 1.0 if a is None else a[index]
            return _curve(atom, scale, np.broadcast_to(v.offset, (v.size,))[index], index)
        if isinstance(atom, Product) and (a is None or a.ndim == 1) and not np.any(v.offset):
            first = atom.first if a is None else affine(atom.first, a)
            return _convolved(_laws(first, index, pool), _laws(atom.then, index, pool))
    own = next((atom.pool for atom in v.terms if hasattr(atom, "pool")), None)
    values = (own or pool.forgotten()).rows(v)[:, index].T
    return _histogram(values, np.full(values.shape, 1 / values.shape[1]))


def _histogram(values: np.ndarray, mass: np.ndarray) -> _Laws:
    """Of values ``[E, n]`` with their probabilities."""
    size = np.abs(values)
    none = size == 0
    part = np.floor(PARTS * np.log2(np.where(none, 1.0, size)))
    part = np.clip(np.nan_to_num(part, nan=MOST * PARTS, posinf=MOST * PARTS), -MOST * PARTS, MOST * PARTS).astype(int)
    some = part[~none]
    start, end = (some.min(), some.max() + 1) if some.size else (0, 1)
    count = int(end - start)
    at = np.arange(len(values))[:, None] * count + np.where(none, start, part) - start
    total = np.bincount(at.ravel(), np.where(none, 0.0, mass).ravel(), len(values) * count)
    return _Laws(np.sum(np.where(none, mass, 0.0), 1), int(start), total.reshape(len(values), count))


def _normal(mean: np.ndarray, std: np.ndarray) -> _Laws:
    zero = ((mean == 0) & (std == 0)).astype(float)
    if zero.all():
        return _Laws(zero, 0, np.zeros((len(zero), 1)))
    std = np.where(std == 0, 1e-9 * np.abs(mean), std)  # known numbers, in a part of an octave
    scale = np.hypot(mean, std)[zero == 0]
    start = int(np.floor(PARTS * (np.log2(scale.min()) - DEEP)))
    end = int(np.ceil(PARTS * np.log2(np.max(np.abs(mean) + FAR * std))))
    start = max(start, end - 4 * DEEP * PARTS)
    edges = np.exp2(np.arange(start, end + 1) / PARTS)
    edges[0] = 0.0
    x = (edges - mean[:, None]) / np.where(std == 0, 1.0, std)[:, None]
    y = (edges + mean[:, None]) / np.where(std == 0, 1.0, std)[:, None]
    mass = _between(x[:, :-1], x[:, 1:]) + _between(y[:, :-1], y[:, 1:])
    return _Laws(zero, start, np.where(zero[:, None] > 0, 0.0, mass))


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mass of N(0, 1) between a and b, without cancellation in either tail."""
    turned = a > 0
    return special.ndtr(np.where(turned, -a, b)) - special.ndtr(np.where(turned, -b, a))


_STEPS = np.exp2(-np.arange(-4, 2 * DEEP) / 2)


def _curve(atom: Function, scale: Any, shift: np.ndarray, index: np.ndarray) -> _Laws:
    base = select(atom.base, index, _flat(index.size))
    node = atom.node.selected(index)
    mean, std = base.mean, np.sqrt(np.maximum(np.diagonal(base.cov), 0.0))
    safe = np.where(std == 0, 1.0, std)
    centers = np.concatenate([_hermite.standard_kinks(node, mean, std), (-mean / safe)[None]])
    own = 1 + 0.07 * np.arange(len(centers))[:, None, None]  # no point twice, where centres are the same
    fine = centers[:, None] + own * np.concatenate([-_STEPS, _STEPS])[:, None]
    even = np.broadcast_to(np.linspace(-FAR, FAR, EVEN)[:, None], (EVEN, index.size))
    x = np.sort(np.clip(np.concatenate([even, centers, fine.reshape(-1, index.size)]), -FAR, FAR), 0)
    width, middle = np.diff(x, axis=0), (x[1:] + x[:-1]) / 2
    density = np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    mass = np.where(width < 1e-4, density * width, _between(x[:-1], x[1:]))
    with np.errstate(all="ignore"):
        values = scale * np.asarray(node.at(mean + std * middle), np.float64) + shift
    values = np.broadcast_to(values, mass.shape)
    return _crossed(_histogram(values.T, mass.T), values.T, mass.T)


def _crossed(laws: _Laws, values: np.ndarray, mass: np.ndarray) -> _Laws:
    """With what is nearer to zero than the grid, where a function goes through zero between two of its points."""
    a, b = values[:, :-1], values[:, 1:]
    with np.errstate(all="ignore"):
        e, i = np.nonzero((a * b < 0) & np.isfinite(a * b) & (mass[:, :-1] > 1e-9))
    if not e.size:
        return laws
    # As of a straight line: uniform up to the sum of the two sizes, in parts that get smaller by 2^(-1/16).
    both, width = mass[e, i] + mass[e, i + 1], np.abs(a[e, i]) + np.abs(b[e, i])
    top = np.floor(PARTS * np.log2(width)).astype(int)
    start = min(laws.start, int(top.min()) - DEEP * PARTS)
    count = max(laws.start + laws.mass.shape[1], int(top.max()) + 1) - start
    top -= start
    total = np.zeros((len(values), count))
    total[:, laws.start - start :][:, : laws.mass.shape[1]] = laws.mass
    for k in (i, i + 1):
        part = np.floor(PARTS * np.log2(np.abs(values[e, k]))).astype(int)
        np.add.at(total, (e, part - start), -mass[e, k])
    under = both * np.exp2((top + start) / PARTS) / width
    np.add.at(total, (e, top), both - under)
    down = np.arange(1, DEEP * PARTS)
    share = np.exp2(-down / PARTS) * np.expm1(np.log(2) / PARTS)
    np.add.at(total, (e[:, None], top[:, None] - down), under[:, None] * share)
    return laws._replace(start=start, mass=np.maximum(total, 0.0))


def _convolved(a: _Laws, b: _Laws) -> _Laws:
    """Of a product of independent values, whose logarithms add up."""
    count = a.mass.shape[1] + b.mass.shape[1]
    size = 2 ** int(np.ceil(np.log2(count)))
    mass = np.fft.irfft(np.fft.rfft(a.mass, size) * np.fft.rfft(b.mass, size), size)[:, :count]
    mass = np.where(mass < 1e-15, 0.0, mass)
    mass = (mass + np.roll(mass, 1, 1)) / 2  # two places within parts make one of two parts
    return _Laws(1 - (1 - a.zero) * (1 - b.zero), a.start + b.start, mass)
