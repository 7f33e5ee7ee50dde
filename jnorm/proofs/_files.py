"""Files of certificates, which are verified again without searching."""

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from jnorm._ground import atomic
from jnorm.proofs._balls import flint
from jnorm.proofs._certificates import Certificate, together
from jnorm.proofs._inequalities import Proof
from jnorm.proofs._search import verify
from jnorm.proofs._shapes import Interval, Point
from jnorm.proofs._statements import STATEMENTS

FORMAT = 1


class Verified(NamedTuple):
    """One certificate of a file, verified again.

    Attributes:
        title: What tables and files call it.
        claimed: The outcome that the file says: True, False or None (undecided).
        holds: The outcome that its boxes and points show; None where they show nothing.
        boxes: How many leaves were looked at.
        seconds: Time that it took.
    """

    title: str
    claimed: bool | None
    holds: bool | None
    boxes: int
    seconds: float


def write(path: str | os.PathLike[str], certificates: Sequence[Certificate]) -> None:
    """Write certificates to a JSON file: statements, arguments, bounds, points, leaf boxes, versions and a digest.

    The file appears whole or not at all.

    Args:
        path: Where to.
        certificates: What to write, in this order.

    Raises:
        OSError: Where the file cannot be written; the message names it.
        ModuleNotFoundError: Without python-flint (extra: verify).

    >>> import tempfile
    >>> from jnorm.proofs.certificate import theorem1, theorem2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/selu.json", [theorem1(), theorem2()])
    ...     [(verified.title, verified.holds, verified.boxes) for verified in check(f"{folder}/selu.json")]
    [('theorem 1', True, 11), ('theorem 2', True, 4)]
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
                    # for readers: the inequality is made anew from the statement, never from its text
                    {"claim": str(p.inequality), "bound": _finite(p.bound), "point": p.point, "boxes": p.boxes}
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

    The inequalities are made anew from each statement and its arguments; their leaves must cover the domain and show
    the bound, their points must reach it.

    Args:
        path: A file that `write` made.

    Returns:
        What each of its certificates says and shows, in order. One that does not fit its statement shows nothing.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: For a file that is not whole, is of another format, or does not have its content's digest.
        ModuleNotFoundError: Without python-flint (extra: verify).

    >>> import tempfile
    >>> from jnorm.proofs.certificate import theorem2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/refuted.json", [theorem2(var=(2.45, 16))])
    ...     [(verified.claimed, verified.holds) for verified in check(f"{folder}/refuted.json")]
    [(False, False)]
    """
    content = _read(Path(path))
    outcomes = []
    for entry in content["certificates"]:
        start = time.perf_counter()
        proofs = _proofs(entry)
        holds = None if proofs is None else together(verify(proof) for proof in proofs)
        boxes = sum(len(proof.boxes) for proof in proofs or ())
        outcomes.append(Verified(entry["title"], entry["holds"], holds, boxes, time.perf_counter() - start))
    return outcomes


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        stored, written = content.pop("digest"), content["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole certificate file: {error!r}") from error
    if stored != digest(content):
        raise ValueError(f"{path} was edited: its digest is not its content's")
    if written != FORMAT:
        raise ValueError(f"{path} has format {written}; this version reads format {FORMAT}")
    return dict(content)


def _proofs(entry: dict[str, Any]) -> list[Proof] | None:
    """The stored proofs beside the inequalities that the statement makes, or None where the two do not match."""
    try:
        inequalities, stored = STATEMENTS[entry["statement"]](**entry["arguments"]), entry["proofs"]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if len(inequalities) != len(stored):
        return None
    return [
        Proof(
            inequality,
            holds=None,
            bound=_extended(proof["bound"]),
            point=Point(*proof["point"]) if proof["point"] else None,
            boxes=tuple(map(tuple, proof["boxes"])),
            searched=0,
        )
        for inequality, proof in zip(inequalities, stored, strict=True)
    ]


def _finite(bound: Interval) -> list[float | None]:
    """JSON has no infinity."""
    return [end if math.isfinite(end) else None for end in bound]


def _extended(bound: Sequence[float | None]) -> Interval:
    low, high = bound
    return -math.inf if low is None else low, math.inf if high is None else high


def digest(content: dict[str, Any]) -> str:
    """Digest of a certificate file's content: it shows a slip or a cut, while only the boxes show the truth."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
