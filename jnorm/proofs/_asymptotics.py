r"""What no box can hold: bounds toward var = 0 and infinity, and exact ranges of omega and tau, in closed form.

Every function maps scaled ELU's constants and a domain to a ball. L = lam*max(1, alpha) is the Lipschitz constant.

**V(0, v)/v falls strictly** for all lam, alpha > 0, with V(m, v) = Var f(z), z ~ N(m, v). Put z = s*g: f(s*g)/s is
a - b with a = lam*max(g, 0) and b = lam*alpha*c(max(-g, 0)), c(x) = (1 - e^(-s*x))/s. As a*b = 0, the variance is
Var a + Var b + 2*E[a]*E[b]. c falls with s at each x, so E[b] falls; dc/ds = -(1 - (1 + s*x)*e^(-s*x))/s^2 falls in x
while c rises, so d Var b/ds = 2*Cov(b, db/ds) < 0 (Chebyshev). Hence with omega = 0 a fixed point
var = V(0, tau*var) > 0 exists exactly where 1/tau lies between the limits of V(0, v)/v at infinity and at zero; it is
the only one, and tau*dV/dv < 1 there.
"""

import math

from jnorm.proofs import _enclosures as enclosures
from jnorm.proofs._balls import Ball, decimal, density, flint, tail
from jnorm.proofs._domains import Domain
from jnorm.proofs._enclosures import Constants
from jnorm.proofs._shapes import Interval


def limit_norm(c: Constants, d: Domain) -> Ball:
    """Norm N = sqrt(mean^2 + var) below which every start falls, and stays: the limsup of N is at most this.

    sqrt(E[f^2]) <= lam*sqrt(E[max(z, 0)^2]) + lam*alpha and Minkowski give N~ <= lam*(abs(m) + s/sqrt(2) + alpha)
    <= r*N + lam*alpha with r = lam*sqrt(omega^2 + tau/2), so lam*alpha/(1 - r); infinite where r >= 1.
    """
    r = c.lam * (_largest(d.omega) ** 2 + decimal(d.tau[1]) / 2).sqrt()
    return c.lam * c.alpha / (1 - r) if r < 1 else flint().arb.pos_inf()


def least_growth(c: Constants, d: Domain) -> Ball:
    """Factor by which a variance in (0, var_high] grows a layer, at least; 0 where this bound says nothing.

    Cauchy-Schwarz and Stein give Var f(z) >= v*E[f'(z)]^2. With h = log(alpha) - abs(m), f' >= lam wherever
    z >= m - h, which has probability Phi(h/s).
    """
    h = c.alpha.log() - _largest(d.mean) * _largest(d.omega)
    s = (decimal(d.var[1]) * decimal(d.tau[1])).sqrt()
    return decimal(d.tau[0]) * (c.lam * tail(-h / s)) ** 2 if h > 0 else flint().arb(0)


def slope_near_zero(c: Constants, d: Domain) -> Ball:
    """Lower bound of dV/dv for m = 0 and 0 < v <= var_high*tau_high.

    dV/dv = E[f'^2] + E[(f - E f)*f''], where f'' is lam*alpha*e^z below zero and a jump lam*(1 - alpha) at zero:
    E[f'^2] >= lam^2*(1/2 + alpha^2*E_2); the smooth part is >= -lam*alpha*L*s; with E f within lam*alpha*v/4 of
    lam*(1 - alpha)*phi(0)*s the jump gives >= -lam^2*((1 - alpha)^2*phi(0)^2 + alpha*abs(1 - alpha)*phi(0)*s/4).
    """
    lam, alpha = c
    v = decimal(d.var[1]) * decimal(d.tau[1])
    s, peak, jump = v.sqrt(), density(v * 0), abs(1 - alpha)
    slope = (1 + 2 * alpha**2 * (2 * v).exp() * tail(2 * s)) / 2
    smooth = alpha * alpha.max(flint().arb(1)) * s
    return lam**2 * (slope - smooth - (jump * peak) ** 2 - alpha * jump * peak * s / 4)


def slope_far_out(c: Constants, d: Domain) -> Ball:
    """Lower bound of dV/dv for m = 0 and v >= var_low*tau_low; 0 where this bound says nothing.

    dV/dv = lam^2*(1/2 + alpha^2*(2*E_2 - E_1)) - E[f]*lam*((1 - alpha)*phi(0)/s + alpha*E_1) with 0 <= E_1 <= phi(0)/s
    and 0 <= E[f] <= lam*phi(0)*s from s = alpha/(2*phi(0)) on: >= lam^2*(1/2 - alpha^2*phi(0)/s - phi(0)^2).
    """
    s, peak = (decimal(d.var[0]) * decimal(d.tau[0])).sqrt(), density(c.lam * 0)
    far = s * peak > c.alpha / 2
    return c.lam**2 * (decimal(0.5) - c.alpha**2 * peak / s - peak**2) if far else flint().arb(0)


def lowest_tau(c: Constants, d: Domain) -> Ball:
    """Lower end of the taus at which, with omega = 0, a fixed point with var > 0 exists: lim v/V(0, v) at v = 0.

    It is 1/(lam^2*((1 + alpha^2)/2 - (1 - alpha)^2*phi(0)^2)), and the range is open at both ends.
    """
    return 1 / (c.lam**2 * ((1 + c.alpha**2) / 2 - ((1 - c.alpha) * density(c.lam * 0)) ** 2))


def highest_tau(c: Constants, d: Domain) -> Ball:
    """Upper end of the same range: lim v/V(0, v) at infinity, 2*pi/(lam^2*(pi - 1))."""
    pi = flint().arb.pi()
    return 2 * pi / (c.lam**2 * (pi - 1))


def lowest_omega(c: Constants, d: Domain) -> Ball:
    """Lower end of the omegas for which the fixed point (0, var) at tau attracts.

    With m = 0 the moments, and so the fixed point, do not depend on omega. The Jacobian is [[omega*a, tau*b],
    [omega*c, tau*d]], and Jury's conditions for a spectral radius < 1, det < 1 and abs(trace) < 1 + det, are linear in
    omega: the radius is < 1 exactly between the two ends.
    """
    return _omegas(c, d)[0]


def highest_omega(c: Constants, d: Domain) -> Ball:
    """Upper end of the same range."""
    return _omegas(c, d)[1]


def _omegas(c: Constants, d: Domain) -> tuple[Ball, Ball]:
    x = enclosures.at(decimal(0.0), decimal(d.var[0]) * decimal(d.tau[0]), c)
    tau = decimal(d.tau[0])
    trace, det = x.mean_m, tau * (x.mean_m * x.var_v - x.mean_v * x.var_m)  # per unit of omega
    if not (trace - det > 0 and trace + det > 0 and det > 0):
        raise ValueError(f"no range of omega is known for the fixed point (0, {d.var[0]}) at tau {d.tau[0]}")
    return -(1 + tau * x.var_v) / (trace + det), ((1 - tau * x.var_v) / (trace - det)).min(1 / det)


def _largest(ends: Interval) -> Ball:
    """The largest absolute value."""
    return decimal(max(map(math.fabs, ends)))


# name of the quantity: its bound, a function of the constants and the domain
CLOSED_FORMS = {
    "limit norm": limit_norm,
    "growth of variance": least_growth,
    "slope near zero": slope_near_zero,
    "slope far out": slope_far_out,
    "lowest tau": lowest_tau,
    "highest tau": highest_tau,
    "lowest omega": lowest_omega,
    "highest omega": highest_omega,
}
