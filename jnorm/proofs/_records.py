"""Certificates: what was claimed, how it came out, and files of them that are verified again without searching."""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from jnorm._ground import atomic
from jnorm.proofs._claims import Proof, search, verify
from jnorm.proofs._domains import Domain, Pair
from jnorm.proofs._enclosures import Box, flint
from jnorm.proofs._statements import STATEMENTS, Arguments

FORMAT = 1


@dataclass(frozen=True, repr=False)
class Certificate:
    """Outcome of a statement: all its claims with their proofs.

    ``holds`` is True (proved), False (refuted: ``counterexample`` is verified at 60 digits) or None (undecided within
    the budget). ``bound`` encloses the extreme of the first claim's quantity: the rate of a contraction, the change of
    variance of theorems 2 and 3. ``boxes`` are the leaves (m_low, m_high, v_low, v_high), in m = mean*omega and
    v = var*tau. ``seconds`` is the time that the proof took.
    """

    title: str
    statement: str
    arguments: Arguments
    proofs: tuple[Proof, ...]
    seconds: float

    def __repr__(self) -> str:
        facts: dict[str, Any] = {"holds": self.holds, "bound": self.bound, "rate": self.rate, "boxes": len(self.boxes)}
        known = {name: value for name, value in facts.items() if value is not None or name == "holds"}
        if self.counterexample is not None:
            known["counterexample"] = self.counterexample
        return f"Certificate({self.title}: {', '.join(f'{name}={value}' for name, value in known.items())})"

    @property
    def holds(self) -> bool | None:
        """True, False, or None: undecided."""
        return _all(proof.holds for proof in self.proofs)

    @property
    def bound(self) -> Pair:
        """Enclosure of the extreme of the first claim's quantity over all the domains it is claimed on."""
        first = self.proofs[0].claim
        alike = [p.bound for p in self.proofs if (p.claim.quantity, p.claim.sense) == (first.quantity, first.sense)]
        pick = max if first.sense == "<" else min
        return pick(low for low, _ in alike), pick(high for _, high in alike)

    @property
    def extremes(self) -> dict[str, Pair]:
        """Enclosure of every quantity's extreme, named by its claim; of the last domain where there are several."""
        return {str(proof.claim): proof.bound for proof in self.proofs}

    @property
    def rate(self) -> float | None:
        """Factor by which the map shrinks every path, or None where no contraction is claimed."""
        return max((p.bound[1] for p in self.proofs if p.claim.quantity == "rate"), default=None)

    @property
    def metric(self) -> str | None:
        """Metric of the rate."""
        for p in (proof.claim.p for proof in self.proofs if proof.claim.quantity == "rate"):
            return "dmean^2 + dvar^2" if p is None else f"{p:g}^2 dmean^2/var + dvar^2/var^2"
        return None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Leaf boxes of every claim."""
        return tuple(box for proof in self.proofs for box in proof.boxes)

    @property
    def searched(self) -> int:
        """Boxes looked at."""
        return sum(proof.searched for proof in self.proofs)

    @property
    def domain(self) -> tuple[Domain, ...]:
        """The different domains of the claims, in order."""
        return tuple(dict.fromkeys(proof.claim.domain for proof in self.proofs))

    @property
    def counterexample(self) -> dict[str, Any] | None:
        """Mean, var, omega and tau at which a claim fails, the claim, and an enclosure of its extreme."""
        for proof in self.proofs:
            if proof.holds is False and proof.point is not None:
                names = ("mean", "var", "omega", "tau")
                return dict(zip(names, proof.point, strict=True), claim=str(proof.claim), bound=proof.bound)
        return None

    @property
    def path(self) -> tuple[tuple[Pair, Pair], ...]:
        """(mean, var) rectangles by layer, from the start to the limit set; empty for other statements."""
        return tuple((mean, var) for mean, var, _ in self.arguments.get("path", ()))

    def enters(self, mean: Pair = (-0.1, 0.1), var: Pair = (0.8, 1.5)) -> int | None:
        """Layer from which the path stays in a rectangle (the paper's by default), or None."""
        out = [k for k, (m, v) in enumerate(self.path) if not _inside(m, mean) or not _inside(v, var)]
        layer = out[-1] + 1 if out else 0
        return layer if layer < len(self.path) else None


def _all(outcomes: Iterable[bool | None]) -> bool | None:
    outcomes = list(outcomes)
    return False if False in outcomes else None if None in outcomes else True


def _inside(a: Pair, b: Pair) -> bool:
    return b[0] <= a[0] and a[1] <= b[1]


def prove(title: str, statement: str, *, tol: float, budget: int, **arguments: Any) -> Certificate:
    """Search the proof of every claim that the statement makes of these arguments."""
    start = time.perf_counter()
    proofs = tuple(search(claim, tol=tol, budget=budget) for claim in STATEMENTS[statement](**arguments))
    return Certificate(title, statement, arguments, proofs, time.perf_counter() - start)


class Verified(NamedTuple):
    """One certificate of a file: what it says, what its boxes show, and the time that took in seconds."""

    title: str
    claimed: bool | None
    holds: bool | None
    boxes: int
    seconds: float


def write(path: str | os.PathLike[str], certificates: Sequence[Certificate]) -> None:
    """Write certificates to a JSON file: statements, arguments, bounds, points, leaf boxes, versions and a digest.

    The file appears whole or not at all. Raises ``OSError``, which names it, where it cannot be written.
    """
    content = {
        "format": FORMAT,
        "versions": {
            "jnorm": version("jnorm"),
            "python-flint": version("python-flint"),
            "flint": flint().__FLINT_VERSION__,
        },
        "certificates": [
            {
                "title": c.title,
                "statement": c.statement,
                "arguments": c.arguments,
                "holds": c.holds,
                "seconds": c.seconds,
                "proofs": [
                    {"claim": str(p.claim), "bound": _known(p.bound), "point": p.point, "boxes": p.boxes}
                    for p in c.proofs
                ],
            }
            for c in certificates
        ],
    }
    text = json.dumps({**content, "digest": digest(content)}, separators=(",", ":"))
    atomic.write(path, text.encode())


def check(path: str | os.PathLike[str]) -> list[Verified]:
    """Verify a certificate file box by box, without searching.

    The claims are made anew from each statement and its arguments; their leaves must cover the domain and show the
    bound, their points must reach it. Raises ``ValueError`` for a file that is not whole or whose digest is not its
    content's.
    """
    content = _read(Path(path))
    outcomes = []
    for entry in content["certificates"]:
        start = time.perf_counter()
        proofs = _proofs(entry)
        holds = None if proofs is None else _all(verify(proof) for proof in proofs)
        boxes = sum(len(proof.boxes) for proof in proofs or ())
        outcomes.append(Verified(entry["title"], entry["holds"], holds, boxes, time.perf_counter() - start))
    return outcomes


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        stored, known = content.pop("digest"), content["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole certificate file: {error!r}") from error
    if stored != digest(content):
        raise ValueError(f"{path} was edited: its digest is not its content's")
    if known != FORMAT:
        raise ValueError(f"{path} has format {known}; this version reads format {FORMAT}")
    return dict(content)


def _proofs(entry: dict[str, Any]) -> list[Proof] | None:
    """The stored proofs beside the claims that the statement makes, or None where the two do not match."""
    try:
        claims, stored = STATEMENTS[entry["statement"]](**entry["arguments"]), entry["proofs"]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if len(claims) != len(stored):
        return None
    return [
        Proof(claim, None, _ends(s["bound"]), s["point"] and tuple(s["point"]), tuple(map(tuple, s["boxes"])), 0)
        for claim, s in zip(claims, stored, strict=True)
    ]


def _known(bound: Pair) -> list[float | None]:
    """JSON has no infinity."""
    return [end if math.isfinite(end) else None for end in bound]


def _ends(bound: Sequence[float | None]) -> Pair:
    low, high = bound
    return -math.inf if low is None else low, math.inf if high is None else high


def digest(content: dict[str, Any]) -> str:
    """Digest of a certificate file's content: it shows a slip or a cut, while only the boxes show the truth."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
