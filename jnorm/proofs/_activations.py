r"""Moments of any elementwise function under a Gaussian, enclosed at points and over boxes (extra: verify).

Gaussian expectations solve the heat equation, so the tower T_k = d^k/dm^k E[f(z)] holds every derivative by m and v,
and by Stein's identity T_k = s^-k E[f(z) He_k(x)] with x = (z - m)/s: no derivative of f is needed, kinks and jumps are
no exception. Over a box each T_k is Taylor's polynomial around the centre, with a remainder from
abs(T_j) <= s^-j sqrt(j! E[f^2]) (Cauchy-Schwarz), and E[f^2] anywhere in the box is below
sqrt(V/v)*exp(dm^2/(2(V - v))) times the one at the centre with V = 2*v_centre: so does one density exceed the other.
A constant, f at the centre, is taken off before all of it, so that small variances keep their digits.
"""

import math
from collections.abc import Callable
from typing import Any

import jax

from jnorm.proofs._balls import Ball, flint
from jnorm.proofs._enclosures import Enclosure, joined, variance
from jnorm.proofs._growth import majorant
from jnorm.proofs._jets import Jet
from jnorm.proofs._quadrature import ORDER, Cut, Expectations, expectations
from jnorm.proofs._shapes import Activation, Box
from jnorm.proofs._tapes import Tape, tape

TERMS = 4  # of Taylor's polynomial; 4 + 2*(TERMS - 1) <= ORDER
HEIGHT = 5  # of the towers over a box
ROOM = 1.5  # a box may reach up to this many times the variance at its centre
FURTHEST, FINEST = 2.0**40, 2.0**-90  # of kinks, and the sliver around one
LOOKS = 20_000  # to find them


class Enclosed(Activation):
    """A function whose moments are enclosed; equal to others of the same tape.

    Attributes:
        name: What texts call it.
        tape: The function.
    """

    def __init__(self, name: str, f: Tape, slope: Callable[[], Tape]) -> None:
        self.name, self.tape = name, f
        self._slope = slope
        self._slopes: Enclosed | None = None
        self._known: dict[Any, Any] = {}
        self._boxes: dict[Any, Enclosure] = {}
        self._cuts: tuple[float, list[Cut]] = 0.0, []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Enclosed) and self.tape == other.tape and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.name, self.tape))

    def __repr__(self) -> str:
        return self.name

    @property
    def slopes(self) -> "Enclosed":
        """The function f'^2, whose mean is E[f'^2]; derivatives are those that the program declares."""
        if self._slopes is None:
            self._slopes = Enclosed(f"the squared derivative of {self.name}", self._slope(), self._slope)
        return self._slopes

    def at(self, m: Ball, v: Ball) -> Enclosure:
        """Enclosure at one (m, v), v > 0."""
        c, (mean, square) = self._towers(m, v)
        var, var_m, var_v = variance(mean, square)
        return Enclosure(m, v, c + mean[0], var, mean[1], mean[2] / 2, var_m, var_v, c + mean[0])

    def over(self, box: Box) -> Enclosure:
        """Enclosure over a box, as jets; not finite where its variances are too far apart, or reach 0."""
        key = box, flint().ctx.prec
        if key not in self._boxes:
            self._boxes[key] = self._over(box)
        return self._boxes[key]

    def _over(self, box: Box) -> Enclosure:
        arb = flint().arb
        m0, m1, v0, v1 = box
        m, v = (m0 + m1) / 2, (v0 + v1) / 2
        if v0 <= 0 or v1 > ROOM * v:
            unknown = Jet(*[arb.nan()] * 3)
            sides = Jet(arb(m0).union(arb(m1)), arb(1), arb(0)), Jet(arb(v0).union(arb(v1)), arb(0), arb(1))
            return Enclosure(*sides, *[unknown] * 7)
        centre = arb(m), arb(v)
        c, towers = self._towers(*centre)
        dm, dv = arb(m0).union(arb(m1)) - centre[0], arb(v0).union(arb(v1)) - centre[1]
        ratio = (2 * arb(v) / arb(v0)).sqrt() * (abs(dm).upper() ** 2 / (2 * (2 * arb(v) - arb(v1)))).exp()
        wide = self._expectations(*centre)[1].wide
        roots = [(ratio * size.upper()).sqrt() for size in wide]
        over = [_taylor(tower, dm, dv, arb(v0), root) for tower, root in zip(towers, roots, strict=True)]
        nothing = [[arb.nan()] * 3]
        found = joined(box, centre, [*towers, *nothing], [*over, *nothing])
        mean = found.mean + c
        return found._replace(mean=mean, gradient=mean)

    def _towers(self, m: Ball, v: Ball) -> tuple[Ball, list[list[Ball]]]:
        """The constant that was taken off, and the derivatives by m of E[f - c] and E[(f - c)^2]."""
        c, found = self._expectations(m, v)
        s, scale, scales = v.sqrt(), flint().arb(1), []
        for k in range(ORDER + 1):
            scales.append(scale)
            scale = scale * flint().arb(k + 1).sqrt() / s
        return c, [[a * b for a, b in zip(row, scales, strict=True)] for row in (found.first, found.second)]

    def _expectations(self, m: Ball, v: Ball) -> tuple[Ball, Expectations]:
        key = (m.man_exp(), v.man_exp(), flint().ctx.prec) if m.is_exact() and v.is_exact() else None
        if key not in self._known or key is None:
            c = self.tape.hull(m.mid()).mid()
            reach = 2.0 ** math.ceil(math.log2(float(abs(m).upper() + 16 * v.sqrt().upper())))
            self._known[key] = c, expectations(self.tape, m, v, c, self._cuts_within(reach), majorant(self.tape))
        return self._known[key]

    def _cuts_within(self, reach: float) -> list[Cut]:
        """Slivers around the kinks up to there, from left to right; where one is missed panels are halved instead."""
        if reach > self._cuts[0]:
            self._cuts = reach, _cuts(self.tape, reach)
        return self._cuts[1]


def _cuts(f: Tape, reach: float) -> list[Cut]:
    """Where comparisons stay undecided: intervals from -reach to reach are halved until they are slivers."""
    arb, found = flint().arb, list[tuple[Ball, Ball]]()
    queue = [(arb(0), arb(reach)), (arb(-reach), arb(0))]
    for _ in range(LOOKS):
        if not queue:
            break
        low, high = queue.pop()
        if f.on(low, high)[1] is not None:
            continue
        middle = (low + high) / 2
        if high - low > FINEST * max(1.0, abs(float(middle))):
            queue += [(middle, high), (low, middle)]
        elif found and not found[-1][1] < low:
            found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    margin = FINEST * max(1.0, reach) / 2**20
    return [Cut(low - margin, high + margin) for low, high in found]


def _taylor(tower: list[Ball], dm: Ball, dv: Ball, v_low: Ball, root: Ball) -> list[Ball]:
    """The lowest derivatives over a box, from those at its centre and ``root`` >= sqrt(E[f^2]) all over it."""
    arb, out = flint().arb, []
    m_steps, v_steps = [arb(1)], [arb(1)]
    for k in range(TERMS):
        m_steps.append(m_steps[k] * dm / (k + 1))
        v_steps.append(v_steps[k] * dv / (2 * k + 2))
    sizes = [root * arb(math.factorial(k)).sqrt() / v_low.sqrt() ** k for k in range(HEIGHT + 2 * TERMS)]
    for k in range(HEIGHT):
        total = arb(0)
        for n in range(TERMS + 1):
            for j in range(n + 1):
                step, order = m_steps[n - j] * v_steps[j], k + n + j
                total += tower[order] * step if n < TERMS else arb(0, (abs(step) * sizes[order]).upper())
        out.append(total)
    return out


def activation(phi: Callable[..., Any], like: Any = None, name: str = "") -> Enclosed:
    """An elementwise function as an activation of proofs.

    Args:
        phi: Made of `jax.numpy` operations.
        like: Shape and dtype of its argument; a scalar of float64 where none is given.
        name: What texts call it; its own name where none is given.

    Raises:
        TypeError: ``phi`` is not callable.
        NotImplementedError: For a primitive that python-flint does not enclose, with its line.
        ValueError: For a function that is not elementwise.
    """
    if not callable(phi):
        raise TypeError(f"`phi` must be an elementwise function; got {phi!r}")
    flint()
    return Enclosed(name or getattr(phi, "__name__", type(phi).__name__), tape(phi, like), lambda: _squared(phi, like))


def _squared(phi: Callable[..., Any], like: Any) -> Tape:
    def square(z: jax.Array) -> jax.Array:
        slope = jax.jvp(phi, (z,), (jax.numpy.ones_like(z),))[1]
        return slope * slope

    return tape(square, like)
