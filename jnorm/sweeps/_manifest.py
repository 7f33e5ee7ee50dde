"""The manifest of a store as it is read: of which format, whether it is whole, and where its sweep was first run."""

import platform
from collections.abc import Callable, Mapping
from os import environ
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _processes as processes
from jnorm.sweeps._blocks import Block, blocks_of, identity
from jnorm.sweeps._devices import platform_of
from jnorm.sweeps._environment import revision, versions

FORMAT = 3
"""Format 1 let constants and functions of nested programs out of the fingerprint; 2 had no blocks, and is read."""


def as_written(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of format 2, whose runs were one block, in the present form; others as they are."""
    if manifest.get("format") != 2:
        return dict(manifest)
    seeds, keys = manifest["seeds"], manifest["keys"]
    places, in_order = manifest["order"]
    configurations = [manifest["configurations"][places.index(place)] for place in range(len(places))]
    block = Block(
        manifest["configurations"],
        seeds,
        np.asarray(keys["data"], np.uint32),
        manifest["programs"],
        manifest["plans"],
        manifest["versions"].get("jax", "unknown"),
    )
    replaced = ("configurations", "seeds", "programs", "plans")
    return {name: entry for name, entry in manifest.items() if name not in replaced} | {
        "format": FORMAT,
        "until": None,
        "keys": {name: keys.get(name) for name in ("implementation", "platform")},
        "order": {"configurations": configurations, "seeds": in_order},
        "blocks": [block.entry],
    }


def damaged(manifest: Mapping[str, Any]) -> str | None:
    """The first entry of a manifest that is not what a sweep writes; None where all are."""
    for name, is_whole in _ENTRIES.items():
        try:
            if not is_whole(manifest[name], manifest):
                return name
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return name
    return None


def _is_order(order: Any, manifest: Mapping[str, Any]) -> bool:
    configurations, seeds = order["configurations"], order["seeds"]
    known = {identity(configuration) for configuration in configurations}
    held = all(identity(c) in known for block in manifest["blocks"] for c in block["configurations"])
    return (
        held and len(set(seeds)) == len(seeds) and all(set(block["seeds"]) <= {*seeds} for block in manifest["blocks"])
    )


def _are_outputs(outputs: Any, _: Any) -> bool:
    return all(all(n >= 0 for n in shape) and np.dtype(dtype) is not None for shape, dtype in outputs.values())


def _are_blocks(_: Any, manifest: Mapping[str, Any]) -> bool:
    return all(map(_is_block, blocks_of(manifest)))


def _is_block(block: Block) -> bool:
    plans = [plan for plan in block.plans if plan is not None]
    lengths = len(block.plans) == len(block.parts) > 0 and len(block.keys) == len(block.seeds) > 0
    prints = all(isinstance(program["fingerprint"], str) for program in block.programs)
    in_order = all(isinstance(seed, int) for seed in block.seeds) and block.seeds == sorted(set(block.seeds))
    return lengths and prints and in_order and all(len(plan) == 5 and min(plan) >= 1 for plan in plans)


_ENTRIES: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "train": lambda train, _: isinstance(train, str),
    "outputs": _are_outputs,
    "finite": lambda finite, manifest: finite is None or all(name in manifest["outputs"] for name in finite),
    "blocks": _are_blocks,
    "order": _is_order,
    "until": lambda until, _: until is None or isinstance(until["rule"], str),
    **{name: lambda entry, _: isinstance(entry, dict) for name in ("keys", "settings", "versions")},
}
"""What is read of each entry."""


def environment(mesh: Mesh) -> dict[str, Any]:
    """Versions, platform, ``XLA_FLAGS`` and source revision: of these, only the platform's name is compared."""
    return {
        "versions": versions(),
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "name": platform_of(mesh),
            "device": mesh.devices.flat[0].device_kind,
            "devices": mesh.size,
            "processes": processes.count(),
        },
        "flags": environ.get("XLA_FLAGS", ""),
        "revision": revision(),
    }


def origin(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a result keeps of a manifest: what made it, and where."""
    names = ("train", "version", "until", "versions", "platform", "flags", "revision")
    return {name: manifest[name] for name in names if manifest.get(name)} or None
