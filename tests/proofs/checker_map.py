"""The layer map of a scaled ELU in balls, a second way, for `checker`; imports nothing of jnorm.

Derivatives in v follow from those in m by the heat equation; the Mills ratio, which is monotone, is taken at the ends.
"""

from fractions import Fraction

from flint import arb, arb_series, ctx, fmpq

PI, ROOT2 = arb.pi, lambda: arb(2).sqrt()


def ball(x):
    return arb(fmpq(x.numerator, x.denominator))


def falling(f, x):
    """f over a ball, from its ends."""
    return f(x.upper()).union(f(x.lower()))


def tail(x):
    """P(Z > x)."""
    return (x / ROOT2()).erfc() / 2


def mills(x):
    """P(Z > x)/density(x)."""
    return tail(x) * (x * x / 2).exp() * (2 * PI()).sqrt()


def atoms(m, v):
    """Derivatives in m of P(z > 0) and of E[e^(kz); z < 0], k = 1, 2; s times the density of m/s, and P(z < 0)."""
    s = v.sqrt()
    t, bell = m / s, lambda x: (-x * x / 2).exp() / (2 * PI()).sqrt()
    density = falling(bell, t) if t > 0 or t < 0 else falling(bell, t).union(bell(arb(0)))
    one = density / s
    kink = [one, -t * one / s, (t * t - 1) * one / s / s, t * (3 - t * t) * one / s / s / s]
    forms = (
        (density * falling(mills, t + k * s), (k * m + k * k * v / 2).exp() * falling(tail, t + k * s)) for k in (1, 2)
    )
    e1, e2 = ([x.intersection(y) if x.is_finite() and y.is_finite() else y] for x, y in forms)
    for k in range(4):
        e1.append(e1[k] - kink[k])
        e2.append(2 * e2[k] - kink[k])
    up, down = falling(tail, -t), falling(tail, t)
    return [up, *kink], e1, e2, s * density, down


def moments(m, v, lam, alpha):
    """Derivatives 0 to 4 in m of E[f], E[f^2] and E[f'^2], z ~ N(m, v)."""
    up, e1, e2, peak, down = atoms(m, v)
    above, a = m * up[0] + peak, alpha**2
    first = [above + alpha * (e1[0] - down), *(x + alpha * y for x, y in zip(up, e1, strict=True))]
    curves = [2 * x + 2 * a * (2 * z - y) for x, y, z in zip(up, e1, e2, strict=True)]
    square = (m * m + v) * up[0] + m * peak + a * (e2[0] - 2 * e1[0] + down)
    second = [square, 2 * above + 2 * a * (e2[0] - e1[0]), *curves]
    slope = [x + a * z for x, z in zip(up, e2, strict=True)]
    return [[scale * x for x in row[:5]] for scale, row in ((lam, first), (lam**2, second), (lam**2, slope))]


def variance(first, second):
    """Var f and its derivatives in m, v, mm, mv and vv."""
    (f, f1, f2, f3, f4), (g, g1, g2, g3, g4) = first, second
    slopes = [g1 - 2 * f * f1, g2 / 2 - f * f2]
    curves = [g2 - 2 * f1**2 - 2 * f * f2, g3 / 2 - f1 * f2 - f * f3, g4 / 4 - f2**2 / 2 - f * f4 / 2]
    return [g - f**2, *slopes, *curves]


def moments_over(m, v, c):
    """The same and the variance over balls with a width, met with the mean value theorem from their middle."""
    dm, dv, wide, middle = m - m.mid(), v - v.mid(), moments(m, v, *c), moments(m.mid(), v.mid(), *c)
    for k in (2, 1, 0):
        for a, b in zip(wide, middle, strict=True):
            a[k] = a[k].intersection(b[k] + a[k + 1] * dm + a[k + 2] * dv / 2)
    g, at = variance(*wide[:2]), variance(*middle[:2])
    for k, i, j in ((1, 3, 4), (2, 4, 5), (0, 1, 2)):
        g[k] = g[k].intersection(at[k] + g[i] * dm + g[j] * dv)
    return *wide, g


def constants(target, known={}):  # noqa: B006
    """lam and alpha of the scaled ELU whose fixed point is the target."""
    if target not in known:
        with ctx.workprec(300):
            mu, nu, omega, tau = map(ball, target)
            m, v = mu * omega, nu * tau
            (up, *_), (e1, *_), (e2, *_), peak, down = atoms(m, v)
            a, b, aa, bb = m * up + peak, e1 - down, (m * m + v) * up + m * peak, e2 - 2 * e1 + down
            r = 1 + nu / (mu * mu) if mu != 0 else arb(0)
            k2, k1, k0 = r * b * b - bb, r * a * b, r * a * a - aa
            root = (k1 * k1 - k0 * k2).sqrt()
            roots = [-a / b] if mu == 0 else [k0 / (root - k1), (root - k1) / k2]
            lams = [(nu / (aa + x * x * bb)).sqrt() if mu == 0 else mu / (a + x * b) for x in roots]
            known[target] = next((y, x) for y, x in zip(lams, roots, strict=True) if y > 0 and x > 0)
    return known[target]


def closed(c):
    """Numbers and bounds in closed form, which `jnorm.proofs` derives; None for other quantities."""
    (lam, alpha), peak, v0, v1 = (
        constants(c.target),
        1 / (2 * PI()).sqrt(),
        *(ball(v * t) for v, t in zip(c.var, c.tau, strict=True)),
    )
    omega, mean = (ball(max(map(abs, e))) for e in (c.omega, c.mean))
    jump, t0, t1 = (1 - alpha) * peak, *map(ball, c.tau)
    r, h, s = lam * (omega**2 + t1 / 2).sqrt(), alpha.log() - mean * omega, v1.sqrt()
    smooth = alpha * alpha.max(arb(1)) * s + alpha * abs(jump) * s / 4
    if "omega" in c.quantity:
        (f, fm, fmm, *_), (_, gm, gmm, *_), _ = moments(arb(0), v0, lam, alpha)
        b, d, e = fmm / 2, gm - 2 * f * fm, gmm / 2 - f * fmm
        det = t0 * (fm * e - b * d)
        assert 0 < det < fm, "no range of omega is known"
        return -(1 + t0 * e) / (fm + det) if "lowest" in c.quantity else ((1 - t0 * e) / (fm - det)).min(1 / det)
    forms = {
        "limit norm": lambda: lam * alpha / (1 - r) if r < 1 else arb.pos_inf(),
        "growth of variance": lambda: t0 * (lam * tail(-h / s)) ** 2 if h > 0 else arb(0),
        "slope near zero": lambda: lam**2 * (0.5 + alpha**2 * (2 * v1).exp() * tail(2 * s) - smooth - jump**2),
        "slope far out": lambda: lam**2 * (0.5 - alpha**2 * peak / s - peak**2) if s * peak > alpha / 2 else arb(0),
        "lowest tau": lambda: 1 / (lam**2 * ((1 + alpha**2) / 2 - jump**2)),
        "highest tau": lambda: 2 * PI() / (lam**2 * (PI() - 1)),
    }
    return forms[c.quantity]() if c.quantity in forms else None


def value(c, m, v, box, lam, alpha):
    """sign*quantity over balls of m and v, at the end of the fibre where it is largest, and its derivatives."""
    first, _, third, g = moments_over(m, v, (lam, alpha))
    out, widest, nearest = [], max(map(abs, c.omega)), max(c.mean[0], -c.mean[1], 0)
    cm, cv, ctx.cap = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2, 2
    for step in (1, 2):  # along m, then along v: d/dv = (d/dm)^2/2
        M, V, t0, t1 = arb_series([m, 2 - step]), arb_series([v, step - 1]), *map(ball, c.tau)
        f, fm, fv, slope = (
            arb_series([x[k], x[k + step] / step]) for x, k in ((first, 0), (first, 1), (first, 2), (third, 0))
        )
        var, vm, vv = (arb_series([g[k], g[i + step]]) for k, i in ((0, 0), (1, 2), (2, 3)))
        fv = fv / 2
        w = M / ball(nearest if cm > 0 else -nearest) if abs(cm) < nearest * widest else arb_series([ball(widest)])
        if c.sign > 0 and not (c.quantity == "rate" and c.p):
            t = t1 if cv >= c.var[0] * c.tau[1] else V / ball(c.var[0])
        else:
            t = t0 if cv < c.var[1] * c.tau[0] else V / ball(c.var[1])
        x = {"mean": f, "variance": var, "change of variance": var - V / t, "gradient factor": slope * t}.get(
            c.quantity, vv
        )
        if c.quantity == "mean - p*variance":
            x = f - ball(c.p) * var
        if c.quantity == "rate":
            scale, root = (ball(c.p), var.sqrt()) if c.p else (arb(1), arb_series([1]))
            w, t, root2 = (w * (V / t).sqrt(), V, root * root) if c.p else (w, t, root)
            a, b, d, e = fm * w / root, scale * fv * t / root, vm * w / (scale * root2), vv * t / root2
            x = (((a + e) * (a + e) + (d - b) * (d - b)).sqrt() + ((a - e) * (a - e) + (b + d) * (b + d)).sqrt()) / 2
        out.append(c.sign * x)
    return out[0][0], out[0][1], out[1][1]


def upper(c, box, lam, alpha):
    """sign*quantity is nowhere above this ball on a box of rationals."""
    (m0, m1, v0, v1), far = map(ball, box), lam * alpha.max(arb(1))
    if box[2] == 0:  # abs(E f - f(m)) <= L*sqrt(2*v/pi) and 0 <= Var f <= L^2*v; other quantities are not known there
        f, spread = [lam * (m if m > 0 else alpha * m.expm1()) for m in (m0, m1)], far * (2 * v1 / PI()).sqrt()
        mean, var = (f[0] - spread).union(f[1] + spread), arb(0).union(far**2 * v1)
        forms = {"mean": mean, "variance": var, "mean - p*variance": mean - ball(c.p or Fraction(0)) * var}
        return (c.sign * forms[c.quantity]).upper()
    try:
        x, dm, dv = value(c, m0.union(m1), v0.union(v1), box, lam, alpha)
    except ValueError:  # a ball that is divided by holds zero
        return arb.pos_inf()
    at, rest = [], arb(0)
    for low, high, d in ((box[0], box[1], dm), (box[2], box[3], dv)):
        at.append(high if d > 0 else low if d < 0 else (low + high) / 2)
        rest += 0 if d > 0 or d < 0 else d * (ball(low).union(ball(high)) - ball(at[-1]))
    shifted = value(c, *map(ball, at), box, lam, alpha)[0] + rest
    known = [bound.upper() for bound in (x, shifted) if bound.is_finite()]
    return min(known, key=float) if known else arb.pos_inf()
