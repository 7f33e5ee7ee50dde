r"""Ball enclosures of scaled ELU's moments under a Gaussian, over points and over boxes (extra: verify).

With f(z) = lam*z for z > 0 and lam*alpha*(e^z - 1) otherwise, z ~ N(m, v), s = sqrt(v), t = m/s and
E_k = E[e^(kz); z < 0], the moments are combinations of Phi(t), phi(t), E_1 and E_2. Gaussian expectations solve the
heat equation, d/dv E[f] = (1/2) d^2/dm^2 E[f], so the tower T_k = d^k/dm^k E[f] holds every mixed derivative:
d^i/dm^i d^j/dv^j E[f] = T_(i + 2j) / 2^j. Two towers of five, for f and f^2, give value, Jacobian and Hessian.

Over a box each T_k is met from two sides: from monotone pieces taken at the ends of the box, and by the mean value
theorem from the centre, T_k(centre) + T_(k+1)*dm + T_(k+2)*dv/2. All of it is python-flint's ball arithmetic, whose
exponents have no range to overflow: E_k needs no scaled erfc here.
"""

from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jnorm._ground.checks import require

Ball = Any  # flint.arb: python-flint is optional, so no annotation may need it
Box = tuple[float, float, float, float]  # m_low, m_high, v_low, v_high
BITS = 128


def flint() -> ModuleType:
    """The python-flint module; raises ``ModuleNotFoundError`` that names the extra where it is absent."""
    try:
        import flint
    except ImportError as error:
        message = 'interval proofs need python-flint: pip install "jnorm[verify]"'
        raise ModuleNotFoundError(message, name="flint") from error
    return flint


def rational(x: float) -> Fraction:
    """The decimal that a number prints as: 0.1 is one tenth, in a theorem as on paper."""
    return Fraction(repr(float(x)))


def decimal(x: float) -> Ball:
    """Ball around ``rational(x)`` at the working precision."""
    return _decimal(x, flint().ctx.prec)


@lru_cache(maxsize=256)
def _decimal(x: float, bits: int) -> Ball:
    del bits  # the working precision, part of the cache's key
    exact = rational(x)
    return flint().arb(flint().fmpq(exact.numerator, exact.denominator))


def below(x: Ball) -> float:
    """Largest float that is surely not above the ball (-inf where it is not finite)."""
    return _toward(x.lower(), -np.inf) if x.is_finite() else -np.inf


def above(x: Ball) -> float:
    """Smallest float that is surely not below the ball (inf where it is not finite)."""
    return _toward(x.upper(), np.inf) if x.is_finite() else np.inf


def _toward(end: Ball, side: float) -> float:
    x = float(end)
    exact = flint().arb(x)
    return x if (exact <= end if side < 0 else exact >= end) else float(np.nextafter(x, side))


class Jet:
    """A ball with balls for its derivatives in m and v: forward differentiation over a box."""

    __slots__ = ("dm", "dv", "x")

    def __init__(self, x: Ball, dm: Ball, dv: Ball) -> None:
        self.x, self.dm, self.dv = x, dm, dv

    def __add__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            return Jet(self.x + other.x, self.dm + other.dm, self.dv + other.dv)
        return Jet(self.x + other, self.dm, self.dv)

    __radd__ = __add__

    def __neg__(self) -> "Jet":
        return Jet(-self.x, -self.dm, -self.dv)

    def __sub__(self, other: Any) -> "Jet":
        return self + (-other)

    def __rsub__(self, other: Any) -> "Jet":
        return -self + other

    def __mul__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            dm, dv = self.dm * other.x + self.x * other.dm, self.dv * other.x + self.x * other.dv
            return Jet(self.x * other.x, dm, dv)
        return Jet(self.x * other, self.dm * other, self.dv * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            q = self.x / other.x
            return Jet(q, (self.dm - q * other.dm) / other.x, (self.dv - q * other.dv) / other.x)
        return Jet(self.x / other, self.dm / other, self.dv / other)

    def sqrt(self) -> "Jet":
        """Square root; not finite where the ball meets zero."""
        root = self.x.sqrt()
        return Jet(root, self.dm / (2 * root), self.dv / (2 * root))


class Constants(NamedTuple):
    """Scaled ELU's lam and alpha as balls."""

    lam: Ball
    alpha: Ball


class Moments(NamedTuple):
    """Moments of f(z) at z ~ N(m, v): balls at a point, jets over a box.

    ``mean_m`` to ``var_v`` are the derivatives of mean and variance, and ``slope`` is E[f'(z)^2].
    """

    m: Any
    v: Any
    mean: Any
    var: Any
    mean_m: Any
    mean_v: Any
    var_m: Any
    var_v: Any
    slope: Any


def phi(x: Ball) -> Ball:
    """Standard normal density."""
    return (-x * x / 2).exp() / (2 * x.pi()).sqrt()


def tail(x: Ball) -> Ball:
    """Phi(-x), without cancellation for x > 0."""
    return (x / flint().arb(2).sqrt()).erfc() / 2


class _Atoms(NamedTuple):
    """What the towers are made of."""

    m: Ball
    s: Ball
    t: Ball
    above: Ball  # P(z > 0)
    below: Ball  # P(z < 0)
    phi: Ball
    e1: Ball
    e2: Ball


def _atoms_at(m: Ball, v: Ball) -> _Atoms:
    s = v.sqrt()
    t = m / s
    e1, e2 = ((k * m + k * k * v / 2).exp() * tail(t + k * s) for k in (1, 2))
    return _Atoms(m, s, t, tail(-t), tail(t), phi(t), e1, e2)


def _atoms_over(box: Box) -> _Atoms:
    """Each atom from its values at the ends where it is monotone; E_k in two forms, which win at opposite ends of t."""
    arb = flint().arb
    m0, m1, v0, v1 = (arb(end) for end in box)
    s0, s1 = v0.sqrt(), v1.sqrt()
    t0, t1 = m0 / (s1 if m0 >= 0 else s0), m1 / (s0 if m1 >= 0 else s1)
    density = phi(t0).union(phi(t1))
    if t0 < 0 and t1 > 0:
        density = density.union(phi(arb(0)))
    e = []
    for k in (1, 2):
        x0, x1 = t0 + k * s0, t1 + k * s1  # t + k*s lies between them
        tail0, tail1 = tail(x0), tail(x1)
        mills = (tail0 / phi(x0)).union(tail1 / phi(x1))  # decreasing in its argument
        low, high = (k * m0 + k * k * v0 / 2).exp() * tail1, (k * m1 + k * k * v1 / 2).exp() * tail0
        e.append(_meet(density * mills, low.union(high)))
    low = tail(t0).union(tail(t1))
    return _Atoms(m0.union(m1), s0.union(s1), t0.union(t1), 1 - low, low, density, *e)


def _meet(a: Ball, b: Ball) -> Ball:
    """What both enclosures leave; one that is not finite says nothing."""
    if not b.is_finite():
        return a
    return a.intersection(b) if a.is_finite() else b


def _towers(a: _Atoms, c: Constants) -> tuple[list[Ball], list[Ball], list[Ball]]:
    """m-derivatives 0 to 4 of E[f] and E[f^2], and 0 to 2 of E[f'^2].

    Each step uses d/dm E_k = k*E_k - d0 with d0 = phi(t)/s the density of z at the kink, d/dm Phi(t) = d0.
    """
    lam, alpha = c
    aa, v, jump = alpha * alpha, a.s * a.s, 1 - alpha
    d0 = a.phi / a.s
    d1, d2 = -a.t * d0 / a.s, (a.t * a.t - 1) * d0 / v
    mean = [
        a.m * a.above + a.s * a.phi + alpha * (a.e1 - a.below),
        a.above + alpha * a.e1,
        jump * d0 + alpha * a.e1,
        jump * d1 + alpha * (a.e1 - d0),
        jump * d2 + alpha * (a.e1 - d0 - d1),
    ]
    square = [
        (a.m * a.m + v) * a.above + a.m * a.s * a.phi + aa * (a.e2 - 2 * a.e1 + a.below),
        2 * (a.m * a.above + a.s * a.phi + aa * (a.e2 - a.e1)),
        2 * (a.above + aa * (2 * a.e2 - a.e1)),
        2 * ((1 - aa) * d0 + aa * (4 * a.e2 - a.e1)),
        2 * ((1 - aa) * d1 + aa * (8 * a.e2 - a.e1 - 3 * d0)),
    ]
    slope = [a.above + aa * a.e2, d0 + aa * (2 * a.e2 - d0), d1 + aa * (4 * a.e2 - 2 * d0 - d1)]
    return [lam * x for x in mean], [lam * lam * x for x in square], [lam * lam * x for x in slope]


def at(m: Ball, v: Ball, c: Constants) -> Moments:
    """Moments at a point (m, v), v > 0, as balls of rounding width."""
    mean, square, slope = _towers(_atoms_at(m, v), c)
    var, var_m, var_v = _variance(mean, square)
    return Moments(m, v, mean[0], var, mean[1], mean[2] / 2, var_m, var_v, slope[0])


def _variance(mean: list[Ball], square: list[Ball]) -> tuple[Ball, Ball, Ball]:
    """E[f^2] - E[f]^2 and its derivatives in m and v."""
    return square[0] - mean[0] ** 2, square[1] - 2 * mean[0] * mean[1], square[2] / 2 - mean[0] * mean[2]


def over(box: Box, c: Constants) -> Moments:
    """Moments over a box m_low <= m <= m_high, v_low <= v <= v_high, as jets.

    With v_low = 0 (open there) only mean and variance are enclosed, by the Lipschitz constant L = lam*max(1, alpha):
    abs(E[f] - f(m)) <= L*sqrt(2v/pi) and Var f <= L^2*v.
    """
    arb = flint().arb
    m0, m1, v0, v1 = box
    if v0 == 0:
        return _over_zero(box, c)
    centre_m, centre_v = arb((m0 + m1) / 2), arb((v0 + v1) / 2)
    mean_c, square_c, slope_c = _towers(_atoms_at(centre_m, centre_v), c)
    mean, square, slope = _towers(_atoms_over(box), c)
    m, v = arb(m0).union(arb(m1)), arb(v0).union(arb(v1))
    dm, dv = m - centre_m, v - centre_v
    for tower, centre in ((mean, mean_c), (square, square_c), (slope, slope_c)):
        for k in range(len(tower) - 3, -1, -1):
            tower[k] = _meet(tower[k], centre[k] + tower[k + 1] * dm + tower[k + 2] * dv / 2)
    var, var_m, var_v = _variance(mean, square)
    var_mm = square[2] - 2 * mean[1] ** 2 - 2 * mean[0] * mean[2]
    var_mv = square[3] / 2 - mean[1] * mean[2] - mean[0] * mean[3]
    var_vv = square[4] / 4 - mean[2] ** 2 / 2 - mean[0] * mean[4] / 2
    var_c, var_mc, var_vc = _variance(mean_c, square_c)
    var_m = _meet(var_m, var_mc + var_mm * dm + var_mv * dv)
    var_v = _meet(var_v, var_vc + var_mv * dm + var_vv * dv)
    var = _meet(var, var_c + var_m * dm + var_v * dv)
    return Moments(
        m=Jet(m, arb(1), arb(0)),
        v=Jet(v, arb(0), arb(1)),
        mean=Jet(mean[0], mean[1], mean[2] / 2),
        var=Jet(var, var_m, var_v),
        mean_m=Jet(mean[1], mean[2], mean[3] / 2),
        mean_v=Jet(mean[2] / 2, mean[3] / 2, mean[4] / 4),
        var_m=Jet(var_m, var_mm, var_mv),
        var_v=Jet(var_v, var_mv, var_vv),
        slope=Jet(slope[0], slope[1], slope[2] / 2),
    )


def _over_zero(box: Box, c: Constants) -> Moments:
    arb = flint().arb
    m0, m1, v1 = arb(box[0]), arb(box[1]), arb(box[3])
    nan = arb.nan()
    unknown = Jet(nan, nan, nan)
    lipschitz = c.lam * c.alpha.max(arb(1))
    f0, f1 = (c.lam * (m if m > 0 else c.alpha * m.expm1()) for m in (m0, m1))
    spread = lipschitz * (2 * v1 / arb.pi()).sqrt()
    mean, var = (f0 - spread).union(f1 + spread), arb(0).union(lipschitz**2 * v1)
    m, v = Jet(m0.union(m1), arb(1), arb(0)), Jet(arb(0).union(v1), arb(0), arb(1))
    return Moments(m, v, Jet(mean, nan, nan), Jet(var, nan, nan), *(unknown,) * 5)


def constants(mean: float = 0.0, var: float = 1.0, omega: float = 0.0, tau: float = 1.0) -> Constants:
    """Scaled ELU's lam and alpha that make (mean, var) a fixed point at weights (omega, tau), at the working precision.

    With A = E[z; z > 0], B = E_1 - Phi(-t), A2 = E[z^2; z > 0], B2 = E_2 - 2*E_1 + Phi(-t): mean 0 gives
    alpha = -A/B, lam = sqrt(var/(A2 + alpha^2*B2)). Otherwise, with q = (var + mean^2)/mean^2, alpha >= 0 solves
    (q*B^2 - B2)*alpha^2 + 2*q*A*B*alpha + q*A^2 - A2 = 0 with A + alpha*B of the sign of mean, which at most one root
    does, and lam = mean/(A + alpha*B). Raises ``ValueError`` where no constants exist (or none can be told from none).

    >>> with working():
    ...     print(constants().lam.str(20, radius=False), constants().alpha.str(20, radius=False))
    1.0507009873554804934 1.6732632423543772848
    """
    return _constants(mean, var, omega, tau, flint().ctx.prec)


@lru_cache(maxsize=64)
def _constants(mean: float, var: float, omega: float, tau: float, bits: int) -> Constants:
    del bits  # the working precision, part of the cache's key
    require(np.isfinite, "`{}` must be finite", mean=mean, omega=omega)
    require(lambda x: (x > 0) & np.isfinite(x), "`{}` must satisfy 0 < {} < inf", var=var, tau=tau)
    arb = flint().arb
    mu, nu, m, v = decimal(mean), decimal(var), decimal(mean) * decimal(omega), decimal(var) * decimal(tau)
    x = _atoms_at(m, v)
    a, b = m * x.above + x.s * x.phi, x.e1 - x.below
    a2, b2 = (m * m + v) * x.above + m * x.s * x.phi, x.e2 - 2 * x.e1 + x.below
    if mean == 0:
        alpha = -a / b
        return Constants((nu / (a2 + alpha * alpha * b2)).sqrt(), alpha)
    q = (nu + mu * mu) / (mu * mu)
    k2, k1, k0 = q * b * b - b2, q * a * b, q * a * a - a2
    root = (k1 * k1 - k0 * k2).sqrt()
    for alpha in (k0 / (root - k1), (root - k1) / k2):  # k1 < 0: neither form cancels
        lam = mu / (a + alpha * b)
        if alpha > arb(0) and lam > 0:
            return Constants(lam, alpha)
    raise ValueError(f"no scaled ELU has the fixed point ({mean}, {var}) at omega {omega}, tau {tau}")


def working(bits: int = BITS) -> Any:
    """Context in which balls carry this many bits."""
    return flint().ctx.workprec(bits)
