"""A file is written whole or not at all."""

import os
from pathlib import Path


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name beside ``path``, to the disk itself, and move it there.

    After a crash or a power cut the file is the old one or the new one. Raises ``OSError``, which says which file, and
    leaves nothing behind, where that fails: a full disk, a folder without permission. The same for Ctrl-C.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "a.txt"), b"whole")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"could not write '{path}': {error.strerror}") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
