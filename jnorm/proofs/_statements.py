"""What each statement claims: functions from a statement's arguments to the claims that make it up.

A proof searches leaves for these claims, and a certificate file is verified against the same ones, so that no file can
claim more than its boxes show. Arguments are plain numbers and lists; ``target`` is the (mean, var, omega, tau) whose
fixed point defines lam and alpha, ``p`` the scale of the metric p^2 dmean^2/var + dvar^2/var^2 (None: the 2-norm).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from jnorm.proofs._claims import Claim
from jnorm.proofs._domains import Domain, Pair, outward
from jnorm.proofs._enclosures import rational

SELU = (0.0, 1.0, 0.0, 1.0)
Region = tuple[Pair, Pair, Pair]  # mean, var and mean - slope*var, for a path's slope
Ends = float | Sequence[float]


def box(mean: Ends, var: Ends, omega: Ends, tau: Ends) -> Domain:
    """Domain with var > 0."""
    domain = Domain(mean, var, omega, tau)  # type: ignore[arg-type]
    if domain.var[0] <= 0:
        raise ValueError(f"`var` must satisfy var > 0; got {domain.var[0]}")
    return domain


def image(domain: Domain, inside: Sequence[Pair] | None = None, target: Sequence[float] = SELU) -> list[Claim]:
    """Next mean and variance lie ``inside`` a rectangle or, after a strip, a region; without one, their extremes.

    Where the domain's variances are open at 0, so are the next ones.
    """
    slope = domain.strip[0] if domain.strip else None
    claims = []
    for part in domain.parts():
        for k, quantity in enumerate(("mean", "variance", "mean - p*variance")[: 3 if slope else 2]):
            for side, sense in enumerate("><"):
                if part.var[0] > 0 or (quantity, sense) != ("variance", ">"):
                    level = inside[k][side] if inside else None
                    claims.append(Claim(quantity, sense, level, part, _four(target), slope if k == 2 else None))
    return claims


def region(mean: Pair, var: Pair, slope: float) -> Region:
    """A rectangle as a region: its strip cuts nothing off."""
    low, high = (rational(mean[k]) - rational(slope) * rational(var[1 - k]) for k in (0, 1))
    return mean, var, (outward(low, -1), outward(high, 1))


def within(inner: Sequence[Sequence[float]], outer: Sequence[Sequence[float]]) -> bool:
    """Whether mean and variance of one rectangle or region lie in another's."""
    return all(outer[k][0] <= inner[k][0] and inner[k][1] <= outer[k][1] for k in (0, 1))


def _steps(path: Sequence[Region], slope: float, omega: Ends, tau: Ends, target: Sequence[float]) -> list[Claim]:
    """Each region maps into the next. Raises ``ValueError`` where the first one is not a whole rectangle."""
    (low, high), whole = path[0][2], region(path[0][0], path[0][1], slope)[2]
    if not low <= whole[0] <= whole[1] <= high:
        raise ValueError(f"a path must start from a whole rectangle; got the strip {(low, high)}")
    claims = []
    for (mean, var, (low, high)), later in pairwise(path):
        domain = Domain(mean, var, omega, tau, (slope, low, high))  # type: ignore[arg-type]
        claims += image(domain, later, target)
    return claims


def contraction(
    *,
    mean: Ends,
    var: Ends,
    omega: Ends,
    tau: Ends,
    target: Sequence[float] = SELU,
    p: float | None = None,
    self_map: bool = True,
) -> list[Claim]:
    """The layer map shrinks every path in the box and, with ``self_map``, maps the box into itself."""
    domain = box(mean, var, omega, tau)
    rates = [Claim("rate", "<", 1.0, part, _four(target), p) for part in domain.parts()]
    return rates + (image(domain, (domain.mean, domain.var), target) if self_map else [])


def variance_decreases(*, domains: Sequence[Sequence[Ends]], target: Sequence[float] = SELU) -> list[Claim]:
    """var~ < var on each domain."""
    return _change("<", domains, target)


def variance_increases(*, domains: Sequence[Sequence[Ends]], target: Sequence[float] = SELU) -> list[Claim]:
    """var~ > var on each domain."""
    return _change(">", domains, target)


def _change(sense: str, domains: Sequence[Sequence[Ends]], target: Sequence[float]) -> list[Claim]:
    parts = [part for ends in domains for part in box(*ends).parts()]
    return [Claim("change of variance", sense, 0.0, part, _four(target)) for part in parts]


def extremes(
    *, quantity: str, mean: Ends, var: Ends, omega: Ends, tau: Ends, target: Sequence[float] = SELU
) -> list[Claim]:
    """Both extremes of the image box ("image") or of another quantity."""
    domain = box(mean, var, omega, tau)
    if quantity == "image":
        return image(domain, None, target)
    return [Claim(quantity, sense, None, part, _four(target)) for sense in "><" for part in domain.parts()]


def limit_set(
    *, path: Sequence[Region], slope: float, omega: Ends, tau: Ends, target: Sequence[float] = SELU
) -> list[Claim]:
    """Layer k maps region k of the path into region k + 1, and the last one into itself.

    The first region is a whole rectangle. The later ones are rectangles cut by a strip, as high variances bring high
    means: without it the hull of the limit set would not be tight.
    """
    return _steps([*path, path[-1]], slope, omega, tau, target)


def global_convergence(
    *,
    norm: float,
    fall: Sequence[Region],
    path: Sequence[Region],
    slope: float,
    omega: Ends,
    tau: Ends,
    target: Sequence[float] = SELU,
    p: float | None = None,
) -> list[Claim]:
    """Every start with var > 0 comes into the last region of the path, where the map contracts.

    1. From some layer on sqrt(mean^2 + var) < norm, which lies in the first rectangle of the ``fall``.
    2. So from some layer on the state stays in the last region of the fall, for each maps into the next.
    3. There a variance below the first rectangle of the ``path`` grows by a factor above 1 until it is inside.
    4. From there the path leads on, a layer a step, and its last region maps into itself; the map contracts on the
       rectangle around that.

    Raises ``ValueError`` where these do not join.
    """
    first, last, start = fall[0], fall[-1], path[0]
    ball = (-norm, norm), (0.0, outward(rational(norm) ** 2, 1))
    if not within(ball, first) or any(step[1][0] != 0 for step in fall):
        raise ValueError(f"`fall` must start from abs(mean) <= {norm}, 0 < var <= {norm}^2; got {first}")
    if not within(last, (start[0], (0.0, start[1][1]))):
        raise ValueError(f"`path` must start from a rectangle that holds the end of the fall, {last}; got {start}")
    everywhere = Domain(first[0], first[1], omega, tau)  # type: ignore[arg-type]
    small = Domain(last[0], (0.0, start[1][0]), omega, tau)  # type: ignore[arg-type]
    claims = [
        Claim("limit norm", "<", norm, everywhere, _four(target)),
        Claim("growth of variance", ">", 1.0, small, _four(target)),
    ]
    claims += contraction(mean=path[-1][0], var=path[-1][1], omega=omega, tau=tau, target=target, p=p, self_map=False)
    claims += _steps(fall, slope, omega, tau, target)
    return claims + limit_set(path=path, slope=slope, omega=omega, tau=tau, target=target)


def omega_range(*, var: float, tau: float) -> list[Claim]:
    """With the constants of (0, var) at omega 0 and this tau, that point attracts exactly between these omegas."""
    domain, target = box(0.0, var, 0.0, tau), (0.0, var, 0.0, tau)
    return [Claim(name, sense, None, domain, target) for name, sense in (("lowest omega", ">"), ("highest omega", "<"))]


def tau_range(*, var: float) -> list[Claim]:
    """With omega = 0 a fixed point with positive variance exists, and attracts, exactly between these taus.

    Existence, uniqueness and tau*dV/dv < 1 are argued in ``asymptotics``; dV/dv > 0 is shown near zero, over boxes and
    far out.
    """
    low, high, target = 1e-4, 100.0, (0.0, var, 0.0, 1.0)
    domain = box(0.0, (low, high), 0.0, 1.0)
    ends = [Claim(name, sense, None, domain, target) for name, sense in (("lowest tau", ">"), ("highest tau", "<"))]
    middle = Claim("slope of variance", ">", 0.0, domain, target)
    near = Claim("slope near zero", ">", 0.0, Domain((0.0, 0.0), (0.0, low), (0.0, 0.0), (1.0, 1.0)), target)
    far = Claim("slope far out", ">", 0.0, box(0.0, high, 0.0, 1.0), target)
    return [*ends, middle, near, far]


def _four(target: Sequence[float]) -> tuple[float, float, float, float]:
    mean, var, omega, tau = map(float, target)
    return mean, var, omega, tau


STATEMENTS: dict[str, Callable[..., list[Claim]]] = {
    f.__name__: f
    for f in (
        contraction,
        variance_decreases,
        variance_increases,
        extremes,
        limit_set,
        global_convergence,
        omega_range,
        tau_range,
    )
}
Arguments = dict[str, Any]
