"""Types in the examples of README and how-to pages, as an editor checks them: ``python .ci/examples.py [PAGE ...]``.

Each page becomes a module whose lines stand where they stand on the page, and pyright reads them all.
"""

import doctest
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import _pages  # noqa: E402

SETTINGS = {
    "typeCheckingMode": "standard",
    "reportUnusedExpression": False,  # a cell shows its last line
    "reportRedeclaration": False,  # a page may begin a function anew
    "reportPossiblyUnboundVariable": False,  # loops over what is not empty
    "pythonVersion": "3.11",
}
FOREIGN = ("FrozenVariableDict", "FrozenDict", "allow_pickle")
"""Of others: Flax's ``apply`` is declared to return a value or a tuple, NumPy's ``savez(**arrays)`` to take a bool."""


def module(page: Path) -> str:
    """The Python of a page, everything else left blank."""
    text = page.read_text()
    lines = [""] * (text.count("\n") + 1)
    for match in _pages.FENCE.finditer(text):
        first = text.count("\n", 0, match.start("code"))
        if match["language"] == "{code-cell}":
            options = _pages.OPTIONS.match(match["code"])
            skipped = match["code"].count("\n", 0, options.end() if options else 0)
            lines[first + skipped : first + match["code"].count("\n")] = match["code"].split("\n")[skipped:-1]
        elif ">>>" in match["code"]:
            for example in doctest.DocTestParser().get_examples(match["code"]):
                source = example.source.rstrip("\n").split("\n")
                lines[first + example.lineno : first + example.lineno + len(source)] = source
    return "\n".join(lines)


def main(pages: list[Path]) -> int:
    """Write the modules and run pyright; tell where on a page it finds what."""
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for page in pages:
            file = Path(folder, str(page.relative_to(ROOT).with_suffix("")).replace("/", "_") + ".py")
            file.write_text(module(page))
            names[str(file.resolve())] = page.relative_to(ROOT)
        settings = {**SETTINGS, "extraPaths": [str(ROOT)], "include": [folder]}
        Path(folder, "pyrightconfig.json").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder]
        run = subprocess.run(command, capture_output=True, text=True)
    try:
        found = [
            one
            for one in json.loads(run.stdout)["generalDiagnostics"]
            if one["severity"] == "error" and not any(word in one["message"] for word in FOREIGN)
        ]
    except json.JSONDecodeError:
        print(run.stdout, run.stderr, file=sys.stderr)
        return 2
    for one in found:
        line = one["range"]["start"]["line"] + 1
        print(f"{names[one['file']]}:{line}: {one['message']} [{one.get('rule', '')}]")
    print(f"pyright: {len(found)} errors in the examples of {len(pages)} pages")
    return len(found) > 0


if __name__ == "__main__":
    given = [Path(name).resolve() for name in sys.argv[1:]]
    own = [ROOT / "README.md", ROOT / "docs" / "first_ten_minutes.md", *sorted((ROOT / "docs" / "how_to").glob("*.md"))]
    sys.exit(main(given or [page for page in own if page.exists()]))
