"""The files of a store that hold the outputs of chunks of runs, and what its journals say of them.

A chunk is the runs first, ..., end - 1 of a block; every process that takes part has a file of its runs.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jnorm._ground import atomic
from jnorm.sweeps import _files as files
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._blocks import blocks_of

Chunk = files.Chunk
Records = list[dict[str, Any]]
"""The lines of the journals about the files of a chunk, in the order of their parts."""


def write(folder: Path, chunk: Chunk, runs: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
    """Save this process's part of a chunk, the outputs of ``runs``, and say so in its journal."""
    part, parts = jax.process_index(), processes.count()
    block, first, end = chunk
    name = f"{files.stem(chunk)}.{part}of{parts}.npz"
    data = files.pack({"run": runs, **outputs})
    atomic.write(folder / "chunks" / name, data)
    record = {"block": block, "chunk": [first, end], "part": part, "parts": parts}
    files.append(journal(folder), record | {"file": name, "sha256": files.sha256(data)})


def journal(folder: Path) -> Path:
    """The journal of this process."""
    return folder / f"journal.{jax.process_index()}.jsonl"


def finished(
    folder: Path, manifest: Mapping[str, Any], *, complain: bool
) -> Iterator[tuple[Chunk, Records, dict[str, np.ndarray]]]:
    """The chunks whose files are whole, in their order: what the journals say of the files, and the outputs."""
    runs = [block.runs for block in blocks_of(manifest)]
    parts: dict[tuple[Chunk, int], dict[int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("journal.*.jsonl")):
        for record in files.lines(path):
            if _is_chunk(record, runs):
                chunk = (record.get("block", 0), *record["chunk"])
                parts.setdefault((chunk, record["parts"]), {})[record["part"]] = record
    whole: set[Chunk] = set()
    problems = {}
    for (chunk, count), found in sorted(parts.items()):
        if len(found) < count or chunk in whole:
            continue
        records = [found[part] for part in range(count)]
        try:
            outputs = read(folder, manifest, records)
        except (OSError, ValueError) as error:
            problems[chunk] = error
            continue
        whole.add(chunk)
        yield chunk, records, outputs
    for chunk, problem in problems.items():
        if complain and chunk not in whole:
            block, first, end = chunk
            of = f" of block {block}" if block else ""
            text = f"runs {first} to {end - 1}{of} in '{folder}' count as not run: {problem}"
            warnings.warn(text, stacklevel=2)


def _is_chunk(record: Mapping[str, Any], runs: Sequence[int]) -> bool:
    """Whether a line of a journal says of a chunk all that it should."""
    try:
        (first, end), part, parts = record["chunk"], record["part"], record["parts"]
        block = record.get("block", 0)
        known = 0 <= block < len(runs) and 0 <= first < end <= runs[block]
        return known and 0 <= part < parts and isinstance(record["file"] + record["sha256"], str)
    except (KeyError, TypeError, ValueError):
        return False


def read(folder: Path, manifest: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
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
    if files.sha256(data) != record["sha256"]:
        raise ValueError(f"{path.name} is not what was written")
    arrays = files.unpack(data, dtypes)
    if missing := sorted({"run", *dtypes} - set(arrays)):
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    return arrays
