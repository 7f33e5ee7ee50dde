"""The command line: ``python -m experiments`` lists the experiments, ``python -m experiments NAME --help`` its options.

Every module of this folder that defines ``Config``, a frozen dataclass whose fields carry docstrings, and
``run(config)`` is an experiment; the first line of its docstring describes it. Nothing is imported before it is needed.
"""

import contextlib
import importlib
import io
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.catalogue import MODULES, catalogue, listing, nearest
from experiments.checks import Refused

FLAGS = "--json", "--debug"
EXITS = {"done": 0, "failed": 1, "refused": 2, "interrupted": 130}


def main(arguments: Sequence[str]) -> int:
    """Run the experiment that the first argument names with the options that follow; returns the exit status."""
    flags = {flag for flag in FLAGS if flag in arguments}
    names = [argument for argument in arguments if argument not in FLAGS]
    if not names or names[0] in ("-h", "--help"):
        known = catalogue()
        print(
            json.dumps({name: e._asdict() for name, e in known.items()}, indent=1)
            if "--json" in flags
            else listing(known)
        )
        return 0
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr) if "--json" in flags else contextlib.nullcontext():
        outcome = _attempt(names[0], names[1:], debug="--debug" in flags)
    if "error" in outcome:
        print(f"error: {outcome['error']}", file=sys.stderr)
    if outcome["status"] == "interrupted":
        print(f"interrupted: {outcome['saved']}\ngo on with: {outcome['resume']}", file=sys.stderr)
    if "--json" in flags:
        outcome = {"experiment": names[0], **outcome, "seconds": round(time.perf_counter() - start, 3)}
        from experiments.common import plain

        print(json.dumps(plain(outcome), indent=1, allow_nan=False))
    return EXITS[outcome["status"]]


def _attempt(name: str, options: Sequence[str], *, debug: bool) -> dict[str, Any]:
    """How an experiment ended: its status, and its numbers, the error, or what was saved."""
    try:
        return _run(name, options)
    except Refused as error:
        return {"status": "refused", "error": _line(error)}
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in MODULES:
            extra = MODULES[missing]
            text = f'{name} needs {missing}, which is not installed: pip install "jnorm[{extra}]"'
            return {"status": "refused", "error": text}
        if "jnorm[" in str(error):  # of a room that names the extra itself
            return {"status": "refused", "error": _line(error)}
        failed = error
    except Exception as error:
        failed = error
    if debug:
        raise failed
    text = f"{type(failed).__name__}: {_line(failed)} (--debug shows where)"
    return {"status": "failed", "error": text}


def _run(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Read the options and run."""
    known = catalogue()
    if name == "list":
        return _list(options)
    if name not in known:
        meant = nearest(name, [*known, "list"])
        text = f"did you mean {' or '.join(meant)}? " if meant else ""
        raise Refused(f"no experiment {name!r}: {text}There are {', '.join(known)}")
    import tyro

    from experiments import common
    from jnorm import sweeps

    module = importlib.import_module(f"experiments.{name}")
    config = _config(tyro, module, name, options)
    before = _files(config)
    try:
        sweeps.use_cores(factorizations=getattr(module, "FACTORIZES", False))
        common.use_cache(getattr(config, "cache", None))
        numbers = module.run(config)
    except KeyboardInterrupt as stop:
        return {"status": "interrupted"} | _saved(config, before, stop, name, options)
    return {
        "status": "done",
        "out": getattr(config, "out", None),
        "files": _changed(config, before),
        "numbers": numbers,
    }


def _list(options: Sequence[str]) -> dict[str, Any]:
    """Print the claims that are tested, and those that are not."""
    from experiments.claims import registry

    if options:
        raise Refused(f"`list` takes no options; got {' '.join(options)}")
    rows, absent = registry.listing()
    for row in rows:
        print(f"{row['id']:<4} {row['topic']:<16} {row['statement']}")
    missing = f" Not there yet: {', '.join(absent)}" if absent else ""
    print(f"\n{len(rows)} of {len(rows) + len(absent)} claims.{missing}")
    print("python -m experiments claims ID ... tests some, python -m experiments claims all of them")
    return {"status": "done", "numbers": {"claims": rows, "not there yet": absent}}


def _config(tyro: Any, module: Any, name: str, options: Sequence[str]) -> Any:
    """The configuration that options make. Raises `Refused`, in one line, for those that are none."""
    program = f"python -m experiments {name}"
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(module.Config, prog=program, description=module.__doc__, args=list(options))
    except ValueError as error:  # of a Config: older releases of tyro let it through
        raise Refused(str(error)) from None
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise Refused(f"{_unframed(shown.getvalue())}; {program} --help explains the options") from None


def _unframed(text: str) -> str:
    """A framed message in one line: what is between its title and the next rule, and the options that it proposes."""
    rows = [line.strip("│ ") for line in text.splitlines()]
    _, *rows = [row for row in rows if row] or [""]
    while rows and not rows[0].strip("─-"):
        rows.pop(0)
    end = next((i for i, row in enumerate(rows) if not row.strip("─-╰╯")), len(rows))
    proposed = [row.split()[0] for row in rows[end:] if row.startswith("--")] if "erhaps you meant" in text else []
    message = " ".join(rows[:end]).removeprefix("Error parsing Config: ") or " ".join(text.split())
    return message + (f"; perhaps you meant {' or '.join(proposed)}" if proposed else "")


def _files(config: Any) -> dict[str, int]:
    """The files in an experiment's output folder, and when each was written."""
    out = getattr(config, "out", None)
    if out is None or not Path(out).is_dir():
        return {}
    return {path.name: path.stat().st_mtime_ns for path in sorted(Path(out).iterdir()) if path.is_file()}


def _changed(config: Any, before: dict[str, int]) -> list[str]:
    return [name for name, written in _files(config).items() if before.get(name) != written]


def _saved(
    config: Any, before: dict[str, int], stop: KeyboardInterrupt, name: str, options: Sequence[str]
) -> dict[str, Any]:
    """What an interrupted experiment leaves, and the command that goes on from there."""
    files, again = _changed(config, before), [*options]
    texts = [str(stop)] if str(stop) else []
    if files:
        texts.append(f"{', '.join(files)} {'is' if len(files) == 1 else 'are'} whole in {config.out}")
    if str(stop) and not getattr(config, "resume", True):
        again.append("--resume")
    saved = "; ".join(texts) or "nothing was written yet"
    return {"saved": saved, "files": files, "resume": shlex.join(["python", "-m", "experiments", name, *again])}


def _line(error: BaseException) -> str:
    """The text of an error in one line; items of a list are parted by semicolons."""
    return " ".join(str(error).replace(":\n- ", ": ").replace("\n- ", "; ").split()) or type(error).__name__


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before anything began
        sys.exit(130)
