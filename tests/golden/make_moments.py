"""Writes moments.json: moments of activations under Gaussians, 20 digits, without any code or method of jnorm's.

    python tests/golden/make_moments.py

Everything is mpmath, in 30 digits or more (a few minutes on one core). `elementwise` is tanh-sinh quadrature
(mpmath.quad) of f, f'^2 and (f - f(mean))^2, split at the kinks and ever finer towards 0, where the complex poles of
tanh, softplus and mish lie close to the axis. `scaled_elu` is the textbook closed form in 100 digits, which swallow its
cancellation, checked against the quadrature on a sample. `pairs` are known closed forms (arc-cosine and arcsine
kernels, sin), one quadrature over u of f(u) E[f(v) | u] for SELU, and a trapezoidal sum for tanh.
"""

import json
import random
import struct
import time
from pathlib import Path

from mpmath import mp, mpf

SELU = (1.0507009873554805, 1.6732632423543772)  # lam, alpha as float64
MEANS = (0.0, 0.3, -0.3, 1.0, -1.0, 3.0, -3.0, 10.0, -10.0)
SDS = (1e-4, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0)


def sech2(x):
    return 1 / mp.cosh(x) ** 2


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def normal_cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def normal_pdf(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def scaled_elu(lam, alpha):
    lam, alpha = mpf(lam), mpf(alpha)
    return (
        lambda x: lam * x if x > 0 else lam * alpha * mp.expm1(x),
        lambda x: lam if x > 0 else lam * alpha * mp.exp(x),
        (0,),
    )


def mish_slope(x):
    t = mp.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


# name: f, f', kinks
ELEMENTWISE = {
    "identity": (lambda x: x, lambda x: mpf(1), ()),
    "relu": (lambda x: max(x, mpf(0)), lambda x: mpf(x > 0), (0,)),
    "leaky_relu": (lambda x: x if x > 0 else mpf(0.01) * x, lambda x: mpf(1) if x > 0 else mpf(0.01), (0,)),
    "elu": scaled_elu(1, 1),
    "celu": scaled_elu(1, 1),
    "selu": scaled_elu(*SELU),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x), ()),
    "tanh": (mp.tanh, sech2, ()),
    "hard_tanh": (lambda x: min(max(x, mpf(-1)), mpf(1)), lambda x: mpf(-1 < x < 1), (-1, 1)),
    "softplus": (softplus, sigmoid, ()),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, (0,)),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), ()),
    "gelu": (lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * normal_pdf(x), ()),
    "mish": (lambda x: x * mp.tanh(softplus(x)), mish_slope, ()),
    "erf": (mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), ()),
    "sin": (mp.sin, mp.cos, ()),
}


def float32(x):
    """The nearest float32, as a Python float: both precisions can then be tested on the very same points."""
    return struct.unpack("f", struct.pack("f", x))[0]


def digits(*values):
    return [mp.nstr(v, 20) for v in values]


def panels(mean, sd, kinks, *, near=()):
    """Break points: the kinks, mean + (-15, -6, -2, 2, 6, 15) sd, and powers of two."""
    low, high = mean - 15 * sd, mean + 15 * sd  # the density beyond is below 1e-49 of its peak
    points = {low, high, *(mpf(k) for k in kinks), *(mean + c * sd for c in (-6, -2, 2, 6)), *near}
    if sd > mpf("0.3"):
        points |= {mpf(sign * 2**k) for sign in (-1, 1) for k in range(7)} | {mpf(0)}
    return sorted(p for p in points if low <= p <= high)


def gaussian_quad(functions, mean, sd, kinks, near=()):
    """E[g(z)] for each g, z ~ N(mean, sd^2), the density being computed once a node."""
    cache = {}

    def values(x):
        if x not in cache:
            density = normal_pdf((x - mean) / sd) / sd
            cache[x] = [g(x) * density for g in functions]
        return cache[x]

    cuts = panels(mean, sd, kinks, near=near)
    return [mp.quad(lambda x, i=i: values(x)[i], cuts) for i in range(len(functions))]


def one_dimension(f, slope, kinks, mean, sd):
    """E[f], E[f^2], E[f'^2], Var f."""
    mean, sd = mpf(mean), mpf(sd)
    centre = f(mean)
    functions = (lambda x: f(x) - centre, lambda x: (f(x) - centre) ** 2, lambda x: slope(x) ** 2)
    shift, square, gradient = gaussian_quad(functions, mean, sd, kinks)
    average, var = centre + shift, square - shift**2
    return average, var + average**2, gradient, var


def exact_scaled_elu(lam, alpha, mean, var):
    """Mean, Var, E[f'^2]; derivatives of mean and Var by m and v, from d/dm E[g] = E[g'], d/dv E[g] = E[g'']/2."""
    lam, alpha, m, v = mpf(lam), mpf(alpha), mpf(mean), mpf(var)
    s = mp.sqrt(v)
    t = m / s
    below = normal_cdf(-t)
    e1, e2 = (mp.exp(k * m + k * k * v / 2) * normal_cdf(-(m + k * v) / s) for k in (1, 2))
    above, density = normal_cdf(t), normal_pdf(t)
    first = m * above + s * density
    average = lam * (first + alpha * (e1 - below))
    square = lam**2 * ((m * m + v) * above + m * s * density + alpha**2 * (e2 - 2 * e1 + below))
    gradient = lam**2 * (above + alpha**2 * e2)
    mean_m = lam * (above + alpha * e1)
    mean_v = lam * (alpha * e1 + (1 - alpha) * density / s) / 2
    square_m = 2 * lam**2 * (first + alpha**2 * (e2 - e1))
    square_v = lam**2 * (above + alpha**2 * (2 * e2 - e1))
    variance = square - average**2
    return average, variance, gradient, mean_m, mean_v, square_m - 2 * average * mean_m, square_v - 2 * average * mean_v


def points(count, seed):
    """(mean, var) in float32: the plain box, means close to 0, and means within 9 standard deviations of the kink."""
    draw = random.Random(seed)
    for i in range(count):
        var = 10 ** draw.uniform(-8, 4)
        mean = (
            draw.uniform(-10, 10),
            draw.choice((-1, 1)) * 10 ** draw.uniform(-8, 1),
            max(-10.0, min(10.0, draw.uniform(-9, 9) * var**0.5)),
        )[i % 3]
        yield float32(mean), min(max(float32(var), float32(1.0001e-8)), 1e4)
    for mean in (-10.0, 0.0, 10.0):
        for var in (float32(1.0001e-8), 1.0, 1e4):
            yield mean, var


def relu_pair(a, b, c):
    """E[relu(u) relu(v)] at zero mean: the arc-cosine kernel of order one (Cho, Saul 2009)."""
    r = c / mp.sqrt(a * b)
    return mp.sqrt(a * b) * (mp.sqrt(1 - r * r) + r * (mp.pi - mp.acos(r))) / (2 * mp.pi)


def erf_pair(a, b, c):
    """E[erf(u) erf(v)] at zero mean: the arcsine kernel (Williams 1998)."""
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * a) * (1 + 2 * b)))


def sin_pair(m, n, a, b, c):
    """E[sin(u) sin(v)] = (E[cos(u - v)] - E[cos(u + v)])/2."""
    return (mp.cos(m - n) * mp.exp(-(a + b - 2 * c) / 2) - mp.cos(m + n) * mp.exp(-(a + b + 2 * c) / 2)) / 2


def selu_pair(m, n, a, b, c):
    """E[f(u) E[f(v) | u]]: quadrature over u of the closed conditional mean."""
    f, _, kinks = ELEMENTWISE["selu"]
    left = b - c * c / a
    exact = left <= mpf(10) ** -12  # correlation of one, up to the rounding of c

    def inner(u):
        centre = n + c / a * (u - m)
        return f(centre) if exact else exact_scaled_elu(*SELU, centre, left)[0]

    near = []
    if c:  # v's conditional mean crosses the kink at u = turn, within this width
        turn, width = m - n * a / c, 0 if exact else mp.sqrt(left) * a / abs(c)
        near = [turn + k * width for k in (-8, -3, -1, 0, 1, 3, 8)]
    return gaussian_quad([lambda u: f(u) * inner(u)], m, mp.sqrt(a), kinks, near)[0]


def tanh_pair(m, n, a, b, c):
    """Trapezoidal rule in independent coordinates, whose error exp(-2 pi (pi/2) / (sd * step)) is below 1e-25."""
    su = mp.sqrt(a)
    slope, sv = c / su, mp.sqrt(max(b - c * c / a, mpf(0)))
    step = mpf("0.16") / max(su, mp.sqrt(b))
    grid = [(k * step, normal_pdf(k * step) * step) for k in range(-int(10.5 / step), int(10.5 / step) + 1)]
    return mp.fsum(
        wx * mp.tanh(m + su * x) * mp.fsum(wy * mp.tanh(n + slope * x + sv * y) for y, wy in grid if wx * wy > 1e-24)
        for x, wx in grid
    )


def pairs():
    """Rows of name, mean of u and v, variances and covariance, E[f(u) f(v)]."""
    shapes = [(1.0, 1.0), (0.25, 2.25), (4.0, 4.0)]
    for a, b in shapes:
        for r in (0.0, 0.5, -0.9, 0.999, -0.999, 1.0, -1.0):
            c = r * (a * b) ** 0.5
            x, y, z = mpf(a), mpf(b), mpf(c)
            yield "relu", 0.0, 0.0, a, b, c, relu_pair(x, y, z)
            yield "erf", 0.0, 0.0, a, b, c, erf_pair(x, y, z)
            for m, n in ((0.0, 0.0), (0.5, -1.0)):
                yield "sin", m, n, a, b, c, sin_pair(mpf(m), mpf(n), x, y, z)
                yield "identity", m, n, a, b, c, z + mpf(m) * mpf(n)
                yield "selu", m, n, a, b, c, selu_pair(mpf(m), mpf(n), x, y, z)
    for a, b, r, m, n in (
        (1.0, 1.0, 0.5, 0.0, 0.0),
        (1.0, 1.0, 0.999, 0.0, 0.0),
        (1.0, 1.0, -0.9, 0.5, -1.0),
        (1.0, 1.0, 1.0, 0.0, 0.0),
        (0.25, 2.25, 0.5, 0.5, -1.0),
        (4.0, 4.0, -0.9, 0.0, 0.0),
    ):
        c = r * (a * b) ** 0.5
        yield "tanh", m, n, a, b, c, tanh_pair(mpf(m), mpf(n), mpf(a), mpf(b), mpf(c))


def main():
    start = time.time()
    mp.dps = 30
    elementwise = {}
    for name, (f, slope, kinks) in ELEMENTWISE.items():
        elementwise[name] = [digits(*one_dimension(f, slope, kinks, m, s)) for m in MEANS for s in SDS]
        print(f"{name:12s} {time.time() - start:6.1f} s", flush=True)

    mp.dps = 100
    scaled = []
    for (lam, alpha), count in (
        (SELU, 1500),
        ((1.0, 0.0), 300),
        ((1.0, 1.0), 300),
        ((1.06, 1.97), 300),
        ((0.3, 20.0), 300),
    ):
        rows = [(m, v, exact_scaled_elu(lam, alpha, m, v)) for m, v in points(count, seed=len(scaled))]
        scaled.append({"lam": lam, "alpha": alpha, "points": [[m, v, *digits(*values)] for m, v, values in rows]})
        f, slope, kinks = scaled_elu(lam, alpha)
        mp.dps = 30
        for m, v, values in rows[::100]:
            average, _, gradient, var = one_dimension(f, slope, kinks, m, mp.sqrt(v))
            for got, exact in ((average, values[0]), (var, values[1]), (gradient, values[2])):
                assert abs(got - exact) <= mpf(10) ** -24 * max(abs(exact), mpf(10) ** -20), (lam, alpha, m, v)
        mp.dps = 100
    print(f"scaled_elu   {time.time() - start:6.1f} s", flush=True)

    mp.dps = 30
    two = [[name, *numbers, *digits(value)] for name, *numbers, value in pairs()]
    print(f"pairs        {time.time() - start:6.1f} s", flush=True)

    golden = {
        "source": "tests/golden/make_moments.py: mpmath, 20 digits",
        "points": {
            "columns": ["mean", "sd"],
            "rows": [[m, s] for m in MEANS for s in SDS],
        },
        "elementwise": {"columns": ["E f", "E f^2", "E f'^2", "Var f"], "rows": elementwise},
        "scaled_elu": {
            "columns": ["m", "v", "E f", "Var f", "E f'^2", "dE/dm", "dE/dv", "dVar/dm", "dVar/dv"],
            "sets": scaled,
        },
        "pairs": {"columns": ["f", "E u", "E v", "Var u", "Var v", "Cov", "E f(u)f(v)"], "rows": two},
    }
    text = json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[").replace("},", "},\n")
    Path(__file__).with_name("moments.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
