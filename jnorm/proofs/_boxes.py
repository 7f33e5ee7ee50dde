"""A rectangle of (mean, var) that a layer map takes into itself and contracts, sought and shown (extra: verify)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from jnorm.proofs._certificates import Certificate, timed
from jnorm.proofs._domains import LARGEST, OMEGA, TAU, Domain
from jnorm.proofs._fixed_points import approached, scale
from jnorm.proofs._inequalities import Inequality, Proof
from jnorm.proofs._provers import Options, chosen, intervals, prove
from jnorm.proofs._regions import within
from jnorm.proofs._search import outermost
from jnorm.proofs._shapes import Interval, IntervalLike, Target, interval, number
from jnorm.proofs._statements import STATEMENTS

ROUNDS, WIDER, COARSE = 40, 0.1, 1e-4  # of the search for a rectangle: how often, how much wider, how exactly


@timed
def contraction_box(
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    *,
    start: tuple[float, float] = (0.0, 1.0),
    **options: Unpack[Options],
) -> Certificate:
    """A rectangle that the layer map takes into itself and contracts, for all omega and tau of their intervals.

    From the fixed point at the middle of omega and tau the image of a rectangle is taken, made a tenth wider, and so
    on, until it holds its own image. Then `contraction` shows it: in the 2-norm, else in the metric
    p^2 dmean^2/var + dvar^2/var^2 with the p that contracts most at the fixed point.

    Args:
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        start: (mean, var) from which the fixed point is sought, layer by layer.
        **options: ``phi``, ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        A certificate of `contraction`; ``domain[0]`` holds the rectangle. Where no rectangle is found, or no such
        metric shows one, it is undecided: that refutes nothing.

    Raises:
        ValueError: For bad intervals, and constants that do not exist.
        NotImplementedError: ``phi`` holds an operation that python-flint does not enclose.

    >>> import jax.numpy as jnp
    >>> found = contraction_box((-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh)
    >>> found.holds, found.domain[0].var
    """
    kind = {name: options.pop(name) for name in ("target", "weights", "phi") if name in options}  # type: ignore[misc]
    target = chosen(kind.get("target", (0.0, 1.0)), kind.get("weights", (0.0, 1.0)), kind.get("phi"))
    weights = interval("omega", omega), interval("tau", tau)
    first = number("mean", start[0]), number("var", start[1], positive=True)
    point, jacobian = approached(*(sum(ends) / 2 for ends in weights), target, first)
    sides = _invariant(point, weights, target) if jacobian else None
    arguments = {**intervals(*(sides or point), *weights), "target": target, "self_map": True}
    found = None
    for p in (None, scale(jacobian, point[1], always=True)) if sides else ():
        found = prove("contraction", arguments | {"p": p}, **options)
        if found.holds:
            return found
    if found is None:
        nothing = -math.inf, math.inf
        stated = STATEMENTS["contraction"](**arguments)
        found = Certificate("contraction", arguments, tuple(Proof(each, None, nothing, None, (), 0) for each in stated), 0)
    # Rectangle and metric are our choice: that they fail refutes nothing.
    return replace(found, proofs=tuple(replace(p, holds=p.holds or None, point=p.point if p.holds else None) for p in found.proofs))


def _invariant(
    point: tuple[float, float], weights: Sequence[Interval], target: Target
) -> tuple[Interval, Interval] | None:
    """Sides of a rectangle that holds its image, or None."""
    mean, var = point
    sides = (mean, mean), (var, var)
    for _ in range(ROUNDS):
        domain = Domain(*sides, *weights)
        image = [_extremes(quantity, domain, target) for quantity in ("mean", "variance")]
        if not all(1 / LARGEST < abs(end) < LARGEST or end == 0 for ends in image for end in ends) or image[1][0] <= 0:
            return None
        if within(image, sides):
            return sides
        sides = _wider(image[0], math.sqrt(image[1][1])), _wider(image[1], image[1][1], positive=True)
    return None


def _extremes(quantity: str, domain: Domain, target: Target) -> Interval:
    """Least and largest value, coarsely, from outside."""
    width = COARSE * (domain.var[1] if quantity == "variance" else math.sqrt(domain.var[1]))
    ends = [
        [outermost(Inequality(quantity, sense, None, part, target), tol=width) for part in domain.parts()]
        for sense in "><"
    ]
    return min(ends[0]), max(ends[1])


def _wider(ends: Interval, scale: float, *, positive: bool = False) -> Interval:
    """The interval with a tenth on either side, in as many digits as that needs."""
    margin = WIDER * (ends[1] - ends[0]) + 1e-3 * scale
    digits = 1 - math.floor(math.log10(margin))
    low, high = round(ends[0] - margin, digits), round(ends[1] + margin, digits)
    return (max(low, ends[0] / 2), high) if positive else (low, high)
