"""Which experiments there are, what they need, and what a wrong name may have meant: read from their source alone."""

import ast
import difflib
import importlib.util
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

MODULES = {"tyro": "experiments", "rich": "experiments", "sklearn": "experiments", "pandas": "experiments"}
MODULES |= {"matplotlib": "experiments", "flint": "verify"}
"""Modules that are not jnorm's own dependencies, and the extra that brings each."""

HEAD = "Experiments: each answers one question with a figure, its numbers and a report.\n"
USAGE = """
run one      python -m experiments NAME [--option VALUE ...]
options      python -m experiments NAME --help
claims       python -m experiments list: those that are tested, and those that are not there yet
results      in out/NAME, or --out FOLDER: report.md to read, report.json for programs,
             figures as PNG and SVG, and the numbers of each as npz
anywhere     --json   one JSON document on the standard output, all else on the standard error
             --debug  the whole traceback of an error
Ctrl-C       stops at once; files are whole, and the last line says how to go on
exit status  0 done, 1 failed, 2 refused (an option, a missing package), 130 interrupted
"""


class Entry(NamedTuple):
    """An experiment: the first line of its docstring, and the extra that it needs."""

    line: str
    extra: str


def catalogue(folder: Path = Path(__file__).parent) -> dict[str, Entry]:
    """The experiments in a folder: modules and packages that define ``Config`` and ``run``."""
    found = {}
    for path in sorted([*folder.glob("[!_]*.py"), *folder.glob("*/__init__.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        if {"Config", "run"} <= names:
            imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            extra = "verify" if any(module.startswith("jnorm.proofs") for module in imported) else "experiments"
            name = path.parent.name if path.stem == "__init__" else path.stem
            found[name] = Entry((ast.get_docstring(tree) or "").partition("\n")[0], extra)
    return found


def listing(known: dict[str, Entry]) -> str:
    """The experiments, how they are run and what is missing here, as text."""
    width = max(map(len, known))
    rows = []
    for name, entry in known.items():
        rows.append(
            textwrap.fill(entry.line, 100, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
        )
    lines = [HEAD, *rows, USAGE.rstrip()]
    for extra, modules in missing().items():
        whose = "" if extra == "experiments" else "".join(f", for {n}" for n, e in known.items() if e.extra == extra)
        lines.append(f'missing      {", ".join(modules)}{whose}: pip install "jnorm[{extra}]"')
    return "\n".join(lines)


def missing() -> dict[str, list[str]]:
    """The modules that are not installed, by the extra that brings them."""
    found: dict[str, list[str]] = {}
    for module, extra in MODULES.items():
        if importlib.util.find_spec(module) is None:
            found.setdefault(extra, []).append(module)
    return found


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that ``name`` may have meant: those that it begins, else similar ones.

    >>> nearest("selu", ("gains", "selu_fixed_point"))
    ['selu_fixed_point']
    >>> nearest("gain", ("gains", "mnist")), nearest("xyz", ("gains", "mnist"))
    (['gains'], [])
    """
    known = tuple(known)
    begun = [other for other in known if name and other.lower().startswith(name.lower())]
    return (begun or difflib.get_close_matches(name, known, n=3))[:3]
