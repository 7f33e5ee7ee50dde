"""Pages that run: what their outputs depend on, and where one failed."""

import hashlib
import re
from pathlib import Path

from myst_nb.core.execute import ExecutionResult
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

CELL = re.compile(r"^(`{3,}|:{3,})\{code-cell\}.*\n(?:---\n(?:.*\n)*?---\n|(?::.*\n)*)", re.MULTILINE)
"""The beginning of a code cell, with its options."""
logger = logging.getLogger(__name__)


def fingerprint(root: Path) -> str:
    """A name for the state of the library's source, which is what pages show."""
    sources = sorted((root / "jnorm").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def failures(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every page whose code failed, with its cell, the line of the page and what was raised."""
    for name in sorted(env.found_docs):
        run: ExecutionResult | None = NbMetadataCollector.get_exec_data(env, name)
        if run is None or run["succeeded"]:
            continue
        path = Path(env.doc2path(name))
        traceback = re.sub(r"\x1b\[[\d;]*m", "", run["traceback"] or "")
        raised = traceback.strip().rpartition("\n")[2]
        logger.warning("%s: %s", where(path.read_text(), traceback), raised, location=str(path))


def where(page: str, traceback: str) -> str:
    r"""The cell and the line of the page of which IPython's traceback tells.

    >>> where("text\n\n```{code-cell}\nx = 1\n1 / 0\n```\n", "Cell In[1], line 2\n...")
    'cell 1, line 5'
    """
    found = re.search(r"Cell In\s?\[(\d+)\](?:, line (\d+))?", traceback)
    if not found:
        return "a cell"
    cell, line = int(found[1]), int(found[2] or 1)
    begins = [match.end() for match in CELL.finditer(page)]
    return f"cell {cell}, line {page.count(chr(10), 0, begins[cell - 1]) + line}"
