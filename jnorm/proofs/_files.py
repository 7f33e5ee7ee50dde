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
from jnorm._ground.checks import choice
from jnorm.proofs._balls import flint
from jnorm.proofs._certificates import Certificate, together
from jnorm.proofs._inequalities import Proof, extremes
from jnorm.proofs._propositions import proposition, title
from jnorm.proofs._records import read
from jnorm.proofs._search import verify
from jnorm.proofs._shapes import Activation, Interval, Point
from jnorm.proofs._statements import CHOSEN, STATEMENTS

FORMAT = 2


class Verified(NamedTuple):
    """One certificate of a file, verified again.

    Attributes:
        title: What tables call it, made from its statement and arguments.
        claimed: The outcome that the file says: True, False or None (undecided).
        holds: The outcome that its boxes and points show; None where they show nothing.
        boxes: How many leaves were looked at.
        seconds: Time that it took.
        proposition: What is proved where ``holds`` is True, in a sentence made from the numbers that were verified.
        reason: Why nothing is shown, where that is known; else empty.
    """

    title: str
    claimed: bool | None
    holds: bool | None
    boxes: int
    seconds: float
    proposition: str
    reason: str


def write(path: str | os.PathLike[str], certificates: Sequence[Certificate]) -> None:
    """Write certificates to a JSON file, which appears whole or not at all.

    The file is an object of "format" (2), "versions" (of jnorm, python-flint and flint), "certificates" and "digest"
    (SHA-256, in hexadecimal digits, of the rest as JSON with sorted keys and no spaces). A certificate is an object of

    - "statement", "arguments": its name, and an object of numbers, [low, high] intervals, texts and lists of these;
      each number of them means the decimal that is written;
    - "holds": true, false (refuted) or null (undecided); "seconds": time of the proof;
    - "proofs": a list, in the order of the statement's inequalities, of objects of "claim" (the inequality, for
      readers), "bound" (two floats that enclose the extreme of its quantity on its domain, null for an infinite one),
      "point" (mean, var, omega, tau as decimals, where it comes nearest to that, or null) and "boxes", a list of
      [m_low, m_high, v_low, v_high], as floats: they cover m = mean*omega, v = var*tau of the domain, and on each of
      them the bound holds. A domain whose omega has two signs and is not symmetric makes two inequalities, omega <= 0
      before omega >= 0. Closed forms have no boxes.

    Which inequalities a statement makes is listed in `jnorm/proofs/_statements.py`.

    Args:
        path: Where to.
        certificates: What to write, in this order; one at least.

    Raises:
        OSError: Where the file cannot be written; the message names it.
        ValueError: For no certificates, and one of a function ``phi``.
        ModuleNotFoundError: Without python-flint (extra: verify).

    >>> import tempfile
    >>> from jnorm.proofs.certificate import theorem1, theorem2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/selu.json", [theorem1(), theorem2()])
    ...     [(verified.title, verified.holds, verified.boxes) for verified in check(f"{folder}/selu.json")]
    [('theorem 1', True, 11), ('theorem 2', True, 4)]
    """
    if not certificates:
        raise ValueError("`certificates` must hold one at least; got none")
    for c in certificates:
        if isinstance(phi := c.arguments.get("target"), Activation):
            raise ValueError(f"`certificates` must be of scaled ELUs, which numbers name; one is of {phi.name}")
    content = {
        "format": FORMAT,
        "versions": {
            "jnorm": version("jnorm"),
            "python-flint": version("python-flint"),
            "flint": flint().__FLINT_VERSION__,
        },
        "certificates": [
            {
                "statement": c.statement,
                "arguments": c.arguments,
                "holds": c.holds,
                "seconds": c.seconds,
                "proofs": [
                    {"claim": str(p.inequality), "bound": _finite(p.bound), "point": p.point, "boxes": p.boxes}
                    for p in c.proofs
                ],
            }
            for c in certificates
        ],
    }
    text = json.dumps({**content, "digest": digest(content)}, separators=(",", ":"), allow_nan=False)
    atomic.write(path, text.encode())


def check(path: str | os.PathLike[str]) -> list[Verified]:
    """Verify a certificate file box by box, without searching.

    The inequalities are made anew from each statement and its arguments, and must be those of the file; titles and
    sentences are not in it, but made from what was verified. Leaves must cover the domain and show the bound, points
    must reach it.

    Args:
        path: A file that `write` made.

    Returns:
        What each of its certificates says and shows, in order. One that does not fit its statement shows nothing.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: For a file that is not whole, is of another format, does not have its content's digest, holds no
            certificate, or has a field that is missing, unknown or of another kind, which is named.
        ModuleNotFoundError: Without python-flint (extra: verify).

    >>> import tempfile
    >>> from jnorm.proofs.certificate import theorem2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/refuted.json", [theorem2(var=(2.45, 16))])
    ...     [(verified.claimed, verified.holds) for verified in check(f"{folder}/refuted.json")]
    [(False, False)]
    """
    return [_verified(entry) for entry in read(Path(path), FORMAT, digest)]


def _verified(entry: dict[str, Any]) -> Verified:
    start = time.perf_counter()
    name, says, reason, holds, boxes = "unknown", "", "", None, 0
    try:
        statement, arguments = entry["statement"], entry["arguments"]
        choice("statement", statement, STATEMENTS)
        name = title(statement, arguments)
        proofs = _made_anew(statement, arguments, entry["proofs"])
        says = proposition(statement, arguments, extremes(proofs))
        boxes = sum(len(proof.boxes) for proof in proofs)
        holds = together(verify(proof) for proof in proofs)
        if holds is False and statement in CHOSEN:
            holds = None
        if holds is None and entry["holds"] is not None:
            reason = "its boxes and points do not show it"
    except KeyError as error:
        reason = f"its arguments lack {error}"
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = str(error)
    return Verified(name, entry["holds"], holds, boxes, time.perf_counter() - start, says, reason)


def _made_anew(statement: str, arguments: dict[str, Any], stored: list[dict[str, Any]]) -> list[Proof]:
    """The proofs of a statement's inequalities, whose claims are those of the file; else an error says why not."""
    inequalities = STATEMENTS[statement](**arguments)
    claims, texts = [str(inequality) for inequality in inequalities], [proof["claim"] for proof in stored]
    if claims != texts:
        raise ValueError(f"its claims must be {claims}; got {texts}"[:300])
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
