"""The layer map of a scaled ELU in flint's balls, a second way, for `checker`; imports nothing of jnorm.

Derivatives in v follow from those in m by the heat equation. Balls with a width are met with their mean value form.
"""

from flint import arb, arb_series, ctx, fmpq


def ball(x):
    return arb(fmpq(x.numerator, x.denominator))


def over(f, x):
    """A monotone function over a ball, from its ends."""
    return f(x.upper()).union(f(x.lower()))


def tail(x):
    """P(Z > x)."""
    return (x / arb(2).sqrt()).erfc() / 2


def mills(x):
    """P(Z > x)/density(x), which falls."""
    return tail(x) * (x * x / 2).exp() * (2 * arb.pi()).sqrt()


def parts(m, v):
    """Derivatives 0 to 4 in m of the means of z over z > 0 and e^z - 1 over z < 0, their squares and squared slopes.

    They are made of P(z > 0), its slope, and E[e^(kz); z < 0], whose slope is k times itself less that one.
    """
    s, t, peak = v.sqrt(), m / v.sqrt(), 1 / (2 * arb.pi()).sqrt()
    bell = lambda x: (-x * x / 2).exp() * peak
    density = bell(t.abs_lower()).union(bell(t.abs_upper())) / s
    kink = [density, -t * density / s, (t * t - 1) * density / v, t * (3 - t * t) * density / (v * s)]
    up, down = [over(tail, -t), *kink], over(tail, t)
    direct = lambda k: (k * m + k * k * v / 2).exp() * over(tail, t + k * s)
    e1, e2 = ([s * density * over(mills, t + k * s) if t + k * s > -1 else direct(k)] for k in (1, 2))
    for k in range(4):
        e1, e2 = [*e1, e1[k] - kink[k]], [*e2, 2 * e2[k] - kink[k]]
    a, aa, bb = m * up[0] + v * density, (m * m + v) * up[0] + m * v * density, e2[0] - 2 * e1[0] + down
    curves = [2 * (y - x) for x, y in zip(e1, e2, strict=True)]
    return ([a, *up], [e1[0] - down, *e1]), ([aa, 2 * a, *(2 * x for x in up)], [bb, *curves]), (up, e2)


def constants(target, known={}):  # noqa: B006
    """lam and alpha of the scaled ELU whose fixed point is the target; its two moments are a quadratic in alpha."""
    if target not in known:
        with ctx.workprec(300):
            mu, nu, omega, tau = map(ball, target)
            (a, b), (aa, bb) = ((x[0], y[0]) for x, y in parts(mu * omega, nu * tau)[:2])
            r = nu + mu * mu
            root = mu * (r * (b * b * aa + a * a * bb) - mu * mu * aa * bb).sqrt()
            alphas = [(x - r * a * b) / (r * b * b - mu * mu * bb) for x in (root, -root)]
            pairs = [((r / (aa + x * x * bb)).sqrt(), x) for x in alphas if x > 0]
            known[target] = next((lam, x) for lam, x in pairs if (lam * (a + x * b)).overlaps(mu))
    return known[target]


def moments(m, v, c):
    """Derivatives in m of E[f], E[f^2] and E[f'^2] over balls, met with the mean value theorem from their middle."""
    lam, alpha = constants(c.target)
    row = lambda k, pair: [lam**k * (x + alpha**k * y) for x, y in zip(*pair, strict=False)]
    wide, near = ([*map(row, (1, 2, 2), parts(*at))] for at in ((m, v), (m.mid(), v.mid())))
    for x, y in zip(wide, near, strict=True):
        for k in (2, 1, 0):
            x[k] = x[k].intersection(y[k] + x[k + 1] * (m - m.mid()) + x[k + 2] * (v - v.mid()) / 2)
    return wide


def closed(c):
    """Numbers and bounds in closed form, which `jnorm.proofs` derives; None for other quantities."""
    (lam, alpha), omega, mean = constants(c.target), *(ball(max(map(abs, e))) for e in (c.omega, c.mean))
    (v0, v1), (t0, t1) = (ball(v * t) for v, t in zip(c.var, c.tau, strict=True)), map(ball, c.tau)
    peak, r, h, s = 1 / (2 * arb.pi()).sqrt(), lam * (omega**2 + t1 / 2).sqrt(), alpha.log() - mean * omega, v1.sqrt()
    jump = abs(1 - alpha) * peak
    if "omega" in c.quantity:
        (_, f1, f2, *_), (_, g1, g2, *_), _ = moments(arb(0), v0, c)
        det, change = t0 * (f1 * g2 - f2 * g1) / 2, t0 * g2 / 2
        assert 0 < det < f1, "no range of omega is known"
        return -(1 + change) / (f1 + det) if c.sign < 0 else ((1 - change) / (f1 - det)).min(1 / det)
    near = alpha * s * (alpha.max(arb(1)) + jump / 4) + jump**2
    forms = {
        "limit norm": lambda: lam * alpha / (1 - r) if r < 1 else arb.pos_inf(),
        "growth of variance": lambda: t0 * (lam * tail(-h / s)) ** 2 if h > 0 else arb(0),
        "slope near zero": lambda: lam**2 * (0.5 + alpha**2 * (2 * v1).exp() * tail(2 * s) - near),
        "slope far out": lambda: lam**2 * (0.5 - alpha**2 * peak / s - peak**2) if s * peak > alpha / 2 else arb(0),
        "lowest tau": lambda: 1 / (lam**2 * ((1 + alpha**2) / 2 - jump**2)),
        "highest tau": lambda: 2 * arb.pi() / (lam**2 * (arb.pi() - 1)),
    }
    return forms[c.quantity]() if c.quantity in forms else None


def value(c, m, v, box):
    """sign*quantity over balls of m and v, at the end of the fibre where it is largest, and both derivatives."""
    rows, scale, out, ctx.cap = moments(m, v, c), ball(c.p or 1), [], 2
    metric, centre_m, centre_v = c.quantity == "rate" and c.p, (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
    widest, nearest, largest = max(map(abs, c.omega)), max(c.mean[0], -c.mean[1], 0), c.sign > 0 and not metric
    var_end, tau_end = (c.var[0], c.tau[1]) if largest else (c.var[1], c.tau[0])
    for step in (1, 2):  # series along m, then along v
        z, x = arb_series([m, 2 - step]), arb_series([v, step - 1])
        f, g, factor = ([arb_series([row[k], row[k + step] / step]) for k in range(3)] for row in rows)
        var, var_m, var_v = g[0] - f[0] * f[0], g[1] - 2 * f[0] * f[1], g[2] / 2 - f[0] * f[2]
        w = z / ball(nearest if centre_m > 0 else -nearest) if abs(centre_m) < nearest * widest else ball(widest)
        t = ball(tau_end) if (centre_v >= var_end * tau_end) == largest else x / ball(var_end)
        found = {"mean": f[0], "variance": var, "mean - p*variance": f[0] - scale * var, "slope of variance": var_v}
        found |= {"change of variance": var - x / t, "gradient factor": factor[0] * t}
        if c.quantity == "rate":  # the larger singular value of the Jacobian, its rows and columns in the metric
            w, t, root = (w * (x / t).sqrt(), x, var.sqrt()) if metric else (w, t, arb_series([1]))
            a, b = f[1] * w / root, scale * f[2] * t / (2 * root)
            d, e = var_m * w / (scale * root * root), var_v * t / (root * root)
            found["rate"] = sum((y * y + z * z).sqrt() for y, z in ((a + e, d - b), (a - e, b + d))) / 2
        out.append(c.sign * found[c.quantity])
    return arb(out[0][0]), arb(out[0][1]), arb(out[1][1])


def upper(c, box):
    """sign*quantity is nowhere above this ball on a box of rationals."""
    m0, m1, v0, v1 = map(ball, box)
    if box[2] == 0:  # abs(E f - f(m)) <= L*sqrt(2*v/pi) and 0 <= Var f <= L^2*v; other quantities are not known there
        lam, alpha = constants(c.target)
        far, (low, high) = lam * alpha.max(arb(1)), (lam * (m if m > 0 else alpha * m.expm1()) for m in (m0, m1))
        spread, var = far * (2 * v1 / arb.pi()).sqrt(), arb(0).union(far**2 * v1)
        mean = (low - spread).union(high + spread)
        found = {"mean": mean, "variance": var, "mean - p*variance": mean - ball(c.p or 1) * var}
        return (c.sign * found[c.quantity]).upper()
    try:
        x, dm, dv = value(c, m0.union(m1), v0.union(v1), box)
    except ValueError:  # a ball that is divided by holds zero
        return arb.pos_inf()
    at, rest = [], arb(0)
    for low, high, d in ((*box[:2], dm), (*box[2:], dv)):
        at.append(high if d > 0 else low if d < 0 else (low + high) / 2)
        rest += 0 if d > 0 or d < 0 else d * (ball(low).union(ball(high)) - ball(at[-1]))
    bounds = x, value(c, *map(ball, at), box)[0] + rest
    return min((bound.upper() for bound in bounds if bound.is_finite()), key=float, default=arb.pos_inf())
