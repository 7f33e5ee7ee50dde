"""What is known about a gradient, in one report."""

from collections.abc import Sequence
from typing import NamedTuple

from jnorm.measure.gradcheck._consistency import Agreement
from jnorm.measure.gradcheck._entries import Leaf
from jnorm.measure.gradcheck._remainders import Remainder, Verdict
from jnorm.measure.gradcheck._rules import Fault


class Report(NamedTuple):
    """What is known about a gradient; prints as tables.

    Attributes:
        verdict: ``right``; ``wrong``; ``kink``, where the loss has no derivative just there, and the gradient is one of
            its slopes, and right beside it; ``rounding``, where the loss is too coarse to tell; ``not finite``;
            ``not deterministic``.
        faults: The equations that are to blame, in order of computation.
        directions: Remainders of Taylor's formula, in all leaves together and in each.
        leaves: The gradient's entries beside centred differences.
        agreements: What must agree without a step.
        dtype: In which the loss was computed for this.
    """

    verdict: Verdict
    faults: tuple[Fault, ...]
    directions: tuple[Remainder, ...]
    leaves: tuple[Leaf, ...]
    agreements: tuple[Agreement, ...]
    dtype: str

    def __str__(self) -> str:
        lines = [f"gradient: {self.verdict} (in {self.dtype})", *(f"  {fault}" for fault in self.faults)]
        tables: list[list[tuple[str, ...]]] = [
            [("verdict", "agreement", "distance", "bar", "of")],
            [("verdict", "along", "rate", "slope", "by values", "seen from")],
            [("verdict", "leaf", "distance", "bar", "reading", "worst entry", "gradient", "by values")],
        ]
        tables[0] += [(a.verdict, a.name, f"{a.distance:.1e}", f"{a.bar:.1e}", a.leaf) for a in self.agreements]
        tables[1] += [
            (d.verdict, d.leaf, f"{d.rate:.2f}", f"{d.slope:.6g}", f"{d.difference:.6g}", f"{d.resolution:.0e}")
            for d in self.directions
        ]
        for e in self.leaves:
            numbers = str(e.entry), f"{e.gradient:.6g}", f"{e.difference:.6g}"
            tables[2].append((e.verdict, e.leaf, f"{e.distance:.1e}", f"{e.bar:.0e}", e.reading, *numbers))
        for rows in tables:
            lines += ["", *_table(rows)] if len(rows) > 1 else []
        return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
