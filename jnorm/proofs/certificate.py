"""Interval proofs about SELU, and any scaled ELU, as a map of (mean, var) (extra: verify).

The three theorems of Klambauer, Unterthiner, Mayr and Hochreiter, *Self-Normalizing Neural Networks* (2017), with tight
constants; larger boxes, global convergence, bounds of the backward factor and exact ranges beyond them; and certificate
files that are verified again without searching. What the claims are stands in ``statements``, how they are proved in
``claims``, why four dimensions are two in ``domains``.

In every function a box is given by ends (low, high), or a number; omega and tau are the sum and the sum of squares of a
unit's weights, free within their ends and, but for fixed points, free to change from layer to layer.
lam and alpha are enclosed from the equations of their fixed point ``target`` = (mean, var) at ``weights`` =
(omega, tau).
Common options: ``tol``, the width to which extremes are enclosed, and ``budget``, the boxes that each claim may take.
All raise ``ValueError`` for empty or inverted ends, var <= 0, tau <= 0 and constants that do not exist, and
``ModuleNotFoundError`` without python-flint.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from jnorm.proofs import _enclosures as enclosures
from jnorm.proofs._claims import Claim, search
from jnorm.proofs._domains import Domain, Pair, outward
from jnorm.proofs._enclosures import decimal, rational, working
from jnorm.proofs._records import Certificate, Verified, check, prove, write
from jnorm.proofs._regions import follow, restate, slope
from jnorm.proofs._statements import Arguments, Ends, box, region, within
from jnorm.proofs._statements import global_convergence as global_claims
from jnorm.proofs._statements import limit_set as limit_set_claims

__all__ = [
    "Certificate",
    "Verified",
    "check",
    "contraction",
    "fixed_point",
    "global_convergence",
    "gradient_bounds",
    "image_box",
    "limit_set",
    "omega_range",
    "tau_range",
    "theorem1",
    "theorem2",
    "theorem3",
    "variance_decreases",
    "variance_increases",
    "write",
]

BUDGET = 20_000
OMEGA, TAU, WIDE_TAU = (-0.1, 0.1), (0.95, 1.1), (0.8, 1.25)  # the paper's


def theorem1(
    *,
    mean: Ends = (-0.1, 0.1),
    var: Ends = (0.8, 1.5),
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """SELU maps the box of (mean, var) into itself and contracts there: one attracting fixed point (paper, theorem 1).

    ``bound`` encloses the largest singular value of the Jacobian; ``extremes`` hold the image box. By Banach, for any
    fixed omega and tau of the box there is just one fixed point in it, and it attracts the box.

    >>> proof = theorem1()
    >>> proof.holds, round(proof.rate, 10), len(proof.boxes)
    (True, 0.8976083584, 11)
    >>> theorem1(tau=(0.95, 1.2)).counterexample["claim"]
    'variance < 1.5'
    """
    ends = {"mean": mean, "var": var, "omega": omega, "tau": tau}
    return prove("theorem 1", "contraction", **ends, tol=tol, budget=budget)


def theorem2(
    *,
    mean: Ends = (-1.0, 1.0),
    var: Ends = (3.0, 16.0),
    omega: Ends = OMEGA,
    tau: Ends = WIDE_TAU,
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """SELU lowers a high variance: var~ < var (paper, theorem 2). ``bound`` encloses the largest var~ - var.

    >>> round(theorem2().bound[1], 6)
    -0.119744
    """
    domains = [(mean, var, omega, tau)]
    return prove("theorem 2", "variance_decreases", domains=domains, tol=tol, budget=budget)


def theorem3(
    *,
    mean: Ends = (-0.1, 0.1),
    omega: Ends = OMEGA,
    boxes: Sequence[tuple[Ends, Ends]] = (((0.02, 0.16), (0.8, 1.25)), ((0.02, 0.24), (0.9, 1.25))),
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """SELU raises a low variance: var~ > var, on two boxes of (var, tau) (paper, theorem 3).

    ``bound`` encloses the least var~ - var over both.

    >>> [round(proof.bound[0], 6) for proof in theorem3().proofs]
    [0.007736, 0.011029]
    """
    domains = [(mean, var, omega, tau) for var, tau in boxes]
    return prove("theorem 3", "variance_increases", domains=domains, tol=tol, budget=budget)


def contraction(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    p: float | None = None,
    self_map: bool = True,
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """The layer map shrinks every path in the (mean, var) box and maps the box into itself (unless not ``self_map``).

    The rate is taken in the 2-norm or, with ``p``, in the metric p^2 dmean^2/var + dvar^2/var^2, where a unit's tau
    nearly cancels. Both make the box, with the length of the shortest path inside it, a complete metric space, so that
    Banach's theorem gives one attracting fixed point for each fixed omega and tau.

    >>> proof = contraction((-1, 1), (0.06, 13.6), p=0.64)
    >>> proof.holds, round(proof.rate, 4)
    (True, 0.984)
    """
    ends = {"mean": mean, "var": var, "omega": omega, "tau": tau}
    options = {"target": (*target, *weights), "p": p, "self_map": self_map}
    return prove("contraction", "contraction", **ends, **options, tol=tol, budget=budget)


def variance_decreases(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = WIDE_TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """var~ < var over a box, for any scaled ELU.

    >>> variance_decreases((-1, 1), (2.5, 1e6)).holds, variance_decreases((-1, 1), (2.45, 16)).holds
    (True, False)
    """
    options = {"domains": [(mean, var, omega, tau)], "target": (*target, *weights)}
    return prove("variance decreases", "variance_decreases", **options, tol=tol, budget=budget)


def variance_increases(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = WIDE_TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """var~ > var over a box, for any scaled ELU.

    >>> variance_increases((-0.1, 0.1), (2e-4, 0.38)).holds
    True
    """
    options = {"domains": [(mean, var, omega, tau)], "target": (*target, *weights)}
    return prove("variance increases", "variance_increases", **options, tol=tol, budget=budget)


def image_box(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """Least and largest mean and variance after one layer, enclosed: see ``extremes``.

    >>> [round(ends[0], 7) for ends in image_box((-0.1, 0.1), (0.8, 1.5)).extremes.values()]
    [-0.0310605, 0.0677251, 0.8037118, 1.481575]
    """
    ends = {"mean": mean, "var": var, "omega": omega, "tau": tau}
    options = {"quantity": "image", "target": (*target, *weights)}
    return prove("image box", "extremes", **options, **ends, tol=tol, budget=budget)


def gradient_bounds(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> Certificate:
    """Least and largest backward factor tau*E[f'(z)^2] over a box, enclosed: see ``extremes``.

    >>> {name: round(ends[0], 6) for name, ends in gradient_bounds((-0.1, 0.1), (0.8, 1.5)).extremes.items()}
    {'gradient factor at least': 0.952669, 'gradient factor at most': 1.208966}
    """
    ends = {"mean": mean, "var": var, "omega": omega, "tau": tau}
    options = {"quantity": "gradient factor", "target": (*target, *weights)}
    return prove("gradient factor", "extremes", **options, **ends, tol=tol, budget=budget)


def omega_range(var: float = 1.0, tau: float = 1.0) -> Certificate:
    """Ends of the omegas for which the fixed point (0, var) at tau attracts: exactly the open range between them.

    >>> {name: round(ends[0], 5) for name, ends in omega_range().extremes.items()}
    {'lowest omega at least': -1.03079, 'highest omega at most': 0.90166}
    """
    return prove("omega range", "omega_range", var=var, tau=tau, tol=1e-9, budget=BUDGET)


def tau_range(var: float = 1.0) -> Certificate:
    """Ends of the taus for which, with omega = 0, a positive fixed point exists: exactly the open range between them.

    There it is the only one and attracts. The constants are those of (0, var) at tau = 1.

    >>> [round(ends[0], 6) for name, ends in tau_range().extremes.items() if "tau" in name]
    [0.495589, 2.65757]
    """
    return prove("tau range", "tau_range", var=var, tol=1e-9, budget=BUDGET)


def fixed_point(
    omega: float, tau: float, *, target: Pair = (0.0, 1.0), weights: Pair = (0.0, 1.0), start: Pair = (0.0, 1.0)
) -> Certificate:
    """The fixed point at one omega and tau, enclosed to 1e-12 (relative above 1): the map contracts that box around it.

    Found by iteration from ``start``. ``domain[0]`` holds the enclosure; undecided where no attracting point is met.
    """
    constants = (*target, *weights)
    with working():
        c = enclosures.constants(*constants)
        mean, var = map(decimal, start)
        for _ in range(5000):
            x = enclosures.at(mean * decimal(omega), var * decimal(tau), c)
            near = abs(x.mean - mean) < 1e-18 and abs(x.var - var) < 1e-18 * var
            mean, var = x.mean.mid(), x.var.mid()
            if near:
                break
    ends = {"mean": _around(float(mean)), "var": _around(float(var)), "omega": omega, "tau": tau}
    return prove("fixed point", "contraction", **ends, target=constants, tol=1e-9, budget=BUDGET)


def _around(x: float) -> Pair:
    half = 1e-12 * max(1.0, abs(x))
    return x - half, x + half


def limit_set(
    mean: Ends,
    var: Ends,
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    layers: int = 300,
    budget: int = BUDGET,
) -> Certificate:
    """Rectangles that hold (mean, var) layer by layer, down to one that maps into itself and so holds the limit set.

    omega and tau may change from layer to layer. ``path`` are the rectangles, ends rounded outward to 1e-6: the last is
    the hull; ``enters`` tells from which layer they stay in a given rectangle. Undecided where the last of at most
    ``layers`` steps does not map into itself.
    """
    begin = time.perf_counter()
    domain, constants = box(mean, var, omega, tau), (*target, *weights)
    arguments: Arguments = {"slope": slope(constants), "omega": domain.omega, "tau": domain.tau, "target": constants}
    start = region(domain.mean, domain.var, arguments["slope"])
    path, proofs = follow(start, **arguments, layers=layers, budget=budget)
    arguments["path"] = path
    claims = limit_set_claims(**arguments)
    proofs += [search(claim, budget=budget) for claim in claims[len(proofs) :]]
    return Certificate("limit set", "limit_set", arguments, restate(proofs, claims), time.perf_counter() - begin)


def global_convergence(
    omega: Ends = OMEGA,
    tau: Ends = TAU,
    *,
    target: Pair = (0.0, 1.0),
    weights: Pair = (0.0, 1.0),
    start: tuple[Pair, Pair] = ((-3.0, 3.0), (1e-3, 100.0)),
    p: float | None = None,
    layers: int = 300,
    budget: int = BUDGET,
) -> Certificate:
    """Every start with var > 0 comes into one small rectangle, in which the map contracts.

    omega and tau may change from layer to layer; where they do not, every start converges to one fixed point. The steps
    stand in ``statements.global_convergence``: a norm bounds the far field, a growing variance the near one, and
    between them rectangles lead on, from ``start`` (``path``, ``enters`` as for ``limit_set``). Undecided where one of
    the steps is not shown.

    >>> proof = global_convergence(0.0, 1.0)
    >>> proof.holds, proof.enters(), proof.path[-1]
    (True, 19, ((-1e-06, 1e-06), (0.999996, 1.000004)))
    """
    begin = time.perf_counter()
    domain, constants = box(*start, omega, tau), (*target, *weights)
    norm = search(Claim("limit norm", "<", None, domain, constants))
    small = Domain(domain.mean, (0.0, domain.var[0]), domain.omega, domain.tau)
    growth = search(Claim("growth of variance", ">", 1.0, small, constants))
    arguments: Arguments = {"slope": slope(constants), "omega": domain.omega, "tau": domain.tau, "target": constants}
    undecided = Certificate("global", "global_convergence", arguments, (replace(norm, holds=None), growth), 0.0)
    if not norm.holds or not growth.holds:
        return replace(undecided, seconds=time.perf_counter() - begin)
    far, near = math.ceil(101 * norm.bound[1]) / 100, (domain.mean, (0.0, domain.var[1]))
    first = region((-far, far), (0.0, outward(rational(far) ** 2, 1)), arguments["slope"])
    fall, proofs = follow(first, **arguments, layers=layers, budget=budget, until=near)
    if not within(fall[-1], near):
        return replace(undecided, seconds=time.perf_counter() - begin)
    whole = region(domain.mean, domain.var, arguments["slope"])
    path, steps = follow(whole, **arguments, layers=layers, budget=budget)
    arguments = {**arguments, "norm": far, "fall": fall, "path": path, "p": p}
    claims = global_claims(**arguments)
    known = len(claims) - len(proofs) - len(steps)
    proofs = [search(claim, budget=budget) for claim in claims[:known]] + proofs + steps
    return Certificate("global", "global_convergence", arguments, restate(proofs, claims), time.perf_counter() - begin)
