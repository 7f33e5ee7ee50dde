"""Regions of (mean, var) followed through layers: rectangles cut by a strip, as high variances bring high means."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from jnorm.proofs import _enclosures as enclosures
from jnorm.proofs._claims import Claim, Proof, search
from jnorm.proofs._domains import Domain, Pair, Point
from jnorm.proofs._enclosures import decimal, rational, working
from jnorm.proofs._statements import Region, image, within

SIDES = [(name, sense) for name in ("mean", "variance", "mean - p*variance") for sense in "><"]


def slope(target: Point) -> float:
    """Three digits of (d mean~/dv)/(d var~/dv) at the target: the direction in which both move together."""
    with working():
        mean, var, omega, tau = map(decimal, target)
        x = enclosures.at(mean * omega, var * tau, enclosures.constants(*target))
        found = float(x.mean_v / x.var_v)
    return round(found, 3) if 1e-3 < found < 10 else 0.1


def follow(
    here: Region,
    *,
    slope: float,
    omega: Pair,
    tau: Pair,
    target: Point,
    layers: int,
    budget: int,
    until: Sequence[Pair] | None = None,
) -> tuple[list[Region], list[Proof]]:
    """Regions from ``here`` on, each holding the image of the one before, with the proofs of that.

    Ends where one lies in the rectangle ``until``, where one is its own image, rounded outward, or where nothing more
    is known.
    """
    path, proofs = [here], list[Proof]()
    while len(path) <= layers and not (until and within(here, until)):
        domain = Domain(here[0], here[1], omega, tau, (slope, *here[2]))
        # Along a slanted edge tightness is dear: means need it at the end only, the strip never.
        mean, strip = (here[k][1] - here[k][0] for k in (0, 2))
        tols = {"mean": 1e-5 * mean, "variance": 1e-6, "mean - p*variance": 2e-2 * strip}
        claims = image(domain, None, target)
        steps = [search(claim, tol=max(1e-6, tols[claim.quantity]), budget=budget) for claim in claims]
        proofs += steps
        ends = [
            _round(max(bounds), 1) if sense == "<" else _round(min(bounds, default=0.0), -1)
            for name, sense in SIDES
            for bounds in [
                [s.bound["><".index(sense)] for s in steps if (s.claim.quantity, s.claim.sense) == (name, sense)]
            ]
        ]
        there = (ends[0], ends[1]), (max(ends[2], 0.0), ends[3]), (ends[4], ends[5])
        if there == here or not all(map(math.isfinite, ends)) or (here[1][0] > 0 and there[1][0] == 0):
            break
        path.append(there)
        here = there
    return path, proofs


def _round(x: float, side: int) -> float:
    """The next decimal beyond x: six places, or six digits where those are finer."""
    if not math.isfinite(x) or x == 0:
        return x
    places = max(6, 5 - math.floor(math.log10(abs(x)))) if abs(x) > 1e-5 else 6
    scale = 10**places
    beyond = rational(math.nextafter(x, side * math.inf)) * scale
    return float(Fraction(math.ceil(beyond) if side > 0 else math.floor(beyond), scale))


def restate(proofs: Sequence[Proof], claims: Sequence[Claim]) -> tuple[Proof, ...]:
    """Proofs of extremes as proofs of the claims whose levels lie beyond them.

    A path is our choice: where a step of it fails, the statement is undecided and not refuted.
    """
    return tuple(
        replace(proof, claim=claim, holds=True)
        if _beyond(claim, proof)
        else Proof(claim, None, proof.bound, None, (), 0)
        for proof, claim in zip(proofs, claims, strict=True)
    )


def _beyond(claim: Claim, proof: Proof) -> bool:
    assert claim.level is not None
    return proof.bound[1] < claim.level if claim.sense == "<" else proof.bound[0] > claim.level
