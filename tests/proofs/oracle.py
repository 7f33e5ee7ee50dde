"""What the proofs are held against: published figures, and the layer map at 50 digits."""

import json
from pathlib import Path

import mpmath

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())["figures"]
OMEGA = (-0.1, 0.1)


def layer(mean, var, omega, tau):
    """SELU's next mean and variance at 50 digits, each argument the decimal it prints as: mpmath, no ball in sight."""
    with mpmath.workdps(50):
        mu, nu, w, t = (mpmath.mpf(repr(x)) for x in (mean, var, omega, tau))
        half = mpmath.erfc(1 / mpmath.sqrt(2)) * mpmath.sqrt(mpmath.e) / 2  # E_1 at (0, 1)
        full = mpmath.erfc(mpmath.sqrt(2)) * mpmath.e**2 / 2
        alpha = -1 / mpmath.sqrt(2 * mpmath.pi) / (half - mpmath.mpf(1) / 2)
        lam = 1 / mpmath.sqrt(mpmath.mpf(1) / 2 + alpha**2 * (full - 2 * half + mpmath.mpf(1) / 2))
        m, v = mu * w, nu * t
        s = mpmath.sqrt(v)
        up, down, density = mpmath.ncdf(m / s), mpmath.ncdf(-m / s), s * mpmath.npdf(m / s)
        e1, e2 = (mpmath.exp(k * m + k * k * v / 2) * mpmath.ncdf(-(m + k * v) / s) for k in (1, 2))
        first = lam * (m * up + density + alpha * (e1 - down))
        second = lam**2 * ((m * m + v) * up + m * density + alpha**2 * (e2 - 2 * e1 + down))
        return first, second - first**2
