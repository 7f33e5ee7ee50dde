"""Why a store belongs to another sweep, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from jnorm.sweeps._configurations import sort_key

_RANDOM = {
    "jax_default_prng_impl",
    "jax_high_dynamic_range_gumbel",
    "jax_random_seed_offset",
    "jax_threefry_partitionable",
}
_SHOWN = 3  # values of a list that are named one by one


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What of a store's manifest does not go with the manifest of the sweep that is asked for, a line each.

    Other configurations and seeds go: the store grows. The same program may be written down in another way by another
    version of JAX: then only `version`, if the caller gave one, can say that it is the same.

    >>> print(*differences({"train": "a.train", "version": "1"}, {"train": "a.train", "version": "2"}))
    version: 1 in the store, 2 in this call
    """
    lines = []
    for name in ("train", "version"):
        if stored.get(name) != wanted.get(name):
            lines.append(_changed(name, stored.get(name), wanted.get(name)))
    lines += _looks(stored.get("until"), wanted.get("until"))
    if before := stored.get("blocks"):
        lines += _names(before[0], wanted["blocks"][0])
    lines += _keys(stored, wanted)
    if stored.get("shared") != wanted.get("shared"):
        lines.append(f"data: `shared` holds other arrays than in the store{_arrays(stored, wanted)}")
    for name, before, after in _pairs(stored.get("settings", {}), wanted.get("settings", {})):
        reason = ", which changes random numbers" if name in _RANDOM else ""
        lines.append(_changed(f"flag {name}", before, after) + reason)
    for name, before, after in _pairs(stored.get("outputs", {}), wanted.get("outputs", {})):
        lines.append(_changed(f"output {name}", _array(before), _array(after)))
    return lines or list(dict.fromkeys(line for block in stored.get("blocks", []) for line in _programs(block, wanted)))


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


def _looks(stored: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> list[str]:
    """What differs in stopping rules: they are fixed before the data."""
    before, after = (None if until is None else (until["rule"], until["looks"]) for until in (stored, wanted))
    if before == after:
        return []
    shown = lambda until: "none" if until is None else f"looks at {_first(until['looks'])} seeds by {until['rule']!r}"
    why = "rules and looks are fixed before the data: give another folder"
    return [f"{_changed('until', shown(stored), shown(wanted))} ({why})"]


def _names(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs in the names of hyperparameters."""
    lines = []
    before, after = (sorted(block["configurations"][0]) for block in (stored, wanted))
    if before != after:
        lines.append(_changed("hyperparameters", ", ".join(before) or None, ", ".join(after) or None))
    before, after = (sorted(block["programs"][0]["static"]) for block in (stored, wanted))
    if before != after:
        lines.append(_changed("static", ", ".join(before) or None, ", ".join(after) or None))
    return [f"{line} (give another folder for others)" for line in lines]


def _keys(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs in random keys, for seeds that both have."""
    before, after = (manifest.get("keys", {}).get("implementation") for manifest in (stored, wanted))
    if before != after:
        return [f"{_changed('impl', before, after)}, which changes random numbers"]
    old, new = (
        {s: key for block in m.get("blocks", []) for s, key in zip(block["seeds"], block["keys"], strict=True)}
        for m in (stored, wanted)
    )
    other = [seed for seed in old if seed in new and old[seed] != new[seed]]
    return [f"keys: other random keys for the same seeds, {_first(other)}"] if other else []


def _arrays(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which arrays of the data differ, as far as the store tells."""
    if not isinstance(before := stored.get("arrays"), Mapping):
        return ""
    shown = lambda text: "none" if text is None else text.rpartition(" ")[0]
    pairs = [(path, shown(old), shown(new)) for path, old, new in _pairs(before, wanted["arrays"])]
    other = [f"`shared{path}` ({old if old == new else f'{old}, now {new}'})" for path, old, new in pairs]
    return f": {_first(other)}" if other else ""


def _programs(block: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs in the programs of a block that the call has too."""
    now = wanted["blocks"][0]
    if block["jax"] != now["jax"]:
        if wanted.get("version") is not None:
            return []
        text = "which write programs down in different ways, so that nobody can tell whether `train` is the same"
        line = _changed("jax", block["jax"], now["jax"])
        return [f"{line}, {text}; go on with JAX {block['jax']}, or give another folder"]
    held = {sort_key(program["static"]): program for program in block["programs"]}
    lines = []
    for program in now["programs"]:
        if held.get(sort_key(program["static"]), program) != program:
            which = f" of {program['static']}" if program["static"] else ""
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


def _first(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more


def _array(output: Any) -> str:
    return "none" if output is None else f"{output[1]}{list(output[0])}"
