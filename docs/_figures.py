"""Committed pictures and the code that makes them: ``python -m docs._figures`` notes that they are of one state.

Pages draw their pictures while they are built. Those that experiments draw in minutes lie in ``experiments/figures``;
what they were drawn by is noted beside them, and a build fails where that has changed since. Then run the experiment,
copy its picture, and note it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "experiments" / "figures"
NOTE = FIGURES / "made_by.json"
CANVAS = "jnorm/plots/_canvas.py"
MADE_BY = {
    "portrait.png": ("selu_fixed_point", ("experiments/portrait.py", "jnorm/plots/_theory.py", CANVAS)),
    "accuracy.png": ("seed_sweep", ("experiments/seed_sweep.py", "experiments/classification.py", CANVAS)),
}
"""The experiment of each picture, and the files that decide what it looks like."""


def state(name: str) -> str:
    """A name for the state of a picture and of its code."""
    parts = [(FIGURES / name).read_bytes(), *((ROOT / file).read_bytes() for file in MADE_BY[name][1])]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def problems() -> Iterator[str]:
    """Which pictures are older than their code, or not noted."""
    noted = json.loads(NOTE.read_text())
    for path in sorted(FIGURES.glob("*.png")):
        if path.name not in MADE_BY:
            yield f"{path.relative_to(ROOT)}: docs/_figures.py does not say what makes it"
        elif noted.get(path.name) != state(path.name):
            command = f"python -m experiments {MADE_BY[path.name][0]}"
            yield f"{path.relative_to(ROOT)} is older than its code: {command}, copy, python -m docs._figures"


if __name__ == "__main__":
    NOTE.write_text(json.dumps({name: state(name) for name in sorted(MADE_BY)}, indent=1) + "\n")
