"""The one way from a statement to its certificate: a search for every inequality that it makes."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from jnorm.proofs._activations import activation
from jnorm.proofs._certificates import Arguments, Certificate, timed
from jnorm.proofs._search import BUDGET, TOL, search
from jnorm.proofs._shapes import SELU, Activation, IntervalLike, Target, interval, target_point
from jnorm.proofs._statements import STATEMENTS


class Effort(TypedDict, total=False):
    """How far a search goes."""

    tol: float
    """Width to which extremes are enclosed, > 0; 1e-9 by default."""
    budget: int
    """Boxes that may be looked at for each inequality before it counts as undecided, 1 at least; 20 000 by default."""


class Options(Effort, total=False):
    """Which activation the proof is about, and how far its search goes."""

    phi: Callable[..., Any] | Activation | None
    """An elementwise function of `jax.numpy` operations; by default the scaled ELU that the others name."""

    target: tuple[float, float]
    """(mean, var) of the fixed point that defines lam and alpha; (0, 1) by default."""
    weights: tuple[float, float]
    """(omega, tau) of that fixed point; (0, 1) by default, which makes SELU."""


@timed
def prove(statement: str, arguments: Arguments, *, tol: float = TOL, budget: int = BUDGET) -> Certificate:
    """Search a proof of every inequality that the statement makes of these arguments."""
    proofs = tuple(search(each, tol=tol, budget=budget) for each in STATEMENTS[statement](**arguments))
    return Certificate(statement, arguments, proofs, 0.0)


def prove_of(
    statement: str,
    arguments: Arguments,
    *,
    target: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float] = (0.0, 1.0),
    phi: Callable[..., Any] | Activation | None = None,
    **effort: Unpack[Effort],
) -> Certificate:
    """The same of an elementwise function, or the scaled ELU whose fixed point at ``weights`` is ``target``."""
    return prove(statement, {**arguments, "target": chosen(target, weights, phi)}, **effort)


def chosen(
    target: tuple[float, float], weights: tuple[float, float], phi: Callable[..., Any] | Activation | None
) -> Target:
    """The activation that a statement is about; ``ValueError`` where it is named in two ways."""
    made = target_point(target, weights)
    if phi is None:
        return made
    if made != SELU:
        raise ValueError("`phi` is the activation: `target` and `weights` are of scaled ELUs")
    return phi if isinstance(phi, Activation) else activation(phi)


def intervals(mean: IntervalLike, var: IntervalLike, omega: IntervalLike, tau: IntervalLike) -> Arguments:
    """The arguments of a statement about one domain."""
    named = {"mean": mean, "var": var, "omega": omega, "tau": tau}
    return {name: interval(name, value) for name, value in named.items()}


def quadruples(domains: Sequence[tuple[IntervalLike, IntervalLike, IntervalLike, IntervalLike]]) -> Arguments:
    """The arguments of a statement about several domains."""
    return {"domains": [tuple(intervals(*domain).values()) for domain in domains]}
