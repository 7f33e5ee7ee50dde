"""What the proofs are held against: published figures, and the layer map at 50 digits."""

import itertools
import json
from pathlib import Path

import mpmath
import numpy as np

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())["figures"]
OMEGA = (-0.1, 0.1)


def points(domain, count, *, seed):
    """Random points of a domain of four intervals, its corners, and those with omega = 0: decimals all of them."""
    rng = np.random.default_rng(seed)
    inside = [tuple(float(rng.uniform(*ends)) for ends in domain) for _ in range(count)]
    corners = list(itertools.product(*domain))
    return [*inside, *corners, *((m, v, 0.0, t) for m, v, w, t in corners if domain[2][0] <= 0 <= domain[2][1])]


def jacobian(mean, var, omega, tau, p=None):
    """Largest singular value of the layer map's Jacobian, and the backward factor, from differences at 50 digits."""
    with mpmath.workdps(50):
        x = [mpmath.mpf(repr(float(value))) for value in (mean, var, omega, tau)]
        h = mpmath.mpf(10) ** -16
        shifts = [[a + k * h * (j == i) for j, a in enumerate(x)] for i in (0, 1) for k in (1, -1)]
        moments = [layer(*point) for point in shifts]
        (a, c), (b, d) = ([(moments[i][k] - moments[i + 1][k]) / (2 * h) for k in (0, 1)] for i in (0, 2))
        if p is not None:
            after = layer(*x)[1]
            p = mpmath.mpf(repr(p))
            a, b = a * mpmath.sqrt(x[1] / after), b * p * x[1] / mpmath.sqrt(after)
            c, d = c * mpmath.sqrt(x[1]) / (p * after), d * x[1] / after
        rate = (mpmath.sqrt((a + d) ** 2 + (c - b) ** 2) + mpmath.sqrt((a - d) ** 2 + (b + c) ** 2)) / 2
        m, v = x[0] * x[2], x[1] * x[3]
        lam, alpha = selu()
        gradient = lam**2 * (mpmath.ncdf(m / mpmath.sqrt(v)) + alpha**2 * part(2, m, v))
        return rate, x[3] * gradient


def selu():
    """lam and alpha at the working precision."""
    half, full = part(1, 0, 1), part(2, 0, 1)
    alpha = -1 / mpmath.sqrt(2 * mpmath.pi) / (half - mpmath.mpf(1) / 2)
    return 1 / mpmath.sqrt(mpmath.mpf(1) / 2 + alpha**2 * (full - 2 * half + mpmath.mpf(1) / 2)), alpha


def part(k, m, v):
    """E[e^(kz); z < 0], z ~ N(m, v)."""
    m, v = mpmath.mpf(m), mpmath.mpf(v)
    return mpmath.exp(k * m + k * k * v / 2) * mpmath.ncdf(-(m + k * v) / mpmath.sqrt(v))


def layer(mean, var, omega, tau):
    """SELU's next mean and variance at 50 digits, each argument the decimal it prints as: mpmath, no ball in sight."""
    with mpmath.workdps(50):
        arguments = (mean, var, omega, tau)
        mu, nu, w, t = (x if isinstance(x, mpmath.mpf) else mpmath.mpf(repr(float(x))) for x in arguments)
        lam, alpha = selu()
        m, v = mu * w, nu * t
        s = mpmath.sqrt(v)
        up, down, density = mpmath.ncdf(m / s), mpmath.ncdf(-m / s), s * mpmath.npdf(m / s)
        e1, e2 = part(1, m, v), part(2, m, v)
        first = lam * (m * up + density + alpha * (e1 - down))
        second = lam**2 * ((m * m + v) * up + m * density + alpha**2 * (e2 - 2 * e1 + down))
        return first, second - first**2
