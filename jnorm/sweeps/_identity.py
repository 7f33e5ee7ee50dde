"""What identifies a sweep: all that decides its results, ready for a manifest."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps._blocks import Block
from jnorm.sweeps._configurations import Configuration, Group, describe
from jnorm.sweeps._programs import Program, Train

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


def settings() -> dict[str, Any]:
    """The settings of JAX that change numbers, by name."""
    values = {name: getattr(jax.config, name, None) for name in _SETTINGS}
    return {name: v if v is None or isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}


def _refuse_opaque(parts: Iterable[str]) -> None:
    opaque = list(dict.fromkeys(parts))
    if opaque:
        raise ValueError(
            "`version` must be given with `store` where `train` holds what JAX cannot see into, as the store could not "
            f"tell when it changes: {'; '.join(opaque)}. Any text will do that you change whenever that code changes"
        )
