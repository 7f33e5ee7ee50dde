"""What was found, as data that prints in 100 columns."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jnorm.jaxprs import Line

Mark = Literal["cross", "note", "tick"]
SIGNS: dict[str, str] = {"cross": "✗", "note": "?", "tick": "✓"}
WIDTH = 100
MARGIN = 24


class Sign(NamedTuple):
    """What an entry of the catalogue has seen.

    Attributes:
        seen: In words, with figures.
        line: The user's line, where there is one.
        figures: The same figures as data.
        sure: Whether it is a mistake; else it may be one, and gets no cross.
    """

    seen: str
    line: Line | None = None
    figures: Mapping[str, float] = {}
    sure: bool = True


class Finding(NamedTuple):
    """A line of a diagnosis.

    Attributes:
        mistake: Its name in the catalogue; of a tick the part that was looked at.
        part: What was looked at, such as ``"data"``.
        mark: ``"cross"`` for a mistake, ``"note"`` for what may be one, ``"tick"`` for what is as it should be.
        seen: What was seen, in words.
        advice: What to try next.
        line: The user's line, where there is one.
        figures: What was seen, as data.
    """

    mistake: str
    part: str
    mark: Mark
    seen: str
    advice: str = ""
    line: Line | None = None
    figures: Mapping[str, float] = {}

    def __str__(self) -> str:
        rest = [f"at {self.line}"] if self.line else []
        rest += [f"try: {self.advice}"] if self.advice else []
        head = f"{SIGNS[self.mark]} {self.mistake}"
        indent = " " * MARGIN
        first = f"{head:<{MARGIN}}"
        lines = [] if len(head) < MARGIN else [head]
        options: dict[str, Any] = {"width": WIDTH, "subsequent_indent": indent, "break_on_hyphens": False}
        lines += textwrap.wrap(self.seen, initial_indent=indent if lines else first, **options)
        for text in rest:
            lines += textwrap.wrap(text, initial_indent=indent, **options)
        return "\n".join(lines)


@dataclass(frozen=True)
class Diagnosis:
    """What was found, causes first; prints in 100 columns, a tick or a cross a line.

    Attributes:
        findings: Crosses in the order of the catalogue, which is that of causes, and then notes in that order.
        ticks: What is as it should be, a line for each part.
    """

    findings: tuple[Finding, ...]
    ticks: tuple[Finding, ...] = field(default=())

    @property
    def crosses(self) -> tuple[Finding, ...]:
        """The findings that are mistakes."""
        return tuple(finding for finding in self.findings if finding.mark == "cross")

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in (*self.findings, *self.ticks))
