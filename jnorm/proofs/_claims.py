"""Claims about the layer map over a box of (mean, var, omega, tau), proved by branch and bound (extra: verify).

**The bound over a box** of (m, v) is the lesser of the quantity's own enclosure and of the mean value form
q(a) + q_m*(m - a_m) + q_v*(v - a_v), whose anchor a is the end of the box that the sign of each derivative points to
(its term is then <= 0 and dropped) and the middle where the sign is open. Where both signs are known the bound is the
exact corner value: that is why the theorems need tens of boxes. Boxes with the largest bound are halved first, along
the longer of dm/s and dv/(2v), from a start that is cut where the fibres change their branch.
"""

import heapq
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jnorm._ground.checks import choice
from jnorm.proofs import _enclosures as enclosures
from jnorm.proofs._asymptotics import CLOSED
from jnorm.proofs._domains import Domain, Pair, Point, covers
from jnorm.proofs._enclosures import Ball, Box, Constants, Moments, above, below, decimal, flint, working

FIBRED = ("change of variance", "gradient factor", "rate")  # whatever (m, v) alone does not decide
WITNESS_BITS = 200  # 60 digits: a counterexample is verified at 50 and more


def _rate(x: Moments, w: Any, tau: Any, var: Any, p: float | None) -> Any:
    """Largest singular value of the Jacobian between the two metrics: (abs(z1) + abs(z2))/2 with complex z1, z2."""
    if p is None:
        a, b, c, d = x.mean_m * w, x.mean_v * tau, x.var_m * w, x.var_v * tau
    else:
        scale, root, weight = decimal(p), x.var.sqrt(), w * var.sqrt()
        a, b = x.mean_m * weight / root, scale * (x.mean_v * x.v) / root
        c, d = x.var_m * weight / (scale * x.var), x.var_v * x.v / x.var
    first, second = (a + d, c - b), (a - d, b + c)
    return sum((u * u + w * w).sqrt() for u, w in (first, second)) / 2


# name: (moments, abs(omega), tau, var, p) -> value, at a point or over a box
QUANTITIES = {
    "mean": lambda x, w, tau, var, p: x.mean,
    "variance": lambda x, w, tau, var, p: x.var,
    "mean - p*variance": lambda x, w, tau, var, p: x.mean - decimal(p) * x.var,
    "change of variance": lambda x, w, tau, var, p: x.var - var,
    "gradient factor": lambda x, w, tau, var, p: x.slope * tau,
    "slope of variance": lambda x, w, tau, var, p: x.var_v,
    "rate": _rate,
}


@dataclass(frozen=True)
class Claim:
    """``quantity`` < or > ``level`` everywhere on ``domain``; without a level, its extreme is to be enclosed.

    Quantities: "mean", "variance" and "mean - p*variance" of the next layer, "change of variance" var~ - var,
    "gradient factor" tau*E[f'^2], "slope of variance" d Var f/dv, and "rate", the largest singular value of the layer
    map's Jacobian: in the 2-norm, or with ``p`` in the metric p^2 dmean^2/var + dvar^2/var^2. ``target`` is the (mean,
    var, omega, tau) whose fixed point defines lam and alpha.
    """

    quantity: str
    sense: str
    level: float | None
    domain: Domain
    target: Point = (0.0, 1.0, 0.0, 1.0)
    p: float | None = None

    def __post_init__(self) -> None:
        choice("quantity", self.quantity, (*QUANTITIES, *CLOSED))
        choice("sense", self.sense, ("<", ">"))

    @property
    def sign(self) -> int:
        """1 where the largest value is sought, -1 where the least is."""
        return 1 if self.sense == "<" else -1

    @property
    def heavy(self) -> bool:
        """Whether the extreme sits at the largest tau of the fibre."""
        if self.quantity in ("change of variance", "gradient factor"):
            return self.sense == "<"
        return self.p is None

    def constants(self) -> Constants:
        """Scaled ELU's constants at the working precision."""
        return enclosures.constants(*self.target)

    def over(self, x: Moments, box: Box) -> Any:
        """sign*quantity at the end of the fibre, for moments taken inside ``box``."""
        return QUANTITIES[self.quantity](x, *self.domain.fibre(x, box, self.heavy), self.p) * self.sign

    def value(self, point: Point) -> Ball:
        """The quantity at one point of the domain."""
        mean, var, omega, tau = map(decimal, point)
        x = enclosures.at(mean * omega, var * tau, self.constants())
        return QUANTITIES[self.quantity](x, abs(omega), tau, var, self.p)

    def __str__(self) -> str:
        bound = f" {self.sense} {self.level:g}" if self.level is not None else (" at most", " at least")[self.sign < 0]
        return f"{self.quantity}{bound}"


@dataclass(frozen=True)
class Proof:
    """Outcome of a claim: holds (True), is refuted by ``point`` (False), or is undecided within the budget (None).

    ``bound`` encloses the extreme value; ``point`` comes nearest to it; ``boxes`` are the leaves (m_low, m_high, v_low,
    v_high), which cover the domain, and ``searched`` counts the boxes looked at to find them.
    """

    claim: Claim
    holds: bool | None
    bound: Pair
    point: Point | None
    boxes: tuple[Box, ...]
    searched: int


def _bound(claim: Claim, box: Box, c: Constants, enough: float = -math.inf) -> tuple[float, float, Pair]:
    """Upper bound of sign*quantity over a box, a value about reached, and where; no finer than ``enough`` asks."""
    arb = flint().arb
    part = claim.domain.clip(box)
    if part is None:
        return -math.inf, -math.inf, box[::2]
    box = part
    q = claim.over(enclosures.over(box, c), box)
    upper = above(q.x)
    if upper <= enough:
        return upper, -math.inf, box[::2]
    anchor, rest = [], arb(0)
    for low, high, slope in ((box[0], box[1], q.dm), (box[2], box[3], q.dv)):
        if slope > 0 or slope < 0:
            anchor.append(high if slope > 0 else low)
        else:
            anchor.append((low + high) / 2)
            rest += slope * (arb(low).union(arb(high)) - arb(anchor[-1]))
    m, v = anchor
    value = claim.over(enclosures.at(arb(m), arb(v), c), box)
    reached = below(value) if claim.domain.clip((m, m, v, v)) else -math.inf
    return min(upper, above(value + rest)), reached, (m, v)


def _halves(box: Box, part: Box) -> tuple[Box, Box] | None:
    """The box cut in the middle of its clipped part, along the longer of dm/s and dv/(2v) (or the other), or None."""
    m0, m1, v0, v1 = box
    m, v = (part[0] + part[1]) / 2, math.sqrt(v0) * math.sqrt(v1) if v0 else v1 / 16
    cuts = [((m0, m, v0, v1), (m, m1, v0, v1))] if m0 < m < m1 else []
    if v0 < v < v1:
        along_m = v0 > 0 and (part[1] - part[0]) / math.sqrt(v0) > (v1 - v0) / (2 * v0)
        cuts.insert(len(cuts) if along_m else 0, ((m0, m1, v0, v), (m0, m1, v, v1)))
    return cuts[0] if cuts else None


def search(claim: Claim, *, tol: float = 1e-9, budget: int = 20_000) -> Proof:
    """Decide a claim and enclose its extreme to ``tol``, looking at no more than ``budget`` boxes.

    >>> domain = Domain((-0.1, 0.1), (0.8, 1.5), (-0.1, 0.1), (0.95, 1.1))
    >>> proof = search(Claim("rate", "<", 1.0, domain))
    >>> proof.holds, round(proof.bound[1], 10)
    (True, 0.8976083584)
    """
    if claim.quantity in CLOSED:
        return _closed(claim)
    with working():
        c = claim.constants()
        level = math.inf if claim.level is None else claim.sign * claim.level
        heap: list[tuple[float, int, Box]] = []
        searched, reached, best = 0, -math.inf, (math.nan, math.nan)

        def look(box: Box) -> None:
            nonlocal searched, reached, best
            searched += 1
            upper, value, where = _bound(claim, box, c)
            if value > reached:
                reached, best = value, where
            heapq.heappush(heap, (-upper, searched, box))

        m0, m1, v0, v1 = claim.domain.box
        ends = [v0, *claim.domain.switches, v1] if claim.quantity in FIBRED else [v0, v1]
        for low, high in pairwise(ends):
            look((m0, m1, low, high))
        while searched < budget:
            upper = -heap[0][0]
            if reached > level or (upper < level and upper - reached <= tol):
                break
            halves = _halves(heap[0][2], claim.domain.clip(heap[0][2]) or heap[0][2])
            if halves is None:
                break
            heapq.heappop(heap)
            for half in halves:
                look(half)
        upper = -heap[0][0]
        point = claim.domain.lift(*best, claim.heavy) if reached > -math.inf else None
    upper += 8 * math.ulp(upper)  # room for another version's rounding when the leaves are verified again
    lower, refuted = _witness(claim, point)
    shown = upper < level and (claim.level is not None or upper - lower <= 2 * tol)
    holds = False if refuted else True if shown else None
    bound = (lower, upper) if claim.sign > 0 else (-upper, -lower)
    return Proof(claim, holds, bound, point, tuple(box for _, _, box in heap), searched)


def _witness(claim: Claim, point: Point | None) -> tuple[float, bool]:
    """sign*quantity at a point from below, and whether it refutes the claim there, both at 60 digits."""
    if point is None or point not in claim.domain:
        return -math.inf, False
    with working(WITNESS_BITS):
        value = claim.value(point) * claim.sign
        return below(value), claim.level is not None and bool(value > decimal(claim.level) * claim.sign)


def _closed(claim: Claim) -> Proof:
    with working():
        value = CLOSED[claim.quantity](claim.constants(), claim.domain)
        bound = (below(value), above(value))
    ok = claim.level is None or (bound[1] < claim.level if claim.sign > 0 else bound[0] > claim.level)
    return Proof(claim, True if ok and math.isfinite(bound[1]) else None, bound, None, (), 0)


def verify(proof: Proof) -> bool | None:
    """Outcome of a claim from its leaves or its point alone, without searching; None where they show nothing.

    Checks that the leaves cover the domain, that the bound holds on each and that the point reaches it.
    """
    claim = proof.claim
    if claim.quantity in CLOSED:
        again = _closed(claim)
        same = all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(again.bound, proof.bound, strict=True))
        return again.holds if same else None
    lower, refuted = _witness(claim, proof.point)
    if refuted:
        return False
    least, most = proof.bound if claim.sign > 0 else (-proof.bound[1], -proof.bound[0])
    level = math.inf if claim.level is None else claim.sign * claim.level
    if lower < least or not (most < level and covers(claim.domain.box, proof.boxes)):
        return None
    with working():
        c = claim.constants()
        return True if all(_bound(claim, box, c, enough=most)[0] <= most for box in proof.boxes) else None
