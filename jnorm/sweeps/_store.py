r"""A folder that holds a sweep: what was asked, what is finished, and the outputs of every finished chunk of runs.

- ``manifest.json``: what identifies the sweep (train function, configurations, seeds, keys, data, outputs, programs),
  how its runs are cut into chunks, and versions, platform and source revision of its first run;
- ``journal.P.jsonl`` of process P, a line an event: its starts (with versions, platform, revision) and the chunks that
  it has finished, with their SHA-256;
- ``chunks/A-B.PofN.npz``: the outputs of runs A, ..., B - 1, part P of N;
- ``lock``: held by the process that writes.

Runs are counted in canonical order, by the contents of their configuration and then by seed, in whatever order the
caller wrote them. Files are written whole or not at all. A chunk is finished when its files are there with the sums
that the journals have; a damaged one is run again. The lock is the operating system's and ends with its owner.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jnorm._ground import atomic
from jnorm.sweeps import _files as files
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._differences import differences
from jnorm.sweeps._results import SweepResult, arranged

FORMAT = 1
PACKAGES = ("jnorm", "jax", "jaxlib", "numpy")


@dataclass(frozen=True)
class Store:
    """A store that `opened` has opened. ``finished`` maps the (first run, end) of a chunk to its outputs.

    Without a folder nothing is kept.
    """

    folder: Path | None
    manifest: dict[str, Any]
    finished: dict[tuple[int, int], dict[str, np.ndarray]] = field(default_factory=dict)

    def plan(self, program: int) -> list[int] | None:
        """How the runs of a program are cut into chunks, where that is decided."""
        plan: list[int] | None = self.manifest["plans"][program]
        return plan

    def keep_plan(self, program: int, plan: list[int]) -> None:
        """Record the decision, before any result that depends on it."""
        self.manifest["plans"][program] = plan
        folder = self.folder
        if folder is not None:
            processes.decide(lambda: _write_manifest(folder, self.manifest))

    def keep(self, first: int, end: int, runs: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Save this process's part of a chunk: the outputs of ``runs``, some or all of first, ..., end - 1."""
        if self.folder is None:
            return
        part, parts = jax.process_index(), processes.count()
        name = f"{first:08d}-{end:08d}.{part}of{parts}.npz"
        data = files.pack({"run": runs, **outputs})
        atomic.write(self.folder / "chunks" / name, data)
        record = {"chunk": [first, end], "part": part, "parts": parts, "file": name, "sha256": _sum(data)}
        files.append(_journal(self.folder), record)


@contextmanager
def opened(folder: str | os.PathLike[str] | None, manifest: Mapping[str, Any], *, size: int) -> Iterator[Store]:
    """The store in ``folder`` for the sweep that ``manifest`` describes, new or continued, locked against others.

    ``size`` is the number of bytes that its results take. Raises ``ValueError`` for the store of another sweep, with
    what differs, and ``OSError`` at once where the folder cannot be written, is in use, or has too little room.
    """
    if folder is None:
        yield Store(None, dict(manifest))
        return
    folder = Path(folder)
    with ExitStack() as held:
        processes.decide(lambda: _claim(held, folder, manifest, size))
        store = Store(folder, _read_manifest(folder))
        store.finished.update(_finished(folder, store.manifest, complain=processes.leading()))
        agreed = {tuple(chunk) for chunk in processes.decide(lambda: [list(chunk) for chunk in store.finished])}
        if agreed - set(store.finished):
            raise OSError(f"`store` must be a folder that all processes see; process {jax.process_index()} does not")
        for chunk in set(store.finished) - agreed:
            del store.finished[chunk]
        files.append(_journal(folder), {"run": environment(), "process": jax.process_index()})
        yield store


def load(folder: str | os.PathLike[str]) -> SweepResult:
    """The results in a finished store, without running anything; functions among the hyperparameters are their names.

    Configurations and seeds have the order of the sweep that made the store. Raises ``FileNotFoundError`` where there
    is no store, and ``ValueError`` where some of its runs are not finished or damaged, with their number.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    total = len(manifest["configurations"]) * len(manifest["seeds"])
    chunks = _finished(folder, manifest, complain=True)
    outputs: dict[str, np.ndarray] = {}
    done = 0
    for (first, end), arrays in chunks.items():
        done += end - first
        for name, array in arrays.items():
            outputs.setdefault(name, np.empty((total, *array.shape[1:]), array.dtype))[first:end] = array
    if done < total:
        raise ValueError(f"the store '{folder}' holds {done} of {total} runs; the same sweep with it finishes them")
    where, seeds = manifest["order"]
    configurations: list[dict[str, Any]] = [{}] * len(where)
    for place, one in zip(where, manifest["configurations"], strict=True):
        configurations[place] = one
    return arranged(outputs, tuple(configurations), tuple(seeds), where)


def environment() -> dict[str, Any]:
    """Versions, platform and source revision, for the record."""
    devices = jax.devices()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            versions[package] = "unknown"
    return {
        "versions": versions,
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "device": devices[0].device_kind,
            "devices": len(devices),
            "processes": processes.count(),
        },
        "revision": _revision(),
    }


def _revision() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _claim(held: ExitStack, folder: Path, manifest: Mapping[str, Any], size: int) -> None:
    try:
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        held.enter_context(files.locked(folder / "lock"))
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"`store` must be a folder that can be written; got '{folder}': {error}") from None
    there = _read_manifest(folder) if (folder / "manifest.json").exists() else None
    here = {"format": FORMAT, **manifest, **environment()}
    if there is not None:
        found = differences(there, here)
        if found:
            text = "\n".join(f"- {line}" for line in found)
            raise ValueError(f"the store '{folder}' belongs to another sweep:\n{text}")
    room = shutil.disk_usage(folder).free
    used = sum(file.stat().st_size for file in (folder / "chunks").iterdir())
    if size - used > room:
        raise OSError(errno.ENOSPC, f"the results take {size - used:,} bytes, and the disk of '{folder}' has {room:,}")
    if there is None:
        _write_manifest(folder, here)


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    atomic.write(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise FileNotFoundError(f"'{folder}' is not the store of a sweep: it has no manifest.json")
    manifest = json.loads(path.read_text())
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"'{path}' is not a manifest of format {FORMAT}")
    return manifest


def _journal(folder: Path) -> Path:
    return folder / f"journal.{jax.process_index()}.jsonl"


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _finished(
    folder: Path, manifest: Mapping[str, Any], *, complain: bool
) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """The chunks that are whole, with their outputs in the order of their runs."""
    parts: dict[tuple[int, int, int], dict[int, dict[str, Any]]] = {}
    for journal in sorted(folder.glob("journal.*.jsonl")):
        for record in files.lines(journal):
            if "chunk" in record:
                parts.setdefault((*record["chunk"], record["parts"]), {})[record["part"]] = record
    found: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    damaged = {}
    dtypes = {name: np.dtype(dtype) for name, (_, dtype) in manifest["outputs"].items()}
    for (first, end, count), records in parts.items():
        if len(records) < count:
            continue
        try:
            read = [_read_part(folder, records[part], dtypes) for part in range(count)]
        except (OSError, ValueError) as error:
            damaged[first, end] = error
            continue
        runs = np.concatenate([one.pop("run") for one in read])
        order = np.argsort(runs)
        found[first, end] = {name: np.concatenate([one[name] for one in read])[order] for name in dtypes}
    for chunk, problem in damaged.items():
        if complain and chunk not in found:
            warnings.warn(f"runs {chunk[0]} to {chunk[1] - 1} in '{folder}' count as not run: {problem}", stacklevel=2)
    return dict(sorted(found.items()))


def _read_part(folder: Path, record: Mapping[str, Any], dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    path = folder / "chunks" / record["file"]
    if not path.exists():
        raise ValueError(f"{path.name} is missing")
    data = path.read_bytes()
    if _sum(data) != record["sha256"]:
        raise ValueError(f"{path.name} is not what was written")
    return files.unpack(data, dtypes)
