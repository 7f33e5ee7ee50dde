"""What each statement says, as inequalities: functions of a statement's arguments.

A proof searches leaves for these inequalities, and a certificate file is verified against the same ones, so that no
file can say more than its boxes show. `STATEMENTS` holds them by the names that files know. Arguments are plain numbers
and sequences; ``target`` is the (mean, var, omega, tau) whose fixed point defines lam and alpha, ``p`` the scale of the
metric p^2 dmean^2/var + dvar^2/var^2 (None: the 2-norm).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from jnorm._ground.checks import choice
from jnorm.proofs._balls import outward, rational
from jnorm.proofs._domains import Domain
from jnorm.proofs._inequalities import Inequality
from jnorm.proofs._regions import Region, rectangle, regions, within
from jnorm.proofs._shapes import SELU, Interval, IntervalLike, Point, Target, number


def image(domain: Domain, inside: Sequence[Interval] | None = None, target: Target = SELU) -> list[Inequality]:
    """Next mean and variance lie ``inside`` a rectangle or, after a strip, a region; without one, their extremes.

    A variance above 0 stays above 0: where the domain is open there, and the rectangle too, nothing is left to show.
    """
    slope = None if domain.strip is None else domain.strip[0]
    inequalities = []
    for part in domain.parts():
        for k, quantity in enumerate(("mean", "variance", "mean - p*variance")[: 2 if slope is None else 3]):
            for side, sense in enumerate("><"):
                level = inside[k][side] if inside else None
                if part.var[0] > 0 or level or (quantity, sense) != ("variance", ">"):
                    inequalities.append(Inequality(quantity, sense, level, part, target, slope if k == 2 else None))
    return inequalities


def _shrinks(
    *,
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike,
    tau: IntervalLike,
    target: Target = SELU,
    p: float | None = None,
    self_map: bool = True,
) -> list[Inequality]:
    """The rate is below 1 and, with ``self_map``, mean and variance stay in their intervals."""
    if not isinstance(self_map, bool):
        raise ValueError(f"`self_map` must be True or False; got {self_map!r}")
    domain = Domain(mean, var, omega, tau)
    rates = [Inequality("rate", "<", 1.0, part, target, p) for part in domain.parts()]
    return rates + (image(domain, (domain.mean, domain.var), target) if self_map else [])


def _attracts_there(
    *,
    mean: IntervalLike,
    var: IntervalLike,
    omega: float,
    tau: float,
    target: Target = SELU,
    p: float | None = None,
) -> list[Inequality]:
    """At one omega and tau the map contracts on a rectangle and maps it into itself."""
    omega, tau = number("omega", omega), number("tau", tau)
    return _shrinks(mean=mean, var=var, omega=omega, tau=tau, target=target, p=p)


def _moves_variance(
    sense: str, /, *, domains: Sequence[Sequence[IntervalLike]], target: Target = SELU
) -> list[Inequality]:
    """var~ - var is below or above 0 on each domain, of which there is one at least."""
    if not domains:
        raise ValueError("`domains` must hold a domain at least; got none")
    parts = [part for mean, var, omega, tau in domains for part in Domain(mean, var, omega, tau).parts()]
    return [Inequality("change of variance", sense, 0.0, part, target) for part in parts]


def _has_extremes(
    *,
    quantity: str,
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike,
    tau: IntervalLike,
    tol: float,
    target: Target = SELU,
) -> list[Inequality]:
    """Both extremes of mean and variance ("image") or of the gradient factor are enclosed to 2*tol."""
    choice("quantity", quantity, ("image", "gradient factor"))
    domain, width = Domain(mean, var, omega, tau), 2 * number("tol", tol, positive=True)
    if quantity == "image":
        return [replace(inequality, width=width) for inequality in image(domain, None, target)]
    return [Inequality(quantity, sense, None, part, target, width=width) for sense in "><" for part in domain.parts()]


def _leads_on(
    path: Sequence[Region], slope: float, omega: IntervalLike, tau: IntervalLike, target: Target
) -> list[Inequality]:
    """Each region maps into the next.

    The first one is a whole rectangle, or ``ValueError``. The later ones are cut by a strip, as high variances bring
    high means: without it the hull of the limit set would not be tight.
    """
    if not path:
        raise ValueError("a path must hold a region at least; got none")
    (low, high), whole = path[0].offset, rectangle(path[0].mean, path[0].var, slope).offset
    if not low <= whole[0] <= whole[1] <= high:
        raise ValueError(f"a path must start from a whole rectangle; got the strip {(low, high)}")
    steps = [image(region.under(omega, tau, slope), after, target) for region, after in pairwise(path)]
    return [inequality for step in steps for inequality in step]


def _ends_inside(
    *, path: Sequence[Region], slope: float, omega: IntervalLike, tau: IntervalLike, target: Target = SELU
) -> list[Inequality]:
    """Layer k maps region k of the path into region k + 1, and the last one into itself."""
    path = regions("path", path)
    return _leads_on([*path, path[-1]], slope, omega, tau, target)


def _draws_all(
    *,
    norm: float,
    fall: Sequence[Region],
    path: Sequence[Region],
    slope: float,
    omega: IntervalLike,
    tau: IntervalLike,
    target: Target = SELU,
    p: float | None = None,
) -> list[Inequality]:
    """Every start with var > 0 comes into the last region of the path, where the map contracts.

    1. From some layer on sqrt(mean^2 + var) < norm, which lies in the first rectangle of the ``fall``.
    2. So from some layer on (mean, var) stays in the last region of the fall, for each maps into the next.
    3. There a variance below the first rectangle of the ``path`` grows by a factor above 1 until it is inside.
    4. From there the path leads on, a layer a step, and its last region maps into itself; the map contracts on the
       rectangle around that.

    Raises ``ValueError`` where these do not join.
    """
    fall, path, norm = regions("fall", fall), regions("path", path), number("norm", norm, positive=True)
    first, last, start = fall[0], fall[-1], path[0]
    disc = (-norm, norm), (0.0, outward(rational(norm) ** 2, 1))
    if not within(disc, first) or any(var[0] != 0 for _, var, _ in fall):
        raise ValueError(f"`fall` must start from abs(mean) <= {norm}, 0 < var <= {norm}^2; got {tuple(first)}")
    if not within(last, (start.mean, (0.0, start.var[1]))):
        ends = f"{tuple(last)}; got {tuple(start)}"
        raise ValueError(f"`path` must start from a rectangle that holds the end of the fall, {ends}")
    everywhere = Domain(first.mean, first.var, omega, tau, open_at_zero=True)
    small = Domain(last.mean, (0.0, start.var[0]), omega, tau, open_at_zero=True)
    mean, var, _ = path[-1]
    return [
        Inequality("limit norm", "<", norm, everywhere, target),
        Inequality("growth of variance", ">", 1.0, small, target),
        *_shrinks(mean=mean, var=var, omega=omega, tau=tau, target=target, p=p, self_map=False),
        *_leads_on(fall, slope, omega, tau, target),
        *_ends_inside(path=path, slope=slope, omega=omega, tau=tau, target=target),
    ]


def _attracts_between_omegas(*, var: float, tau: float) -> list[Inequality]:
    """With the constants of (0, var) at omega 0 and this tau, that point attracts exactly between these omegas."""
    domain, target = Domain(0.0, var, 0.0, tau), Point(0.0, var, 0.0, tau)
    return [
        Inequality("lowest omega", ">", None, domain, target),
        Inequality("highest omega", "<", None, domain, target),
    ]


def _exists_between_taus(*, var: float) -> list[Inequality]:
    """With omega = 0 a fixed point with positive variance exists, and attracts, exactly between these taus.

    Existence, uniqueness and tau*dV/dv < 1 are argued in `_asymptotics`; dV/dv > 0 is shown near zero, over boxes and
    far out.
    """
    low, high, target = 1e-4, 100.0, Point(0.0, var, 0.0, 1.0)
    near = Domain(0.0, (0.0, low), 0.0, 1.0, open_at_zero=True)
    middle, far = Domain(0.0, (low, high), 0.0, 1.0), Domain(0.0, high, 0.0, 1.0)
    return [
        Inequality("lowest tau", ">", None, middle, target),
        Inequality("highest tau", "<", None, middle, target),
        Inequality("slope of variance", ">", 0.0, middle, target),
        Inequality("slope near zero", ">", 0.0, near, target),
        Inequality("slope far out", ">", 0.0, far, target),
    ]


STATEMENTS: dict[str, Callable[..., list[Inequality]]] = {
    "contraction": _shrinks,
    "fixed_point": _attracts_there,
    "variance_decreases": partial(_moves_variance, "<"),
    "variance_increases": partial(_moves_variance, ">"),
    "extremes": _has_extremes,
    "limit_set": _ends_inside,
    "global_convergence": _draws_all,
    "omega_range": _attracts_between_omegas,
    "tau_range": _exists_between_taus,
}
CHOSEN = ("fixed_point", "limit_set", "global_convergence")
"""What rests on a path or a metric that we choose: where these fail, the statement is undecided and not refuted."""
