"""What each statement claims: functions from a statement's arguments to the claims that make it up.

A proof searches leaves for these claims, and a certificate file is verified against the same ones, so that no file can
claim more than its boxes show. Arguments are plain numbers and lists; ``target`` is the (mean, var, omega, tau) whose
fixed point defines lam and alpha, ``p`` the scale of the metric p^2 dmean^2/var + dvar^2/var^2 (None: the 2-norm).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from jnorm.theory.claims import Claim
from jnorm.theory.domains import Domain, Pair
from jnorm.theory.enclosures import rational

SELU = (0.0, 1.0, 0.0, 1.0)
Rectangle = tuple[Pair, Pair]  # mean, var
Ends = float | Sequence[float]


def box(mean: Ends, var: Ends, omega: Ends, tau: Ends) -> Domain:
    """Domain with var > 0."""
    domain = Domain(mean, var, omega, tau)  # type: ignore[arg-type]
    if domain.var[0] <= 0:
        raise ValueError(f"`var` must satisfy var > 0; got {domain.var[0]}")
    return domain


def image(domain: Domain, inside: Rectangle | None = None, target: Sequence[float] = SELU) -> list[Claim]:
    """Next mean and variance lie ``inside`` a rectangle; without one, their extremes. A variance may be open at 0."""
    claims = []
    for part in domain.parts():
        for k, quantity in enumerate(("mean", "variance")):
            for side, sense in enumerate("><"):
                if part.var[0] > 0 or (quantity, sense) != ("variance", ">"):
                    claims.append(Claim(quantity, sense, inside[k][side] if inside else None, part, _four(target)))
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


def limit_set(*, path: Sequence[Rectangle], omega: Ends, tau: Ends, target: Sequence[float] = SELU) -> list[Claim]:
    """Layer k maps rectangle k of the path into rectangle k + 1, and the last one into itself."""
    return [
        claim
        for now, later in pairwise([*path, path[-1]])
        for claim in image(Domain(*now, omega, tau), later, target)  # type: ignore[arg-type]
    ]


def global_convergence(
    *,
    norm: float,
    fall: Sequence[Rectangle],
    path: Sequence[Rectangle],
    omega: Ends,
    tau: Ends,
    target: Sequence[float] = SELU,
    p: float | None = None,
) -> list[Claim]:
    """Every start with var > 0 comes into the last rectangle of the path, where the map contracts.

    1. From some layer on sqrt(mean^2 + var) < norm, which is the first rectangle of the ``fall``.
    2. So from some layer on the state stays in the last one, for each maps into the next.
    3. There a variance below the first rectangle of the ``path`` grows by a factor above 1 until it is inside.
    4. From there the path leads on, a layer a step, and its last rectangle maps into itself and contracts.

    Raises ``ValueError`` where these do not join.
    """
    first, last, start = fall[0], fall[-1], path[0]
    ends = (rational(norm) <= min(-rational(first[0][0]), rational(first[0][1])), rational(norm) ** 2 <= first[1][1])
    if not all(ends) or any(step[1][0] != 0 for step in fall):
        raise ValueError(f"`fall` must start from abs(mean) <= {norm}, 0 < var <= {norm}^2; got {first}")
    if not (start[0][0] <= last[0][0] and last[0][1] <= start[0][1] and last[1][1] <= start[1][1]):
        raise ValueError(f"`path` must start from a rectangle that holds the end of the fall, {last}; got {start}")
    everywhere = Domain(*first, omega, tau)  # type: ignore[arg-type]
    small = Domain(last[0], (0.0, start[1][0]), omega, tau)  # type: ignore[arg-type]
    claims = [
        Claim("limit norm", "<", norm, everywhere, _four(target)),
        Claim("growth of variance", ">", 1.0, small, _four(target)),
    ]
    claims += contraction(mean=path[-1][0], var=path[-1][1], omega=omega, tau=tau, target=target, p=p, self_map=False)
    for now, later in pairwise(fall):
        claims += image(Domain(*now, omega, tau), later, target)  # type: ignore[arg-type]
    return claims + limit_set(path=path, omega=omega, tau=tau, target=target)


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
