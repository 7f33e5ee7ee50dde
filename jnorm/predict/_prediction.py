"""What is predicted, and how it is shown."""

import dataclasses
import math
from collections.abc import Iterator

from jnorm.jaxprs import Line


@dataclasses.dataclass(frozen=True)
class Row:
    """What an equation computes, over random parameters.

    Attributes:
        name: The module where there is one, and the operation.
        shape: Of the value.
        mean: Its mean, over units, examples and positions.
        second: The mean of its square.
        correlation: ``E[v v'] / sqrt(E[v^2] E[v'^2])`` of two examples at the same position, averaged; of two
            positions where there is one example; NaN where there is one of both.
        gradient: The mean squared gradient at the value, where it was asked for; NaN inside of loops.
        line: The user's line.
        status: ``"exact"``, ``"gaussian"`` (in the limit of wide layers), ``"sampled"`` (from samples of units) or
            ``"marked: few units"`` (averages over fewer than 64 units are in it, which scatter).
        index: The equation's place in the program, as that of a `jnorm.jaxprs.Site`.
        turn: How often the equation had been computed before, where there is a loop around it.
        output: Which of its outputs it is.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    second: float
    correlation: float
    gradient: float
    line: Line | None
    status: str
    index: tuple[int, ...]
    turn: int = 0
    output: int = 0


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Rows in the order of computation; prints as a table of 100 columns.

    Attributes:
        rows: One for each equation that matters.
        parameters: The mean squared gradient by each parameter, where it was asked for.
    """

    rows: tuple[Row, ...]
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __str__(self) -> str:
        head = ("operation", "shape", "mean", "second", "corr", "grad^2", "status", "line")
        table = [head, *(_cells(row) for row in self.rows)]
        return "\n".join(_joined(cells) for cells in table)


_WIDTHS = (24, 14, 8, 8, 6, 8, 8, 17)


def _cells(row: Row) -> tuple[str, ...]:
    tell = lambda number, form: "" if math.isnan(number) else format(number, form)
    forms = ((row.mean, ".2g"), (row.second, ".3g"), (row.correlation, ".3f"), (row.gradient, ".3g"))
    numbers = [tell(number, form) for number, form in forms]
    where = f"{row.line.file.rsplit('/', 1)[-1]}:{row.line.number}" if row.line else ""
    return (row.name, "x".join(map(str, row.shape)), *numbers, row.status.partition(":")[0], where)


def _joined(cells: tuple[str, ...]) -> str:
    name, shape, *numbers, status, where = (_short(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True))
    fixed = [f"{cell:>{width}}" for cell, width in zip(numbers, _WIDTHS[2:6], strict=True)]
    return " ".join(
        [f"{name:<{_WIDTHS[0]}}", f"{shape:<{_WIDTHS[1]}}", *fixed, f"{status:<{_WIDTHS[6]}}", where]
    ).rstrip()


def _short(text: str, width: int) -> str:
    """The end of a text that is too long, which tells more than its start."""
    return text if len(text) <= width else f"~{text[1 - width :]}"
