r"""A folder that holds a sweep: what was asked, what is finished, and the outputs of every finished chunk of runs.

- ``manifest.json``: what identifies the sweep (see `jnorm.sweeps._manifest`), how its runs are cut into chunks, and
  versions, platform, ``XLA_FLAGS`` and source revision of its first run, for the record;
- ``journal.P.jsonl`` of process P, a line an event: its starts (with versions, platform, flags, revision), the chunks
  that it has finished, with their SHA-256, and the plans that memory did not suffice for;
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
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm._ground import atomic
from jnorm.sweeps import _files as files
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._differences import differences, platform_line
from jnorm.sweeps._manifest import FORMAT, damaged, environment
from jnorm.sweeps._results import SweepResult, arranged

_REPAIR = "give another folder, or delete this one, and run the sweep again"


@dataclass(frozen=True)
class Store:
    """A store that `opened` has opened.

    Attributes:
        folder: where it is; without one nothing is kept.
        manifest: the content of its manifest.
        plans: how the runs of every program are cut into chunks, None where that is not decided.
        finished: the chunks that were finished before, by first run and end: their files in the journals' words.
    """

    folder: Path | None
    manifest: dict[str, Any]
    plans: list[list[int] | None]
    finished: dict[tuple[int, int], list[dict[str, Any]]] = field(default_factory=dict)

    def keep_plan(self, program: int, plan: list[int]) -> None:
        """Record the decision, before any result that depends on it."""
        self.plans[program] = plan
        folder = self.folder
        if folder is not None:
            processes.decide(lambda: _write_manifest(folder, self.manifest))

    def read(self, chunk: tuple[int, int]) -> dict[str, np.ndarray]:
        """The outputs of a finished chunk in the order of its runs; they are not held."""
        assert self.folder is not None
        return _read(self.folder, self.manifest, self.finished[chunk])

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

    def note(self, event: Mapping[str, Any]) -> None:
        """A line in the journal of the leading process."""
        if self.folder is not None and processes.leading():
            files.append(_journal(self.folder), event)


@contextmanager
def opened(
    folder: str | os.PathLike[str] | None,
    manifest: Callable[[], Mapping[str, Any]],
    *,
    mesh: Mesh,
    programs: int,
    size: int,
) -> Iterator[Store]:
    """The store in ``folder`` for the sweep that ``manifest()`` describes, new or continued, locked against others.

    ``mesh`` is what it runs on, ``size`` the bytes that its results take, ``programs`` how many the sweep has.
    Raises ``ValueError`` for the store of another sweep, or one that another platform has begun, with what differs, and
    ``OSError`` at once where the folder cannot be written, is in use, or has too little room. Without a folder
    ``manifest`` is not called.
    """
    if folder is None:
        yield Store(None, {}, [None] * programs)
        return
    folder = Path(folder)
    environ = environment(mesh)
    wanted = {"format": FORMAT, **json.loads(json.dumps(manifest())), **environ, "plans": [None] * programs}
    with ExitStack() as held:
        processes.decide(lambda: _claim(held, folder, wanted, size))
        stored = _read_manifest(folder)
        store = Store(folder, stored, stored["plans"])
        found = _finished(folder, stored, complain=processes.leading())
        store.finished.update({chunk: records for chunk, records, _ in found})
        agreed = {tuple(chunk) for chunk in processes.decide(lambda: [list(chunk) for chunk in store.finished])}
        if agreed - set(store.finished):
            raise OSError(f"`store` must be a folder that all processes see; process {jax.process_index()} does not")
        for chunk in set(store.finished) - agreed:
            del store.finished[chunk]
        if not store.finished and platform_line(stored, wanted):  # begun elsewhere, and nothing came of it
            store = Store(folder, wanted, wanted["plans"])
            processes.decide(lambda: _write_manifest(folder, wanted))
        _check_platform(store, wanted)
        files.append(_journal(folder), {"run": environ, "process": jax.process_index()})
        yield store


def load(folder: str | os.PathLike[str]) -> SweepResult:
    """The results in a finished store, without running anything.

    Args:
        folder: what ``store`` was for the sweep.

    Returns:
        What the sweep returned, configurations and seeds in its order. Hyperparameters are as they are written down:
        functions are their names.

    Raises:
        FileNotFoundError: the folder is not a store.
        ValueError: some of its runs are not finished or damaged, with their number; its manifest is damaged; or an
            earlier version of jnorm has written it, whose stores do not tell every program from another.

    >>> import tempfile
    >>> import jnorm
    >>> folder = tempfile.TemporaryDirectory()
    >>> train = lambda key, rate: {"loss": rate * jax.random.uniform(key)}
    >>> result = jnorm.sweeps.sweep(train, seeds=2, grid={"rate": (0.1, 1.0)}, store=folder.name)
    >>> bool((load(folder.name)["loss"] == result["loss"]).all())
    True
    >>> folder.cleanup()
    """
    folder = files.folder_of("folder", folder)
    manifest = _read_manifest(folder)
    total = len(manifest["configurations"]) * len(manifest["seeds"])
    outputs: dict[str, np.ndarray] = {}
    done = 0
    for (first, end), _, arrays in _finished(folder, manifest, complain=True):
        done += end - first
        for name, array in arrays.items():
            outputs.setdefault(name, np.empty((total, *array.shape[1:]), array.dtype))[first:end] = array
    if done < total:
        raise ValueError(f"the store '{folder}' holds {done} of {total} runs; the same sweep with it finishes them")
    places, seeds = manifest["order"]
    configurations: list[dict[str, Any]] = [{}] * len(places)
    for place, configuration in zip(places, manifest["configurations"], strict=True):
        configurations[place] = configuration
    return arranged(outputs, tuple(configurations), tuple(seeds), places, manifest.get("finite"))


def _claim(held: ExitStack, folder: Path, wanted: Mapping[str, Any], size: int) -> None:
    """Lock the folder and see that it holds this sweep, or nothing yet: then it gets its manifest."""
    try:
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        held.enter_context(files.locked(folder / "lock"))
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"`store` must be a folder that can be written; got '{folder}': {error}") from None
    new = not (folder / "manifest.json").exists()
    if new and any(folder.glob("journal.*.jsonl")):
        text = "so that nobody can tell which sweep its runs belong to"
        raise ValueError(f"the store '{folder}' has lost its manifest.json, {text}: {_REPAIR}")
    lines = [] if new else differences(_read_manifest(folder), wanted)
    if lines:
        raise _another(folder, lines)
    for torn in (folder / "chunks").glob(".*"):  # a process was killed while it wrote
        if torn.is_file():  # some file systems show snapshots as a hidden folder
            torn.unlink()
    free = shutil.disk_usage(folder).free
    used = sum(file.stat().st_size for file in (folder / "chunks").iterdir())
    if size - used > free:
        raise OSError(errno.ENOSPC, f"the results take {size - used:,} bytes, and the disk of '{folder}' has {free:,}")
    if new:
        _write_manifest(folder, wanted)
    elif (stored := _read_manifest(folder)).get("finite") != wanted.get("finite"):  # how to read results, not results
        _write_manifest(folder, stored | {"finite": wanted.get("finite")})


def _check_platform(store: Store, wanted: Mapping[str, Any]) -> None:
    """Refuse to finish on one platform what another one has begun; say so where only the kind of device is another."""
    left = len(wanted["configurations"]) * len(wanted["seeds"]) - sum(end - first for first, end in store.finished)
    if left and (line := platform_line(store.manifest, wanted)):
        raise _another(store.folder, [line])
    before, after = (manifest.get("platform", {}).get("device") for manifest in (store.manifest, wanted))
    if left and before != after and processes.leading():
        text = f"the store '{store.folder}' was begun on {before}, and {left} runs are left for {after}"
        warnings.warn(f"{text}: rounding may differ; the journal says which runs are whose", stacklevel=4)


def _another(folder: Path | None, lines: Sequence[str]) -> ValueError:
    text = "\n".join(f"- {line}" for line in lines)
    return ValueError(f"the store '{folder}' belongs to another sweep:\n{text}")


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    atomic.write(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise FileNotFoundError(f"'{folder}' is not the store of a sweep: it has no manifest.json")
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"'{path}' is damaged: {error}; {_REPAIR}") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version == 1:
        raise ValueError(
            f"the store '{folder}' was written in format 1, which can take one program for another, so that its "
            f"results are not trusted: {_REPAIR}"
        )
    if version != FORMAT:
        raise ValueError(f"'{path}' is not a manifest of format {FORMAT}: {_REPAIR}")
    if entry := damaged(manifest):
        raise ValueError(f"'{path}' is damaged: its entry `{entry}` is missing or not what a sweep writes; {_REPAIR}")
    return dict(manifest)


def _journal(folder: Path) -> Path:
    return folder / f"journal.{jax.process_index()}.jsonl"


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _finished(
    folder: Path, manifest: Mapping[str, Any], *, complain: bool
) -> Iterator[tuple[tuple[int, int], list[dict[str, Any]], dict[str, np.ndarray]]]:
    """The chunks whose files are whole, in their order: what the journals say of the files, and the outputs."""
    total = len(manifest["configurations"]) * len(manifest["seeds"])
    parts: dict[tuple[int, int, int], dict[int, dict[str, Any]]] = {}
    for journal in sorted(folder.glob("journal.*.jsonl")):
        for record in files.lines(journal):
            if _is_chunk(record, total):
                parts.setdefault((*record["chunk"], record["parts"]), {})[record["part"]] = record
    whole: set[tuple[int, int]] = set()
    problems = {}
    for (first, end, count), found in sorted(parts.items()):
        if len(found) < count or (first, end) in whole:
            continue
        records = [found[part] for part in range(count)]
        try:
            outputs = _read(folder, manifest, records)
        except (OSError, ValueError) as error:
            problems[first, end] = error
            continue
        whole.add((first, end))
        yield (first, end), records, outputs
    for chunk, problem in problems.items():
        if complain and chunk not in whole:
            warnings.warn(f"runs {chunk[0]} to {chunk[1] - 1} in '{folder}' count as not run: {problem}", stacklevel=2)


def _is_chunk(record: Mapping[str, Any], total: int) -> bool:
    """Whether a line of a journal says of a chunk all that it should."""
    try:
        (first, end), part, parts = record["chunk"], record["part"], record["parts"]
        return 0 <= first < end <= total and 0 <= part < parts and isinstance(record["file"] + record["sha256"], str)
    except (KeyError, TypeError, ValueError):
        return False


def _read(folder: Path, manifest: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The outputs of a chunk, in the order of its runs, from the files of all its parts."""
    dtypes = {name: np.dtype(dtype) for name, (_, dtype) in manifest["outputs"].items()}
    read = [_read_part(folder, record, dtypes) for record in records]
    runs = np.concatenate([part["run"] for part in read])
    order = np.argsort(runs)
    if not np.array_equal(runs[order], np.arange(*records[0]["chunk"])):
        raise ValueError(f"{records[0]['file']} holds other runs")
    return {name: np.concatenate([part[name] for part in read])[order] for name in dtypes}


def _read_part(folder: Path, record: Mapping[str, Any], dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    path = folder / "chunks" / record["file"]
    if not path.exists():
        raise ValueError(f"{path.name} is missing")
    data = path.read_bytes()
    if _sum(data) != record["sha256"]:
        raise ValueError(f"{path.name} is not what was written")
    arrays = files.unpack(data, dtypes)
    if missing := sorted({"run", *dtypes} - set(arrays)):
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    return arrays
