"""All declared claims, collected from the modules of ``topics``: adding one is an entry and a function there."""

import importlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from experiments.catalogue import nearest
from experiments.checks import Refused
from experiments.claims.claim import Claim
from experiments.claims.ids import IDS, order


class Entry(NamedTuple):
    """A claim, the topic that declares it, and the topic's configurations.

    Attributes:
        claim: The claim.
        topic: The name of the topic's module.
        full: The configuration of a full run.
        quick: That of a quick one.
    """

    claim: Claim
    topic: str
    full: Any
    quick: Any

    def config(self, *, quick: bool) -> Any:
        """That of a quick run, or of a full one."""
        return self.quick if quick else self.full


@cache
def declared() -> dict[str, Entry]:
    """The claims by id, in order. Raises ``ValueError`` for one that is declared twice or has no such number."""
    found: dict[str, Entry] = {}
    for path in sorted(Path(__file__).with_name("topics").glob("[!_]*.py")):
        module = importlib.import_module(f"experiments.claims.topics.{path.stem}")
        for claim in module.CLAIMS:
            if claim.id in found or claim.id not in IDS:
                raise ValueError(f"{path.stem}: {claim.id} is {'declared twice' if claim.id in found else 'no claim'}")
            found[claim.id] = Entry(claim, path.stem, module.Config(), module.QUICK)
    return {name: found[name] for name in order(found)}


def chosen(ids: tuple[str, ...]) -> dict[str, Entry]:
    """The claims with these ids, or all. Raises `Refused` for others, with the nearest ones."""
    known = declared()
    for name in ids:
        if name not in known:
            if name in IDS:
                raise Refused(f"claim {name} is not there yet; `python -m experiments list` names those that are")
            near = nearest(name, known)
            raise Refused(f"no claim {name!r}{': did you mean ' + ' or '.join(near) + '?' if near else ''}")
    return {name: known[name] for name in known if not ids or name in ids}


def listing() -> tuple[list[dict[str, str]], list[str]]:
    """Id, topic and statement of every claim that is there, and the ids of those that are not there yet."""
    known = declared()
    rows = [{"id": name, "topic": entry.topic, "statement": entry.claim.statement} for name, entry in known.items()]
    return rows, [name for name in IDS if name not in known]
