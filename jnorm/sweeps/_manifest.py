"""What identifies a sweep: all that decides its results, and, for the record, where it was first run."""

import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from os import environ
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._configurations import Configuration, Group, describe
from jnorm.sweeps._devices import platform_of
from jnorm.sweeps._programs import Program, Train

FORMAT = 2
"""Format 1 let constants and functions of nested programs out of the fingerprint."""
_PACKAGES = ("jnorm", "jax", "jaxlib", "numpy")
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
    """All that decides the results, ready for JSON; ``keys`` are the data of the random keys, by sorted seeds.

    Where draws are not those of threefry2x32 alone, the platform decides them too.

    Raises ``ValueError`` for a program that calls code which JAX does not see, unless a ``version`` stands for it.
    """
    places = [place for group in groups for place in group.places]
    prints = [fingerprints.of_program(program.jaxpr) for program in programs]
    if version is None:
        _refuse_opaque(part for fingerprint in prints for part in fingerprint.opaque)
    return {
        "train": describe(train) if hasattr(train, "__qualname__") else type(train).__qualname__,
        "version": version,
        "configurations": [describe(configurations[place]) for place in places],
        "seeds": sorted(seeds),
        "keys": {
            "implementation": impl,
            "data": keys.tolist(),
            "platform": platform_name if any(program.alone for program in programs) else None,
        },
        "shared": fingerprints.of_data(shared),
        "outputs": {name: [list(a.shape), a.dtype.name] for name, a in programs[0].outputs.items()},
        "settings": settings(),
        "programs": [
            {"static": describe(group.static), "fingerprint": fingerprint.digest}
            for group, fingerprint in zip(groups, prints, strict=True)
        ],
        "order": [places, list(seeds)],
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
    places, seeds = order
    return sorted(places) == list(range(len(manifest["configurations"]))) and sorted(seeds) == manifest["seeds"]


def _are_outputs(outputs: Any, _: Any) -> bool:
    return all(all(n >= 0 for n in shape) and np.dtype(dtype) is not None for shape, dtype in outputs.values())


def _are_plans(plans: Any, manifest: Mapping[str, Any]) -> bool:
    known = [plan for plan in plans if plan is not None]
    return len(plans) == len(manifest["programs"]) and all(len(plan) == 5 and min(plan) >= 1 for plan in known)


_ENTRIES: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "train": lambda train, _: isinstance(train, str),
    "configurations": lambda configurations, _: all(isinstance(one, dict) for one in configurations),
    "seeds": lambda seeds, _: all(isinstance(seed, int) for seed in seeds) and seeds == sorted(set(seeds)),
    "order": _is_order,
    "outputs": _are_outputs,
    "finite": lambda finite, manifest: finite is None or all(name in manifest["outputs"] for name in finite),
    "programs": lambda programs, _: len(programs) > 0 and all(isinstance(one, dict) for one in programs),
    "plans": _are_plans,
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
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            versions[package] = "unknown"
    return {
        "versions": versions,
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "name": platform_of(mesh),
            "device": mesh.devices.flat[0].device_kind,
            "devices": mesh.size,
            "processes": processes.count(),
        },
        "flags": environ.get("XLA_FLAGS", ""),
        "revision": _revision(),
    }


def _revision() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
