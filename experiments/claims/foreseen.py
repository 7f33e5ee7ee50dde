"""What theory foresees of a claim's measurement: the number that it gives beside that of the runs, with a z-score.

Nothing of it decides a claim, whose rules say nothing of theory. A measure returns a list of `Foreseen` under the key
"foreseen", which goes into the record and onto both pages. Most theory is of infinitely wide layers (`LIMIT`), and a
network of finite width is allowed to be off: a second row then has what theory says of that width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LIMIT = "infinite width"
EXACT = "exact"


class Foreseen(NamedTuple):
    """A number that theory foresees, and the same of the runs.

    Attributes:
        what: What it is, in words.
        theory: Of what the theory is: `LIMIT`, `EXACT`, or a width.
        predicted: The number of theory.
        measured: The mean over the runs, which are independent.
        error: Its standard error.
        z: Measured less predicted, over the standard error of that; NaN of fewer than two runs, and of runs that all
            are the same.
        relative: Measured over predicted, less 1, and of logarithms the same of what they are of: a large z may be a
            small difference. NaN where zero is predicted.
        runs: How many there are.
    """

    what: str
    theory: str
    predicted: float
    measured: float
    error: float
    z: float
    relative: float
    runs: int


def foreseen(
    what: str, predicted: ArrayLike, measured: ArrayLike, *, theory: str = LIMIT, base: float | None = None
) -> Foreseen:
    """Hold the runs against theory.

    Args:
        what: What it is, in words.
        predicted: The number of theory, or one for each run where they have inputs of their own: then the error is that
            of the differences.
        measured: The number of each run, ``[runs]``.
        theory: Of what the theory is.
        base: Of the logarithm, where the numbers are logarithms.

    >>> row = foreseen("a mean", 1.0, [1.0, 1.2, 1.4])
    >>> f"{row.measured:.2f} {row.error:.4f} {row.z:.3f} {row.relative:.2f}"
    '1.20 0.1155 1.732 0.20'
    """
    values = np.asarray(measured, float)
    said = np.broadcast_to(np.asarray(predicted, float), values.shape)
    gaps, runs = values - said, len(values)
    error = float(np.std(gaps, ddof=1)) / math.sqrt(runs) if runs > 1 else math.nan
    return _row(what, theory, float(np.mean(said)), float(np.mean(values)), error, runs, base)


def inverse(row: Foreseen, what: str) -> Foreseen:
    """1 over the number of a row, whose error is small against it."""
    error = row.error / row.measured**2
    return _row(what, row.theory, 1 / row.predicted, 1 / row.measured, error, row.runs)


def _row(
    what: str, theory: str, predicted: float, measured: float, error: float, runs: int, base: float | None = None
) -> Foreseen:
    gap = measured - predicted
    z = gap / error if error > 0 else math.nan
    plain = gap / predicted if predicted else math.nan
    relative = plain if base is None else math.expm1(gap * math.log(base))
    return Foreseen(what, theory, predicted, measured, error, z, relative, runs)


def of_width(width: int) -> str:
    """The name of a theory of first order in depth / width."""
    return f"width {width}, first order"


HEAD = ("what", "theory of", "predicted", "measured", "z", "difference")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a record in words, for a table with the columns of `HEAD`."""
    number = lambda name, form: "-" if row[name] is None or math.isnan(row[name]) else format(row[name], form)
    measured = f"{number('measured', '.4g')} ± {number('error', '.2g')} ({row['runs']} runs)"
    relative = number("relative", "+.2%").replace("%", " %")
    return row["what"], row["theory"], number("predicted", ".4g"), measured, number("z", "+.1f"), relative


def rows(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Those of a record; a claim that theory says nothing about has none, as records had before there were any."""
    return record.get("foreseen") or ()
