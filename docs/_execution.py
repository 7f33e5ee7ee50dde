"""Pages that run: what their outputs depend on, and where one failed."""

import hashlib
import re
from pathlib import Path

from myst_nb.core.execute import ExecutionResult
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from docs import _pages

logger = logging.getLogger(__name__)


def fingerprint(root: Path) -> str:
    """A name for the state of all that pages show: the library, and what lies beside it."""
    folders = ("jnorm", "experiments", "benchmarks", "docs/how_to", "docs/theory")
    files = [path for folder in folders for path in sorted((root / folder).rglob("*"))]
    sources = [path for path in files if path.suffix in (".py", ".json")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def profile(folder: Path) -> str:
    """IPython's settings for pages, whatever the reader's own are: pictures for fine screens, no news of the kernel."""
    settings = folder / "profile_default" / "ipython_kernel_config.py"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('c.InlineBackend.figure_formats = {"retina"}\nc.IPKernelApp.log_level = "ERROR"\n')
    return str(folder)


def failures(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every page whose code failed, with its line, its cell and what was raised."""
    for name in sorted(env.found_docs):
        run: ExecutionResult | None = NbMetadataCollector.get_exec_data(env, name)
        if run is not None and not run["succeeded"]:
            traceback = re.sub(r"\x1b\[[\d;]*m", "", run["traceback"] or "")
            cell, line = _pages.where(Path(env.doc2path(name)).read_text(), traceback)
            raised = re.findall(r"^[\w.]+(?:Error|Exception|Interrupt|Warning)\b.*", traceback, re.MULTILINE)
            logger.warning("cell %d failed: %s", cell, raised[-1] if raised else run["error"], location=(name, line))
