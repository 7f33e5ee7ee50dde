"""``python -m benchmarks`` lists the benchmarks, ``python -m benchmarks NAME [--save]`` runs one.

Every module of this folder with a function ``run()`` that returns rows is a benchmark. The exit status is 1 where a
row misses what was asked; ``--save`` writes the figures to ``benchmarks/results``.
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

from benchmarks import harness


def catalogue() -> dict[str, str]:
    """Name and first line of every benchmark, read from the source."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


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
    parser.add_argument("name", nargs="?", choices=known, metavar="NAME", help="which one; without it they are listed")
    parser.add_argument("--save", action="store_true", help="write the figures to benchmarks/results/NAME.{json,md}")
    options = parser.parse_args()
    if options.name is None:
        print(f"benchmarks:\n{lines}")
        return 0
    rows = importlib.import_module(f"benchmarks.{options.name}").run()
    print(harness.table(known[options.name], rows))
    if options.save:
        print("saved:", *harness.save(options.name, known[options.name], rows))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
