r"""A folder that holds a sweep: what was asked, what is finished, and the outputs of every finished chunk of runs.

- ``manifest.json``: what identifies the program (see `jnorm.sweeps._manifest`), the blocks of runs that there are and
  how they are cut into chunks, the order in which the last call wanted configurations and seeds, and versions,
  platform, ``XLA_FLAGS`` and source revision of the first run, for the record;
- ``journal.P.jsonl`` of process P, a line an event: its starts (with versions, platform, flags, revision), the chunks
  that it has finished, with their SHA-256, and the plans that memory did not suffice for;
- ``chunks/A-B.PofN.npz``: the outputs of runs A, ..., B - 1 of the first block, part P of N; ``chunks/K.A-B...``:
  of block K;
- ``carried/``: what runs in segments carry, as long as they are not finished, see `jnorm.sweeps._carried`;
- ``lock``: held by the process that writes.

Runs of a block are counted in canonical order, by the contents of their configuration and then by seed, in whatever
order the caller wrote them. Files are written whole or not at all. A chunk is finished when its files are there with
the sums that the journals have; a damaged one is run again. The lock is the operating system's and ends with its owner.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm._ground import atomic
from jnorm.sweeps import _chunks as chunks
from jnorm.sweeps import _files as files
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._blocks import Block, Layout, blocks_of, identity
from jnorm.sweeps._chunks import Chunk, Records
from jnorm.sweeps._differences import differences, platform_line
from jnorm.sweeps._manifest import FORMAT, as_written, damaged, environment, origin
from jnorm.sweeps._results import SweepResult, arranged

_REPAIR = "give another folder, or delete this one, and run the sweep again"


@dataclass
class Store:
    """A store that `opened` has opened.

    Attributes:
        folder: where it is; without one nothing is kept.
        manifest: the content of its manifest.
        wanted: the manifest that this call would write.
        blocks: the runs that it has, finished or not.
        finished: the chunks that were finished before: their files in the journals' words.
    """

    folder: Path | None
    manifest: dict[str, Any]
    wanted: dict[str, Any]
    blocks: list[Block]
    finished: dict[Chunk, Records] = field(default_factory=dict)

    def extend(self, blocks: Sequence[Block]) -> None:
        """Take in blocks of new runs, before any of them is run."""
        self.blocks.extend(blocks)
        if blocks:
            self.write()

    def write(self) -> None:
        """Bring the manifest up to date."""
        folder = self.folder
        if folder is not None:
            self.manifest["blocks"] = [block.entry for block in self.blocks]
            processes.decide(lambda: _write_manifest(folder, self.manifest))

    def end(self) -> None:
        """Record that a stopping rule needs no more runs."""
        if self.manifest.get("until") and not self.manifest["until"]["over"]:
            self.manifest["until"]["over"] = True
            self.write()

    def check_platform(self, left: int) -> None:
        """Refuse to finish on one platform what another has begun; say so where only the kind of device is another."""
        if not left or self.folder is None:
            return
        if line := platform_line(self.manifest, self.wanted):
            raise _another(self.folder, [line])
        before, after = (manifest.get("platform", {}).get("device") for manifest in (self.manifest, self.wanted))
        if before != after and processes.leading():
            text = f"the store '{self.folder}' was begun on {before}, and {left} runs are left for {after}"
            warnings.warn(f"{text}: rounding may differ; the journal says which runs are whose", stacklevel=4)

    def read(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """The outputs of a finished chunk in the order of its runs; they are not held."""
        assert self.folder is not None
        return chunks.read(self.folder, self.manifest, self.finished[chunk])

    def keep(self, chunk: Chunk, runs: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Save this process's part of a chunk: the outputs of ``runs``, some or all of it."""
        if self.folder is not None:
            chunks.write(self.folder, chunk, runs, outputs)

    def note(self, event: Mapping[str, Any]) -> None:
        """A line in the journal of the leading process."""
        if self.folder is not None and processes.leading():
            files.append(chunks.journal(self.folder), event)


@contextmanager
def opened(
    folder: str | os.PathLike[str] | None, manifest: Callable[[], Mapping[str, Any]], *, mesh: Mesh, size: int
) -> Iterator[Store]:
    """The store in ``folder`` for the sweep that ``manifest()`` describes, new or continued, locked against others.

    ``mesh`` is what it runs on, ``size`` the bytes that its results take.
    Raises ``ValueError`` for the store of another program, with what differs, and ``OSError`` at once where the folder
    cannot be written, is in use, or has too little room. Without a folder ``manifest`` is not called.
    """
    if folder is None:
        yield Store(None, {}, {}, [])
        return
    folder = Path(folder)
    environ = environment(mesh)
    wanted = {"format": FORMAT, **json.loads(json.dumps(manifest())), **environ}
    with ExitStack() as held:
        processes.decide(lambda: _claim(held, folder, wanted, size))
        stored = _read_manifest(folder)
        found = chunks.finished(folder, stored, complain=processes.leading())
        finished = {chunk: records for chunk, records, _ in found}
        agreed = {tuple(chunk) for chunk in processes.decide(lambda: [list(chunk) for chunk in finished])}
        if agreed - set(finished):
            raise OSError(f"`store` must be a folder that all processes see; process {jax.process_index()} does not")
        anew = not agreed and platform_line(stored, wanted) is not None  # begun elsewhere, and nothing came of it
        stored = wanted | {"blocks": []} if anew else stored
        store = Store(folder, stored, wanted, blocks_of(stored), {chunk: finished[chunk] for chunk in agreed})
        if _add_to_order(store) or anew:
            store.write()
        files.append(chunks.journal(folder), {"run": environ, "process": jax.process_index()})
        yield store


def load(folder: str | os.PathLike[str]) -> SweepResult:
    """The results in a finished store, without running anything.

    Args:
        folder: what ``store`` was for the sweep.

    Returns:
        What the sweep returned, configurations and seeds in its order. Where the store has grown, all that it holds:
        those of the last call first, then the others, and ``done`` says which runs there are. Hyperparameters are as
        they are written down: functions are their names.

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
    blocks, order = blocks_of(manifest), manifest["order"]
    configurations, seeds = order["configurations"], order["seeds"]
    layout = Layout(Block(configurations, sorted(seeds), np.zeros(0), [], [], ""))
    rows = [layout.rows(block) for block in blocks]
    outputs = layout.blank({name: (tuple(shape), np.dtype(d)) for name, (shape, d) in manifest["outputs"].items()})
    done = np.zeros(len(configurations) * len(seeds), bool)
    for (block, first, end), _, arrays in chunks.finished(folder, manifest, complain=True):
        done[rows[block][first:end]] = True
        for name, array in arrays.items():
            outputs[name][rows[block][first:end]] = array
    total, until = sum(block.runs for block in blocks) or len(done), manifest["until"]
    if done.sum() < total or (until and not until["over"]):
        left = f"{total} runs" if not until else "the runs that its stopping rule needs"
        raise ValueError(f"the store '{folder}' holds {done.sum()} of {left}; the same sweep with it finishes them")
    places, finite = range(len(configurations)), manifest.get("finite")
    result = arranged(outputs, tuple(configurations), tuple(seeds), places, finite, done)
    return replace(result, origin=origin(manifest))


def _add_to_order(store: Store) -> bool:
    """Let the manifest say the order of this call, and after it what else there is; and how its results are read.

    Returns whether that is new.
    """
    order = {name: list(values) for name, values in store.wanted["order"].items()}
    held = store.manifest["order"] if store.blocks else order
    known = {identity(configuration) for configuration in order["configurations"]}
    order["configurations"] += [c for c in held["configurations"] if identity(c) not in known]
    order["seeds"] += [seed for seed in held["seeds"] if seed not in set(order["seeds"])]
    news = {"order": order, "finite": store.wanted["finite"]}
    before = {name: store.manifest.get(name) for name in news}
    store.manifest |= news
    return before != news


def _claim(held: ExitStack, folder: Path, wanted: Mapping[str, Any], size: int) -> None:
    """Lock the folder and see that it holds this program, or nothing yet: then it gets its manifest."""
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
        _write_manifest(folder, {**wanted, "blocks": []})


def _another(folder: Path | None, lines: Sequence[str]) -> ValueError:
    text = "\n".join(f"- {line}" for line in lines)
    ways = "The same as in the store goes on with it; another folder leaves it as it is"
    return ValueError(f"the store '{folder}' belongs to another sweep:\n{text}\n{ways}")


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
    if version not in (2, FORMAT):
        raise ValueError(f"'{path}' is not a manifest of format {FORMAT}: {_REPAIR}")
    try:
        manifest = as_written(manifest)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"'{path}' is damaged: {error!r} in format 2; {_REPAIR}") from None
    if entry := damaged(manifest):
        raise ValueError(f"'{path}' is damaged: its entry `{entry}` is missing or not what a sweep writes; {_REPAIR}")
    return manifest
