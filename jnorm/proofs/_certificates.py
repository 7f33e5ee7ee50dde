"""Certificates: a statement with the proofs of all its inequalities."""

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec

from jnorm.proofs._domains import Domain
from jnorm.proofs._inequalities import Proof, extremes
from jnorm.proofs._propositions import metric, proposition, title
from jnorm.proofs._shapes import Box, Interval, interval

P = ParamSpec("P")
Arguments = dict[str, Any]  # of a statement: plain numbers, strings and sequences, as a file keeps them


@dataclass(frozen=True, repr=False)
class Certificate:
    """Outcome of a statement.

    Attributes:
        statement: Name of what is stated, under which a file is verified again.
        arguments: Of the statement, plain numbers and sequences.
        proofs: Every inequality of the statement, with what became of it.
        seconds: Time that the proof took.
    """

    statement: str
    arguments: Arguments
    proofs: tuple[Proof, ...]
    seconds: float

    def __repr__(self) -> str:
        facts: dict[str, Any] = {"holds": self.holds, "bound": self.bound, "rate": self.rate, "boxes": len(self.boxes)}
        shown = {name: value for name, value in facts.items() if value is not None or name == "holds"}
        if self.counterexample is not None:
            shown["counterexample"] = self.counterexample
        return f"Certificate({self.title}: {', '.join(f'{name}={value}' for name, value in shown.items())})"

    @property
    def holds(self) -> bool | None:
        """True (proved), False (refuted by ``counterexample``), or None: undecided within the budget."""
        return together(proof.holds for proof in self.proofs)

    @property
    def title(self) -> str:
        """What tables call it, from its numbers: a theorem of the paper only where it is on the paper's domain."""
        return title(self.statement, self.arguments)

    @property
    def proposition(self) -> str:
        """What is proved, refuted or left undecided, in a sentence made from the numbers."""
        return proposition(self.statement, self.arguments, self.extremes)

    @property
    def bound(self) -> Interval:
        """Enclosure of the extreme of the first inequality's quantity over all the domains on which it is stated.

        That is the rate of a contraction, and the change of variance of theorems 2 and 3.
        """
        return next(iter(self.extremes.values()))

    @property
    def extremes(self) -> dict[str, Interval]:
        """Enclosure of every quantity's extreme over all the domains on which it is stated, by its name."""
        return extremes(self.proofs)

    @property
    def rate(self) -> float | None:
        """Factor by which the map shrinks every path, or None where no contraction is stated."""
        return max((p.bound[1] for p in self.proofs if p.inequality.quantity == "rate"), default=None)

    @property
    def metric(self) -> str | None:
        """Metric of the rate, or None where no contraction is stated."""
        for p in (proof.inequality.p for proof in self.proofs if proof.inequality.quantity == "rate"):
            return metric(p)
        return None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Leaves (m_low, m_high, v_low, v_high) of every search, in m = mean*omega and v = var*tau."""
        return tuple(box for proof in self.proofs for box in proof.boxes)

    @property
    def searched(self) -> int:
        """Boxes looked at to find these leaves."""
        return sum(proof.searched for proof in self.proofs)

    @property
    def domain(self) -> tuple[Domain, ...]:
        """The different domains of the inequalities, in order."""
        return tuple(dict.fromkeys(proof.inequality.domain for proof in self.proofs))

    @property
    def counterexample(self) -> dict[str, Any] | None:
        """Where an inequality fails, verified at 60 digits: mean, var, omega, tau, inequality, bound; or None.

        ``bound`` encloses the extreme of the inequality's quantity.
        """
        for proof in self.proofs:
            if proof.holds is False and proof.point is not None:
                return proof.point._asdict() | {"inequality": str(proof.inequality), "bound": proof.bound}
        return None

    @property
    def path(self) -> tuple[tuple[Interval, Interval], ...]:
        """(mean, var) rectangles by layer, from the start to the limit set; empty for other statements."""
        return tuple((mean, var) for mean, var, _ in self.arguments.get("path", ()))

    def enters(self, mean: Interval = (-0.1, 0.1), var: Interval = (0.8, 1.5)) -> int | None:
        """Layer from which on the path stays in a rectangle, or None where it does not.

        Args:
            mean: Interval of the mean; by default the paper's.
            var: Interval of the variance; by default the paper's.

        Raises:
            ValueError: For an interval that is not one.
        """
        mean, var = interval("mean", mean), interval("var", var)
        out = [k for k, (m, v) in enumerate(self.path) if not _inside(m, mean) or not _inside(v, var)]
        layer = out[-1] + 1 if out else 0
        return layer if layer < len(self.path) else None


def together(outcomes: Iterable[bool | None]) -> bool | None:
    """Outcome of a conjunction: False where one is, else None where one is or nothing was stated, else True."""
    outcomes = list(outcomes)
    return False if False in outcomes else None if None in outcomes or not outcomes else True


def timed(f: Callable[P, Certificate]) -> Callable[P, Certificate]:
    """The same function; its certificates say how long it took."""

    @functools.wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Certificate:
        start = time.perf_counter()
        certificate = f(*args, **kwargs)
        return replace(certificate, seconds=time.perf_counter() - start)

    return wrapped


def _inside(a: Interval, b: Interval) -> bool:
    return b[0] <= a[0] and a[1] <= b[1]
