"""Certificate files checked a second way: exact rationals for domains and cuts, power series in balls for the map.

Reads what `jnorm.proofs.certificate.write` documents and imports nothing of jnorm: ``python checker.py FILE``.
Leaves that `checker_map` does not decide are halved.
"""

import hashlib
import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from flint import arb, ctx

sys.path.insert(0, str(Path(__file__).parent))
from checker_map import ball, closed, constants, upper, value

ZERO, ONE = Fraction(0), Fraction(1)
NAMES = ("mean", "var", "omega", "tau")
KNOWN = {"quantity", "domains", *NAMES, "tol", "target", "p", "self_map", "slope", "path", "fall", "norm"}
digits = lambda x: repr(float(x)).removesuffix(".0")


def q(x):
    """A number of the file: it means the decimal that is written."""
    assert type(x) in (int, float), f"{x!r} is no number"
    return Fraction(repr(float(x)))


def ends(x):
    low, high = map(q, x if isinstance(x, list) else (x, x))
    assert low <= high, "an interval is inverted"
    return low, high


class Claim(NamedTuple):
    """A quantity is below (sign 1) or above (-1) the level on a domain, or its extreme is enclosed to a width."""

    quantity: str
    sign: int
    level: Any
    mean: tuple
    var: tuple
    omega: tuple
    tau: tuple
    target: tuple
    strip: Any = None
    p: Any = None
    width: Any = math.inf

    def text(self):
        extreme = f" at {'most' if self.sign > 0 else 'least'}" + ("" if self.p is None else f" (p = {digits(self.p)})")
        return self.quantity + (extreme if self.level is None else f" {'><'[self.sign > 0]} {digits(self.level)}")


def halved(c):
    low, high = c.omega
    cut = low < 0 < high and low != -high
    return [c._replace(omega=ends) for ends in ([(low, ZERO), (ZERO, high)] if cut else [c.omega])]


def image(c, inside=None):
    rows = [("mean", None), ("variance", None)] + ([("mean - p*variance", c.strip[0])] if c.strip else [])
    return [
        part._replace(quantity=name, sign=sign, level=inside and inside[k][side], p=p)
        for part in halved(c)
        for k, (name, p) in enumerate(rows)
        for side, sign in enumerate((-1, 1))
        if (name, sign) != ("variance", -1) or c.var[0] > 0 or (inside and inside[1][0] != 0)
    ]


def leads(path, c, slope):
    (mean, var, offset), *rest = path
    assert within([(mean[0] - slope * var[1], mean[1] - slope * var[0])], [offset]), "a path starts cut"
    regions = [c._replace(mean=m, var=v, strip=(slope, *o)) for m, v, o in path]
    return [x for region, after in zip(regions, rest, strict=False) for x in image(region, after)]


def within(a, b):
    return all(y[0] <= x[0] and x[1] <= y[1] for x, y in zip(a[:2], b[:2], strict=True))


def claims_of(name, a):
    """The inequalities that a statement makes of its arguments, in order."""
    default = {"mean": 0.0, "var": 1.0, "omega": 0.0, "tau": 1.0, "target": [0.0, 1.0, 0.0, 1.0]} | a
    target, p = tuple(map(q, default["target"])), None if a.get("p") is None else q(a["p"])
    rows = a.get("domains") or [[default[key] for key in NAMES]]
    bases = [Claim("", 1, None, *map(ends, row), target) for row in rows]
    base, rates = bases[0], lambda c: [x._replace(quantity="rate", level=ONE, p=p) for x in halved(c)]
    assert p is None or p > 0, "p is not positive"
    assert a.keys() <= KNOWN, "an argument is unknown"
    if name in ("contraction", "fixed_point"):
        free = base.omega[0] < base.omega[1] or base.tau[0] < base.tau[1]
        assert name == "contraction" or not free, "the weights are free"
        return rates(base) + (image(base, (base.mean, base.var)) if default.get("self_map", True) is True else [])
    if name in ("variance_decreases", "variance_increases"):
        sign = 1 if name == "variance_decreases" else -1
        return [c._replace(quantity="change of variance", sign=sign, level=ZERO) for b in bases for c in halved(b)]
    if name == "extremes":
        base = base._replace(width=2 * q(a["tol"]))
        both = [x._replace(quantity="gradient factor", sign=sign) for sign in (-1, 1) for x in halved(base)]
        return image(base) if a["quantity"] == "image" else both
    if name in ("limit_set", "global_convergence"):
        path, slope = [[ends(e) for e in region] for region in a["path"]], q(a["slope"])
        stays = leads([*path, path[-1]], base, slope)
        if name == "limit_set":
            return stays
        fall, norm = [[ends(e) for e in region] for region in a["fall"]], q(a["norm"])
        assert within(((-norm, norm), (ZERO, norm**2)), fall[0]), "the fall does not hold the disc"
        assert all(var[0] == 0 for _, var, _ in fall), "the fall leaves variance 0"
        assert within(fall[-1], (path[0][0], (ZERO, path[0][1][1]))), "the path does not hold the fall's end"
        small = base._replace(mean=fall[-1][0], var=(ZERO, path[0][1][0]), quantity="growth of variance", sign=-1)
        far = base._replace(mean=fall[0][0], var=fall[0][1], quantity="limit norm", level=norm)
        shrinks = rates(base._replace(mean=path[-1][0], var=path[-1][1]))
        return [far, small._replace(level=ONE), *shrinks, *leads(fall, base, slope), *stays]
    base = base._replace(target=(ZERO, base.var[0], ZERO, base.tau[0]))
    if name == "omega_range":
        return [base._replace(quantity="lowest omega", sign=-1), base._replace(quantity="highest omega")]
    assert name == "tau_range", f"the statement {name!r} is not known"
    near, middle, far = (base._replace(var=ends(v)) for v in ([0.0, 1e-4], [1e-4, 100.0], 100.0))
    slopes = ((middle, "slope of variance"), (near, "slope near zero"), (far, "slope far out"))
    taus = [middle._replace(quantity="lowest tau", sign=-1), middle._replace(quantity="highest tau")]
    return taus + [c._replace(quantity=name, sign=-1, level=ZERO) for c, name in slopes]


def holds_point(c, point):
    ranges = zip(point, (c.mean, c.var, c.omega, c.tau), strict=True)
    inside = all(low <= x <= high for x, (low, high) in ranges) and point[1] > 0
    return inside and (c.strip is None or c.strip[1] <= point[0] - c.strip[0] * point[1] <= c.strip[2])


def at_point(c, point):
    """The quantity there: of the domain that is this point alone."""
    c = c._replace(**{name: (x, x) for name, x in zip(NAMES, point, strict=True)}, strip=None)
    m, v = point[0] * point[2], point[1] * point[3]
    with ctx.workprec(200):
        return value(c, ball(m), ball(v), (m, m, v, v), *constants(c.target))[0]


def cut(c, box):
    """The part of a box that a strip leaves, in rationals; None where that is nothing."""
    if c.strip is None:
        return box
    slope, low, high = c.strip
    v0, v1 = max(c.var[0], box[2] / c.tau[1]), min(c.var[1], box[3] / c.tau[0])
    mean = max(c.mean[0], low + slope * v0), min(c.mean[1], high + slope * v1)
    ms = [a * b for a in mean for b in c.omega]
    m0, m1 = max(box[0], min(ms)), min(box[1], max(ms))
    return (m0, m1, *box[2:]) if mean[0] <= mean[1] and m0 <= m1 and v0 <= v1 else None


def bounded(c, leaves, most):
    """Whether sign*quantity <= most on the leaves, which are halved where that is open."""
    todo, left = list(leaves), 30 * len(leaves) + 500
    while todo and left:
        box, left = todo.pop(), left - 1
        part = cut(c, box)
        if part is None or upper(c, part, *constants(c.target)) <= most:
            continue
        m0, m1, v0, v1 = part
        m, v = ((Fraction(float(a)) + Fraction(float(b))) / 2 for a, b in ((m0, m1), (v0, v1)))
        halves = [(m0, m, v0, v1), (m, m1, v0, v1)] if (m1 - m0) ** 2 * 4 * v0 > (v1 - v0) ** 2 else []
        if not (m0 < m < m1 or v0 < v < v1):
            return False
        todo += halves if halves and m0 < m < m1 else [(m0, m1, v0, v), (m0, m1, v, v1)]
    return not todo


def covered(box, leaves):
    """Whether the leaves cover a box, which is cut at their edges until one of them holds it."""
    leaves = [x for x in leaves if all(x[k] <= box[k + 1] and box[k] <= x[k + 1] for k in (0, 2))]
    if any(all(x[k] <= box[k] and box[k + 1] <= x[k + 1] for k in (0, 2)) for x in leaves):
        return True
    edges = [sorted({x[j] for x in leaves for j in (k, k + 1) if box[k] < x[j] < box[k + 1]}) for k in (0, 2)]
    k = 0 if len(edges[0]) > len(edges[1]) else 2
    if not edges[k // 2]:
        return False
    cut = edges[k // 2][len(edges[k // 2]) // 2]
    return covered((*box[: k + 1], cut, *box[k + 2 :]), leaves) and covered((*box[:k], cut, *box[k + 1 :]), leaves)


def outcome(c, proof):
    """True, False, or None where the stored leaves and point do not show the claim."""
    assert proof["claim"] == c.text(), f"the claim is {c.text()}, not {proof['claim']}"
    assert min(c.tau[0], c.var[1], c.strip[0] if c.strip else ONE) > 0 <= c.var[0], "no domain"
    bound = [math.inf * (1, -1)[k == 0] if x is None else x for k, x in enumerate(proof["bound"])]
    least, most = bound if c.sign > 0 else (-bound[1], -bound[0])
    level = arb.pos_inf() if c.level is None else ball(c.level * c.sign)
    form = closed(c)
    if form is not None:
        tight = math.isfinite(most - least) and most - least < 1e-9 * max(1, abs(most))
        return True if tight and bound[0] <= form <= bound[1] and arb(most) < level else None
    point = proof["point"] and tuple(map(q, proof["point"]))
    at = at_point(c, point) if point and holds_point(c, point) else arb.neg_inf()
    ms = [a * b for a in c.mean for b in c.omega]
    box, leaves = (
        (min(ms), max(ms), c.var[0] * c.tau[0], c.var[1] * c.tau[1]),
        [tuple(map(Fraction, x)) for x in proof["boxes"]],
    )
    if not (at >= least and math.isfinite(most) and covered(box, leaves) and bounded(c, leaves, arb(most))):
        return None
    return (
        False
        if at > level
        else True
        if arb(most) < level and most - least <= (math.inf if c.level is not None else c.width)
        else None
    )


def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a field stands twice"
    return dict(pairs)


def check(path):
    """(statement, claimed, shown) of every certificate of a file; AssertionError and other errors refuse it whole."""
    content = json.loads(Path(path).read_text(), object_pairs_hook=once)
    stored = content.pop("digest")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert (stored, content["format"]) == (hashlib.sha256(text.encode()).hexdigest(), 2), "no file of format 2"
    found = []
    for entry in content["certificates"]:
        assert entry.keys() == {"statement", "arguments", "holds", "seconds", "proofs"}, "a field is unknown or missing"
        claims, proofs, ctx.prec = claims_of(entry["statement"], entry["arguments"]), entry["proofs"], 128
        results = [outcome(c, proof) for c, proof in zip(claims, proofs, strict=True)]
        shown = False if False in results else None if None in results or not results else True
        chosen = shown is False and entry["statement"] in ("fixed_point", "limit_set", "global_convergence")
        found.append((entry["statement"], entry["holds"], None if chosen else shown))
    assert found, "no certificate"
    return found


if __name__ == "__main__":
    for row in check(sys.argv[1]):
        print(*row)
