"""Where layer after layer leads: limit sets, and convergence from every start (extra: verify)."""

import math
from dataclasses import replace

from jnorm.proofs._balls import outward, rational
from jnorm.proofs._certificates import Arguments, Certificate, timed
from jnorm.proofs._domains import OMEGA, TAU, Domain
from jnorm.proofs._inequalities import Inequality
from jnorm.proofs._paths import follow, settle, slope_at
from jnorm.proofs._regions import rectangle, within
from jnorm.proofs._search import BUDGET, search
from jnorm.proofs._shapes import Interval, IntervalLike, number, target_point, whole
from jnorm.proofs._statements import STATEMENTS


@timed
def limit_set(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    *,
    target: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float] = (0.0, 1.0),
    layers: int = 300,
    budget: int = BUDGET,
) -> Certificate:
    """Rectangles that hold (mean, var) layer by layer, down to one that maps into itself and so holds the limit set.

    omega and tau may change from layer to layer. ``path`` of the certificate are the rectangles, ends rounded outward
    to 1e-6: the last is the hull; ``enters`` tells from which layer on they stay in a given rectangle. Undecided where
    the last of at most ``layers`` steps does not map into itself.

    Args:
        mean: Interval of the means to start from.
        var: Interval of the variances to start from, > 0.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        target: (mean, var) of the fixed point that defines lam and alpha.
        weights: Its (omega, tau).
        layers: Layers that the path may take.
        budget: Boxes that may be looked at for each inequality.

    Returns:
        The certificate, undecided or proved: a path is chosen, so that its failure refutes nothing.

    Raises:
        ValueError: For bad intervals, a p, layers or budget that are no such numbers, and constants that do not exist.

    >>> proof = limit_set((-0.2, 0.2), (0.7, 1.5), omega=0, tau=1)
    >>> proof.holds, proof.path[-1]
    (True, ((-1e-06, 1e-06), (0.999996, 1.000004)))
    """
    domain, origin = Domain(mean, var, omega, tau), target_point(target, weights)
    layers, budget = whole("layers", layers, 0), whole("budget", budget, 1)
    slope = slope_at(origin)
    arguments: Arguments = {"slope": slope, "omega": domain.omega, "tau": domain.tau, "target": origin}
    path, extremes = follow(rectangle(domain.mean, domain.var, slope), **arguments, layers=layers, budget=budget)
    arguments["path"] = path
    proofs = settle(STATEMENTS["limit_set"](**arguments), extremes, budget=budget)
    return Certificate("limit_set", arguments, proofs, 0.0)


@timed
def global_convergence(
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    *,
    target: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float] = (0.0, 1.0),
    start: tuple[Interval, Interval] = ((-3.0, 3.0), (1e-3, 100.0)),
    p: float | None = None,
    layers: int = 300,
    budget: int = BUDGET,
) -> Certificate:
    """Every start with var > 0 comes into one small rectangle, in which the map contracts.

    omega and tau may change from layer to layer; where they do not, every start converges to one fixed point. A norm
    bounds the states far out, a growing variance leads away from zero, and between them rectangles lead on from
    ``start`` to the limit set (``path`` and ``enters`` of the certificate as for `limit_set`).

    Args:
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        target: (mean, var) of the fixed point that defines lam and alpha.
        weights: Its (omega, tau).
        start: (mean, var) rectangle from which the path leads on.
        p: Scale, > 0, of the metric p^2 dmean^2/var + dvar^2/var^2 of the contraction; None for the 2-norm.
        layers: Layers that each path may take.
        budget: Boxes that may be looked at for each inequality.

    Returns:
        The certificate, undecided where one of the steps is not shown.

    Raises:
        ValueError: For bad intervals, a p, layers or budget that are no such numbers, and constants that do not exist.

    >>> proof = global_convergence(0.0, 1.0)
    >>> proof.holds, proof.enters(), proof.path[-1]
    (True, 19, ((-1e-06, 1e-06), (0.999996, 1.000004)))
    """
    if len(start) != 2:
        raise ValueError(f"`start` must be a pair of intervals, of mean and of var; got {start!r}")
    domain, origin = Domain(*start, omega, tau), target_point(target, weights)
    layers, budget = whole("layers", layers, 0), whole("budget", budget, 1)
    p = None if p is None else number("p", p, positive=True)
    small = Domain(domain.mean, (0.0, domain.var[0]), domain.omega, domain.tau, open_at_zero=True)
    norm = search(Inequality("limit norm", "<", None, domain, origin))
    growth = search(Inequality("growth of variance", ">", 1.0, small, origin))
    slope = slope_at(origin)
    arguments: Arguments = {"slope": slope, "omega": domain.omega, "tau": domain.tau, "target": origin}
    undecided = Certificate("global_convergence", arguments, (replace(norm, holds=None), growth), 0.0)
    if not norm.holds or not growth.holds:
        return undecided
    radius, near = math.ceil(101 * norm.bound[1]) / 100, (domain.mean, (0.0, domain.var[1]))
    far = rectangle((-radius, radius), (0.0, outward(rational(radius) ** 2, 1)), slope)
    fall, extremes = follow(far, **arguments, layers=layers, budget=budget, until=near)
    if not within(fall[-1], near):
        return undecided
    first = rectangle(domain.mean, domain.var, slope)
    path, more = follow(first, **arguments, layers=layers, budget=budget)
    arguments = {**arguments, "norm": radius, "fall": fall, "path": path, "p": p}
    proofs = settle(STATEMENTS["global_convergence"](**arguments), extremes + more, budget=budget)
    return Certificate("global_convergence", arguments, proofs, 0.0)
