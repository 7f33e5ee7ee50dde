"""Paths: regions of (mean, var) followed through layers, and the proofs that each maps into the next."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from jnorm.proofs import _enclosures as enclosures
from jnorm.proofs._balls import decimal, rational, working
from jnorm.proofs._inequalities import Inequality, Proof
from jnorm.proofs._regions import Region, within
from jnorm.proofs._scaled_elu import constants
from jnorm.proofs._search import BUDGET, search
from jnorm.proofs._shapes import Interval, Point
from jnorm.proofs._statements import image


def slope_at(target: Point) -> float:
    """Three digits of (d mean~/dv)/(d var~/dv) at the target: the direction in which both move together."""
    with working():
        mean, var, omega, tau = map(decimal, target)
        x = enclosures.at(mean * omega, var * tau, constants(*target))
        ratio = float(x.mean_v / x.var_v)
    return round(ratio, 3) if 1e-3 < ratio < 10 else 0.1


def follow(
    region: Region,
    *,
    slope: float,
    omega: Interval,
    tau: Interval,
    target: Point,
    layers: int,
    budget: int = BUDGET,
    until: Sequence[Interval] | None = None,
) -> tuple[list[Region], list[Proof]]:
    """Regions that each hold the image of the one before, rounded outward.

    Args:
        region: The first one.
        slope: Of the strips that cut the regions.
        omega: Interval of the sum of weights.
        tau: Interval of the sum of squared weights.
        target: (mean, var, omega, tau) of the fixed point that defines lam and alpha.
        layers: Steps at most.
        budget: Boxes that may be looked at for each end of each image.
        until: (mean, var) rectangle in which the path may end.

    Returns:
        The path, up to a region in ``until``, one that is its own image, or one whose image is not bounded away from
        infinity or zero variance; and the enclosed extremes of each image that was taken.
    """
    path, proofs = [region], list[Proof]()
    while len(path) <= layers and not (until and within(region, until)):
        # Along a slanted edge tightness is dear: means need it at the end only, the strip never.
        width, height = (ends[1] - ends[0] for ends in (region.mean, region.offset))
        tols = {"mean": 1e-5 * width, "variance": 1e-6, "mean - p*variance": 2e-2 * height}
        inequalities = image(region.under(omega, tau, slope), None, target)
        step = [search(each, tol=max(1e-6, tols[each.quantity]), budget=budget) for each in inequalities]
        proofs += step
        mean, var, offset = (_hull(step, quantity) for quantity in tols)
        after = Region(mean, (max(var[0], 0.0), var[1]), offset)
        bounded = all(map(math.isfinite, (*mean, *var, *offset)))
        if after == region or not bounded or (region.var[0] > 0 and after.var[0] == 0):
            break
        path.append(after)
        region = after
    return path, proofs


def _hull(proofs: Sequence[Proof], quantity: str) -> Interval:
    """Interval that holds a quantity, rounded outward; from 0 on where its least value was not asked for."""
    lows, highs = (
        [p.bound[side] for p in proofs if (p.inequality.quantity, p.inequality.sense) == (quantity, sense)]
        for side, sense in enumerate("><")
    )
    return _round(min(lows, default=0.0), -1), _round(max(highs), 1)


def _round(x: float, side: int) -> float:
    """The next decimal beyond x: six places, or six digits where those are finer."""
    if not math.isfinite(x) or x == 0:
        return x
    places = max(6, 5 - math.floor(math.log10(abs(x)))) if abs(x) > 1e-5 else 6
    scale = 10**places
    beyond = rational(math.nextafter(x, side * math.inf)) * scale
    return float(Fraction(math.ceil(beyond) if side > 0 else math.floor(beyond), scale))


def settle(inequalities: Sequence[Inequality], extremes: Iterable[Proof], *, budget: int) -> tuple[Proof, ...]:
    """Proofs of inequalities whose levels were chosen from extremes: these are used again, and missing ones searched.

    A path is our choice: where a step of it fails, the statement is undecided and not refuted.
    """
    known = {proof.inequality: proof for proof in extremes}
    proofs = []
    for inequality in inequalities:
        proof = known.get(replace(inequality, level=None)) or search(inequality, budget=budget)
        shown = inequality.shown_by(proof.bound)
        proofs.append(
            replace(proof, inequality=inequality, holds=True)
            if shown
            else Proof(inequality, None, proof.bound, None, (), 0)
        )
    return tuple(proofs)
