"""The paper's three theorems, and the same anywhere, for any scaled ELU (extra: verify)."""

from collections.abc import Sequence
from typing import Unpack

from jnorm.proofs._certificates import Certificate
from jnorm.proofs._domains import OMEGA, TAU, WIDE_TAU
from jnorm.proofs._provers import Effort, Options, intervals, prove, prove_of, quadruples
from jnorm.proofs._shapes import IntervalLike, number


def theorem1(
    *,
    mean: IntervalLike = (-0.1, 0.1),
    var: IntervalLike = (0.8, 1.5),
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    **effort: Unpack[Effort],
) -> Certificate:
    """SELU maps a rectangle of (mean, var) into itself and contracts there (paper, theorem 1).

    By Banach, for any fixed omega and tau of their intervals there is just one fixed point in it, which attracts all of
    it.

    Args:
        mean: Ends of the mean, mapped into itself.
        var: Ends of the variance, > 0, mapped into itself.
        omega: Ends of the sum of a unit's weights.
        tau: Ends of the sum of its squared weights, > 0.
        **effort: ``tol`` and ``budget``: see `Effort`.

    Returns:
        The certificate; ``bound`` encloses the largest singular value of the Jacobian, and ``extremes`` hold those of
        the next mean and variance.

    >>> proof = theorem1()
    >>> proof.holds, round(proof.rate, 10), len(proof.boxes)
    (True, 0.8976083584, 11)
    >>> theorem1(tau=(0.95, 1.2)).counterexample["inequality"]
    'variance < 1.5'
    """
    return prove("contraction", intervals(mean, var, omega, tau), **effort)


def theorem2(
    *,
    mean: IntervalLike = (-1.0, 1.0),
    var: IntervalLike = (3.0, 16.0),
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = WIDE_TAU,
    **effort: Unpack[Effort],
) -> Certificate:
    """SELU lowers a high variance: var~ < var (paper, theorem 2).

    Args:
        mean: Ends of the means.
        var: Ends of the variances that fall, > 0.
        omega: Ends of the sum of a unit's weights.
        tau: Ends of the sum of its squared weights, > 0.
        **effort: ``tol`` and ``budget``: see `Effort`.

    Returns:
        The certificate; ``bound`` encloses the largest var~ - var.

    >>> round(theorem2().bound[1], 6)
    -0.119744
    """
    return prove("variance_decreases", quadruples([(mean, var, omega, tau)]), **effort)


def theorem3(
    *,
    mean: IntervalLike = (-0.1, 0.1),
    boxes: Sequence[tuple[IntervalLike, IntervalLike]] = (((0.02, 0.16), (0.8, 1.25)), ((0.02, 0.24), (0.9, 1.25))),
    omega: IntervalLike = OMEGA,
    **effort: Unpack[Effort],
) -> Certificate:
    """SELU raises a low variance: var~ > var (paper, theorem 3).

    Args:
        mean: Ends of the means.
        boxes: Ends of the variance and of the sum of squared weights, > 0, in pairs: a domain for each.
        omega: Ends of the sum of a unit's weights.
        **effort: ``tol`` and ``budget``: see `Effort`.

    Returns:
        The certificate; ``bound`` encloses the least var~ - var over all the domains.

    Raises:
        ValueError: For bad intervals, and where ``boxes`` hold none.

    >>> [round(proof.bound[0], 6) for proof in theorem3().proofs]
    [0.007736, 0.011029]
    """
    if not isinstance(boxes, Sequence) or not boxes or any(len(pair) != 2 for pair in boxes):
        raise ValueError(f"`boxes` must hold a pair of var and tau at least; got {boxes!r}")
    return prove("variance_increases", quadruples([(mean, var, omega, tau) for var, tau in boxes]), **effort)


def contraction(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    *,
    p: float | None = None,
    self_map: bool = True,
    **options: Unpack[Options],
) -> Certificate:
    """The layer map shrinks every path in a rectangle of (mean, var) and maps the rectangle into itself.

    In the 2-norm, and in the metric p^2 dmean^2/var + dvar^2/var^2, where a unit's tau nearly cancels, the rectangle
    with the length of the shortest path inside it is a complete metric space, so that Banach's theorem gives one
    attracting fixed point for each fixed omega and tau.

    Args:
        mean: Interval of the mean: a side of the rectangle.
        var: Interval of the variance, > 0: its other side.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        p: Scale of the metric, > 0; None for the 2-norm.
        self_map: Whether to state that the rectangle is mapped into itself.
        **options: ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        The certificate; ``rate`` is the factor by which paths shrink at least, ``bound`` its enclosure.

    >>> proof = contraction((-1, 1), (0.06, 13.6), p=0.64)
    >>> proof.holds, round(proof.rate, 4)
    (True, 0.984)
    """
    p = None if p is None else number("p", p, positive=True)
    arguments = {**intervals(mean, var, omega, tau), "p": p, "self_map": self_map}
    return prove_of("contraction", arguments, **options)


def variance_decreases(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = WIDE_TAU,
    **options: Unpack[Options],
) -> Certificate:
    """var~ < var: theorem 2 anywhere, for any scaled ELU.

    Args:
        mean: Interval of the means.
        var: Interval of the variances that fall, > 0.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        **options: ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        The certificate; ``bound`` encloses the largest var~ - var.

    >>> variance_decreases((-1, 1), (2.5, 1e6)).holds, variance_decreases((-1, 1), (2.45, 16)).holds
    (True, False)
    """
    return prove_of("variance_decreases", quadruples([(mean, var, omega, tau)]), **options)


def variance_increases(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = WIDE_TAU,
    **options: Unpack[Options],
) -> Certificate:
    """var~ > var: theorem 3 anywhere, for any scaled ELU.

    Args:
        mean: Interval of the means.
        var: Interval of the variances that grow, > 0.
        omega: Interval of the sum of weights of any unit.
        tau: Interval of the sum of their squares, > 0.
        **options: ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        The certificate; ``bound`` encloses the least var~ - var.

    >>> variance_increases((-0.1, 0.1), (2e-4, 0.38)).holds
    True
    """
    return prove_of("variance_increases", quadruples([(mean, var, omega, tau)]), **options)
