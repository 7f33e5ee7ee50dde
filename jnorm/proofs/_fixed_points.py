"""One fixed point, enclosed, and shown to attract (extra: verify)."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jnorm.proofs._approach import Matrix, approached, scale
from jnorm.proofs._certificates import Arguments, Certificate, timed
from jnorm.proofs._inequalities import Proof
from jnorm.proofs._provers import chosen, intervals
from jnorm.proofs._search import search
from jnorm.proofs._shapes import number
from jnorm.proofs._statements import STATEMENTS

HALF = 1e-12  # of an enclosure's width


@timed
def fixed_point(
    omega: float,
    tau: float,
    *,
    target: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float] = (0.0, 1.0),
    start: tuple[float, float] = (0.0, 1.0),
    phi: Callable[..., Any] | None = None,
) -> Certificate:
    """The fixed point at one omega and tau, enclosed to 1e-12 (relative above 1): the map contracts around it.

    The metric is the 2-norm where the map contracts in that, otherwise p^2 dmean^2/var + dvar^2/var^2 with the p that
    contracts most: small ones come close to the spectral radius where omega is near 0.

    Args:
        omega: Sum of a unit's weights.
        tau: Sum of its squared weights, > 0.
        target: (mean, var) of the fixed point that defines lam and alpha.
        weights: Its (omega, tau).
        start: (mean, var) from which the point is sought, layer by layer.
        phi: An elementwise function in the place of scaled ELU.

    Returns:
        The certificate; ``domain[0]`` holds the enclosure. It is proved, or undecided where no attracting point is met
        or no such metric shows one: that refutes nothing.

    Raises:
        ValueError: For numbers that are none, tau <= 0, var <= 0 and constants that do not exist.

    >>> proof = fixed_point(0.1, 1.05)
    >>> proof.holds, [round(high, 9) for _, high in (proof.domain[0].mean, proof.domain[0].var)]
    (True, [0.025140488, 1.19373905])
    """
    omega, tau, origin = number("omega", omega), number("tau", tau, positive=True), chosen(target, weights, phi)
    if len(start) != 2:
        raise ValueError(f"`start` must be (mean, var); got {start!r}")
    first = number("mean", start[0]), number("var", start[1], positive=True)
    (mean, var), jacobian = approached(omega, tau, origin, first)
    scales = max(1.0, abs(mean)), max(1.0, var)
    side = _side(jacobian, scales[1] / scales[0])
    halves = HALF * scales[0] * min(side, 1.0), min(HALF * scales[1] * min(1 / side, 1.0), var / 2)
    ends, p = ((mean - halves[0], mean + halves[0]), (var - halves[1], var + halves[1])), scale(jacobian, var)
    arguments: Arguments = {**intervals(*ends, omega, tau), "omega": omega, "tau": tau, "target": origin, "p": p}
    proofs = []
    for inequality in STATEMENTS["fixed_point"](**arguments):
        proof = search(inequality) if jacobian else Proof(inequality, None, (-math.inf, math.inf), None, (), 0)
        # Rectangle and metric are our choice: that they fail refutes no fixed point.
        proofs.append(replace(proof, holds=None, point=None) if proof.holds is False else proof)
    return Certificate("fixed_point", arguments, tuple(proofs), 0.0)


def _side(jacobian: Matrix | None, ratio: float) -> float:
    """Relative width of the mean against the variance in a rectangle that the map takes into itself."""
    if jacobian is None:
        return 1.0
    (a, b), (c, d) = ((abs(x), abs(y)) for x, y in jacobian)
    b, c = b * ratio, c / ratio
    narrow, wide = b / (1 - a) if a < 1 else math.inf, (1 - d) / c if c else math.inf
    if (narrow < 0.999 and wide > 1.001) or not 0 < narrow < wide:
        return 1.0
    side = 2 * narrow if math.isinf(wide) else math.sqrt(narrow * wide)
    return side if 1e-3 < side < 1e3 else 1.0
