"""A rectangle of (mean, var) that a layer map takes into itself and contracts, sought and shown (extra: verify)."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack

from jnorm.proofs._approach import approached, scale
from jnorm.proofs._certificates import Certificate, timed
from jnorm.proofs._domains import LARGEST, OMEGA, TAU, Domain
from jnorm.proofs._inequalities import Proof
from jnorm.proofs._provers import Effort, chosen, intervals, prove
from jnorm.proofs._regions import within
from jnorm.proofs._search import extremes
from jnorm.proofs._shapes import Activation, Interval, IntervalLike, Target, interval, number
from jnorm.proofs._statements import STATEMENTS

ROUNDS, WIDER, COARSE = 40, 0.1, 1e-4  # of the search for a rectangle: how often, how much wider, how exactly


@timed
def contraction_box(
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    *,
    start: tuple[float, float] = (0.0, 1.0),
    target: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float] = (0.0, 1.0),
    phi: Callable[..., Any] | Activation | None = None,
    **effort: Unpack[Effort],
) -> Certificate:
    """A rectangle that the layer map takes into itself and contracts, for all omega and tau of their intervals.

    From the fixed point at the middle of omega and tau the image of a rectangle is taken, made a tenth wider, and so
    on, until it holds its own image. Then `contraction` shows it: in the 2-norm, else in the metric
    p^2 dmean^2/var + dvar^2/var^2 with the p that contracts most at the fixed point.

    Args:
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        start: (mean, var) from which the fixed point is sought, layer by layer.
        target: (mean, var) of the fixed point that defines lam and alpha.
        weights: Its (omega, tau).
        phi: An elementwise function in the place of scaled ELU.
        **effort: ``tol`` and ``budget``: see `Effort`.

    Returns:
        A certificate of `contraction`; ``domain[0]`` holds the rectangle. Where no rectangle is found, or no such
        metric shows one, it is undecided: that refutes nothing.

    Raises:
        ValueError: For bad intervals, and constants that do not exist.
        NotImplementedError: ``phi`` holds an operation that python-flint does not enclose.

    >>> import jax.numpy as jnp
    >>> found = contraction_box((-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh)
    >>> found.holds, found.domain[0].var
    (True, (0.1885, 0.2222))
    """
    origin = chosen(target, weights, phi)
    omega, tau = interval("omega", omega), interval("tau", tau)
    first = number("mean", start[0]), number("var", start[1], positive=True)
    point, jacobian = approached(sum(omega) / 2, sum(tau) / 2, origin, first)
    sides = _invariant(point, omega, tau, origin) if jacobian else None
    mean, var = sides or point
    arguments = {**intervals(mean, var, omega, tau), "target": origin, "self_map": True}
    found = None
    for p in (None, scale(jacobian, point[1], always=True)) if sides else ():
        found = prove("contraction", arguments | {"p": p}, **effort)
        if found.holds:
            return found
    if found is None:
        unknown = [
            Proof(each, None, (-math.inf, math.inf), None, (), 0) for each in STATEMENTS["contraction"](**arguments)
        ]
        return Certificate("contraction", arguments, tuple(unknown), 0.0)
    # Rectangle and metric are our choice: that they fail refutes nothing.
    proofs = [replace(proof, holds=None, point=None) if proof.holds is False else proof for proof in found.proofs]
    return replace(found, proofs=tuple(proofs))


def _invariant(
    point: tuple[float, float], omega: Interval, tau: Interval, target: Target
) -> tuple[Interval, Interval] | None:
    """Sides of a rectangle that holds its image, or None."""
    mean, var = point
    sides = (mean, mean), (var, var)
    for _ in range(ROUNDS):
        domain = Domain(sides[0], sides[1], omega, tau)
        high = domain.var[1]
        image = [
            extremes("mean", domain, target, tol=COARSE * math.sqrt(high)),
            extremes("variance", domain, target, tol=COARSE * high),
        ]
        if not all(1 / LARGEST < abs(end) < LARGEST or end == 0 for ends in image for end in ends) or image[1][0] <= 0:
            return None
        if within(image, sides):
            return sides
        sides = _wider(image[0], math.sqrt(image[1][1])), _wider(image[1], image[1][1], positive=True)
    return None


def _wider(ends: Interval, scale: float, *, positive: bool = False) -> Interval:
    """The interval with a tenth on either side, in as many digits as that needs."""
    margin = WIDER * (ends[1] - ends[0]) + 1e-3 * scale
    digits = 1 - math.floor(math.log10(margin))
    low, high = round(ends[0] - margin, digits), round(ends[1] + margin, digits)
    return (max(low, ends[0] / 2), high) if positive else (low, high)
