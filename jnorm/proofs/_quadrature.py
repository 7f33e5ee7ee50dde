r"""Gaussian expectations of a tape with proven errors (extra: verify).

With z = m + s*x, g = f - c and the normalized Hermite polynomials h_k = He_k/sqrt(k!), all E[g(z) h_k(x)] and
E[g(z)^2 h_k(x)] come from one set of nodes; Stein's identity makes the derivatives of E[f] by m and v of them.

- **Panels.** [-REACH, REACH] is cut at the branches of f; a panel is halved until its error is small.
- **Error of a panel.** With M >= abs(F) on the ellipse around it whose half-axes add up to RHO half-lengths, the
  Chebyshev coefficients of F are below 2*M*RHO^-k. Gauss's rule of N nodes is exact up to degree 2N - 1, odd ones
  cancel, and for even k abs(integral of T_k - its rule) <= 2/(k^2 - 1) + 2 <= 32/15. So it errs, on [-1, 1], by no
  more than (64/15)*M*RHO^(-2N)/(1 - RHO^-2).
- **Where a panel matters little**, f is bounded there and the panel's mass is all that counts: far out, and in a sliver
  around a kink, in which a comparison is undecided.
- **Tails** beyond REACH are bounded by the polynomial above abs(f).
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from jnorm.proofs._balls import Ball, above, density, flint, tail
from jnorm.proofs._tapes import Straight, Tape

ORDER = 10  # of the highest Hermite polynomial
NODES, RHO = 20, 3
REACH = 14  # deviations: beyond them lies a mass of 1e-44
WIDEST = 2  # deviations of a panel, a power of two
SMALL = 2.0**-62  # error of a panel, relative to the size of g
NARROW = 2.0**-80  # deviations of the narrowest panel
PANELS = 10_000  # that are looked at: those beyond are bounded as they are, which costs digits and no proof


class Expectations(NamedTuple):
    """Of g = f - c under z = m + s*x.

    Attributes:
        first: E[g h_k], k = 0 to ORDER.
        second: E[g^2 h_k].
        wide: E[g^2] and E[g^4] with twice the variance.
    """

    first: list[Ball]
    second: list[Ball]
    wide: tuple[Ball, Ball]


class Columns(NamedTuple):
    """What a panel needs of x alone.

    Attributes:
        nodes: The points.
        weights: A matrix of nodes by functions: weight times density times h_k, and the density of twice the variance.
        tops: Bounds of these functions on the ellipse around the panel.
        axes: Real and imaginary half-axis of the ellipse.
        length: Half the panel.
        centre: Its middle.
    """

    nodes: list[Ball]
    weights: Ball
    tops: list[Ball]
    axes: tuple[Ball, Ball]
    length: Ball
    centre: Ball


class Cut(NamedTuple):
    """Where f may have a kink: z between these exact numbers."""

    low: Ball
    high: Ball


def expectations(f: Tape, m: Ball, v: Ball, c: Ball, cuts: Sequence[Cut], size: Sequence[float]) -> Expectations:
    """The expectations at one (m, v), v > 0.

    Args:
        f: The function.
        m: Mean of z.
        v: Its variance.
        c: What is taken off f.
        cuts: Slivers around the kinks of f, from left to right. Where one is missing panels are halved instead.
        size: Coefficients of a polynomial of abs(z) above abs(f).
    """
    arb = flint().arb
    s = v.sqrt()
    integral = _Integral(f, m, s, c)
    for index in range(-REACH // WIDEST, REACH // WIDEST):
        low, high = arb(index * WIDEST), arb((index + 1) * WIDEST)
        edge, whole = low, True
        for cut in cuts:
            left, right = ((cut.low - m) / s).lower(), ((cut.high - m) / s).upper()
            if right <= edge or left >= high:
                continue
            whole = False
            if left > edge:
                integral.panel(edge, left)
            edge = right if right < high else high
            integral.sliver(left.max(low), edge)
        if whole:
            integral.panel(low, high, (0, index))
        elif edge < high:
            integral.panel(edge, high)
    return integral.with_tails(size)


class _Integral:
    """Sums over panels."""

    def __init__(self, f: Tape, m: Ball, s: Ball, c: Ball) -> None:
        self.f, self.m, self.s, self.c = f, m, s, c
        matrix = flint().arb_mat
        self.sums = matrix(3, ORDER + 2)
        self.left = PANELS
        self.errors = [[flint().arb(0)] * (ORDER + 2) for _ in range(3)]
        # What the integral is like, kinks that lie deviations away included; the bounds do not rest on it.
        sizes = [above(abs(f.hull(m + x * s) - c)) * math.exp((1 - x * x) / 2) for x in range(-REACH, REACH + 1) if x]
        self.small = SMALL * max(size for size in (*sizes, 1e-300) if math.isfinite(size))

    def panel(self, low: Ball, high: Ball, key: tuple[int, int] | None = None) -> None:
        """Add the integral over [low, high]; ``key`` is the level and index of a dyadic panel."""
        bounds, straight = self.f.on(self.m + self.s * low, self.m + self.s * high)
        size = abs(bounds - self.c)
        if size.is_finite() and above(size * (high - low) * _top(low.union(high))) <= self.small:
            return self._bounded(low, high, size)
        columns = _dyadic(*key, flint().ctx.prec) if key else _columns(low, high)
        if straight is not None and self._by_nodes(straight, columns):
            return None
        self.left -= 1
        if high - low < NARROW or self.left < 0:
            return self._bounded(low, high, size)
        middle = (low + high) / 2
        level, index = key or (0, 0)
        self.panel(low, middle, (level + 1, 2 * index) if key else None)
        return self.panel(middle, high, (level + 1, 2 * index + 1) if key else None)

    def sliver(self, low: Ball, high: Ball) -> None:
        """Add what is known of the integral over a narrow interval on which f may have a kink."""
        self._bounded(low, high, abs(self.f.hull(self.m + self.s * low.union(high)) - self.c))

    def _bounded(self, low: Ball, high: Ball, size: Ball) -> None:
        size = size.upper()
        for k, top in enumerate(_tops(low.union(high), flint().arb(0))):
            most = top * (high - low)
            for row in range(3):
                most *= size if row < 2 else size * size
                self.errors[row][k] += most

    def _by_nodes(self, straight: Straight, columns: Columns) -> bool:
        arb, acb = flint().arb, flint().acb
        real, imaginary = columns.axes
        around = acb(columns.centre + arb(0, real.upper()), arb(0, imaginary.upper()))
        top = abs(straight(self.m + self.s * around) - self.c)
        if not top.is_finite():
            return False
        top = top.upper()
        factor = columns.length * _rate(flint().ctx.prec)
        if not above(top * columns.tops[0] * factor) <= self.small:
            return False
        values = [straight(self.m + self.s * x) - self.c for x in columns.nodes]
        squares = [value * value for value in values]
        fourths = [square * square for square in squares]
        self.sums += flint().arb_mat([values, squares, fourths]) * columns.weights
        for row, power in enumerate((top, top * top, top**4)):
            scaled = power * factor
            self.errors[row] = [
                error + scaled * each for error, each in zip(self.errors[row], columns.tops, strict=True)
            ]
        return True

    def with_tails(self, coefficients: Sequence[float]) -> Expectations:
        """The sums, with all that they may err."""
        arb = flint().arb
        size = [arb(0)]  # of abs(g), a polynomial of abs(x)
        for coefficient in reversed(coefficients):
            size = _add(_multiply(size, [abs(self.m), self.s]), [arb(coefficient)])
        size = _add(size, [abs(self.c)])
        square = _multiply(size, size)
        rows: list[list[Ball]] = []
        for row, power in enumerate((size, square, _multiply(square, square))):
            narrow, wide = (_beyond(power, scale) for scale in (1, 2))
            tails = [narrow] * (ORDER + 1) + [wide]
            errors = [error + outside for error, outside in zip(self.errors[row], tails, strict=True)]
            rows.append([self.sums[row, k] + arb(0, error.upper()) for k, error in enumerate(errors)])
        return Expectations(rows[0][:-1], rows[1][:-1], (rows[1][-1], rows[2][-1]))


@functools.lru_cache(maxsize=8)
def _rate(bits: int) -> Ball:
    del bits  # the working precision, part of the cache's key
    ratio = 1 / flint().arb(RHO)
    return flint().arb(64) / 15 * ratio ** (2 * NODES) / (1 - ratio * ratio)


@functools.lru_cache(maxsize=8)
def _rule(bits: int) -> list[tuple[Ball, Ball]]:
    del bits
    return [flint().arb.legendre_p_root(NODES, k, weight=True) for k in range(NODES)]


@functools.lru_cache(maxsize=4096)
def _dyadic(level: int, index: int, bits: int) -> Columns:
    del bits
    width = flint().arb(WIDEST) / 2**level
    return _columns(width * index, width * (index + 1))


def _columns(low: Ball, high: Ball) -> Columns:
    arb = flint().arb
    centre, length = (low + high) / 2, (high - low) / 2
    nodes, rows = [], []
    for root, weight in _rule(flint().ctx.prec):
        x = centre + length * root
        nodes.append(x)
        scale = weight * length
        narrow = scale * density(x)
        rows.append([*(narrow * h for h in _hermite(x)), scale * _wide(x * x)])
    real, imaginary = (length * (RHO + sign / arb(RHO)) / 2 for sign in (1, -1))
    tops = _tops(centre + arb(0, real.upper()), imaginary)
    return Columns(nodes, flint().arb_mat(rows), tops, (real, imaginary), length, centre)


def _hermite(x: Ball, sign: int = -1) -> list[Ball]:
    """h_k(x), k = 0 to ORDER; with sign 1 all coefficients positive, above abs(h_k) where x is above the modulus."""
    roots = _roots(flint().ctx.prec)
    h = [flint().arb(1), x]
    for k in range(1, ORDER):
        h.append((x * h[k] + sign * roots[k] * h[k - 1]) / roots[k + 1])
    return h


@functools.lru_cache(maxsize=8)
def _roots(bits: int) -> list[Ball]:
    del bits
    return [flint().arb(k).sqrt() for k in range(ORDER + 1)]


def _wide(square: Ball) -> Ball:
    """Density of N(0, 2) from x^2."""
    return (-square / 4).exp() / (4 * flint().arb.pi()).sqrt()


def _top(x: Ball) -> Ball:
    """The largest density on a real ball."""
    return density(x.abs_lower())


def _tops(x: Ball, imaginary: Ball) -> list[Ball]:
    """Bounds of the column functions on the rectangle of real parts x and imaginary ones below ``imaginary``."""
    low, high, square = x.abs_lower(), abs(x).upper(), imaginary * imaginary
    narrow = density(low) * (square / 2).exp()
    modulus = (high * high + square).sqrt().upper()
    return [*(narrow * h for h in _hermite(modulus, 1)), _wide(low * low - square)]


def _add(x: Sequence[Ball], y: Sequence[Ball]) -> list[Ball]:
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    return [*(a + b for a, b in zip(longer, shorter, strict=False)), *longer[len(shorter) :]]


def _multiply(x: Sequence[Ball], y: Sequence[Ball]) -> list[Ball]:
    out = [flint().arb(0)] * (len(x) + len(y) - 1)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            out[i + j] += a * b
    return out


def _beyond(size: Sequence[Ball], scale: int) -> Ball:
    """The integral of size(abs(x))*abs(h_k(x)) beyond REACH, any k up to ORDER; with scale 2 of N(0, 2), k = 0."""
    if scale == 1:  # for x^2 >= ORDER every h_k is below the last one with all its coefficients positive
        size = _multiply(size, _last(flint().ctx.prec))
    known = _partial(len(size), scale, flint().ctx.prec)
    return 2 * sum((a * b for a, b in zip(size, known, strict=False)), flint().arb(0))


@functools.lru_cache(maxsize=8)
def _last(bits: int) -> list[Ball]:
    """Coefficients of h_ORDER, all positive."""
    arb, roots = flint().arb, _roots(bits)
    h = [[arb(1)], [arb(0), arb(1)]]
    for k in range(1, ORDER):
        h.append([x / roots[k + 1] for x in _add([arb(0), *h[k]], [x * roots[k] for x in h[k - 1]])])
    return h[ORDER]


@functools.lru_cache(maxsize=64)
def _partial(count: int, scale: int, bits: int) -> list[Ball]:
    """E[x^p; x > REACH], p = 0 to count - 1, x ~ N(0, scale): by parts."""
    del bits
    arb = flint().arb
    x, root = arb(REACH), arb(scale).sqrt()
    edge = density(x / root) / root
    found = [tail(x / root), scale * edge]
    for p in range(2, max(count, 2)):
        found.append(scale * (x ** (p - 1) * edge + (p - 1) * found[p - 2]))
    return found[:count] if count > 1 else found[:1]
