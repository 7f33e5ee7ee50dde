"""Every public function that returns a bound, on random domains, against points that are optimized at 50 digits."""

import random

import mpmath

from jnorm.proofs import certificate as proofs
from tests.proofs.oracle import jacobian, layer


def interval(rng, low, high, widths):
    """A random interval, short decimals, some of no width and some on both sides of zero."""
    middle, half = rng.uniform(low, high), rng.choice(widths) * (high - low) / 2
    a, b = round(max(low, middle - half), 4), round(min(high, middle + half), 4)
    return (a, b) if a <= b else (b, a)


def domain(rng):
    """Random intervals of mean, var, omega and tau, many of them with an omega that the proofs cut at zero."""
    var = interval(rng, 0.0, 1.0, (0.0, 0.1, 0.5))
    scale = 10 ** rng.uniform(-1.5, 1.2)
    return (
        interval(rng, -1.5, 1.5, (0.0, 0.1, 0.5, 1.0)),
        (round(scale * (0.2 + var[0]), 5), round(scale * (0.2 + var[1]), 5)),
        interval(rng, -0.9, 0.9, (0.0, 0.1, 0.5, 1.0)),
        interval(rng, 0.6, 1.8, (0.0, 0.1, 0.5)),
    )


def climb(f, ends, rng, steps=40):
    """The largest f met: corners, then random points, then steps of falling size from the best. Points are decimals."""
    corners = [tuple(e[rng.randrange(2)] for e in ends) for _ in range(10)]
    zero = [(*c[:2], 0.0, c[3]) for c in corners[:4] if ends[2][0] <= 0 <= ends[2][1]]
    inside = [tuple(rng.uniform(*e) for e in ends) for _ in range(10)]
    value, best = max((f(*x), x) for x in [*corners, *zero, *inside])
    for k in range(steps):
        size = 0.5 * 0.85**k
        near = tuple(
            min(max(a + rng.gauss(0, size) * (e[1] - e[0]), e[0]), e[1]) for a, e in zip(best, ends, strict=True)
        )
        if (new := f(*near)) > value:
            value, best = new, near
    return value


def claims(rng):
    """A domain, and for every function the quantity, the sign of its extreme and the end that the proof gives."""
    ends = domain(rng)
    options = {"tol": 1e-6, "budget": 3000}
    p = rng.choice((None, 0.3, 0.64, 1.5))
    image, factor = proofs.image_box(*ends, **options), proofs.gradient_bounds(*ends, **options)
    rate = proofs.contraction(*ends, p=p, self_map=False, **options)
    down, up = proofs.variance_decreases(*ends, **options), proofs.variance_increases(*ends, **options)
    names = [f"{q} at {end}" for q in ("mean", "variance") for end in ("least", "most")]
    least, most = (factor.extremes[f"gradient factor at {end}"] for end in ("least", "most"))
    rows = [
        *((f"image_box: {name}", k // 2, k % 2 * 2 - 1, image.extremes[name]) for k, name in enumerate(names)),
        ("gradient_bounds: least", "factor", -1, least),
        ("gradient_bounds: most", "factor", 1, most),
        (f"contraction: rate, p = {p}", "rate", 1, rate.bound),
        ("variance_decreases", "change", 1, down.bound),
        ("variance_increases", "change", -1, up.bound),
    ]
    return ends, p, rows, [(rate, "rate", 1, 1.0), (down, "change", 1, 0.0), (up, "change", -1, 0.0)]


def quantity(name, p):
    """A function of mean, var, omega and tau at 50 digits."""
    if name in (0, 1):
        return lambda *x: layer(*x)[name]
    if name == "change":
        return lambda *x: layer(*x)[1] - mpmath.mpf(repr(x[1]))
    return lambda *x: jacobian(*x, p=p)[0 if name == "rate" else 1]


def falsify(count, seed):
    """Counts of points and bounds, and what was violated: a point past a bound, or an outcome that it contradicts."""
    rng, points, bounds, wrong = random.Random(seed), 0, 0, []
    for _ in range(count):
        ends, p, rows, outcomes = claims(rng)
        reached = {}
        with mpmath.workdps(50):
            for name, what, sign, (low, high) in rows:
                f = quantity(what, p)
                steps = 20 if what in ("rate", "factor") else 40
                value = reached[what, sign] = climb(lambda *x, f=f, sign=sign: sign * f(*x), ends, rng, steps)
                outer = high if sign > 0 else -low
                points, bounds = points + 24 + steps, bounds + 1
                if value > outer:
                    wrong.append((name, ends, float(value), outer))
            for proof, what, sign, level in outcomes:
                if proof.holds is True and reached[what, sign] >= sign * level:
                    wrong.append((proof, ends, float(reached[what, sign]), "holds"))
                if proof.holds is False:
                    point = [proof.counterexample[key] for key in ("mean", "var", "omega", "tau")]
                    inside = all(low <= x <= high for x, (low, high) in zip(point, ends, strict=True))
                    if not inside or sign * quantity(what, p)(*point) <= sign * level:
                        wrong.append((proof, ends, point, "counterexample"))
    return {"domains": count, "bounds": bounds, "points": points}, wrong


def follow(count, seed, everywhere=True):
    """Trajectories with changing weights against the path of a limit set and of global convergence."""
    rng, points, wrong = random.Random(seed), 0, []
    for _ in range(count):
        low, tau = round(rng.uniform(-0.15, 0.0), 3), round(rng.uniform(0.95, 1.0), 3)
        omega, taus = (low, round(low + rng.uniform(0, 0.2), 3)), (tau, round(tau + rng.uniform(0, 0.1), 3))
        start = (-0.3, 0.4), (0.6, 2.0)
        found = [proofs.limit_set(*start, omega, taus, budget=3000)]
        found += [proofs.global_convergence(omega, taus, budget=3000)] if everywhere else []
        for proof in found:
            if proof.holds is not True:
                continue
            for _ in range(4):
                moments = tuple(rng.choice((rng.uniform(*e), rng.choice(e))) for e in proof.path[0])
                for k in range(min(len(proof.path) + 5, 40)):
                    for x, (least, most) in zip(moments, proof.path[min(k, len(proof.path) - 1)], strict=True):
                        points += 1
                        if not least <= x <= most:
                            wrong.append((proof, moments, k))
                    moments = tuple(map(float, layer(*moments, rng.choice(omega), rng.choice(taus))))
    return {"domains": count, "points": points}, wrong


def attract(count, seed):
    """Fixed points are met by iteration, and the ranges of omega and tau end where the spectral radius passes 1."""
    rng, points, wrong = random.Random(seed), 0, []
    for _ in range(count):
        omega, tau = round(rng.uniform(-0.3, 0.3), 3), round(rng.uniform(0.6, 1.6), 3)
        proof = proofs.fixed_point(omega, tau)
        moments = (0.0, 1.0)
        for _ in range(600):
            moments = layer(*moments, omega, tau)
        inside = [
            low <= x <= high
            for x, (low, high) in zip(moments, (proof.domain[0].mean, proof.domain[0].var), strict=True)
        ]
        points += 1
        if proof.holds is False or (proof.holds and not all(inside)):
            wrong.append((proof, omega, tau))
    low, high = (ends for ends in proofs.omega_range().extremes.values())
    for omega, side in ((low[0], -1), (high[1], 1)):
        for step in (-1e-9, 1e-9):
            points += 1
            if (radius(omega + side * step, 1.0) < 1) != (step < 0):
                wrong.append(("omega_range", omega, step))
    ends = [ends for name, ends in proofs.tau_range().extremes.items() if "tau" in name]
    for tau, side, var in ((ends[0][0], -1, 1e-9), (ends[1][1], 1, 1e12)):
        for step in (-1e-3, 1e-3):  # where tau*V(0, v)/v = 1 is sought at a variance near the end of all of them
            points += 1
            grows = layer(0.0, var, 0.0, tau + side * step)[1] > var
            if grows != ((step < 0) == (side < 0)):
                wrong.append(("tau_range", tau, step))
    return {"fixed points and ends": points}, wrong


def radius(omega, tau):
    """Spectral radius of the Jacobian at (0, 1), from differences at 50 digits."""
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -16
        one, zero = mpmath.mpf(1), mpmath.mpf(0)
        weights = mpmath.mpf(repr(omega)), mpmath.mpf(repr(tau))
        columns = [
            [
                (a - b) / (2 * h)
                for a, b in zip(layer(zero + dm, one + dv, *weights), layer(zero - dm, one - dv, *weights), strict=True)
            ]
            for dm, dv in ((h, 0), (0, h))
        ]
        (a, c), (b, d) = columns
        root = mpmath.sqrt((a - d) ** 2 / 4 + b * c)
        return max(abs((a + d) / 2 + root), abs((a + d) / 2 - root))
