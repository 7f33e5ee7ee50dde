"""Inequalities about the layer map over a domain, and what became of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jnorm._ground.checks import choice
from jnorm.proofs._asymptotics import CLOSED_FORMS
from jnorm.proofs._balls import Ball, decimal
from jnorm.proofs._domains import Domain
from jnorm.proofs._enclosures import Constants, Enclosure
from jnorm.proofs._scaled_elu import moments_of
from jnorm.proofs._shapes import SELU, Activation, Box, Interval, Point, Target, digits, number, origin


def _rate(x: Enclosure, omega: Any, tau: Any, var: Any, p: float | None) -> Any:
    """Largest singular value of the Jacobian between the two metrics: (abs(z1) + abs(z2))/2 with complex z1, z2."""
    if p is None:
        a, b, c, d = x.mean_m * omega, x.mean_v * tau, x.var_m * omega, x.var_v * tau
    else:
        scale, root, weight = decimal(p), x.var.sqrt(), omega * var.sqrt()
        a, b = x.mean_m * weight / root, scale * (x.mean_v * x.v) / root
        c, d = x.var_m * weight / (scale * x.var), x.var_v * x.v / x.var
    z1, z2 = (a + d, c - b), (a - d, b + c)
    return sum((real * real + imaginary * imaginary).sqrt() for real, imaginary in (z1, z2)) / 2


# name: its value, a function of (enclosure, abs(omega), tau, var, p), at one (m, v) or over a box
QUANTITIES = {
    "mean": lambda x, omega, tau, var, p: x.mean,
    "variance": lambda x, omega, tau, var, p: x.var,
    "mean - p*variance": lambda x, omega, tau, var, p: x.mean - decimal(p) * x.var,
    "change of variance": lambda x, omega, tau, var, p: x.var - var,
    "gradient factor": lambda x, omega, tau, var, p: x.gradient * tau,
    "slope of variance": lambda x, omega, tau, var, p: x.var_v,
    "rate": _rate,
}
FIBRED = ("change of variance", "gradient factor", "rate")  # (m, v) alone does not decide these


@dataclass(frozen=True)
class Inequality:
    """``quantity`` < or > ``level`` everywhere on ``domain``.

    Attributes:
        quantity: "mean", "variance" and "mean - p*variance" of the next layer, "change of variance" var~ - var,
            "gradient factor" tau*E[f'^2], "slope of variance" d Var f/dv, or "rate", the largest singular value of the
            layer map's Jacobian: in the 2-norm, or with ``p`` in the metric p^2 dmean^2/var + dvar^2/var^2. Further,
            by closed forms, the bounds that `_asymptotics` names.
        sense: "<" or ">".
        level: The number on the other side; None where the extreme is to be enclosed and compared with nothing.
        domain: Where it is to hold.
        target: (mean, var, omega, tau) of the fixed point that defines lam and alpha, or another activation.
        p: Scale of the metric, or factor of the variance: > 0.
        width: Where there is no level, the widest enclosure with which the extreme counts as known.

    Raises:
        ValueError: For a quantity or a sense that is not known, and numbers that are none or out of range.
    """

    quantity: str
    sense: str
    level: float | None
    domain: Domain
    target: Target = SELU
    p: float | None = None
    width: float = math.inf

    def __post_init__(self) -> None:
        choice("quantity", self.quantity, (*QUANTITIES, *CLOSED_FORMS))
        choice("sense", self.sense, ("<", ">"))
        object.__setattr__(self, "target", origin(self.target))
        if self.level is not None:
            object.__setattr__(self, "level", number("level", self.level))
        if self.p is not None or self.quantity == "mean - p*variance":
            object.__setattr__(self, "p", number("p", self.p, positive=True))

    def __str__(self) -> str:
        return self.extreme if self.level is None else f"{self.quantity} {self.sense} {digits(self.level)}"

    @property
    def extreme(self) -> str:
        """Name of the quantity's extreme."""
        scale = "" if self.p is None else f" (p = {digits(self.p)})"
        return f"{self.quantity} at {'most' if self.sign > 0 else 'least'}{scale}"

    @property
    def sign(self) -> int:
        """1 where the largest value is sought, -1 where the least is."""
        return 1 if self.sense == "<" else -1

    @property
    def signed_level(self) -> float:
        """What sign*quantity must stay below; infinity where there is no level."""
        return math.inf if self.level is None else self.sign * self.level

    @property
    def allowed(self) -> float:
        """How far apart the ends of an enclosure may lie that shows the inequality."""
        return self.width if self.level is None else math.inf

    @property
    def at_largest_tau(self) -> bool:
        """Whether the extreme sits at the end of the fibre where tau is largest."""
        if self.quantity in ("change of variance", "gradient factor"):
            return self.sense == "<"
        return self.p is None

    def oriented(self, bound: Interval) -> Interval:
        """Bounds of the quantity from bounds of sign*quantity, or the other way."""
        return bound if self.sign > 0 else (-bound[1], -bound[0])

    def shown_by(self, bound: Interval) -> bool:
        """Whether an enclosure of the extreme lies on the right side of the level."""
        return self.oriented(bound)[1] < self.signed_level

    @property
    def scaled(self) -> Point:
        """What defines lam and alpha; closed forms are of scaled ELUs alone, or ``ValueError``."""
        if isinstance(self.target, Activation):
            raise ValueError(f"{self.quantity!r} is known of scaled ELUs alone; got {self.target.name}")
        return self.target

    def activation(self) -> Constants | Activation:
        """What encloses the moments that the quantity is made of, at the working precision."""
        found = moments_of(self.target)
        return found.slopes if isinstance(found, Activation) and self.quantity == "gradient factor" else found

    def over(self, x: Enclosure, box: Box) -> Any:
        """sign*quantity at the end of the fibre, for an enclosure taken inside ``box``."""
        return QUANTITIES[self.quantity](x, *self.domain.fibre(x.m, x.v, box, self.at_largest_tau), self.p) * self.sign

    def value(self, point: Point) -> Ball:
        """The quantity at one point of the domain."""
        mean, var, omega, tau = map(decimal, point)
        x = self.activation().at(mean * omega, var * tau)
        return QUANTITIES[self.quantity](x, abs(omega), tau, var, self.p)


@dataclass(frozen=True)
class Proof:
    """What became of an inequality.

    Attributes:
        inequality: What was to be shown.
        holds: True, False where ``point`` refutes it, or None: undecided within the budget.
        bound: Enclosure of the quantity's extreme.
        point: (mean, var, omega, tau) that comes nearest to the extreme, or None where none is known.
        boxes: Leaves of the search, (m_low, m_high, v_low, v_high): they cover the domain.
        searched: How many boxes were looked at to find them.
    """

    inequality: Inequality
    holds: bool | None
    bound: Interval
    point: Point | None
    boxes: tuple[Box, ...]
    searched: int


def extremes(proofs: Iterable[Proof]) -> dict[str, Interval]:
    """Enclosure of every quantity's extreme over all the domains on which it was bounded, by the extreme's name."""
    merged: dict[str, Interval] = {}
    for proof in proofs:
        name, pick = proof.inequality.extreme, max if proof.inequality.sign > 0 else min
        low, high = merged.get(name, proof.bound)
        merged[name] = pick(low, proof.bound[0]), pick(high, proof.bound[1])
    return merged
