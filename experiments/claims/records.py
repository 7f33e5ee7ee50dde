"""Results of claims in a folder: a record a claim, written as soon as it is decided, and a summary of all of them."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jnorm
from experiments.checks import Refused
from experiments.claims.claim import Setup, Skipped, together
from experiments.claims.ids import order
from experiments.claims.registry import Entry
from experiments.common import Output, plain
from jnorm import statistics

FORMAT = 2


def versions() -> dict[str, str | int]:
    """What made a record."""
    return {"format": FORMAT, "jnorm": jnorm.__version__, "jax": jax.__version__}


def folder_for(folder: Path) -> Path:
    """The folder itself, or one beside it where it holds the records of another version, which are kept."""
    about = folder / "versions.json"
    if not about.exists() or json.loads(about.read_text()) == versions():
        return folder
    return folder.with_name("-".join([folder.name, *(str(value) for value in versions().values())]))


def measured(entry: Entry, config: Any, setup: Setup, output: Output) -> dict[str, Any]:
    """Measure and decide one claim; the record that is kept, its figure written beside it."""
    claim, start = entry.claim, time.perf_counter()
    record: dict[str, Any] = {"id": claim.id, "topic": entry.topic, "statement": claim.statement}
    record |= {"measured": claim.measured, "rules": rules(entry), "seeds": [setup.seeds.start, setup.seeds.stop]}
    record |= {"config": repr(config), "data": setup.data, "versions": versions(), "parts": []}
    record |= {"figure": None, "caption": claim.caption, "notes": "", "mended": claim.mended}
    try:
        numbers = claim.measure(config, setup)
        record["parts"] = [outcome._asdict() for outcome in claim.decide(numbers)]
        record["foreseen"] = [row._asdict() for row in numbers.get("foreseen", ())]
        record["notes"] = numbers.get("notes", "")
        if claim.draw is not None:
            output.figure(claim.id, claim.draw(numbers), **arrays(numbers))
            record["figure"] = f"{claim.id}.svg"
    except Skipped as reason:
        record["skipped"] = str(reason)
    record["seconds"] = time.perf_counter() - start
    output.bytes(f"{claim.id}.json", (json.dumps(plain(record), indent=1) + "\n").encode())
    return record


def rules(entry: Entry) -> list[str]:
    """The rules of a claim in words."""
    return [f"{part.what}: {part}" for part in entry.claim.parts]


def arrays(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Those quantities that are arrays or numbers."""
    return {name: a for name, a in numbers.items() if isinstance(a, int | float | np.ndarray | np.generic | jax.Array)}


def current(folder: Path, entry: Entry, config: Any, setup: Setup) -> bool:
    """Whether the folder has the record of this claim, by these rules, with these options."""
    path = folder / f"{entry.claim.id}.json"
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    same = record["rules"] == rules(entry) and record["config"] == repr(config) and record["data"] == setup.data
    return bool(same and record["seeds"] == [setup.seeds.start, setup.seeds.stop] and "skipped" not in record)


def read(folder: Path) -> list[dict[str, Any]]:
    """All records of a folder, in order, with verdicts that are corrected over all of them."""
    names = [path.stem for path in folder.glob("*.json") if path.stem[1:].isdigit()]
    return corrected([json.loads((folder / f"{name}.json").read_text()) for name in order(names)])


def of_file(path: Path) -> dict[str, Any]:
    """A summary that was written before. Raises `Refused` for a file that is none."""
    try:
        found = json.loads(path.read_text())
        return {"claims": found["claims"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"`against` must be the summary.json of claims; got '{path}': {error!r}") from None


def corrected(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with ``verdict``, corrected by Holm's procedure over all comparisons, and ``uncorrected``.

    A comparison that is not decided at its corrected p-value is undecided, as its part says in ``corrected``.
    """
    parts = [part for record in records for part in record["parts"] if part["level"] is not None]
    ps = [1.0 if part["p"] is None else part["p"] for part in parts]  # too few runs for a test
    for part, p in zip(parts, statistics.holm(np.array(ps), axis=0) if parts else (), strict=True):
        part["adjusted_p"] = float(p)
    for record in records:
        raw = [part["verdict"] for part in record["parts"]]
        for part in record["parts"]:
            fair = part["level"] is None or part["adjusted_p"] <= part["level"]
            part["corrected"] = part["verdict"] if fair else "undecided"
        record["uncorrected"] = "skipped" if "skipped" in record else together(raw)
        record["verdict"] = (
            "skipped" if "skipped" in record else together([part["corrected"] for part in record["parts"]])
        )
    return records


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """All records and how many there are of each verdict."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record["verdict"]] = counts.get(record["verdict"], 0) + 1
    return {"versions": versions(), "verdicts": counts, "claims": records}
