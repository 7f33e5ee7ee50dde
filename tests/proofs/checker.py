"""Certificate files checked a second way: rationals for domains and cuts, flint's balls for the layer map.

Reads what `jnorm.proofs.certificate.write` documents and imports nothing of jnorm: ``python checker.py FILE``. **What
is checked:** sign*quantity < sign*level on a domain of (mean, var, omega, tau): the stored boxes cover all (m, v) =
(mean*omega, var*tau), on each of them sign*quantity is at most the stored bound, at the end of the fibre (omega, tau)
where it is largest, and that bound is below sign*level; the stored point lies in the domain and reaches the bound's
other end. Boxes too wide for the balls of `checker_map` are halved.
"""

import hashlib
import json
import math
import sys
from collections import namedtuple
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from flint import arb, ctx

sys.path.insert(0, str(Path(__file__).parent))
from checker_map import ball, closed, upper, value

ZERO, NAMES = Fraction(0), ("mean", "var", "omega", "tau")
DEFAULTS = {"mean": 0.0, "var": 1.0, "omega": 0.0, "tau": 1.0, "target": [0.0, 1.0, 0.0, 1.0], "p": None, "tol": 0.0}
DEFAULTS |= {"self_map": True, "quantity": "", "slope": 0.0, "norm": 0.0, "domains": [], "path": [], "fall": []}
# strip = slope, low, high cuts a domain to low <= mean - slope*var <= high; without a level the extreme is enclosed
Claim = namedtuple("Claim", "quantity sign level mean var omega tau target strip p", defaults=(None, None))


def exact(x):
    """A value of the file, in which each number means the decimal that is written."""
    return [exact(e) for e in x] if isinstance(x, list) else Fraction(repr(x)) if type(x) in (int, float) else x


def ends(x):
    low, high = x if isinstance(x, list) else (x, x)
    assert type(low) is type(high) is Fraction, f"{x} is no interval"
    assert low <= high, f"{x} is inverted"
    return low, high


def digits(x):
    return repr(float(x)).removesuffix(".0")


def within(inner, outer):
    return all(b[0] <= a[0] and a[1] <= b[1] for a, b in zip(inner, outer, strict=True))


def claims(c, *rows):
    """Claims of (quantity, p, sign, level), on either side of omega = 0 where omega is not symmetric."""
    low, high = c.omega
    sides = [(low, ZERO), (ZERO, high)] if low < 0 < high and low != -high else [c.omega]
    return [c._replace(omega=omega, quantity=q, p=p, sign=sign, level=x) for omega in sides for q, p, sign, x in rows]


def image(c, inside=((None, None),) * 3):
    """The next mean, variance and, with a strip, offset lie inside a region; without one, their extremes."""
    names = [("mean", None), ("variance", None), ("mean - p*variance", c.strip and c.strip[0])][: 3 if c.strip else 2]
    rows = [(*name, k, x) for name, e in zip(names, inside, strict=False) for k, x in zip((-1, 1), e, strict=True)]
    return claims(c, *(row for row in rows if row[::2] != ("variance", -1) or c.var[0] > 0 or row[3]))


def leads(path, c, slope):
    """Each region of a path maps into the next; the first is a rectangle that no strip cuts."""
    mean, var, offset = path[0]
    assert within([(mean[0] - slope * var[1], mean[1] - slope * var[0])], [offset]), "a path starts cut"
    return [
        x for (m, v, o), after in pairwise(path) for x in image(c._replace(mean=m, var=v, strip=(slope, *o)), after)
    ]


def claims_of(name, a):
    """The inequalities that a statement makes of its arguments, in order."""
    target, p, slope, norm = (a[key] for key in ("target", "p", "slope", "norm"))
    path, fall = ([[ends(e) for e in region] for region in a[key]] for key in ("path", "fall"))
    c = Claim("", 1, None, *(ends(a[key]) for key in NAMES), tuple(target))
    assert a.keys() == DEFAULTS.keys(), "an argument is unknown"
    assert all(type(x) is Fraction for x in (*target, slope, norm, a["tol"])), "a number is none"
    assert p is None or (type(p) is Fraction and p > 0), "p is not positive"
    if name in ("contraction", "fixed_point"):
        free = a["self_map"] is not True or c.omega[0] < c.omega[1] or c.tau[0] < c.tau[1]
        assert name == "contraction" or not free, "the weights are free"
        return claims(c, ("rate", p, 1, 1)) + (image(c, (c.mean, c.var)) if a["self_map"] is True else [])
    if name in ("variance_decreases", "variance_increases"):
        row = "change of variance", None, 1 if name == "variance_decreases" else -1, 0
        domains = [dict(zip(NAMES, map(ends, domain), strict=True)) for domain in a["domains"]]
        return [x for domain in domains for x in claims(c._replace(**domain), row)]
    if name == "extremes":
        factor = [x for sign in (-1, 1) for x in claims(c, ("gradient factor", None, sign, None))]
        return image(c) if a["quantity"] == "image" else factor
    if name == "limit_set":
        return leads([*path, path[-1]], c, slope)
    if name == "global_convergence":
        (mean, var, _), (last, *_), (start, (low, high), _), end = fall[0], fall[-1], path[0], path[-1]
        assert within(((-norm, norm), (0, norm**2)), fall[0][:2]), "the fall does not hold the disc"
        assert all(v[0] == 0 for _, v, _ in fall), "the fall leaves variance 0"
        assert within(fall[-1][:2], (start, (0, high))), "the path does not hold the fall's end"
        far = c._replace(quantity="limit norm", level=norm, mean=mean, var=var)
        small = c._replace(quantity="growth of variance", sign=-1, level=1, mean=last, var=(ZERO, low))
        shrinks = claims(c._replace(mean=end[0], var=end[1]), ("rate", p, 1, 1))
        return [far, small, *shrinks, *leads(fall, c, slope), *leads([*path, path[-1]], c, slope)]
    c = c._replace(target=(ZERO, c.var[0], ZERO, c.tau[0]))
    if name == "omega_range":
        return claims(c, ("lowest omega", None, -1, None), ("highest omega", None, 1, None))
    assert name == "tau_range", f"the statement {name!r} is not known"
    low, high = Fraction("1e-4"), Fraction(100)
    rows = [("lowest tau", None, -1, None), ("highest tau", None, 1, None), ("slope of variance", None, -1, 0)]
    near = claims(c._replace(var=(ZERO, low)), ("slope near zero", None, -1, 0))
    far = claims(c._replace(var=(high, high)), ("slope far out", None, -1, 0))
    return claims(c._replace(var=(low, high)), *rows) + near + far


def cut(c, box):
    """The part of a box that a strip leaves; None where that is nothing."""
    slope, low, high = c.strip
    v0, v1 = max(c.var[0], box[2] / c.tau[1]), min(c.var[1], box[3] / c.tau[0])
    mean = max(c.mean[0], low + slope * v0), min(c.mean[1], high + slope * v1)
    ms = [a * b for a in mean for b in c.omega]
    m0, m1 = max(box[0], min(ms)), min(box[1], max(ms))
    return (m0, m1, *box[2:]) if mean[0] <= mean[1] and m0 <= m1 and v0 <= v1 else None


def shown(c, box, leaves, most, halvings=40):
    """Whether leaves cover a box, which is cut at their edges until one holds it, and sign*quantity <= most on it."""
    leaves = [x for x in leaves if all(x[k] <= box[k + 1] and box[k] <= x[k + 1] for k in (0, 2))]
    held = any(all(x[k] <= box[k] and box[k + 1] <= x[k + 1] for k in (0, 2)) for x in leaves)
    if held:
        part = cut(c, box) if c.strip else box
        if part is None or upper(c, part) <= most:
            return True
        m0, m1, v0, v1 = part
        along_m = 4 * v0 * (m1 - m0) ** 2 > (v1 - v0) ** 2
        cuts = [(0, 0, (m0 + m1) / 2) if along_m else (0, 2, (v0 + v1) / (2 if v1 < 16 * v0 else 8))]
    else:
        edges = {(k, e) for x in leaves for k in (0, 2) for e in x[k : k + 2] if box[k] < e < box[k + 1]}
        cuts = [(sum(x[k] < e < x[k + 1] for x in leaves), k, e) for k, e in edges]
    _, k, e = min(cuts, default=(0, 0, None))
    halves = [(*box[: k + 1], e, *box[k + 2 :]), (*box[:k], e, *box[k + 1 :])]
    return e is not None and halvings > 0 and all(shown(c, half, leaves, most, halvings - held) for half in halves)


def outcome(c, proof, width):
    """True, False, or None where the stored boxes and point do not show the claim."""
    extreme = f" at {'most' if c.sign > 0 else 'least'}" + (f" (p = {digits(c.p)})" if c.p else "")
    text = c.quantity + (extreme if c.level is None else f" {'><'[c.sign > 0]} {digits(c.level)}")
    assert proof["claim"] == text, f"the claim is {text}, not {proof['claim']}"
    assert min(c.tau[0], c.var[1], c.strip[0] if c.strip else 1) > 0 <= c.var[0], "no domain"
    low, high = (side * math.inf if x is None else x for side, x in zip((-1, 1), proof["bound"], strict=True))
    least, most = (low, high) if c.sign > 0 else (-high, -low)
    level, form, at = arb.pos_inf() if c.level is None else ball(c.level * c.sign), closed(c), arb.neg_inf()
    if form is not None:
        tight = 0 <= most - least < 1e-9 * max(1, abs(most))
        return True if tight and low <= form <= high and arb(most) < level else None
    if proof["point"]:
        mean, var, omega, tau = point = exact(proof["point"])
        there = c._replace(**{name: (x, x) for name, x in zip(NAMES, point, strict=True)})
        cut_off = c.strip and not c.strip[1] <= mean - c.strip[0] * var <= c.strip[2]
        if var > 0 and within(there[3:7], c[3:7]) and not cut_off:
            with ctx.workprec(200):
                m, v = mean * omega, var * tau
                at = value(there, ball(m), ball(v), (m, m, v, v))[0]
    ms, leaves = [a * b for a in c.mean for b in c.omega], [tuple(map(Fraction, x)) for x in proof["boxes"]]
    box = min(ms), max(ms), c.var[0] * c.tau[0], c.var[1] * c.tau[1]
    if not (at >= least and math.isfinite(most) and shown(c, box, leaves, arb(most))):
        return None
    below = arb(most) < level and (c.level is not None or most - least <= width)
    return False if at > level else True if below else None


def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a field stands twice"
    return dict(pairs)


def check(path):
    """(statement, claimed, shown) of every certificate of a file; AssertionError and other errors refuse it whole."""
    content, found = json.loads(Path(path).read_text(), object_pairs_hook=once), []
    stored, text = content.pop("digest"), json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert (stored, content["format"]) == (hashlib.sha256(text.encode()).hexdigest(), 2), "no file of format 2"
    for entry in content["certificates"]:
        assert entry.keys() == {"statement", "arguments", "holds", "seconds", "proofs"}, "a field is unknown or missing"
        a = {name: exact(x) for name, x in (DEFAULTS | entry["arguments"]).items()}
        needed, proofs, ctx.prec = claims_of(entry["statement"], a), entry["proofs"], 128
        results = [outcome(c, proof, 2 * a["tol"]) for c, proof in zip(needed, proofs, strict=True)]
        holds = False if False in results else None if None in results or not results else True
        chosen = entry["statement"] in ("fixed_point", "limit_set", "global_convergence")
        found.append((entry["statement"], entry["holds"], None if chosen and holds is False else holds))
    assert found, "no certificate"
    return found


if __name__ == "__main__":
    for row in check(sys.argv[1]):
        print(*row)
