"""A folder that holds a search by successive halving: what was asked, and where it is.

``search.json`` identifies it. ``state.npz`` is all that it knows, with what the runs carry that are on their way and
what those returned that are at their end; it is written whole, beside the search, and as often as takes no more than a
small share of the time. ``lock`` is held by the process that writes.
"""

import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from jnorm._ground import atomic
from jnorm.sweeps import _files as files
from jnorm.sweeps._halving_course import FREE, Arrays, Course, Known
from jnorm.sweeps._pace import Pace
from jnorm.sweeps._programs import Program

FORMAT = 1
_SHOWN = 60  # characters of a value


@contextmanager
def opened(folder: Path | None, identity: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder, which is empty, or holds this search.

    Raises ``ValueError`` where it holds another one, with what differs, ``OSError`` where it cannot be written or is in
    use.
    """
    if folder is None:
        yield
        return
    wanted = {"format": FORMAT, **json.loads(json.dumps(identity))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"`store` must be a folder that can be written; got '{folder}': {error}") from None
    with files.locked(folder / "lock"):
        path = folder / "search.json"
        if (folder / "manifest.json").exists():
            raise ValueError(f"`store` must be a folder of its own; '{folder}' is the store of a sweep")
        if not path.exists():
            atomic.write(path, (json.dumps(wanted, indent=1) + "\n").encode())
        elif lines := _differences(_read(path), wanted):
            raise ValueError(f"the store '{folder}' belongs to another search:\n" + "\n".join(f"- {x}" for x in lines))
        yield


def resume(folder: Path | None, course: Course, program: Program) -> None:
    """Take up a course of the program where its folder says that it is.

    Raises ``ValueError`` for a state that is not whole.
    """
    if folder is None or not (folder / "state.npz").exists():
        return
    assert program.pieces is not None
    types = {f"output.{name}": np.dtype(a.dtype) for name, a in program.outputs.items()}
    types |= {f"carried.{name}": np.dtype(a.dtype) for name, a in program.pieces.carried.items()}
    try:
        arrays = files.unpack((folder / "state.npz").read_bytes(), types)
        known = Known(**{one.name: arrays[one.name].copy() for one in fields(Known)})
        course.carried = _parted(arrays, "carried")
        course.outputs = _parted(arrays, "output")
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        text = f"'{folder / 'state.npz'}' is damaged: {error!r}; delete it to begin the search anew"
        raise ValueError(text) from None
    if len(known.lanes) != len(course.known.lanes):  # on other devices: all wait for a lane
        known.lanes = np.full(len(course.known.lanes), FREE)
    course.known = known


class Keeper:
    """Writes where a course is, now and then."""

    def __init__(self, folder: Path | None, course: Course) -> None:
        """For a course in a folder; without one nothing is written."""
        self._path, self._course = folder and folder / "state.npz", course
        self._pace = Pace()

    def step(self) -> None:
        """Write, unless that took too much of the time since it was done last."""
        if self._pace.due:
            self.write()

    def write(self) -> None:
        """Write. Raises ``OSError``, and what was written before stays, where that fails."""
        if self._path is None:
            return
        start, course = time.perf_counter(), self._course
        arrays = {one.name: getattr(course.known, one.name) for one in fields(Known)}
        arrays |= _joined("carried", course.lane_carries()) | _joined("output", course.outputs)
        data = files.pack(arrays)
        if len(data) > (free := shutil.disk_usage(self._path.parent).free):
            raise OSError(28, f"the state takes {len(data):,} bytes, and the disk of '{self._path}' has {free:,}")
        atomic.write(self._path, data)
        self._pace = Pace(start, time.perf_counter() - start)


def _joined(kind: str, held: Mapping[int, Arrays]) -> Arrays:
    """What some configurations hold, in arrays of all of them."""
    names = next(iter(held.values()), {})
    arrays = {f"{kind}.{name}": np.stack([one[name] for one in held.values()]) for name in names}
    return {f"of_{kind}": np.array(list(held), int), **arrays}


def _parted(arrays: Mapping[str, np.ndarray], kind: str) -> dict[int, Arrays]:
    names = [name for name in arrays if name.startswith(f"{kind}.")]
    cut = len(kind) + 1
    return {int(c): {name[cut:]: arrays[name][i] for name in names} for i, c in enumerate(arrays[f"of_{kind}"])}


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged: {error}; give another folder, or delete this one") from None


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in dict.fromkeys([*stored, *wanted]):
        before, after = stored.get(name), wanted.get(name)
        if before != after:
            shown = [text if len(text := str(value)) <= _SHOWN else "others" for value in (before, after)]
            lines.append(f"{name}: {shown[0]} in the store, {shown[1]} in this call")
    return lines
