"""Why a store belongs to another sweep, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

_RANDOM = {
    "jax_default_prng_impl",
    "jax_high_dynamic_range_gumbel",
    "jax_random_seed_offset",
    "jax_threefry_partitionable",
}
_SHOWN = 3  # values of a list that are named one by one


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What a store's manifest and the manifest of the sweep that is asked for do not share, a line each.

    The same program may be written down in another way by another version of JAX: then only `version`, if the caller
    gave one, can say that it is the same.

    >>> print(differences({"train": "a.train", "seeds": [0, 1]}, {"train": "a.train", "seeds": [0, 2, 3]}))
    ['seeds: 1 only in the store; 2, 3 only in this call (a store keeps its seeds: give another folder for others)']
    """
    lines = []
    for name in ("train", "version"):
        if stored.get(name) != wanted.get(name):
            lines.append(_changed(name, stored.get(name), wanted.get(name)))
    lines += _listed("configurations", stored.get("configurations", []), wanted.get("configurations", []))
    seeds = stored.get("seeds", []), wanted.get("seeds", [])
    for line in _listed("seeds", *seeds):
        lines.append(f"{line} (a store keeps its seeds: give another folder for others)")
    lines += _keys(stored, wanted)
    if stored.get("shared") != wanted.get("shared"):
        lines.append("data: `shared` holds other arrays than in the store")
    for name, before, after in _pairs(stored.get("settings", {}), wanted.get("settings", {})):
        reason = ", which changes random numbers" if name in _RANDOM else ""
        lines.append(_changed(f"flag {name}", before, after) + reason)
    for name, before, after in _pairs(stored.get("outputs", {}), wanted.get("outputs", {})):
        lines.append(_changed(f"output {name}", _array(before), _array(after)))
    return lines or _programs(stored, wanted)


def platform_line(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """That a store was begun on another platform, in words; None where it was not, or where it does not say.

    >>> platform_line({"platform": {"name": "cpu"}}, {"platform": {"name": "gpu"}}).partition("; ")[0]
    'platform: cpu in the store, gpu in this call, whose products and functions round otherwise'
    """
    before, after = (manifest.get("platform", {}) for manifest in (stored, wanted))
    known = before.get("name", "cpu" if before.get("device") == "cpu" else None)  # older stores have no name
    if known in (None, after.get("name")):
        return None
    draws = wanted.get("keys", {}).get("platform") is not None
    why = "which changes random numbers" if draws else "whose products and functions round otherwise"
    ways = f"finish it there (`mesh`, JAX_PLATFORMS={known}), or give another folder"
    return f"{_changed('platform', known, after['name'])}, {why}; {ways}"


def _keys(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs in random keys, for seeds that both have."""
    before, after = stored.get("keys", {}), wanted.get("keys", {})
    if before.get("implementation") != after.get("implementation"):
        line = _changed("impl", before.get("implementation"), after.get("implementation"))
        return [f"{line}, which changes random numbers"]
    old, new = (
        dict(zip(m.get("seeds", []), m.get("keys", {}).get("data", []), strict=False)) for m in (stored, wanted)
    )
    other = [seed for seed in old if seed in new and old[seed] != new[seed]]
    return [f"keys: other random keys for the same seeds, {_first(other)}"] if other else []


def _programs(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    before, after = (manifest.get("versions", {}).get("jax") for manifest in (stored, wanted))
    if before != after:
        if wanted.get("version") is not None:
            return []
        text = "which write programs down in different ways, so that nobody can tell whether `train` is the same"
        return [f"{_changed('jax', before, after)}, {text}; go on with JAX {before}, or give another folder"]
    lines = []
    for program, other in zip(stored.get("programs", []), wanted.get("programs", []), strict=True):
        if program != other:
            which = f" of {other['static']}" if other["static"] else ""
            text = "`train` does something else now (its code, or numbers that it holds)"
            lines.append(f"program{which}: {text}; give another folder, or the code of the store")
    return lines


def _changed(name: str, before: Any, after: Any) -> str:
    before, after = ("none" if value is None else value for value in (before, after))
    return f"{name}: {before} in the store, {after} in this call"


def _pairs(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name and both values of the entries that differ; None for one that is missing."""
    pairs = [(name, stored.get(name), wanted.get(name)) for name in sorted({*stored, *wanted})]
    return [(name, before, after) for name, before, after in pairs if before != after]


def _listed(name: str, stored: Sequence[Any], wanted: Sequence[Any]) -> list[str]:
    sides = ((stored, wanted, "the store"), (wanted, stored, "this call"))
    extra = [([value for value in these if value not in those], side) for these, those, side in sides]
    parts = [f"{_first(values)} only in {side}" for values, side in extra if values]
    return [f"{name}: {'; '.join(parts)}"] if parts else []


def _first(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more


def _array(output: Any) -> str:
    return "none" if output is None else f"{output[1]}{list(output[0])}"
