"""From a table of named columns, each of one type, to a data set: pandas holds it."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jnorm._ground import checks
from jnorm.data import _dataset, _labels, _numbers

_EXCEL = ("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!")
_FLOATS = ("NaN", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
MISSING = ("?", "NA", "N/A", "#NA", "#N/A N/A", "null", "None", "NaT", "<NA>", *_FLOATS, *_EXCEL)
"""Texts that stand for a missing value, in capital or small letters."""

_UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?(\.\d+)?)?")
_ROW_NAMES = {"id", "_id", "index", "idx", "row", "rowid", "row_id", "rownames", "level_0", "#", "no", "no.", "nr"}


class Named(NamedTuple):
    """Where a table comes from.

    Attributes:
        name: The name of the data set.
        source: What errors begin with, a path or an argument.
        place: The place of a row, for errors.
        decimal: The decimal mark of texts; None where it is to be found, and all columns are texts.
    """

    name: str
    source: str
    place: Callable[[int], str]
    decimal: str | None


class Reading(NamedTuple):
    """How to make a data set of a table; `datasets.from_csv` says what the options mean."""

    target: str | int | None
    regression: bool | None
    ignore: str | int | Sequence[str | int] | None
    missing: Sequence[str]
    drop_missing: bool


def pandas_of(what: str) -> Any:
    """The library, or an error that names the extra."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f'{what} needs pandas: pip install "jnorm[experiments]"') from error
    return pandas


def require_truths(**named: Any) -> None:
    """Refuse what is neither True nor False, nor None for what is to be found."""
    for name, value in named.items():
        if not isinstance(value, bool | np.bool_ | None):
            raise TypeError(f"`{name}` must be True, False or None, which leaves it to the file; got {value!r}")


def listed(given: Any) -> list[Any]:
    """One name, or several, as a list."""
    return [given] if isinstance(given, str | int) else list(() if given is None else given)


def data_set(frame: Any, named: Named, reading: Reading) -> _dataset.Dataset:
    """The data set of a frame."""
    source, names = named.source, _names(frame, named.source)
    empty = [_is_empty(frame, names, i) for i in range(len(names))]
    label = _label(names, empty, named, reading.target)
    kept = _kept(frame, names, empty, label, named, reading.ignore)
    if not kept:
        raise ValueError(f"{source}: must hold a column of numbers beside the labels; got {', '.join(names[:20])}")

    def column(i: int) -> Any:
        return frame.iloc[:, i]

    def place(row: int, i: int) -> str:
        return f"{named.place(row)}, column {names[i]!r}"

    def refuse(i: int, row: int, say: str) -> NoReturn:
        raise ValueError(f"{source}: must hold numbers; got {shown(column(i).iloc[row])} at {place(row, i)}: {say}")

    measured = (*kept, label) if reading.regression else tuple(kept)
    plain = {i: values for i in measured if (values := _numbers.plain(column(i))) is not None}
    known = {i: np.isnan(values) for i, values in plain.items()}
    both = [known[i] if i in known else _numbers.missing(column(i), reading.missing) for i in (*kept, label)]
    absent = np.stack(both, 1)
    if not reading.drop_missing:
        _refuse_missing(frame, names, (*kept, label), absent, named)
    rows = np.flatnonzero(~np.any(absent, 1))
    if not len(rows):
        empty_ones = [names[i] for i, gone in zip((*kept, label), absent.T, strict=True) if np.all(gone)]
        say = f": leave columns that hold nothing out by ignore={empty_ones}" if empty_ones else ""
        raise ValueError(f"{source}: must hold an example without missing values; got none in {len(frame)}{say}")
    decimal = named.decimal or "."
    if named.decimal is None:
        others = [i for i in measured if i not in plain]
        decimal = _numbers.decimal_mark(map(column, others), lambda k, row, say: refuse(others[k], row, say))
    numbers = []
    for i, gone in zip((*kept, label), absent.T, strict=True):
        if i in measured:
            read = decimal == "." and i in plain
            values = plain[i] if read else _numbers.read(column(i), gone, decimal, partial(refuse, i))
            numbers.append(_rounded(values[rows], source, lambda k: place(int(rows[k]), i), names[i]))  # noqa: B023
    x = np.stack(numbers[: len(kept)], 1)
    left = len(frame) - len(rows)
    where = f"{source}, without {left} examples that lack values" if left else source
    build = partial(_dataset.build, name=named.name, features=[names[i] for i in kept], source=where)
    if reading.regression:
        return build(x, numbers[-1], classes=())
    try:
        labels = column(label).iloc[rows]
        if decimal == "," or (named.decimal is None and reading.regression is None):
            labels = _numbers.pointed(labels)
        y, classes = _classes(labels, reading, lambda k: place(int(rows[k]), label))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return build(x, y, classes=classes)


def _names(frame: Any, source: str) -> list[str]:
    if frame.columns.nlevels > 1:
        say = "join them: frame.columns = ['_'.join(map(str, name)) for name in frame.columns]"
        raise ValueError(f"{source}: must have one name for each column; got {frame.columns.nlevels} levels: {say}")
    names = [str(name).strip() for name in frame.columns]
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if name and first.setdefault(name, i) < i:
            got = f"{name!r} over columns {first[name] + 1} and {i + 1}"
            raise ValueError(f"{source}: must have a name of its own for each column; got {got}: rename one of them")
    if len(names) < 2 or not len(frame):
        got = f"{len(frame)} examples of {len(names)} columns"
        raise ValueError(f"{source}: must hold examples, with a column of labels and others of numbers; got {got}")
    return names


def _is_empty(frame: Any, names: Sequence[str], i: int) -> bool:
    """Whether a column is what separators at the ends of lines leave: nothing, without a name."""
    return _UNNAMED.fullmatch(names[i]) is not None and bool(np.all(_numbers.missing(frame.iloc[:, i], ())))


def _label(names: Sequence[str], empty: Sequence[bool], named: Named, target: Any) -> int:
    if target is not None:
        return _chosen("target", str(target).strip(), [name for name in names if name], names)
    last = max((i for i in range(len(names)) if not empty[i]), default=0)
    if _UNNAMED.fullmatch(names[last]):
        got = f"{len(names)} columns, {', '.join(names[:20])}"
        raise ValueError(f"{named.source}: `target` must be said, since the last column has no name; got {got}")
    return last


def _chosen(option: str, name: str, known: Sequence[str], names: Sequence[str]) -> int:
    """The column of a name that an option gives."""
    if name not in known:
        checks.choice(option, name, known if len(known) <= 20 else (*known[:20], f"... ({len(known)} in all)"))
    return names.index(name)


def _kept(frame: Any, names: Sequence[str], empty: Sequence[bool], label: int, named: Named, ignore: Any) -> list[int]:
    """The columns that are features: not the labels, not what is ignored, not the names of rows."""
    ignored = {str(name).strip() for name in listed(ignore)}
    for name in ignored:
        _chosen("ignore", name, [n for i, n in enumerate(names) if i != label], names)
    kept: list[int] = []
    for i, name in enumerate(names):
        if i == label or empty[i] or name in ignored:
            continue
        if ignore is None:
            column, say = frame.iloc[:, i], f"leave it out by ignore={name!r}, or take all columns by ignore=()"
            if _UNNAMED.fullmatch(name):
                if kept or not _names_rows(column):
                    raise ValueError(f"{named.source}: column {i + 1} has no name: name it, or {say}")
                continue
            if (name.lower() in _ROW_NAMES and _names_rows(column)) or (
                not kept and name.isdecimal() and _counts(column)
            ):
                got = f"column {name!r} with another value in each example, the first {shown(column.iloc[0])}"
                raise ValueError(f"{named.source}: must not take names of rows for a feature; got {got}: {say}")
            repeats = re.fullmatch(rf"{re.escape(names[label])}\.\d+", name)
            if repeats and column.equals(frame.iloc[:, label].rename(column.name)):
                got = f"column {name!r}, which repeats {names[label]!r}"
                raise ValueError(f"{named.source}: must not take the labels for a feature; got {got}: {say}")
        kept.append(i)
    return kept


def _names_rows(column: Any) -> bool:
    """Whether a column holds another word or whole number in each row."""
    if column.duplicated().any():
        return False
    words = [value for value in column if isinstance(value, str)]
    rest = (isinstance(value, int | np.integer) for value in column if not isinstance(value, str))
    return all(rest) and all(word.strip().isdecimal() or not _numbers.as_number(word.strip()) for word in words)


def _counts(column: Any) -> bool:
    """Whether a column counts its rows, three or more, from 0 or 1."""
    return len(column) > 2 and any(all(str(v) == str(i) for i, v in enumerate(column, start)) for start in (0, 1))


def _refuse_missing(frame: Any, names: Sequence[str], columns: Sequence[int], absent: np.ndarray, named: Named) -> None:
    if not np.any(absent):
        return
    row, at = np.argwhere(absent)[0].tolist()
    what = "a label for each example" if at == len(columns) - 1 else "numbers"
    value = frame.iloc[row, columns[at]]
    got = f"{shown(value)} at {named.place(row)}, column {names[columns[at]]!r}"
    count = int(np.sum(np.any(absent, 1)))
    say = f"fill them in, or leave such examples out ({count} of {len(frame)}) by drop_missing=True"
    if np.all(absent[:, at]) and at < len(columns) - 1:
        say = f"the column holds nothing: leave it out by ignore={names[columns[at]]!r}"
    say += "; `missing` lists the texts that mean a missing value" if isinstance(value, str) and value else ""
    raise ValueError(f"{named.source}: must hold {what}; got {got}: {say}")


def _rounded(values: np.ndarray, source: str, place: Callable[[int], str], name: str) -> np.ndarray:
    """Numbers as float32, which leaves them what they are."""
    bad = np.flatnonzero(~(np.abs(values.astype(np.float64)) <= np.finfo(np.float32).max))
    if len(bad):
        raise ValueError(f"{source}: must hold finite float32 numbers; got {values[bad[0]]} at {place(int(bad[0]))}")
    rounded, at = _numbers.as_float32(values)
    if at is not None:
        say = f"subtract a start or divide by a unit before; frame.astype({{{name!r}: 'float32'}}) takes the nearest"
        got = f"{_numbers.rounding(values[at])}, at {place(at[0])}"
        raise ValueError(f"{source}: must hold numbers of float32; {got}: with pandas and from_frame, {say}")
    return rounded


def _classes(column: Any, reading: Reading, at: Callable[[int], str]) -> tuple[np.ndarray, list[str]]:
    if str(column.dtype) == "category":  # whose order and whose unused classes are what the caller wants
        return column.cat.codes.to_numpy(np.int32), [str(name) for name in column.cat.categories]
    import pandas

    if pandas.api.types.infer_dtype(column, skipna=False) != "string":
        return _labels.coded(column.tolist(), reading.regression, at)
    codes, texts = pandas.factorize(column)
    first = np.unique(codes, return_index=True)[1]
    y, names = _labels.coded(list(texts), reading.regression, lambda k: at(int(first[k])), len(column))
    return y[codes], names


def shown(value: Any) -> str:
    """A value as errors show it: a number of NumPy as one of Python."""
    return repr(value.item() if isinstance(value, np.generic) else value)
