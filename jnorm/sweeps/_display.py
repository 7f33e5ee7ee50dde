"""How a result looks: a table of ten lines at most in a terminal, all of it in a notebook.

Which value of a metric is the best nobody has said: the table has the configurations with the lowest and the highest
median. A run that diverged counts as worse than all others on either side, so that a configuration which fails in half
of its runs is the best in nothing.
"""

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jnorm._ground import naming

Result = Any  # a `SweepResult`, whose module this one is below
WIDTH = 100
LINES = 10


class Row(NamedTuple):
    """An output in a table.

    Attributes:
        name: of the output.
        kind: its dtype and the axes beside configurations and seeds.
        lowest: the lowest median, and where; empty for what is not one number a run.
        highest: the highest one.
    """

    name: str
    kind: str
    lowest: str
    highest: str


def text(result: Result) -> str:
    """The table for a terminal."""
    lines = _lines(result, naming.labels(result.configurations))
    if max(map(len, lines)) > WIDTH:
        lines = _lines(result, _values_alone(result))
    return "\n".join(line if len(line) <= WIDTH else line[: WIDTH - 3].rstrip() + "..." for line in lines)


def _lines(result: Result, names: Sequence[str]) -> list[str]:
    table = rows(result, names)
    scalars = sorted((row for row in table if row.lowest), key=lambda row: "float" not in row.kind)
    head = ["SweepResult: " + _size(result), *(f"{name:<16}{words}" for name, words in _axes(result))]
    most = LINES - len(head) - 3  # below come a heading, those that do not fit and those that diverged
    shown = scalars[: most + (len(table) == len(scalars) == most + 1)]
    others = [f"{row.name} {row.kind.removeprefix('float32')}".strip() for row in table if row not in shown]
    lines = [*head]
    if shown:
        name = max(len("output"), *(len(row.name) for row in shown))
        value = max(len(row.lowest) for row in shown)
        columns = [("output", *_headings(result)), *((row.name, row.lowest, row.highest) for row in shown)]
        lines += [f"{a:<{max(name, 14)}}  {b:<{max(value, 14)}}  {c}" for a, b, c in columns]
    if others:
        lines.append(f"{'and':<16}{', '.join(others).replace('  ', ' ')}")
    return [*lines, f"{'diverged':<16}{_failures(result, names)}"]


def markup(result: Result) -> str:
    """The table for a notebook, with every output."""
    cell = lambda tag, words: f"<{tag} style='text-align: left'>{html.escape(words)}</{tag}>"
    line = lambda tag, words: f"<tr>{''.join(cell(tag, one) for one in words)}</tr>"
    names = naming.labels(result.configurations)
    facts = [("", _size(result)), *_axes(result), ("diverged", _failures(result, names))]
    head = "".join(f"<div>{html.escape(f'{name}: {words}' if name else words)}</div>" for name, words in facts)
    body = "".join(line("td", row) for row in rows(result, names))
    heading = line("th", ("output", "type and axes", *_headings(result)))
    return f"<div><b>SweepResult</b>{head}<table><thead>{heading}</thead><tbody>{body}</tbody></table></div>"


def rows(result: Result, names: Sequence[str]) -> list[Row]:
    """What is told of every output; ``names`` are those of the configurations."""
    return [_row(result, names, name, array) for name, array in result.outputs.items()]


def _row(result: Result, names: Sequence[str], name: str, array: np.ndarray) -> Row:
    kind = " ".join([array.dtype.name, *([str(list(array.shape[2:]))] if array.ndim > 2 else [])])
    if array.ndim > 2 or array.dtype.kind in "bc":
        return Row(name, kind, "", "")
    values = np.asarray(array, np.float64)
    if len(values) == 1:
        runs = values[0][result.done[0] & np.isfinite(values[0]) & ~result.failed[0]]
        low, middle, high = np.quantile(runs, [0, 0.5, 1]) if runs.size else [np.nan] * 3
        return Row(name, kind, f"{middle:.4g}", f"{low:.4g} to {high:.4g}")
    return Row(name, kind, _best(result, names, values, 1), _best(result, names, values, -1))


def _best(result: Result, names: Sequence[str], values: np.ndarray, sign: int) -> str:
    """The lowest median of ``sign`` times the values, and where."""
    medians = np.full(len(values), np.inf)
    for c, runs in enumerate(np.where(result.failed | ~np.isfinite(values), np.inf, sign * values)):
        if result.done[c].any():
            medians[c] = np.median(runs[result.done[c]])
    best = int(np.argmin(medians))
    return f"{sign * medians[best]:.4g} at {names[best]}" if medians[best] < np.inf else "-"


def _headings(result: Result) -> tuple[str, str]:
    return ("median", "lowest to highest") if len(result.configurations) == 1 else ("lowest median", "highest median")


def _size(result: Result) -> str:
    number = lambda count, what: f"{count} {what}{'' if count == 1 else 's'}"
    size = f"{number(len(result.configurations), 'configuration')}, {number(len(result.seeds), 'seed')}"
    runs = f"{result.done.sum()} of {result.done.size}" if not result.done.all() else f"{result.done.size}"
    return f"{size}, {runs} run{'' if result.done.size == 1 else 's'}"


def _axes(result: Result) -> list[tuple[str, str]]:
    """Hyperparameters and seeds with their values."""
    names = dict.fromkeys(name for one in result.configurations for name in one)
    grid = "; ".join(f"{name} {_values([one[name] for one in result.configurations if name in one])}" for name in names)
    seeds = list(result.seeds)
    straight = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    return [
        *([("configurations", grid)] if names else []),
        ("seeds", f"{seeds[0]} to {seeds[-1]}" if straight else _values(seeds)),
    ]


def _values(values: Sequence[Any]) -> str:
    """The different ones, or, where there are many, the ends and how many."""
    different = list(dict.fromkeys(map(naming.text, values)))
    if len(different) <= 6:
        return ", ".join(different)
    if all(isinstance(value, int | float) for value in values):
        return f"{naming.text(min(values))} to {naming.text(max(values))} ({len(different)} values)"
    return f"{', '.join(different[:3])}, ... ({len(different)} values)"


def _failures(result: Result, names: Sequence[str]) -> str:
    if not result.failed.any():
        return "none"
    listed = [f"{n} with {names[c]}" if names[c] else "" for c, n in enumerate(result.failed.sum(1).tolist()) if n]
    where = f": {'; '.join(listed)}" if all(listed) else ""
    return f"{result.failed.sum()} of {result.done.sum()} runs{where}"


def _values_alone(result: Result) -> list[str]:
    """Names of the configurations, for want of room of the values that vary alone, in the order of the table's head."""
    vary = naming.varying(result.configurations)
    return [", ".join(naming.text(one[name]) for name in vary if name in one) for one in result.configurations]
