"""``python -m benchmarks`` lists the benchmarks, ``python -m benchmarks NAME`` runs one, and ``all`` one after another.

Every module of this folder with a function ``run()`` that yields rows is a benchmark; rows are printed as they come,
and all of them in one table at the end. The exit status is 1 where a row misses what was asked. ``--save`` writes the
figures to ``benchmarks/results``; ``--quick`` takes two rounds of each, to see that it runs.
"""

import argparse
import ast
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Row

ALL = "all"


def catalogue() -> dict[str, str]:
    """Name and first line of every benchmark, read from the source."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def rows_of(name: str) -> list[Row]:
    """The rows of one benchmark, each printed when it is measured."""
    rows = []
    for row in importlib.import_module(f"benchmarks.{name}").run():
        print(harness.line(row), flush=True)
        rows.append(row)
    return rows


def rows_of_all(names: list[str], options: list[str]) -> list[Row]:
    """The rows of every benchmark, each run by a process of its own: some choose JAX's devices before it starts."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder, name)
            print(f"## {name}", flush=True)
            command = [sys.executable, "-m", "benchmarks", name, *options, "--rows", str(file)]
            subprocess.run(command, check=False)
            if not file.exists():
                sys.exit(f"{name}: ended without rows")
            rows += [Row(**row)._replace(what=f"{name}: {row['what']}") for row in json.loads(file.read_text())]
    return rows


def main() -> int:
    """The command line; returns the exit status."""
    known = catalogue()
    lines = "\n".join(f"  {name}  {line}" for name, line in known.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time jnorm beside its peers.",
        epilog=f"benchmarks:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = f"which one, or {ALL!r}; without it they are listed"
    parser.add_argument("name", nargs="?", choices=[*known, ALL], metavar="NAME", help=what)
    parser.add_argument("--save", action="store_true", help="write the figures to benchmarks/results/NAME.{json,md}")
    parser.add_argument("--quick", action="store_true", help="two rounds of each, which say little about times")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one benchmark among all: a file for its rows
    options = parser.parse_args()
    if options.name is None:
        print(f"benchmarks:\n{lines}")
        return 0
    if options.save and options.quick:
        parser.error("figures of --quick are not worth to --save")
    harness.quick = options.quick
    if options.name == ALL:
        asked = [flag for flag in ("save", "quick") if getattr(options, flag)]
        rows = rows_of_all(list(known), [f"--{flag}" for flag in asked])
    else:
        rows = rows_of(options.name)
        if options.save:
            print("saved:", *harness.save(options.name, known[options.name], rows))
    if options.rows is None:
        print(harness.table(known.get(options.name, "All benchmarks"), rows))
    else:
        options.rows.write_text(json.dumps([row._asdict() for row in rows]))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
