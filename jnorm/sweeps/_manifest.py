"""What identifies a sweep: all that decides its results, and, for the record, where it was first run."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import environ
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._blocks import Block, identity
from jnorm.sweeps._configurations import Configuration, Group, describe
from jnorm.sweeps._devices import platform_of
from jnorm.sweeps._environment import revision, versions
from jnorm.sweeps._programs import Program, Train

FORMAT = 3
"""Format 1 let constants and functions of nested programs out of the fingerprint; 2 had no blocks, and is read."""
_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_exec_time_optimization_effort",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
    "jax_optimization_level",
    "jax_random_seed_offset",
    "jax_softmax_custom_jvp",
    "jax_threefry_partitionable",
)
"""The settings of JAX that change numbers; some of them are not seen in a traced program."""


def manifest_of(
    train: Train,
    configurations: Sequence[Configuration],
    seeds: Sequence[int],
    keys: np.ndarray,
    shared: Any,
    groups: Sequence[Group],
    programs: Sequence[Program],
    version: str | None,
    impl: str,
    platform_name: str,
) -> dict[str, Any]:
    """All that decides the results, ready for JSON, with one block of all runs.

    ``keys`` are the data of the random keys, by sorted seeds. Where draws are not those of threefry2x32 alone, the
    platform decides them too.

    Raises ``ValueError`` for a program that calls code which JAX does not see, unless a ``version`` stands for it.
    """
    prints = [fingerprints.of_program(program.jaxpr) for program in programs]
    if version is None:
        _refuse_opaque(part for fingerprint in prints for part in fingerprint.opaque)
    data, arrays = fingerprints.of_data(shared)
    whole = whole_block(configurations, seeds, keys, groups, [fingerprint.digest for fingerprint in prints])
    return {
        "train": describe(train) if hasattr(train, "__qualname__") else type(train).__qualname__,
        "version": version,
        "keys": {"implementation": impl, "platform": platform_name if any(one.alone for one in programs) else None},
        "shared": data,
        "arrays": arrays,
        "outputs": {name: [list(a.shape), a.dtype.name] for name, a in programs[0].outputs.items()},
        "settings": settings(),
        "order": {"configurations": [describe(one) for one in configurations], "seeds": list(seeds)},
        "blocks": [whole.entry],
    }


def whole_block(
    configurations: Sequence[Configuration],
    seeds: Sequence[int],
    keys: np.ndarray,
    groups: Sequence[Group],
    prints: Sequence[str],
) -> Block:
    """All runs of a sweep as one block."""
    places = [place for group in groups for place in group.places]
    texts = [
        {"static": describe(group.static), "fingerprint": digest} for group, digest in zip(groups, prints, strict=True)
    ]
    listed = [describe(configurations[place]) for place in places]
    return Block(listed, sorted(seeds), keys, texts, [None] * len(groups), jax.__version__)


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


def blocks_of(manifest: Mapping[str, Any]) -> list[Block]:
    """The blocks that a manifest holds."""
    return [Block(**entry | {"keys": np.asarray(entry["keys"], np.uint32)}) for entry in manifest["blocks"]]


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


def _refuse_opaque(parts: Iterable[str]) -> None:
    opaque = list(dict.fromkeys(parts))
    if opaque:
        raise ValueError(
            "`version` must be given with `store` where `train` holds what JAX cannot see into, as the store could not "
            f"tell when it changes: {'; '.join(opaque)}. Any text will do that you change whenever that code changes"
        )


def settings() -> dict[str, Any]:
    """The settings of JAX that change numbers, by name."""
    values = {name: getattr(jax.config, name, None) for name in _SETTINGS}
    return {name: v if v is None or isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}


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
