r"""Files of what runs carry, written while they go on, so that a crash costs a segment and not a run.

``carried/A-B.PofN.S.npz``, of block K ``carried/K.A-B...``: what runs A, ..., B - 1 carry after segment S, part P of N,
below a line with the SHA-256 of the rest. Every process keeps two, as another one may not have written the last; they
go when the runs are finished.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jnorm._ground import atomic
from jnorm.sweeps import _files as files
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._files import Chunk

_NAME = re.compile(r"\.?(?:(\d+)\.)?(\d+)-(\d+)\.\d+of(\d+)\.(\d+)\.npz")
Shapes = Mapping[str, jax.ShapeDtypeStruct]


def write(folder: Path, chunk: Chunk, segment: int, runs: np.ndarray, carried: Mapping[str, np.ndarray]) -> None:
    """Save what ``runs`` of a chunk, those of this process, carry after a segment.

    All processes must have written what they write at a time before they write more.
    """
    place = folder / "carried"
    place.mkdir(exist_ok=True)
    own = f"{files.stem(chunk)}.{jax.process_index()}of{processes.count()}"
    held = sorted(place.glob(f"{own}.*"), key=lambda path: int(path.suffixes[-2][1:]))
    for old in held[:-1]:
        old.unlink()
    data = files.pack({"run": runs, **carried})
    atomic.write(place / f"{own}.{segment}.npz", files.sha256(data).encode() + b"\n" + data)


def found(folder: Path | None, chunk: Chunk, like: Shapes) -> tuple[int, dict[str, np.ndarray]] | None:
    """The last segment that is whole for all runs of a chunk, and what they carry after it; None for none.

    It may have been written for a larger chunk. The leading process decides.
    """
    if folder is None:
        return None
    best = processes.decide(lambda: _best(folder, chunk, like))
    if best is None:
        return None
    segment, names = best
    return segment, _read(folder, names, chunk, like)


def clear(folder: Path | None, finished: Mapping[int, np.ndarray]) -> None:
    """Remove what belongs to runs that are all finished, told by block."""
    for file in _files(folder):
        if file.block in finished and finished[file.block][file.first : file.end].all():
            file.path.unlink(missing_ok=True)


class File(NamedTuple):
    """What the name of a file says; without a segment of one that was being written when its process ended."""

    path: Path
    block: int
    first: int
    end: int
    parts: int
    segment: int


def _files(folder: Path | None) -> Iterator[File]:
    place = None if folder is None else folder / "carried"
    for path in sorted(place.iterdir()) if place is not None and place.exists() else ():
        if match := _NAME.match(path.name):
            block, first, end, parts, segment = (int(number or 0) for number in match.groups())
            yield File(path, block, first, end, parts, 0 if path.name.startswith(".") else segment)


def _best(folder: Path, chunk: Chunk, like: Shapes) -> tuple[int, list[str]] | None:
    groups: dict[tuple[int, int, int, int], list[str]] = {}
    block, first, end = chunk
    for file in _files(folder):
        if file.segment and file.block == block and file.first <= first and end <= file.end:
            groups.setdefault((file.segment, file.first, file.end, file.parts), []).append(file.path.name)
    for (segment, *_, parts), names in sorted(groups.items(), reverse=True):
        if len(names) < parts:
            continue
        try:
            _read(folder, names, chunk, like)
        except (OSError, ValueError, KeyError) as error:
            text = f"what runs {first} to {end - 1} in '{folder}' carried after segment {segment} is not used"
            warnings.warn(f"{text}: {error}", stacklevel=2)
            continue
        return segment, names
    return None


def _read(folder: Path, names: list[str], chunk: Chunk, like: Shapes) -> dict[str, np.ndarray]:
    """What the runs of a chunk carry, in their order."""
    parts = [_part(folder / "carried" / name, like) for name in names]
    runs = np.concatenate([part["run"] for part in parts])
    order = np.argsort(runs)
    within = order[(runs[order] >= chunk[1]) & (runs[order] < chunk[2])]
    if not np.array_equal(runs[within], np.arange(*chunk[1:])):
        raise ValueError(f"{names[0]} lacks runs")
    return {name: np.concatenate([part[name] for part in parts])[within] for name in like}


def _part(path: Path, like: Shapes) -> dict[str, np.ndarray]:
    told, _, data = path.read_bytes().partition(b"\n")
    if files.sha256(data).encode() != told:
        raise ValueError(f"{path.name} is not what was written")
    arrays: dict[str, Any] = files.unpack(data, {name: np.dtype(a.dtype) for name, a in like.items()})
    if {n: (a.shape[1:], a.dtype) for n, a in arrays.items() if n != "run"} != {
        n: (a.shape, a.dtype) for n, a in like.items()
    }:
        raise ValueError(f"{path.name} holds other arrays than `train.begin` returns")
    return arrays
