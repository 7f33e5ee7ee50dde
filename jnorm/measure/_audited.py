"""What an audit finds: a row for each equation and direction, and how it is shown."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from jnorm._ground import tables
from jnorm.jaxprs import Line

AS_PREDICTED, OFF, FOLLOWS, UNTESTED = "as predicted", "off", "follows", "not tested"


@dataclasses.dataclass(frozen=True)
class AuditedRow:
    """An equation's value, or the gradient at it: measured beside predicted.

    Attributes:
        equation: Its number in the order of computation, from 0.
        of: ``"value"`` or ``"gradient"``.
        name: The module where there is one, and the operation.
        shape: Of the value.
        predicted: The mean square by `jnorm.predict.predict`.
        measured: The mean square over the draws, as the program runs; of gradients, given what ``ratio`` is.
        error: Its standard error.
        sound: The same over draws of the model as it is meant, which shows what the theory of wide layers leaves out.
        ratio: Mean square over that of the model as it is meant, both given that what goes in has the predicted size.
        z: The difference of the means of its logarithm, in standard errors.
        verdict: ``"as predicted"``, ``"off"``, ``"follows"`` (off, with what goes in zero or not finite, or at a
            gradient before an equation that is off) or ``"not tested"``.
        line: The user's line.
    """

    equation: int
    of: str
    name: str
    shape: tuple[int, ...]
    predicted: float
    measured: float
    error: float
    sound: float
    ratio: float
    z: float
    verdict: str
    line: Line | None

    def __str__(self) -> str:
        """A sentence, such as ``off by +21 % at equation 14, dot_general, line 31 of model.py``."""
        where = f", line {self.line.number} of {self.line.file.rpartition('/')[2]}" if self.line else ""
        what = "in the gradient at" if self.of == "gradient" else "at"
        return f"{self._finding()} {what} equation {self.equation}, {self.name}{where}"

    def _finding(self) -> str:
        if self.verdict in (AS_PREDICTED, UNTESTED):
            return self.verdict
        if not math.isfinite(self.ratio):
            return "not finite" if self.verdict == OFF else FOLLOWS
        text = "zero" if self.ratio < 1e-12 else f"off by {100 * (self.ratio - 1):+.3g} %"
        return text if self.verdict == OFF else f"{FOLLOWS}: {text}"


@dataclasses.dataclass(frozen=True)
class Audit:
    """Measured beside predicted, equation by equation; prints as a table of 100 columns.

    Attributes:
        rows: Values in the order of computation, then gradients in the same order.
        missing: Rows of the reference, as sentences, that the program does not have.
        seeds: Draws of the model, and as many of it as it is meant.
        level: The probability of any alarm where the model is as it is meant.
        limit: The number of standard errors, of the row that is off most, beyond which that lies.
        tolerance: How much a mean square may be off all the same.
    """

    rows: tuple[AuditedRow, ...]
    missing: tuple[str, ...]
    seeds: int
    level: float
    limit: float
    tolerance: float

    @property
    def faults(self) -> tuple[AuditedRow, ...]:
        """The rows that are off by themselves, in the order of computation, values before gradients."""
        return tuple(row for row in self.rows if row.verdict == OFF)

    @property
    def verdict(self) -> str:
        """``"as predicted"``, or the first fault as a sentence."""
        return str(self.faults[0]) if self.faults else AS_PREDICTED

    def __iter__(self) -> Iterator[AuditedRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> AuditedRow:
        return self.rows[index]

    def to_pandas(self) -> Any:
        """The rows as a ``pandas.DataFrame``, with ``file`` and ``number`` of the line.

        Raises:
            ModuleNotFoundError: without pandas (extra ``analysis``).
        """
        import pandas as pd

        records = []
        for row in self.rows:
            record = {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "line"}
            file, number = (row.line.file, row.line.number) if row.line else ("", -1)
            records.append({**record, "file": file, "number": number})
        return pd.DataFrame(records)

    def __str__(self) -> str:
        head = ("", "operation", "shape", "predicted", "sound", "measured", "ratio", "z", "line", "")
        lines = [tables.line(cells, _WIDTHS, _LEFT) for cells in (head, *map(_cells, self.rows))]
        count = f"{len(self.faults)} of {sum(row.verdict != UNTESTED for row in self.rows)} rows are off"
        rule = f"|z| > {self.limit:.2f} and {self.tolerance:.0%}; {self.level:.2g} that a sound model has any"
        lines.append(f"{count} ({rule}; {self.seeds} draws)")
        return "\n".join([*lines, *map(str, self.faults), *self.missing])


_WIDTHS = (4, 24, 11, 9, 8, 8, 6, 6, 12, 3)
_LEFT = frozenset({1, 2, 8, 9})
_MARKS = {AS_PREDICTED: "", OFF: "OFF", FOLLOWS: "  .", UNTESTED: "  -"}


def _cells(row: AuditedRow) -> tuple[str, ...]:
    where = f"{row.line.file.rpartition('/')[2]}:{row.line.number}" if row.line else ""
    numbers = [tables.number(value, ".3g") for value in (row.predicted, row.sound, row.measured)]
    z = f"{row.z:.1f}" if abs(row.z) < 1000 else f"{row.z:.0e}"
    shape = "x".join(map(str, row.shape))
    name = row.name if row.of == "value" else f"d {row.name}"
    ratio = tables.number(row.ratio, ".0e" if row.ratio >= 100 else ".3f")
    return (str(row.equation), name, shape, *numbers, ratio, "" if math.isnan(row.z) else z, where, _MARKS[row.verdict])
