"""Writes meanfield.json: mean-field theory of some networks, 20 digits, without any code or method of jnorm's.

    python tests/golden/make_meanfield.py

Everything is mpmath in 30 digits (some minutes on one core). `duals` are the arc-cosine kernels of order 0 to 2, the
arcsine kernel and those of sin, and trapezoidal sums for tanh and gelu. `networks` are roots of
``q = sigma_w^2 E[f^2] / (1 - dropout) + sigma_b^2`` and of ``C(c) = c`` with their slopes; expectations of one variable
are tanh-sinh quadrature, the derivative of ``E[f^2]`` is ``E[z f f'] / q``. `critical` are weights with ``chi = 1``.
`kernels` are the recursions of the NNGP and tangent kernels.
"""

import json
from pathlib import Path

from make_moments import ELEMENTWISE, SELU, digits, erf_pair, exact_scaled_elu, gaussian_quad, normal_cdf, normal_pdf
from mpmath import mp, mpf


def angle(c):
    return mp.acos(c)


def relu_dual(a, b, c):
    t = angle(c)
    return mp.sqrt(a * b) * (mp.sin(t) + (mp.pi - t) * c) / (2 * mp.pi), (mp.pi - t) / (2 * mp.pi)


def erf_dual(a, b, c):
    cov = c * mp.sqrt(a * b)
    return erf_pair(a, b, cov), 4 / mp.pi / mp.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * cov**2)


def sin_dual(a, b, c):
    cov = c * mp.sqrt(a * b)
    return mp.exp(-(a + b) / 2) * mp.sinh(cov), mp.exp(-(a + b) / 2) * mp.cosh(cov)


def trapezoid(name):
    """Both expectations for an analytic function, by sums in independent coordinates."""
    f, slope, _ = ELEMENTWISE[name]

    def dual(a, b, c):
        sa, sb, s = mp.sqrt(a), mp.sqrt(b), mp.sqrt(1 - c * c)
        step = mpf("0.2") / max(1, sa, sb)
        grid = [(k * step, normal_pdf(k * step) * step) for k in range(-int(10.5 / step), int(10.5 / step) + 1)]
        grid = [(x, w) for x, w in grid if w > 1e-24]
        if s == 0:
            return tuple(mp.fsum(w * g(sa * x) * g(c * sb * x) for x, w in grid) for g in (f, slope))
        totals = [mpf(0), mpf(0)]
        for x, wx in grid:
            inner = [mpf(0), mpf(0)]
            for y, wy in grid:
                if wx * wy > 1e-24:
                    v = sb * (c * x + s * y)
                    inner[0] += wy * f(v)
                    inner[1] += wy * slope(v)
            totals[0] += wx * f(sa * x) * inner[0]
            totals[1] += wx * slope(sa * x) * inner[1]
        return tuple(totals)

    return dual


def selu_dual(a, b, c):
    """Quadrature over u of the closed conditional means of f(v) and f'(v)."""
    f, slope, kinks = ELEMENTWISE["selu"]
    lam, alpha = (mpf(k) for k in SELU)
    left = b * (1 - c * c)
    s = mp.sqrt(left)

    def mean_slope(m):
        e1 = mp.exp(m + left / 2) * normal_cdf(-(m + left) / s)
        return lam * (normal_cdf(m / s) + alpha * e1)

    at = lambda u: c * mp.sqrt(b / a) * u
    near = []
    if c:
        width = s / abs(c) * mp.sqrt(a / b)
        near = [k * width for k in (-8, -3, -1, 0, 1, 3, 8)]
    products = [lambda u: f(u) * exact_scaled_elu(*SELU, at(u), left)[0], lambda u: slope(u) * mean_slope(at(u))]
    return tuple(gaussian_quad(products, mpf(0), mp.sqrt(a), kinks, near))


DUALS = {
    "relu": relu_dual,
    "erf": erf_dual,
    "sin": sin_dual,
    "tanh": trapezoid("tanh"),
    "gelu": trapezoid("gelu"),
    "selu": selu_dual,
}


def singles(name, q):
    """E[f^2], E[f'^2] and the derivative of the first by q."""
    f, slope, kinks = ELEMENTWISE[name]
    functions = (lambda z: f(z) ** 2, lambda z: slope(z) ** 2, lambda z: z * f(z) * slope(z) / q)
    return gaussian_quad(functions, mpf(0), mp.sqrt(q), kinks)


def network(name, w, b, p, start):
    """Length, slope of its map, chi, correlation and slope of its map."""
    w, b, p = mpf(w) ** 2, mpf(b) ** 2, mpf(p)
    q = mp.findroot(lambda q: w * singles(name, q)[0] / (1 - p) + b - q, start)
    _, chi, growth = singles(name, q)
    corr, along = mpf(1), w * chi
    if chi * w > 1 or p:
        corr, step = mpf(0), mpf(1)
        while step > mpf(10) ** -22:  # Newton on a convex function, from below
            value, slope = DUALS[name](q, q, corr)
            step = ((w * value + b) / q - corr) / (1 - w * slope)
            corr += step
        along = w * DUALS[name](q, q, corr)[1]
    return q, w * growth / (1 - p), w * chi, corr, along


def critical(name, b):
    """The weights with chi = 1."""

    def gap(q):
        second, chi, _ = singles(name, q)
        return b * b + second / chi - q

    q = mp.findroot(gap, (mpf("0.3"), mpf("0.6")))
    return 1 / mp.sqrt(singles(name, q)[1])


def kernels(name, w, b, depth, starts):
    """The NNGP and tangent kernels after some layers, of both variances and the covariance before."""
    w, b = mpf(w) ** 2, mpf(b) ** 2
    for start in starts:
        a, d, cov = (mpf(x) for x in start)
        tangent = cov
        for _ in range(depth):
            value, slope = DUALS[name](a, d, cov / mp.sqrt(a * d))
            one = mpf(1)
            a, d = (w * DUALS[name](x, x, one)[0] + b for x in (a, d))
            cov = w * value + b
            tangent = cov + w * slope * tangent
        yield [name, float(mp.sqrt(w)), float(mp.sqrt(b)), depth, *start, *digits(a, d, cov, tangent)]


NETWORKS = [
    ("tanh", 1.5, 0.0, 0.0, 0.8),
    ("tanh", 1.3, 0.1, 0.0, 0.5),
    ("tanh", 0.9, 0.5, 0.0, 0.5),
    ("tanh", 1.2, 0.2, 0.1, 0.5),
    ("gelu", 1.2, 0.4, 0.0, 0.4),
    ("erf", 2.0, 0.3, 0.0, 2.0),
    ("sin", 2.0, 0.5, 0.0, 2.0),
    ("selu", 1.0, 0.0, 0.0, 1.0),
    ("selu", 1.0, 0.3, 0.0, 2.0),
]


def main():
    mp.dps = 30
    shapes = [(1.0, 1.0), (0.25, 2.25), (4.0, 4.0)]
    places = (-1.0, -0.9, 0.0, 0.5, 0.999, 1.0)
    duals = []
    for a, b in shapes:
        for c in places:
            x, y, z = mpf(a), mpf(b), mpf(c)
            t = angle(z)
            duals.append(["step", a, b, c, *digits((mp.pi - t) / (2 * mp.pi)), None])
            square = x * y * (3 * mp.sin(t) * z + (mp.pi - t) * (1 + 2 * z * z)) / (2 * mp.pi)
            duals.append(["squared_relu", a, b, c, *digits(square, 4 * relu_dual(x, y, z)[0])])
            for name in ("relu", "erf", "sin"):
                duals.append([name, a, b, c, *digits(*DUALS[name](x, y, z))])
            if c in (0.5, 0.999, 1.0) and a < 4:
                for name in ("tanh", "gelu"):
                    duals.append([name, a, b, c, *digits(*DUALS[name](x, y, z))])
        print("duals", a, b, flush=True)
    networks = []
    for row in NETWORKS:
        networks.append([*row[:4], *digits(*network(*row))])
        print(networks[-1], flush=True)
    starts = [(1.0, 0.5, 0.3), (2.0, 2.0, 1.9), (0.7, 1.2, -0.4)]
    recursions = [
        row for name, depth in (("relu", 3), ("erf", 3), ("tanh", 2)) for row in kernels(name, 1.4, 0.2, depth, starts)
    ]
    golden = {
        "source": "tests/golden/make_meanfield.py: mpmath, 20 digits",
        "duals": {"columns": ["activation", "var1", "var2", "corr", "E f f", "E f' f'"], "rows": duals},
        "networks": {
            "columns": ["activation", "sigma_w", "sigma_b", "dropout", "q", "length slope", "chi", "c", "slope at c"],
            "rows": networks,
        },
        "critical": {
            "columns": ["activation", "sigma_b", "sigma_w"],
            "rows": [["tanh", b, *digits(critical("tanh", mpf(b)))] for b in (0.2, 0.5)],
        },
        "kernels": {
            "columns": [
                "activation",
                "sigma_w",
                "sigma_b",
                "depth",
                "var1",
                "var2",
                "cov",
                "and after the layers, with tangent",
            ],
            "rows": recursions,
        },
    }
    Path(__file__).with_name("meanfield.json").write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    main()
