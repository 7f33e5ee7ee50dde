"""Names and sums of files, journals of JSON lines, arrays as bytes, and a lock that dies with its owner."""

import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Chunk = tuple[int, int, int]
"""Some runs: the number of their block, the first of them, and their end."""


def stem(chunk: Chunk) -> str:
    """What the names of the files of a chunk begin with."""
    block, first, end = chunk
    return f"{f'{block}.' if block else ''}{first:08d}-{end:08d}"


def sha256(data: bytes) -> str:
    """The sum of a file."""
    return hashlib.sha256(data).hexdigest()


def folder_of(name: str, folder: Any) -> Path:
    """The path of the folder that the argument ``name`` says."""
    text = os.fspath(folder) if isinstance(folder, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"`{name}` must be the path of a folder, a text or a Path; got {folder!r}")
    if not text:
        raise ValueError(f'`{name}` must name a folder ("." is the current one); got {folder!r}')
    return Path(folder)


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of JSON. A line that a crash has cut short before is left alone: `lines` skips it."""
    try:
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, f"could not write '{path}': {error.strerror}") from None


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of JSON in a file, in order."""
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an ``.npz`` file, the same bytes for the same arrays.

    ``.npz`` has no name for bfloat16 and its like: they are stored as the whole numbers of the same bits, to be viewed
    as what the manifest says.
    """
    buffer = io.BytesIO()
    plain: dict[str, Any] = {
        name: a if a.dtype.isbuiltin else a.view(f"u{a.dtype.itemsize}") for name, a in arrays.items()
    }
    np.savez(buffer, **plain)  # its option allow_pickle would be an array more to NumPy 2.0
    return buffer.getvalue()


def unpack(data: bytes, dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file in their dtypes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name].view(dtypes.get(name, file[name].dtype)) for name in file.files}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file ``path`` as a lock, of the operating system, so that it ends with the process however that ends.

    Nothing is ever stale: a file that is left over locks nobody out. Raises ``BlockingIOError``, with the process and
    the machine that hold it, where the lock is taken, and ``OSError`` where the file system has no locks.
    """
    from filelock import lock_descriptor  # deferred: 35 ms, and only stores need it

    with path.open("a+b", buffering=0) as file:
        try:
            free = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            raise OSError(error.errno, f"'{path.parent}' cannot be locked: {error.strerror}") from None
        if not free:
            file.seek(1)  # Windows locks the first byte, also against reading
            owner = file.read().decode(errors="replace").strip() or "another process"
            raise BlockingIOError(f"'{path.parent}' is being written by {owner}")
        file.truncate(0)
        file.write(f" process {os.getpid()} on {platform.node()}".encode())
        yield
