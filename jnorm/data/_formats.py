"""Readers of data files that trust nothing: a file that is cut short, of another kind or with gaps fails at once.

Errors are ``ValueError`` (``FileNotFoundError`` where there is no file) and name the file, the rule and the value.
Missing and infinite values are errors: fill them in, or drop their examples, before.
"""

import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jnorm.data import _numbers

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: Path, source: str = "") -> bytes:
    """The content of a file, decompressed if its name ends with .gz; ``source`` says where to get it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        whose = f"; it belongs to {source}" if source else ""
        raise FileNotFoundError(f"{path}: no such file{whose}") from None
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: must be a whole gzip file; got {len(content)} bytes: {error}") from None


def text(path: Path, source: str = "") -> str:
    """The content of a text file."""
    try:
        return read(path, source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be UTF-8 text; got byte {error.object[error.start]:#04x}") from None


def parse_idx(path: Path, content: bytes) -> np.ndarray:
    """The array in the content of an IDX file: a magic number (0, 0, type, axes), the axes' lengths, the numbers.

    Source: LeCun, Cortes, Burges, *The MNIST database of handwritten digits*.

    >>> parse_idx(Path("labels"), bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    array([7, 3], dtype=uint8)
    """
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise ValueError(f"{path}: must start with an IDX magic number, 00 00 TYPE AXES; got {magic.hex(' ')!r}")
    start = 4 + 4 * magic[3]
    if len(content) < start:
        raise ValueError(f"{path}: must hold a header of {start} bytes; got {len(content)}")
    shape = np.frombuffer(content, ">u4", magic[3], 4).tolist()
    dtype = np.dtype(_IDX_TYPES[magic[2]])
    size = start + math.prod(shape) * dtype.itemsize
    if len(content) != size:
        raise ValueError(f"{path}: must hold {size} bytes, for axes {shape}; got {len(content)}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an npz file; Python objects are refused."""
    content = read(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: must be a whole npz file of plain arrays; got: {error}") from None


def rectangular(path: Path, rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows of a table as they are, if each has ``width`` fields."""
    for i, row in enumerate(rows, 1):
        if len(row) != width:
            raise ValueError(f"{path}: must hold {width} fields for each example; got {len(row)} at example {i}")
    return rows


def numbers(path: Path, rows: Sequence[Sequence[str]]) -> np.ndarray:
    """The fields of a table as finite numbers."""
    try:
        array = np.array(rows, np.float64)
    except ValueError:
        i, field = next((i, field) for i, row in enumerate(rows, 1) for field in row if not _numbers.is_number(field))
        raise ValueError(f"{path}: must hold numbers; got {field!r} at example {i}") from None
    return finite(path, array)


def finite(path: Path, array: np.ndarray) -> np.ndarray:
    """The array [examples, ...] as it is, if all of it is finite in float32."""
    bad = np.argwhere(~(np.abs(array) <= np.finfo(np.float32).max))
    if len(bad):
        at = ", ".join(str(i) for i in bad[0] + 1)
        raise ValueError(
            f"{path}: must hold finite float32 numbers; got {array[tuple(bad[0])]} at example, feature {at}"
        )
    return array


def labels(path: Path, y: np.ndarray, classes: int) -> np.ndarray:
    """Labels 0, ..., classes - 1 as int32."""
    bad = np.flatnonzero((y < 0) | (y >= classes) | (y != np.floor(y)))
    if len(bad):
        raise ValueError(f"{path}: labels must be whole, 0 to {classes - 1}; got {y[bad[0]]:g} at example {bad[0] + 1}")
    return y.astype(np.int32)
