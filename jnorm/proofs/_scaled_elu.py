"""Which scaled ELU: lam and alpha from the fixed point that they are to have (extra: verify)."""

from functools import lru_cache

import numpy as np

from jnorm._ground.checks import require
from jnorm.proofs._balls import decimal, flint
from jnorm.proofs._enclosures import Constants, atoms_at
from jnorm.proofs._shapes import Activation, Target


def moments_of(target: Target) -> Constants | Activation:
    """What encloses the moments of an activation, at the working precision."""
    return target if isinstance(target, Activation) else constants(*target)


def constants(mean: float = 0.0, var: float = 1.0, omega: float = 0.0, tau: float = 1.0) -> Constants:
    """Scaled ELU's lam and alpha with the fixed point (mean, var) at weights (omega, tau), at the working precision.

    With A = E[z; z > 0], B = E_1 - Phi(-t), A2 = E[z^2; z > 0], B2 = E_2 - 2*E_1 + Phi(-t): mean 0 gives
    alpha = -A/B, lam = sqrt(var/(A2 + alpha^2*B2)). Otherwise, with q = (var + mean^2)/mean^2, alpha >= 0 solves
    (q*B^2 - B2)*alpha^2 + 2*q*A*B*alpha + q*A^2 - A2 = 0 with A + alpha*B of the sign of mean, which at most one root
    does, and lam = mean/(A + alpha*B).

    Args:
        mean: Mean of the fixed point.
        var: Variance of the fixed point, > 0.
        omega: Sum of a unit's weights there.
        tau: Sum of a unit's squared weights there, > 0.

    Raises:
        ValueError: Where no constants exist, or the working precision cannot tell whether they do.

    >>> from jnorm.proofs._balls import working
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
    x = atoms_at(m, v)
    a, b = m * x.positive + x.s * x.phi, x.e1 - x.negative
    a2, b2 = (m * m + v) * x.positive + m * x.s * x.phi, x.e2 - 2 * x.e1 + x.negative
    if mean == 0:
        alpha = -a / b
        return Constants((nu / (a2 + alpha * alpha * b2)).sqrt(), alpha)
    q = (nu + mu * mu) / (mu * mu)
    k2, k1, k0 = q * b * b - b2, q * a * b, q * a * a - a2  # k2*alpha^2 + 2*k1*alpha + k0 = 0
    root = (k1 * k1 - k0 * k2).sqrt()
    for alpha in (k0 / (root - k1), (root - k1) / k2):  # k1 < 0: neither form cancels
        lam = mu / (a + alpha * b)
        if alpha > arb(0) and lam > 0:
            return Constants(lam, alpha)
    raise ValueError(f"no scaled ELU has the fixed point ({mean}, {var}) at omega {omega}, tau {tau}")
