"""What experiments share: the output folder and the compilation cache."""

import io
import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.checks import Refused


def writable(name: str, folder: Path) -> Path:
    """Make the folder and try a file in it. Raises `Refused` with the reason where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Refused(f"`{name}` must be a folder that can be written; got '{folder}': {error.strerror}") from None
    return folder


@dataclass(frozen=True)
class Output:
    """The folder of an experiment's results. Every file in it is written whole or not at all."""

    folder: Path
    files: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> "Output":
        """Check the folder before the work. Raises `Refused` where it cannot be written."""
        return cls(writable("out", folder))

    def bytes(self, name: str, data: bytes) -> None:
        """A file with this content, moved there when all of it is on the disk."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as folder:
            part = Path(folder, name)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.folder / name)
        self.files.append(name)

    def figure(self, name: str, figure: Any, **arrays: Any) -> None:
        """A figure as PNG and SVG, and beside it the numbers that it shows as ``.npz``."""
        from jnorm import plots  # deferred: matplotlib takes longer to import than an experiment's help should

        self.files.extend(path.name for path in plots.save(figure, self.folder / name))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{key: np.asarray(value) for key, value in arrays.items()})
        self.bytes(f"{name}.npz", buffer.getvalue())

    def report(self, text: str, numbers: dict[str, Any]) -> None:
        """``report.md`` for people and ``report.json`` for programs; NaN and inf become null."""
        self.bytes("report.md", text.encode())
        self.bytes("report.json", (json.dumps(plain(numbers), indent=1, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """What JSON can hold of a value: arrays become lists, paths text, NaN and inf null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, Path):
        return str(value)
    return value if not isinstance(value, float) or np.isfinite(value) else None


def leading() -> bool:
    """Whether this process, of those that run together, is the one that draws and reports."""
    return jax.process_index() == 0


def agreed(answer: bool) -> bool:
    """The leading process's answer, in every process."""
    if jax.process_count() == 1:
        return answer
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(answer)))


def use_cache(folder: Path | None) -> None:
    """Keep compiled programs in ``folder``; ``None``: where JAX is told to already, else the user's cache folder.

    Raises `Refused` for a given folder that cannot be written; without the default one the work goes on uncached.
    """
    if folder is None and jax.config.jax_compilation_cache_dir:
        return
    try:
        folder = writable("cache", folder or _user_cache() / "jnorm" / "xla")
    except Refused as error:
        if folder is not None:
            raise
        print(f"no compilation cache: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # many small programs add up to seconds


def _user_cache() -> Path:
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
