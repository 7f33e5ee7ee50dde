"""Tables as text: lines of cells in columns of fixed widths."""

import math
from collections.abc import Collection, Sequence


def line(cells: Sequence[str], widths: Sequence[int], left: Collection[int]) -> str:
    """A line of a table; what is too long keeps its end, which tells more than its start.

    Args:
        cells: The texts.
        widths: Of the columns.
        left: Numbers of the columns that are aligned on the left; others are on the right.

    Returns:
        The line, without spaces at its end.

    >>> line(("model/dense", "1.5", "here"), (6, 5, 6), {0, 2})
    '~dense   1.5 here'
    """
    short = [cell if len(cell) <= width else f"~{cell[1 - width :]}" for cell, width in zip(cells, widths, strict=True)]
    aligned = [
        f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(short, widths, strict=True))
    ]
    return " ".join(aligned).rstrip()


def number(value: float, form: str) -> str:
    """A number in a form, and nothing for NaN.

    >>> number(0.25, ".3f"), number(math.nan, ".3f")
    ('0.250', '')
    """
    return "" if math.isnan(value) else format(value, form)
