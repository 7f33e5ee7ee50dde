"""Branch and bound: inequalities shown, or refuted, over boxes of (m, v) (extra: verify).

**The bound over a box** of (m, v) is the lesser of the quantity's own enclosure and of the mean value form
q(a) + q_m*(m - a_m) + q_v*(v - a_v), whose anchor a is the end of the box that the sign of each derivative points to
(its term is then <= 0 and dropped) and the middle where the sign is open. Where both signs are known the bound is the
exact corner value: that is why the theorems need tens of boxes. Boxes with the largest bound are halved first, along
the longer of dm/s and dv/(2v), from a start that is cut where the fibres change their branch.
"""

import heapq
import math
from itertools import pairwise
from typing import NamedTuple

from jnorm.proofs._asymptotics import CLOSED_FORMS
from jnorm.proofs._balls import above, below, decimal, flint, working
from jnorm.proofs._domains import Domain
from jnorm.proofs._enclosures import Constants
from jnorm.proofs._inequalities import FIBRED, Inequality, Proof
from jnorm.proofs._scaled_elu import constants
from jnorm.proofs._shapes import Activation, Box, Interval, Point, Target, covers, number, whole

TOL, BUDGET = 1e-9, 20_000
WITNESS_BITS = 200  # 60 digits: a counterexample is verified at 50 and more


class _Bound(NamedTuple):
    """What is known of sign*quantity over a box.

    Attributes:
        upper: It is nowhere above this.
        reached: It is about this at ``place``; -inf where no value is known.
        place: The (m, v) nearest to its maximum.
    """

    upper: float
    reached: float
    place: tuple[float, float]


def _bound(inequality: Inequality, whole: Box, c: Constants | Activation, enough: float = -math.inf) -> _Bound:
    """Bound over a box; no finer than is needed to show that it is at most ``enough``."""
    arb = flint().arb
    box = inequality.domain.clip(whole)
    if box is None:
        return _Bound(-math.inf, -math.inf, whole[::2])
    q = inequality.over(c.over(box), box)
    upper = above(q.x)
    if upper <= enough:
        return _Bound(upper, -math.inf, box[::2])
    anchor, rest = [], arb(0)
    for low, high, derivative in ((box[0], box[1], q.dm), (box[2], box[3], q.dv)):
        if derivative > 0 or derivative < 0:
            anchor.append(high if derivative > 0 else low)
        else:
            anchor.append((low + high) / 2)
            rest += derivative * (arb(low).union(arb(high)) - arb(anchor[-1]))
    m, v = anchor
    value = inequality.over(c.at(arb(m), arb(v)), box)
    reached = below(value) if inequality.domain.clip((m, m, v, v)) else -math.inf
    return _Bound(min(upper, above(value + rest)), reached, (m, v))


def _halves(box: Box, part: Box) -> tuple[Box, Box] | None:
    """The box cut in the middle of its clipped part, along the longer of dm/s and dv/(2v) (or the other), or None."""
    m0, m1, v0, v1 = box
    m, v = (part[0] + part[1]) / 2, math.sqrt(v0) * math.sqrt(v1) if v0 else v1 / 16
    cuts = [((m0, m, v0, v1), (m, m1, v0, v1))] if m0 < m < m1 else []
    if v0 < v < v1:
        along_m = v0 > 0 and (part[1] - part[0]) / math.sqrt(v0) > (v1 - v0) / (2 * v0)
        cuts.insert(len(cuts) if along_m else 0, ((m0, m1, v0, v), (m0, m1, v, v1)))
    return cuts[0] if cuts else None


def search(inequality: Inequality, *, tol: float = TOL, budget: int = BUDGET) -> Proof:
    """Decide an inequality and enclose its extreme.

    Args:
        inequality: What is to be shown.
        tol: Width to which the extreme is enclosed, > 0.
        budget: Boxes that may be looked at, 1 at least.

    Returns:
        The outcome; undecided where the budget did not do.

    Raises:
        ValueError: For a tol or a budget that is no such number.

    >>> from jnorm.proofs._domains import Domain
    >>> domain = Domain((-0.1, 0.1), (0.8, 1.5), (-0.1, 0.1), (0.95, 1.1))
    >>> proof = search(Inequality("rate", "<", 1.0, domain))
    >>> proof.holds, round(proof.bound[1], 10)
    (True, 0.8976083584)
    """
    tol, budget = number("tol", tol, positive=True), whole("budget", budget, 1)
    if inequality.quantity in CLOSED_FORMS:
        return _closed_form(inequality)
    upper, place, boxes, searched = _branched(inequality, tol, budget)
    point = None if place is None else inequality.domain.lift(*place, inequality.at_largest_tau)
    lower, refuted = _witness(inequality, point)
    shown = upper < inequality.signed_level and upper - lower <= inequality.allowed
    holds = False if refuted else True if shown else None
    return Proof(inequality, holds, inequality.oriented((lower, upper)), point, boxes, searched)


def extremes(quantity: str, domain: Domain, target: Target, *, tol: float, budget: int = BUDGET) -> Interval:
    """What a quantity surely lies between over a domain, each end to tol where budget does."""
    passed: list[list[float]] = [[], []]
    for ends, sense in zip(passed, "><", strict=True):
        for part in domain.parts():
            inequality = Inequality(quantity, sense, None, part, target)
            ends.append(inequality.sign * _branched(inequality, tol, budget)[0])
    return min(passed[0]), max(passed[1])


def _branched(
    inequality: Inequality, tol: float, budget: int
) -> tuple[float, tuple[float, float] | None, tuple[Box, ...], int]:
    """A bound of sign*quantity, the (m, v) nearest to it if one is known, the leaves, and how many were looked at."""
    domain, level = inequality.domain, inequality.signed_level
    heap: list[tuple[float, int, Box]] = []
    searched, reached, place = 0, -math.inf, (math.nan, math.nan)
    with working():
        c = inequality.activation()

        def look(box: Box) -> None:
            nonlocal searched, reached, place
            searched += 1
            bound = _bound(inequality, box, c)
            if bound.reached > reached:
                reached, place = bound.reached, bound.place
            heapq.heappush(heap, (-bound.upper, searched, box))

        m0, m1, v0, v1 = domain.box
        cuts = domain.switches if inequality.quantity in FIBRED else []
        for low, high in pairwise([v0, *cuts, v1]):
            look((m0, m1, low, high))
        while searched < budget:
            upper, box = -heap[0][0], heap[0][2]
            if reached > level or (upper < level and upper - reached <= tol):
                break
            halves = _halves(box, domain.clip(box) or box)
            if halves is None:
                break
            heapq.heappop(heap)
            for half in halves:
                look(half)
    upper = -heap[0][0]
    upper += 8 * math.ulp(upper)  # room for another version's rounding when the leaves are verified again
    boxes = tuple(box for _, _, box in heap)
    return upper, place if reached > -math.inf else None, boxes, searched


def _witness(inequality: Inequality, point: Point | None) -> tuple[float, bool]:
    """sign*quantity at a point from below, and whether it refutes the inequality there, both at 60 digits."""
    if point is None or point not in inequality.domain:
        return -math.inf, False
    with working(WITNESS_BITS):
        value, level = inequality.value(point) * inequality.sign, inequality.level
        return below(value), level is not None and bool(value > decimal(level) * inequality.sign)


def _closed_form(inequality: Inequality) -> Proof:
    with working():
        value = CLOSED_FORMS[inequality.quantity](constants(*inequality.scaled), inequality.domain)
        bound = (below(value), above(value))
    shown = inequality.level is None or inequality.shown_by(bound)
    return Proof(inequality, True if shown and math.isfinite(bound[1]) else None, bound, None, (), 0)


def verify(proof: Proof) -> bool | None:
    """Outcome of an inequality from its leaves or its point alone, without searching.

    Checks that the leaves cover the domain, that the bound holds on each and that the point reaches it.

    Args:
        proof: The inequality with bound, point and leaves; its own outcome is not looked at.

    Returns:
        True, False, or None where leaves and point show nothing.
    """
    inequality = proof.inequality
    if inequality.quantity in CLOSED_FORMS:
        again = _closed_form(inequality)
        near = all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(again.bound, proof.bound, strict=True))
        holds = proof.bound[0] <= again.bound[0] and again.bound[1] <= proof.bound[1]
        return again.holds if near and holds else None
    lower, refuted = _witness(inequality, proof.point)
    least, most = inequality.oriented(proof.bound)
    if not least <= lower or not covers(inequality.domain.box, proof.boxes):
        return None
    with working():
        c = inequality.activation()
        if not all(_bound(inequality, box, c, enough=most).upper <= most for box in proof.boxes):
            return None
    shown = most < inequality.signed_level and most - least <= inequality.allowed
    return False if refuted else True if shown else None
