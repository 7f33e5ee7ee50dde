"""Columns of a table as float32, where that leaves their numbers what they are.

Columns are those of pandas, of any type: numbers, truths, and texts that spell numbers as files do.
"""

import numbers
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}([.,' \u00a0\u2009\u202f\u2019]\d{3})+([.,]\d*)?", re.ASCII)
_LOSS = 0.01  # of the standard deviation

Refuse = Callable[[int, str], NoReturn]
"""Refuses the value at a place, and says what to do."""


def is_number(field: str) -> bool:
    """Whether a text is a number as files spell it: no underscores, no NaN, no infinities."""
    return NUMBER.fullmatch(field) is not None


def as_number(field: str) -> str | None:
    """The number that a text spells with a point or a comma, with a point; else None."""
    return field.replace(",", ".") if is_number(field) or _COMMA.fullmatch(field) else None


def pointed(labels: Any) -> Any:
    """A column of labels, with points for decimal commas where all are numbers."""
    words = labels.unique()
    if not all(isinstance(word, str) for word in words) or not any("," in word for word in words):
        return labels
    spelled = {word: as_number(word.strip()) for word in words}
    return labels.map(spelled) if all(spelled.values()) else labels


def plain(column: Any) -> np.ndarray | None:
    """The numbers of a column of texts that are all spelled with a point, NaN for empty ones; None of others."""
    import pandas

    if pandas.api.types.infer_dtype(column, skipna=True) != "string":  # it would make numbers of dates as well
        return None
    try:
        numeric = pandas.to_numeric(column)
    except (ValueError, TypeError):
        return None
    return numeric.to_numpy() if isinstance(numeric.dtype, np.dtype) and numeric.dtype.kind in "iuf" else None


def missing(column: Any, words: Iterable[str]) -> np.ndarray:
    """Where a column of pandas has no value, or a text that means one; an empty text always does."""
    absent = np.array(column.isna(), bool)
    if column.dtype.kind == "O":
        known = {"", *(word.strip().lower() for word in words)}
        values = column.astype(object).to_numpy()
        absent |= np.fromiter((isinstance(v, str) and v.strip().lower() in known for v in values), bool, len(values))
    return absent


def decimal_mark(columns: Iterable[Any], refuse: Callable[[int, int, str], NoReturn]) -> str:
    """The decimal mark of columns of texts: a comma if one of the numbers can only be read so.

    1,234 is 1.234 or a thousand and more: where nothing else tells, it is refused.

    Args:
        columns: Columns of texts.
        refuse: As `Refuse`, with the number of the column before.
    """
    doubtful = None
    for k, column in enumerate(columns):
        for i in np.flatnonzero(column.str.contains(",", regex=False, na=False).to_numpy(bool)).tolist():
            field = column.iloc[i].strip()
            if _THOUSANDS.fullmatch(field):
                doubtful = doubtful or (k, i)
            elif _COMMA.fullmatch(field):
                return ","
    if doubtful:
        say = "say decimal=',' where the comma begins a fraction; where it groups thousands, read the file with"
        refuse(*doubtful, f"{say} pandas.read_csv(..., thousands=',') and take from_frame")
    return "."


def read(column: Any, absent: np.ndarray, decimal: str, refuse: Refuse) -> np.ndarray:
    """The numbers of a column, 0 where there is none: integers as such, of any size.

    Args:
        column: A column of pandas.
        absent: Where it has no value.
        decimal: The decimal mark of texts, ``"."`` or ``","``.
        refuse: What to do with something else.
    """
    if str(column.dtype).startswith("Sparse"):
        column = column.sparse.to_dense()
    if column.dtype.kind in "biuf":
        if not isinstance(column.dtype, np.dtype):
            size = getattr(column.dtype, "itemsize", 8)
            column = column.to_numpy(np.bool_ if column.dtype.kind == "b" else f"{column.dtype.kind}{size}", na_value=0)
        values = np.where(absent, 0, np.asarray(column))
        return values.astype(np.int64) if values.dtype.kind == "b" else values
    at = np.flatnonzero(~absent)
    found = column.astype(object).to_numpy()[at]
    if all(isinstance(value, str) for value in found):
        numeric = _of_texts(found, decimal, lambda i, say: refuse(int(at[i]), say))
    elif all(isinstance(value, numbers.Real | Decimal | np.bool_) for value in found):
        whole = all(isinstance(value, numbers.Integral | np.bool_) for value in found)
        numeric = np.array([int(v) if whole else float(v) for v in found], object if whole else np.float64)
    else:
        refuse(*next((int(at[i]), _advice(v)) for i, v in enumerate(found) if isinstance(v, str) or not _is_real(v)))
    values = np.zeros(len(column), numeric.dtype)
    values[at] = numeric
    return values


def as_float32(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """The numbers [examples, ...] in float32, and the place of the first that must not be rounded, or None.

    Integers must not be rounded at all. Of wider floats a feature must not lose more than a hundredth of its standard
    deviation, and whole numbers must not become equal.

    >>> as_float32(np.array([1_700_000_000, 1_700_000_060]))[1], as_float32(np.array([0.1, 1e9]))[1]
    ((1,), None)
    """
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    if x.dtype.kind in "iuO":
        return rounded, _first(~_holds(x))
    if x.dtype.kind != "f" or x.dtype.itemsize <= 4 or np.array_equal(rounded, x):
        return rounded, None
    moved, largest = np.abs(rounded - x), np.max(np.abs(x), 0)
    worst, spread = np.max(moved, 0), np.std(x / np.maximum(largest, 1e-300), 0)
    bad = np.array((worst > _LOSS * spread * largest) & (spread > 1e-12))  # that of a constant comes out as rounding
    suspects = ~bad & (worst > 0) & (largest < 2**53) & np.all(x == np.floor(x), 0)
    for place in np.argwhere(suspects):
        feature = (slice(None), *place)
        bad[tuple(place)] = len(np.unique(rounded[feature])) < len(np.unique(x[feature]))
    return rounded, _first(bad & (moved > 0))


def rounding(value: Any) -> str:
    """What an error says of a number that is not to be rounded."""
    nearest = np.float32(value)
    shown = int(nearest) if nearest == np.floor(nearest) else nearest
    return f"got {value}, which float32 would make {shown}"


def _of_texts(texts: np.ndarray, decimal: str, refuse: Refuse) -> np.ndarray:
    """Texts as numbers; as truths, 1 and 0, where all are."""
    import pandas

    pattern, plain = NUMBER, list(texts)
    if decimal == ",":
        pattern = _COMMA
        plain = [text.replace(",", ".") if _COMMA.fullmatch(text.strip()) else f"{text}?" for text in texts]
    try:
        return pandas.to_numeric(pandas.Series(plain, dtype=object)).to_numpy()
    except (ValueError, TypeError):
        if all(text.strip().lower() in ("true", "false") for text in texts):
            return np.array([text.strip().lower() == "true" for text in texts], np.int64)
        i = next((i for i, text in enumerate(texts) if not pattern.fullmatch(text.strip())), None)
        if i is None:  # integers of more than 64 bits
            whole = all(text.strip().lstrip("+-").isdecimal() for text in plain)
            return np.array([int(t) if whole else float(t) for t in plain], object if whole else np.float64)
        refuse(i, _advice(texts[i], decimal))


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real | Decimal | np.bool_)


def _advice(value: Any, decimal: str = ".") -> str:
    """What to do with something that is no number."""
    if isinstance(value, str):
        text = value.strip()
        if decimal == "," and is_number(text):
            return "other fields have decimal commas; say decimal='.' or decimal=','"
        if decimal == "." and _COMMA.fullmatch(text):
            return "say decimal=',', to from_csv or pandas.read_csv, where commas begin a fraction"
        if _GROUPED.fullmatch(text):
            return "read the file with pandas.read_csv(..., thousands=...) and take from_frame"
    if hasattr(value, "isoformat") or isinstance(value, np.datetime64) or hasattr(value, "total_seconds"):
        return "take seconds since a start, such as (frame[name] - frame[name].min()).dt.total_seconds()"
    say = "leave the column out by `ignore`, or make numbers of it with pandas and take from_frame"
    kinds = ", by pandas.get_dummies for kinds; `missing` lists the texts that mean a missing value"
    return say + kinds if isinstance(value, str) else say


def _holds(x: np.ndarray) -> np.ndarray:
    """Whether float32 holds integers: without the zeros at their ends they have at most 24 bits."""
    size = np.abs(x.astype(object)) if x.dtype.kind == "O" else _magnitude(x)
    one = 1 if x.dtype.kind == "O" else np.uint64(1)
    lowest = np.maximum(size & (~size + one), one)
    return np.asarray(size // lowest < 2**24, bool)


def _magnitude(x: np.ndarray) -> np.ndarray:
    size = x.astype(np.uint64)  # two's complement
    return np.where(x < 0, ~size + np.uint64(1), size)


def _first(bad: np.ndarray) -> tuple[int, ...] | None:
    places = np.argwhere(bad)
    return tuple(places[0].tolist()) if len(places) else None
