"""The API pages, a page a room, made from what the rooms' ``__all__`` list."""

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

import jnorm

SELF = "jnorm"
ROOMS = [f"{SELF}.{room}" for floor in jnorm.FLOORS for room in floor]


def public_modules(name: str) -> Iterator[types.ModuleType]:
    """A room, and the modules that its ``__all__`` lists, in the order of the alphabet."""
    module = importlib.import_module(name)
    yield module
    for listed in sorted(module.__all__):
        if isinstance(getattr(module, listed), types.ModuleType):
            yield from public_modules(f"{name}.{listed}")


def listed(module: types.ModuleType) -> list[str]:
    """What a module's ``__all__`` holds beside modules, in the order of the alphabet, data last."""
    names = [name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)]
    return sorted(names, key=lambda name: (directive(getattr(module, name)) == "autodata", name.lower()))


def public_names() -> set[str]:
    """Every public name with its module: ``jnorm.theory.moments.layer_map``."""
    modules = [module for room in ROOMS for module in public_modules(room)]
    return {f"{module.__name__}.{name}" for module in modules for name in listed(module)}


def directive(value: object) -> str:
    """How Sphinx documents a value."""
    if inspect.isclass(value):
        return "autoclass"
    return "autofunction" if callable(value) and hasattr(value, "__name__") else "autodata"


def _heading(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _section(module: types.ModuleType) -> Iterator[str]:
    """What a module says of itself, a table of its names, and each of them."""
    yield from [f".. automodule:: {module.__name__}", "   :no-members:", ""]
    names = listed(module)
    if not names:
        return
    yield from [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]
    for name in names:
        yield from [f".. {directive(getattr(module, name))}:: {module.__name__}.{name}"]
        yield from ["   :members:", ""] if directive(getattr(module, name)) == "autoclass" else [""]


def page(room: str) -> str:
    """The page of a room."""
    lines: list[str] = []
    for module in public_modules(room):
        lines += _heading(module.__name__, "=" if module.__name__ == room else "-")
        if module.__name__ == room:
            lines += [
                f"Look up what ``{room}`` holds: what each name does, its arguments, what it raises, its source.",
                "",
            ]
        lines += _section(module)
    return "\n".join(lines)


def index() -> str:
    """The page that lists the rooms."""
    lines = [*_heading("API", "="), "Find a function by what it is about: a page a room, from the ground floor up.", ""]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in ROOMS), ""]
    lines += [".. list-table::", "   :widths: auto", ""]
    for room in ROOMS:
        what = (importlib.import_module(room).__doc__ or "").partition("\n")[0]
        lines += [f"   * - :doc:`{room}`", f"     - {what}"]
    return "\n".join([*lines, ""])


def write(folder: Path) -> None:
    """Write the pages; those that have not changed keep their time, so that Sphinx leaves them as they are."""
    pages = {f"{room}.rst": page(room) for room in ROOMS} | {"index.rst": index()}
    folder.mkdir(exist_ok=True)
    for old in set(folder.iterdir()) - {folder / name for name in pages}:
        old.unlink()
    for name, text in pages.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
