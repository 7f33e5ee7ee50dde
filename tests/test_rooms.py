"""The house: imports go down, rooms say what is public and nothing else, names that are not there are answered."""

import ast
import importlib
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import pytest

import jnorm
from jnorm._ground.rooms import MOVED
from tests.registry import public

ROOT = Path(__file__).resolve().parents[1]
FLOOR = {room: i for i, floor in enumerate(jnorm.FLOORS, 1) for room in floor} | {"_ground": 0}
DEEPEST = 8  # modules in a chain of imports
LONGEST = 350  # lines of a module


def named(path):
    """``jnorm.theory.moments`` for its file, ``jnorm.theory`` for the room's own."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {named(path): path for path in sorted((ROOT / "jnorm").rglob("*.py"))}
ROOMS = {name for name, path in MODULES.items() if path.name == "__init__.py"}


@cache
def imported(module):
    """The modules of jnorm that a module imports, in function bodies too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "jnorm"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            if (node.module or "").split(".")[0] == "jnorm":
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in MODULES else node.module for name in full}
    return found


@cache
def depth(module):
    """How many modules stand above each other, this one included; rooms only hand names out."""
    if module in ROOMS:
        return 0
    return 1 + max((depth(other) for other in imported(module)), default=0)


def violation(source, target):
    """Why a module may not import another, or None."""
    room, other = (name.split(".")[1] for name in (source, target))
    if room == other:
        return None  # the rule inside a room is that there is no circle
    if FLOOR[other] < FLOOR[room]:
        return None
    return f"`{other}` is not on a floor below `{room}`"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "jnorm" and m not in ("jnorm._ground.rooms",)])
def test_imports_go_down(module):
    for other in imported(module):
        assert violation(module, other) is None, f"{module} imports {other}: {violation(module, other)}"


def test_the_rule_can_fail():
    assert violation("jnorm.gaussian", "jnorm.theory.moments")
    assert violation("jnorm.theory.moments", "jnorm.nn.batch_norm")
    assert violation("jnorm._ground.checks", "jnorm.gaussian")
    assert violation("jnorm.theory.moments", "jnorm.gaussian") is None


def test_nothing_imports_in_circles_or_through_long_chains():
    chains = {module: depth(module) for module in MODULES}  # a circle would not end
    assert max(chains.values()) <= DEEPEST, max(chains, key=chains.get)


def test_modules_are_short():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert max(lines.values()) <= LONGEST, {name: count for name, count in lines.items() if count > LONGEST}


def test_only_plots_imports_matplotlib_and_only_interop_flax():
    for name, path in MODULES.items():
        text = path.read_text()
        for library, room in (("matplotlib", "jnorm.plots"), ("flax", "jnorm.interop")):
            assert (f"import {library}" not in text and f"from {library}" not in text) or name.startswith(room), name


def public_modules():
    """The rooms, and the modules that they list."""
    found = [importlib.import_module(f"jnorm.{room}") for room in jnorm.__all__]
    for module in found:
        found.extend(m for m in (getattr(module, n) for n in module.__all__) if isinstance(m, types.ModuleType))
    return found


@pytest.mark.parametrize("module", public_modules(), ids=lambda m: m.__name__)
def test_what_is_public_is_listed(module):
    """``__all__`` misses nothing that the module defines without an underscore; the linter sorts it."""
    assert len(module.__all__) == len(set(module.__all__))
    assert module.__doc__
    assert all(hasattr(module, name) for name in module.__all__)
    source = ast.parse(Path(module.__file__).read_text())
    defined = set()
    for node in source.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        for target in targets:
            defined |= {getattr(leaf, "id", getattr(leaf, "name", "_")) for leaf in getattr(target, "elts", [target])}
    assert {name for name in defined if not name.startswith("_")} <= set(module.__all__)
    if hasattr(module, "__path__"):
        files = {p.stem for p in Path(module.__file__).parent.glob("*.py")}
        assert {name for name in files if not name.startswith("_")} <= set(module.__all__)


def test_rooms_are_the_files_and_what_type_checkers_see():
    folder = ROOT / "jnorm"
    there = {p.stem for p in (*folder.glob("*.py"), *folder.glob("*/")) if not p.stem.startswith("_")} - {"py"}
    assert there == set(jnorm.__all__) == set(dir(jnorm)) & there
    seen = [
        line.split() for line in MODULES["jnorm"].read_text().splitlines() if line.startswith("    from jnorm import")
    ]
    assert [line[3] for line in seen] == [line[5] for line in seen] == sorted(jnorm.__all__)


def test_a_module_and_its_function_have_two_names():
    clashes = [name for name, _ in public() if name.split(".")[-1] == name.split(".")[-2]]
    assert sorted(clashes) == ["nn.dropout.dropout", "predict.predict"]  # names that other code relies on


def test_rooms_load_when_they_are_named():
    code = """
import sys, jnorm
assert not [m for m in sys.modules if m.startswith("jnorm.") and not m.startswith("jnorm._")]
assert jnorm.activations.selu is sys.modules["jnorm.activations"].selu
assert "jnorm.theory" not in sys.modules and "theory" in dir(jnorm)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MOVED)
def test_names_that_moved_say_where_to(name):
    with pytest.raises(ImportError, match=f"'jnorm.{name}' has moved: see '{MOVED[name]}'"):
        importlib.import_module(f"jnorm.{name}")
    importlib.import_module(MOVED[name])


def test_an_import_from_a_room_says_where_to():
    with pytest.raises(ImportError, match=r"'jnorm.train.sweep' has moved: see 'jnorm.sweeps'"):
        from jnorm.train import sweep  # noqa: F401


def test_an_unknown_room_lists_the_rooms():
    with pytest.raises(AttributeError, match=r"module 'jnorm' has no room 'nosuch'; it has jaxprs, .*train"):
        _ = jnorm.nosuch
    with pytest.raises(ImportError, match=r"has no room 'nosuch'; it has jaxprs, .*train"):
        importlib.import_module("jnorm.nosuch")
    with pytest.raises(ImportError, match=r"has no room 'nosuch'"):
        from jnorm import nosuch  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("jnorm.theory.nosuch")
