r"""Ball enclosures of scaled ELU's moments under a Gaussian, over points and over boxes (extra: verify).

With f(z) = lam*z for z > 0 and lam*alpha*(e^z - 1) otherwise, z ~ N(m, v), s = sqrt(v), t = m/s and
E_k = E[e^(kz); z < 0], the moments are combinations of Phi(t), phi(t), E_1 and E_2. Gaussian expectations solve the
heat equation, d/dv E[f] = (1/2) d^2/dm^2 E[f], so the tower T_k = d^k/dm^k E[f] holds every mixed derivative:
d^i/dm^i d^j/dv^j E[f] = T_(i + 2j) / 2^j. Two towers of five, for f and f^2, give value, Jacobian and Hessian.

Over a box each T_k is met from two sides: from monotone pieces taken at the ends of the box, and by the mean value
theorem from the centre, T_k(centre) + T_(k+1)*dm + T_(k+2)*dv/2. All of it is python-flint's ball arithmetic, whose
exponents have no range to overflow: E_k needs no scaled erfc here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jnorm.proofs._balls import Ball, density, flint, meet, tail
from jnorm.proofs._jets import Jet
from jnorm.proofs._shapes import Box


class Enclosure(NamedTuple):
    """What surely holds of f(z), z ~ N(m, v): balls at one (m, v), jets over a box.

    Attributes:
        m: Mean of z.
        v: Variance of z.
        mean: E[f(z)].
        var: Var f(z).
        mean_m: d mean/dm.
        mean_v: d mean/dv.
        var_m: d var/dm.
        var_v: d var/dv.
        gradient: E[f'(z)^2].
    """

    m: Any
    v: Any
    mean: Any
    var: Any
    mean_m: Any
    mean_v: Any
    var_m: Any
    var_v: Any
    gradient: Any


class Constants(NamedTuple):
    """Scaled ELU's lam and alpha as balls."""

    lam: Ball
    alpha: Ball

    def at(self, m: Ball, v: Ball) -> Enclosure:
        """As `at` says."""
        return at(m, v, self)

    def over(self, box: Box) -> Enclosure:
        """As `over` says."""
        return over(box, self)


class Atoms(NamedTuple):
    """What the moments of f are made of, for z ~ N(m, v).

    Attributes:
        m: Mean of z.
        s: Its standard deviation, sqrt(v).
        t: m/s.
        positive: P(z > 0) = Phi(t).
        negative: P(z < 0) = Phi(-t).
        phi: Standard normal density at t.
        e1: E[e^z; z < 0].
        e2: E[e^(2z); z < 0].
    """

    m: Ball
    s: Ball
    t: Ball
    positive: Ball
    negative: Ball
    phi: Ball
    e1: Ball
    e2: Ball


def atoms_at(m: Ball, v: Ball) -> Atoms:
    """The atoms at one (m, v), v > 0."""
    s = v.sqrt()
    t = m / s
    e1, e2 = ((k * m + k * k * v / 2).exp() * tail(t + k * s) for k in (1, 2))
    return Atoms(m, s, t, tail(-t), tail(t), density(t), e1, e2)


def _atoms_over(box: Box) -> Atoms:
    """Each atom from its values at the ends where it is monotone; E_k in two forms, which win at opposite ends of t."""
    arb = flint().arb
    m0, m1, v0, v1 = (arb(end) for end in box)
    s0, s1 = v0.sqrt(), v1.sqrt()
    t0, t1 = m0 / (s1 if m0 >= 0 else s0), m1 / (s0 if m1 >= 0 else s1)
    phi = density(t0).union(density(t1))
    if t0 < 0 and t1 > 0:
        phi = phi.union(density(arb(0)))
    e = []
    for k in (1, 2):
        x0, x1 = t0 + k * s0, t1 + k * s1  # t + k*s lies between them
        tail0, tail1 = tail(x0), tail(x1)
        mills = (tail0 / density(x0)).union(tail1 / density(x1))  # decreasing in its argument
        low, high = (k * m0 + k * k * v0 / 2).exp() * tail1, (k * m1 + k * k * v1 / 2).exp() * tail0
        e.append(meet(phi * mills, low.union(high)))
    negative = tail(t0).union(tail(t1))
    return Atoms(m0.union(m1), s0.union(s1), t0.union(t1), 1 - negative, negative, phi, *e)


def _towers(a: Atoms, c: Constants) -> tuple[list[Ball], list[Ball], list[Ball]]:
    """m-derivatives 0 to 4 of E[f] and E[f^2], and 0 to 2 of E[f'^2].

    Each step uses d/dm E_k = k*E_k - d0 with d0 = phi(t)/s the density of z at the kink, d/dm Phi(t) = d0.
    """
    lam, alpha = c
    aa, v, jump = alpha * alpha, a.s * a.s, 1 - alpha
    d0 = a.phi / a.s
    d1, d2 = -a.t * d0 / a.s, (a.t * a.t - 1) * d0 / v
    mean = [
        a.m * a.positive + a.s * a.phi + alpha * (a.e1 - a.negative),
        a.positive + alpha * a.e1,
        jump * d0 + alpha * a.e1,
        jump * d1 + alpha * (a.e1 - d0),
        jump * d2 + alpha * (a.e1 - d0 - d1),
    ]
    square = [
        (a.m * a.m + v) * a.positive + a.m * a.s * a.phi + aa * (a.e2 - 2 * a.e1 + a.negative),
        2 * (a.m * a.positive + a.s * a.phi + aa * (a.e2 - a.e1)),
        2 * (a.positive + aa * (2 * a.e2 - a.e1)),
        2 * ((1 - aa) * d0 + aa * (4 * a.e2 - a.e1)),
        2 * ((1 - aa) * d1 + aa * (8 * a.e2 - a.e1 - 3 * d0)),
    ]
    gradient = [a.positive + aa * a.e2, d0 + aa * (2 * a.e2 - d0), d1 + aa * (4 * a.e2 - 2 * d0 - d1)]
    return [lam * x for x in mean], [lam * lam * x for x in square], [lam * lam * x for x in gradient]


def at(m: Ball, v: Ball, c: Constants) -> Enclosure:
    """Enclosure at one (m, v), v > 0: balls of rounding width."""
    mean, square, gradient = _towers(atoms_at(m, v), c)
    var, var_m, var_v = variance(mean, square)
    return Enclosure(m, v, mean[0], var, mean[1], mean[2] / 2, var_m, var_v, gradient[0])


def variance(mean: list[Ball], square: list[Ball]) -> tuple[Ball, Ball, Ball]:
    """E[f^2] - E[f]^2 and its derivatives in m and v."""
    return square[0] - mean[0] ** 2, square[1] - 2 * mean[0] * mean[1], square[2] / 2 - mean[0] * mean[2]


def over(box: Box, c: Constants) -> Enclosure:
    """Enclosure over a box, as jets.

    With v_low = 0 (open there) only mean and variance are enclosed, by the Lipschitz constant L = lam*max(1, alpha):
    abs(E[f] - f(m)) <= L*sqrt(2v/pi) and Var f <= L^2*v.
    """
    if box[2] == 0:
        return _over_zero(box, c)
    arb = flint().arb
    centre_m, centre_v = arb((box[0] + box[1]) / 2), arb((box[2] + box[3]) / 2)
    at_centre, towers = _towers(atoms_at(centre_m, centre_v), c), _towers(_atoms_over(box), c)
    return joined(box, (centre_m, centre_v), at_centre, towers)


def joined(
    box: Box, centre: tuple[Ball, Ball], at_centre: Sequence[list[Ball]], towers: Sequence[list[Ball]]
) -> Enclosure:
    """The enclosure over a box with v_low > 0 from the towers of f, f^2 and f'^2 at its centre and over it.

    Those over the box are met with the mean value theorem, in place, and may be shorter at the centre by two.
    """
    arb = flint().arb
    m0, m1, v0, v1 = box
    m, v = arb(m0).union(arb(m1)), arb(v0).union(arb(v1))
    dm, dv = m - centre[0], v - centre[1]
    for tower, known in zip(towers, at_centre, strict=True):
        for k in range(len(tower) - 3, -1, -1):
            tower[k] = meet(tower[k], known[k] + tower[k + 1] * dm + tower[k + 2] * dv / 2)
    (mean, square, gradient), (mean_c, square_c, _) = towers, at_centre
    var, var_m, var_v = variance(mean, square)
    var_mm = square[2] - 2 * mean[1] ** 2 - 2 * mean[0] * mean[2]
    var_mv = square[3] / 2 - mean[1] * mean[2] - mean[0] * mean[3]
    var_vv = square[4] / 4 - mean[2] ** 2 / 2 - mean[0] * mean[4] / 2
    var_c, var_mc, var_vc = variance(mean_c, square_c)
    var_m = meet(var_m, var_mc + var_mm * dm + var_mv * dv)
    var_v = meet(var_v, var_vc + var_mv * dm + var_vv * dv)
    var = meet(var, var_c + var_m * dm + var_v * dv)
    return Enclosure(
        m=Jet(m, arb(1), arb(0)),
        v=Jet(v, arb(0), arb(1)),
        mean=Jet(mean[0], mean[1], mean[2] / 2),
        var=Jet(var, var_m, var_v),
        mean_m=Jet(mean[1], mean[2], mean[3] / 2),
        mean_v=Jet(mean[2] / 2, mean[3] / 2, mean[4] / 4),
        var_m=Jet(var_m, var_mm, var_mv),
        var_v=Jet(var_v, var_mv, var_vv),
        gradient=Jet(gradient[0], gradient[1], gradient[2] / 2),
    )


def _over_zero(box: Box, c: Constants) -> Enclosure:
    arb = flint().arb
    m0, m1, v1 = arb(box[0]), arb(box[1]), arb(box[3])
    nan = arb.nan()
    unknown = Jet(nan, nan, nan)
    lipschitz = c.lam * c.alpha.max(arb(1))
    f0, f1 = (c.lam * (m if m > 0 else c.alpha * m.expm1()) for m in (m0, m1))
    spread = lipschitz * (2 * v1 / arb.pi()).sqrt()
    mean, var = (f0 - spread).union(f1 + spread), arb(0).union(lipschitz**2 * v1)
    m, v = Jet(m0.union(m1), arb(1), arb(0)), Jet(arb(0).union(v1), arb(0), arb(1))
    return Enclosure(m, v, Jet(mean, nan, nan), Jet(var, nan, nan), *(unknown,) * 5)
