"""The command line: ``python -m experiments`` lists the experiments, ``python -m experiments NAME --help`` its options.

Every module of this folder that defines ``Config``, a frozen dataclass whose fields carry docstrings, and
``run(config)`` is an experiment; the first line of its docstring describes it. Nothing is imported before it is needed.
"""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import common

EXTRAS = {"flint": "verify"}  # modules that another extra than `experiments` brings


def catalogue(folder: Path = Path(__file__).parent) -> dict[str, str]:
    """The experiments in a folder and a line about each, read from their source without running it."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        if {"Config", "run"} <= names:
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def listing(known: dict[str, str]) -> str:
    """The experiments as a table of text."""
    width = max(map(len, known))
    rows = "\n".join(f"  {name:<{width}}  {line}" for name, line in known.items())
    return f"experiments:\n{rows}\n\npython -m experiments NAME --help explains the options of one."


def main(arguments: Sequence[str]) -> int:
    """Run the experiment that the first argument names with the options that follow; returns the exit status."""
    known = catalogue()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing(known))
        return 0
    name, *options = arguments
    if name not in known:
        return _refuse(f"`experiment` must be one of {', '.join(known)}; got {name!r}")
    try:
        import tyro

        from jnorm import sweeps

        module = importlib.import_module(f"experiments.{name}")
        program = f"python -m experiments {name}"
        try:
            config = tyro.cli(module.Config, prog=program, description=module.__doc__, args=options)
        except ValueError as error:  # of a Config: older releases of tyro let it through
            return _refuse(str(error))
        sweeps.use_cores()
        common.use_cache(getattr(config, "cache", None))
        module.run(config)
    except common.Refused as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "jnorm", "experiments"):
            raise
        extra = EXTRAS.get(missing, "experiments")
        return _refuse(f'{name} needs {missing}, which is not installed: pip install "jnorm[{extra}]"')
    except KeyboardInterrupt:
        print("interrupted; the files that were written are whole", file=sys.stderr)
        return 130
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
