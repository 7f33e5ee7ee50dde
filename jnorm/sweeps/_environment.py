"""What ran: versions and the revision of the source, for the record."""

import platform
import subprocess
from importlib import metadata

_PACKAGES = ("jnorm", "jax", "jaxlib", "numpy")


def versions() -> dict[str, str]:
    """Those of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "unknown"
    return found


def revision() -> str | None:
    """The commit of the working directory, with ``-dirty`` where files differ from it; None outside of Git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
