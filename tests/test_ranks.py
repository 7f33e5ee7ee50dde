"""Imports inside jnorm go down the ranks only (the table below is the house plan)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RANKS = {
    "__init__": 0,
    "checks": 0,
    "atomic": 0,
    "paths": 0,
    "fans": 0,
    "gaussian": 0,
    "activations": 1,
    "lsuv": 1,
    "protocol": 1,
    "structured": 1,
    "initializers": 1,
    "losses": 1,
    "theory": 2,
    "nn": 2,
    "data": 2,
    "measure": 2,
    "train": 3,
    "interop": 3,
    "plots": 4,
}
# Within the top folder's list, and within each folder, a module may import only the ones before it.
ORDER = {
    "": [
        "checks",
        "atomic",
        "paths",
        "fans",
        "gaussian",
        "activations",
        "lsuv",
        "protocol",
        "structured",
        "initializers",
    ],
    "theory": [
        "mills",
        "closed_forms",
        "constants",
        "moments",
        "newton",
        "fixed_points",
        "portraits",
        "meanfield",
        "transforms",
        "predict",
        "enclosures",
        "domains",
        "asymptotics",
        "claims",
        "statements",
        "records",
        "regions",
        "certificate",
    ],
    "nn": [
        "statistics",
        "running",
        "folding",
        "batch_norm",
        "batch_renorm",
        "feature_norm",
        "weight_norm",
        "dropout",
        "layers",
        "convolution",
        "networks",
    ],
    "data": ["standardize", "splits", "batches", "augment", "formats", "datasets"],
    "measure": [
        "probes",
        "curvature",
        "gradcheck",
        "samples",
        "estimates",
        "components",
        "paired",
        "effects",
        "power",
        "ranks",
        "runs",
        "rules",
        "evidence",
        "verdicts",
        "statistics",
    ],
    "train": [
        "hyperparameters",
        "evaluation",
        "early_stopping",
        "gradients",
        "steps",
        "schedules",
        "loop",
        "configurations",
        "results",
        "differences",
        "processes",
        "files",
        "store",
        "programs",
        "plans",
        "progress",
        "sweep",
        "search",
    ],
    "interop": ["flax_linen", "flax_nnx"],
}
MODULES = sorted((ROOT / "jnorm").rglob("*.py"))


def imported(path):
    """Dotted names inside jnorm that a module imports, function bodies included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "jnorm")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module and node.module.split(".")[0] == "jnorm":
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    folder = ROOT / Path(*full.split("."))
                    yield full if folder.is_dir() or folder.with_suffix(".py").exists() else node.module


def violation(source, target):
    """Why `source` may not import `target` (both without the leading 'jnorm'), or None."""
    s, t = source.split("."), target.split(".")
    if len(s) > 1 and s[0] == t[0]:
        order = ORDER[s[0]]
        return None if order.index(t[1]) < order.index(s[1]) else "not earlier in its folder"
    if len(s) == len(t) == 1 and {s[0], t[0]} <= set(ORDER[""]):
        return None if ORDER[""].index(t[0]) < ORDER[""].index(s[0]) else "not earlier in the top folder"
    return None if RANKS[t[0]] < RANKS[s[0]] else f"rank {RANKS[t[0]]} is not below {RANKS[s[0]]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    source = ".".join(path.relative_to(ROOT / "jnorm").with_suffix("").parts)
    if source.endswith("__init__"):
        assert not list(imported(path)), "package files import nothing"
        return
    for target in imported(path):
        target = target.removeprefix("jnorm").lstrip(".") or "__init__"
        assert violation(source, target) is None, f"{source} imports {target}: {violation(source, target)}"


def test_the_rule_can_fail():
    assert violation("gaussian", "activations")
    assert violation("theory.moments", "theory.fixed_points")
    assert violation("theory.moments", "nn.batch_norm")
    assert violation("checks", "gaussian")
    assert violation("theory.moments", "theory.closed_forms") is None


def test_only_plots_imports_matplotlib_and_only_interop_flax():
    for path in MODULES:
        text = path.read_text()
        assert ("import matplotlib" not in text and "from matplotlib" not in text) or path.name == "plots.py", path
        assert ("import flax" not in text and "from flax" not in text) or path.parent.name == "interop", path
