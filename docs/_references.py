"""Signatures as the source has them, and what the names in them and in docstrings lead to."""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

from docs import _api

logger = logging.getLogger(__name__)
INVENTORIES = Path(__file__).parent / "_inventories"
MARKS = re.compile(r"\||(?<!\*)\*(?=[\w\[(])(?![\w ]+\*)")


def signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str, str] | None:
    """The signature of a function or method word for word: aliases and defaults by the names that the source gives."""
    function = inspect.unwrap(value.__func__ if inspect.ismethod(value) else value)
    if what not in ("function", "method") or not inspect.isfunction(function):
        return None
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(node, ast.FunctionDef):
        return None
    first = (node.args.posonlyargs + node.args.args)[:1]
    if what == "method" and first and first[0].arg in ("self", "cls"):
        (node.args.posonlyargs or node.args.args).pop(0)
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else ""


def docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """What stands below a constant in the source, and ``|x|`` and ``*shape`` of formulas as they are.

    Of a constant autodoc finds the docstring of its type only; reStructuredText would see marks of its own in formulas.
    """
    if what == "data":
        lines[:] = _below(*name.rsplit(".", 1)) or [f"A ``{type(value).__name__}``.", ""]
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.+?``)", line)
            lines[i] = "".join(part if part.startswith("``") else MARKS.sub(r"\\\g<0>", part) for part in parts)


@cache
def _below(module: str, name: str) -> list[str]:
    """The docstring of a constant, from whichever module of its room defines it."""
    for other in [module, *sorted(other for other in sys.modules if other.startswith(f"{module}."))]:
        for (_, constant), text in ModuleAnalyzer.for_module(other).find_attr_docs().items():
            if constant == name:
                return text
    return []


def skip(app: Sphinx, what: str, name: str, value: Any, leave_out: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which their class describes."""
    return True if (getattr(value, "__doc__", "") or "").startswith("Alias for field number") else None


@cache
def _public() -> dict[str, str]:
    """The public name by the one that a class or function has where it is defined, and by its last part if unique."""
    names: dict[str, str] = {}
    for full in sorted(_api.public_names(), reverse=True):
        module, _, name = full.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        if hasattr(value, "__qualname__"):
            names[f"{value.__module__}.{value.__qualname__}"] = full
        names[name] = "" if name in names else full
    for file in INVENTORIES.iterdir():
        for line in file.read_text().splitlines()[3:]:
            full = line.partition(" ")[0]
            names.setdefault(full.rpartition(".")[2], full)
    return {name: full for name, full in names.items() if full}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Element | None:
    """Where Sphinx knows no object of that name: its public one, plain text for words of docstrings, else a warning.

    Docstrings set parameters, local names and modules of others in single backticks; those stay what they are. A name
    that begins with ``jnorm.`` must lead somewhere, if it is not that of a private class, which the type of a field may
    be; and so must every reference of a page.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    full = _public().get(target)
    if full and full.startswith(f"{_api.SELF}."):
        return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
    if full:
        node["reftarget"] = full  # for the inventories of others, which are asked next
    own = target.startswith(f"{_api.SELF}.") and "._" not in target
    return content if node["refdoc"].startswith("api/") and not full and not _elsewhere(target) and not own else None


@cache
def _elsewhere(target: str) -> bool:
    return any(f"\n{target} " in file.read_text() for file in INVENTORIES.iterdir())


def unlisted(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names that no page describes."""
    for name in sorted(_api.public_names() - set(env.get_domain("py").objects)):
        logger.warning("the public name %s is on no page", name)
