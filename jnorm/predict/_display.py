"""How a prediction looks: a table of 100 columns in a terminal, one with bars in a notebook."""

import html
import math
import textwrap
from typing import Any

from jnorm._ground import tables

WIDTH = 100
HEAD = ("operation", "shape", "mean", "second", "stray", "corr", "grad^2", "status", "line")
WIDTHS = (22, 12, 8, 8, 5, 6, 8, 8, 15)
LEFT = frozenset({0, 1, 7, 8})
BARS = 60  # pixels for the widest


def text(prediction: Any) -> str:
    """The rows, and under them what is wrong."""
    lines = [tables.line(cells, WIDTHS, LEFT) for cells in (HEAD, *(_cells(row) for row in prediction.rows))]
    for finding in prediction.findings:
        lines += textwrap.wrap(finding, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _cells(row: Any) -> tuple[str, ...]:
    forms = ((row.mean, ".2g"), (row.second, ".3g"), (row.spread, ".2f"), (row.correlation, ".3f"))
    numbers = [tables.number(value, form) for value, form in (*forms, (row.gradient, ".3g"))]
    where = f"{row.line.file.rsplit('/', 1)[-1]}:{row.line.number}" if row.line else ""
    return (row.name, "x".join(map(str, row.shape)), *numbers, row.status.partition(":")[0], where)


def markup(prediction: Any) -> str:
    """The table for a notebook; bars go with the logarithms of second moments and squared gradients around one."""
    style = "text-align: left; white-space: nowrap"
    rows = [_cells(row) for row in prediction.rows]
    reach = [_reach([getattr(row, what) for row in prediction.rows]) for what in ("second", "gradient")]
    body = []
    for row, cells in zip(prediction.rows, rows, strict=True):
        at = {3: _bar(row.second, reach[0]), 6: _bar(row.gradient, reach[1])}
        where = f"{row.line.file}:{row.line.number}" if row.line else ""
        each = [
            f"<td style='{style}' title='{html.escape(where if i == len(cells) - 1 else '', quote=True)}'>"
            f"{at.get(i, '')}{html.escape(cell)}</td>"
            for i, cell in enumerate(cells)
        ]
        body.append(f"<tr>{''.join(each)}</tr>")
    head = "".join(f"<th style='{style}'>{html.escape(word)}</th>" for word in HEAD)
    below = "".join(f"<li>{html.escape(finding)}</li>" for finding in prediction.findings)
    below = f"<ul>{below}</ul>" if below else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f"<div><b>Prediction</b>{table}{below}</div>"


def _reach(values: list[float]) -> float:
    """The largest logarithm, at least that of two."""
    return max([abs(math.log(v)) for v in values if 0 < v < math.inf] + [math.log(2)])


def _bar(value: float, reach: float) -> str:
    """A bar from the middle, to the right where a value is above one."""
    if not 0 < value < math.inf:
        return ""
    length = round(BARS / 2 * abs(math.log(value)) / reach)
    left = BARS // 2 if value >= 1 else BARS // 2 - length
    color = "#E69F00" if value >= 1 else "#0072B2"
    inner = f"display:inline-block;margin-left:{left}px;width:{max(length, 1)}px;height:8px;background:{color}"
    return f"<span style='display:inline-block;width:{BARS}px;margin-right:6px'><span style='{inner}'></span></span>"
