"""Why a store belongs to another sweep, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 3


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What a store's manifest and the manifest of the sweep that is asked for do not share, a line each.

    Programs are compared only between equal versions of JAX, which may write down the same program in another way.

    >>> print(differences({"train": "a.train", "seeds": [0, 1]}, {"train": "a.train", "seeds": [0, 2, 3]}))
    ['seeds: 1 only there; 2, 3 only here']
    """
    found = []
    if there.get("train") != here.get("train"):
        found.append(f"train: {there.get('train')} there, {here.get('train')} here")
    for name in ("configurations", "seeds"):
        found += _listed(name, there.get(name, []), here.get(name, []))
    for name, words in (("keys", "another kind of random keys"), ("shared", "other data")):
        if there.get(name) != here.get(name):
            found.append(f"{name}: {words}")
    mine, theirs = here.get("outputs", {}), there.get("outputs", {})
    for name in sorted(set(mine) | set(theirs)):
        if mine.get(name) != theirs.get(name):
            found.append(f"output {name}: {_array(theirs.get(name))} there, {_array(mine.get(name))} here")
    if not found and _version(there) == _version(here):
        for one, other in zip(there.get("programs", []), here.get("programs", []), strict=True):
            if one != other:
                of = f" of {other['static']}" if other["static"] else ""
                found.append(f"program{of}: `train` does something else now (its code, or numbers that it holds)")
    return found


def _version(manifest: Mapping[str, Any]) -> Any:
    return manifest.get("versions", {}).get("jax")


def _listed(name: str, there: Sequence[Any], here: Sequence[Any]) -> list[str]:
    if there == here:
        return []
    only = [
        ([one for one in a if one not in b], side) for a, b, side in ((there, here, "there"), (here, there, "here"))
    ]
    words = [f"{_some(values)} only {side}" for values, side in only if values]
    return [f"{name}: {'; '.join(words)}"] if words else []


def _some(values: Sequence[Any]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def _array(output: Any) -> str:
    return "none" if output is None else f"{output[1]}{list(output[0])}"
