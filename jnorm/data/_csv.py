"""Text tables as programs write them, read by pandas: the separator, the header and the names of rows are found first.

What could be read in two ways raises ``ValueError`` and says which option of ``from_csv`` decides.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jnorm.data import _formats
from jnorm.data._numbers import as_number

SEPARATORS = (",", ";", "\t", "|")
_SAMPLE, _HEAD = 200, 1 << 20  # records, characters
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # the first begins as that of 32 bits does
_QUOTES = "quotes must be closed, and doubled inside quotes"
_FRAME = "and take from_frame"
_KINDS = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", f"unpack it, or read it with pandas.read_excel {_FRAME}"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", f"read it with pandas.read_excel {_FRAME}"),
    b"PAR1\x15": ("a Parquet file", f"read it with pandas.read_parquet {_FRAME}"),
    b"\xfd7zXZ": ("an xz archive", "unpack it"),
    b"BZh91AY&SY": ("a bzip2 archive", "unpack it"),
    b"(\xb5/\xfd": ("a Zstandard archive", "unpack it"),
    b"\x89HDF": ("an HDF5 file", f"read it with pandas.read_hdf {_FRAME}"),
    b"\x93NUMPY": ("an array of NumPy", "save x and y by np.savez and take from_npz"),
    b"<!DOCTYPE": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
}


class Fields(NamedTuple):
    """A table of texts.

    Attributes:
        frame: The texts, a frame of pandas, with the names of the columns.
        place: The example and the line of the file where a row begins.
    """

    frame: Any
    place: Callable[[int], str]


def read(
    path: Path, separator: str | None, encoding: str | None, header: bool | None, missing: Iterable[str]
) -> Fields:
    """The fields of a file."""
    import pandas

    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise ValueError(f"`separator` must be one character, such as ';' or '\\t', no quote; got {separator!r}")
    content = _decoded(path, _content(path), encoding)
    skipped = 0
    if excel := re.match(r"sep=(.)\r?\n", content):
        separator, content, skipped = separator or excel[1], content[excel.end() :], 1
    separator = separator or _separator(path, content)
    try:
        sample = _sample(content, separator)
    except csv.Error as error:
        raise ValueError(f"{path}: must hold fields divided by {separator!r}; got: {error}: {_QUOTES}") from None
    if not sample:
        raise ValueError(f"{path}: must hold a line of column names, then examples; got 0 lines, first nothing")
    first, *rest = sample
    names, ends = _beside_row_names(first, rest)
    header = _is_header(path, names, rest, missing) if header is None else header
    short = header and (names != first or ends > 0)
    frame = _rows(pandas, path, content, separator, len(names) + ends, skipped, short).iloc[int(header) :, : len(names)]
    if not len(frame):
        raise ValueError(f"{path}: must hold a line of column names, then examples; got 1 lines, first {brief(first)}")
    frame.columns = names if header else [str(i) for i in range(len(names))]
    lines = cache(lambda: _lines(content, separator, len(frame) + header))

    def place(i: int) -> str:
        return f"example {i + 1}" + (f", line {lines()[i + header] + skipped}" if lines() else "")

    return Fields(frame.reset_index(drop=True), place)


def brief(names: Sequence[str]) -> str:
    """The names as errors list them, not all of very many."""
    return str(names) if len(names) <= 20 else f"{str(names[:20])[:-1]}, ...] ({len(names)} in all)"


def _content(path: Path) -> bytes:
    """The content of a file, decompressed whatever its name."""
    content = _formats.read(path)
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: must be a whole gzip file; got {len(content)} bytes: {error}") from None
    for start, (kind, say) in _KINDS.items():
        if content.startswith(start):
            raise ValueError(f"{path}: must be text; got {kind}: {say}")
    return content


def _decoded(path: Path, content: bytes, encoding: str | None) -> str:
    """The text of a file: UTF-8, or by its first bytes UTF-16 or UTF-32, or as the caller says."""
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    name = encoding or marked
    try:
        text = content.decode("utf-8-sig" if name.lower() in ("utf-8", "utf8") else name)
    except LookupError:
        raise ValueError(f"`encoding` must be one that Python knows, such as 'cp1252'; got {encoding!r}") from None
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        near = content[max(0, start - 12) : start + 12].decode("latin-1")
        kind = "UTF-8" if name == "utf-8-sig" else name
        say = "say encoding='cp1252' for a file of Windows or Excel, or another one"
        got = f"byte {content[start]:#04x} in line {content[:start].count(10) + 1}, near {near!r}"
        raise ValueError(f"{path}: must be {kind} text; got {got}: {say}") from None
    if (zero := text.find("\0")) >= 0:
        say = "say encoding='utf-16-le' or 'utf-16-be' if it is a text of Windows"
        raise ValueError(f"{path}: must be text; got a zero byte in line {text[:zero].count(chr(10)) + 1}: {say}")
    return text.removeprefix("\ufeff")


def _rows(pandas: Any, path: Path, content: str, separator: str, width: int, skipped: int, short: bool) -> Any:
    """All rows as texts, the first too: it lacks fields where others hold names of rows or end by a separator."""
    apart = r"\s+" if separator == " " else separator
    try:
        frame = pandas.read_csv(
            io.StringIO(content, newline=""),
            sep=apart,
            header=None,
            names=range(width),
            index_col=False,
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
        )
    except pandas.errors.ParserError as error:
        _refuse_widths(path, content, separator, width, skipped, short)
        got = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise ValueError(f"{path}: must hold fields divided by {separator!r}; got: {got}: {_QUOTES}") from None
    if (frame.iloc[int(short) :, -1] == "").any():  # what is absent reads as what is empty
        _refuse_widths(path, content, separator, width, skipped, short)
    return frame[(frame != "").any(axis=1)]


def _refuse_widths(path: Path, content: str, separator: str, width: int, skipped: int, short: bool) -> None:
    for i, (line, row) in enumerate(_records(content, separator)):
        if i >= short and len(row) != width:
            of = f"{len(row)} in line {line + skipped}, {row[:4]}, by the separator {separator!r}"
            say = f"mend the line, say `separator`, or read the file with pandas.read_csv(..., skiprows=...) {_FRAME}"
            raise ValueError(f"{path}: must hold {width} fields for each example; got {of}: {say}")


def _records(content: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, divided into stripped fields, and the line in which each begins."""
    text: Iterable[str] = io.StringIO(content, newline="")
    if separator == " ":
        text = (line.replace("\t", " ").rstrip() + "\n" for line in text)
    line = 1
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
    for row in reader:
        fields = [field.strip() for field in row]
        if any(fields):
            yield line, fields
        line = reader.line_num + 1


def _sample(content: str, separator: str) -> list[list[str]]:
    """The first records."""
    rows = [row for _, row in islice(_records(content[:_HEAD], separator), _SAMPLE)]
    if len(content) <= _HEAD or len(rows) == _SAMPLE:
        return rows
    if len(rows) > 3:
        return rows[:-1]  # the last may have been cut
    return [row for _, row in islice(_records(content, separator), _SAMPLE)]


def _lines(content: str, separator: str, count: int) -> list[int]:
    """The lines in which records begin, or none where they are not told apart as pandas did."""
    try:
        lines = [line for line, _ in _records(content, separator)]
    except csv.Error:
        return []
    return lines if len(lines) == count else []


def _separator(path: Path, content: str) -> str:
    """The one separator that divides all lines into the same number of fields, two or more."""
    widths = {separator: _width(content, separator) for separator in SEPARATORS}
    found = [separator for separator, width in widths.items() if width]
    if len(found) > 1:
        got = " and ".join(f"{separator!r} with {widths[separator]} fields a line" for separator in found)
        line = content.splitlines()[0][:60]
        raise ValueError(f"{path}: `separator` must be said, since several fit; got {got}, line 1 {line!r}")
    if found:
        return found[0]
    if _width(content, " "):
        return " "
    first = content.lstrip("\r\n").split("\n", 1)[0]
    likely = max(SEPARATORS, key=first.count)
    if likely not in first and first.strip():
        say = f"say `separator`, or read the file with pandas.read_csv(..., skiprows=...) {_FRAME}"
        raise ValueError(f"{path}: must hold fields divided by , ; | or tabs; got line 1 {first[:60]!r}: {say}")
    return likely  # and the line that does not fit will be named


def _width(content: str, separator: str) -> int:
    """The number of fields in each of the first lines, or 0 where they differ or are one."""
    try:
        widths = [len(row) for row in _sample(content, separator)]
    except csv.Error:
        return 0
    if len(set(widths)) == 1 or (len(set(widths[1:])) == 1 and widths[0] == widths[1] - 1 > 1):
        return widths[-1] if widths[-1] > 1 else 0
    return 0


def _beside_row_names(first: list[str], rows: Sequence[list[str]]) -> tuple[list[str], int]:
    """Names for all columns, and the separators that end all rows but the first.

    R leaves out the name over the names of rows; some programs end every row but the first by a separator.
    """
    if not rows or {len(row) for row in rows} != {len(first) + 1}:
        return first, 0
    if not any(row[-1] for row in rows):
        return first, 1
    return (["", *first], 0) if len({row[0] for row in rows}) == len(rows) else (first, 0)


def _is_header(path: Path, first: list[str], rows: Sequence[list[str]], missing: Iterable[str]) -> bool:
    """Whether the first line holds names: words, or the 0, 1, ... that pandas gives to columns without names."""
    values = {"true", "false", "inf", "-inf", *(word.lower() for word in missing if word)}
    numbers = [i for i, field in enumerate(first) if as_number(field)]
    if not numbers and not any(field.lower() in values for field in first):
        return True
    columns = list(zip(*rows, strict=False))
    words = [i for i in range(len(columns)) if i not in numbers]
    counted = any([first[i] for i in numbers] == [str(k + start) for k in range(len(numbers))] for start in (0, 1))
    if counted and not any(first[i].lower() in values or first[i] in columns[i] for i in words):
        # A word over numbers is a name; a word over words may be one of them, and so may whole numbers.
        named = any(all(as_number(field) for field in columns[i]) for i in words)
        fractions = any(not field.isdecimal() for i in numbers if i < len(columns) for field in columns[i])
        if first[0] == "" or named or fractions or len(numbers) > 2:
            return True
    say = "say header=False if that is an example, header=True if it holds names"
    got = f"first line {brief(first)}"
    raise ValueError(f"{path}: must hold a line of column names, then examples; got {got}: {say}")
