"""Reading a certificate file: whole, of its digest, and every field of its kind."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Kind = Callable[[Any], bool]


def read(path: Path, form: int, digest: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """The certificates of a file as plain objects, all fields of which are there and of their kinds.

    Args:
        path: The file.
        form: The format that is read.
        digest: Of a file's content without its digest.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: Where it is no such file; the field is named.
    """
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_float)
        stored, written = content.pop("digest"), content["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole certificate file: {error!r}") from error
    if stored != digest(content):
        raise ValueError(f"{path} was edited: its digest is not its content's")
    if written != form or isinstance(written, bool):
        raise ValueError(f"{path} has format {written}; this version reads format {form}")
    _fields(str(path), content, FILE)
    if not content["certificates"]:
        raise ValueError(f"{path}: `certificates` must hold one at least; got none")
    for k, entry in enumerate(content["certificates"]):
        _fields(place := f"{path}: certificates[{k}]", entry, ENTRY)
        for i, proof in enumerate(entry["proofs"]):
            _fields(f"{place}.proofs[{i}]", proof, PROOF)
    return list(content["certificates"])


def _fields(place: str, value: Any, kinds: dict[str, tuple[Kind, str]]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{place} must be an object; got {_short(value)}")
    for name in kinds.keys() - value.keys():
        raise ValueError(f"{place} lacks `{name}`")
    for name, given in value.items():
        if name not in kinds:
            raise ValueError(f"{place} has `{name}`; known fields are {', '.join(kinds)}")
        ok, rule = kinds[name]
        if not ok(given):
            raise ValueError(f"{place}: `{name}` must be {rule}; got {_short(given)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"a field stands twice among {[name for name, _ in pairs]}")
    return dict(pairs)


def _refuse(text: str) -> float:
    raise ValueError(f"numbers must be finite; got {text}")


def _float(text: str) -> float:
    x = float(text)
    return x if math.isfinite(x) else _refuse(text)


def _number(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, int) and not isinstance(x, bool) and abs(x) < 2**1000)


def _list(x: Any, kind: Kind, size: int | None = None) -> bool:
    return isinstance(x, list) and size in (None, len(x)) and all(map(kind, x))


def _text(x: Any) -> bool:
    return isinstance(x, str)


FILE = {
    "format": (lambda x: True, "a number"),
    "versions": (lambda x: isinstance(x, dict) and all(map(_text, x.values())), "an object of texts"),
    "certificates": (lambda x: isinstance(x, list), "a list"),
}
ENTRY = {
    "statement": (_text, "a text"),
    "arguments": (lambda x: isinstance(x, dict), "an object"),
    "holds": (lambda x: x is None or isinstance(x, bool), "true, false or null"),
    "seconds": (_number, "a number"),
    "proofs": (lambda x: isinstance(x, list) and len(x) > 0, "a list of one object at least"),
}
PROOF = {
    "claim": (_text, "a text"),
    "bound": (lambda x: _list(x, lambda end: end is None or _number(end), 2), "two numbers, or null for infinite ones"),
    "point": (lambda x: x is None or _list(x, _number, 4), "mean, var, omega and tau, or null"),
    "boxes": (lambda x: _list(x, lambda box: _list(box, _number, 4)), "a list of quadruples of numbers"),
}
