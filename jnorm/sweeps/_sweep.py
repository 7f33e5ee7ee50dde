"""The call: checked, traced, and run with a store or without."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _stages as stages
from jnorm.sweeps._blocks import Block, Layout, blocks_of
from jnorm.sweeps._calls import (
    arrays_of,
    as_chunk,
    check_data,
    check_finite,
    check_names,
    check_outputs,
    check_types,
    names_of,
)
from jnorm.sweeps._collected import Collected
from jnorm.sweeps._configurations import Configuration, Grid, Group, expand, grouped, seed_numbers, sort_key
from jnorm.sweeps._devices import one_axis, platform_of, require_threads, warn_of_float64
from jnorm.sweeps._files import folder_of
from jnorm.sweeps._identity import manifest_of, whole_block
from jnorm.sweeps._jobs import Part
from jnorm.sweeps._manifest import origin
from jnorm.sweeps._numbers import as_traced
from jnorm.sweeps._programs import Compiled, Lanes, Train
from jnorm.sweeps._progress import Report
from jnorm.sweeps._randomness import key_data
from jnorm.sweeps._results import SweepResult, arranged
from jnorm.sweeps._running import Shape, run_all
from jnorm.sweeps._stages import Until
from jnorm.sweeps._store import opened
from jnorm.sweeps._warnings import warn


def sweep(
    train: Train,
    *,
    seeds: int | Iterable[int] | None = None,
    until: Until | None = None,
    grid: Grid = None,
    static: Sequence[str] = (),
    integers: Sequence[str] = (),
    shared: Any = None,
    impl: str = "threefry2x32",
    mesh: Mesh | None = None,
    chunk: int | Literal["auto"] = "auto",
    store: str | os.PathLike[str] | None = None,
    version: str | None = None,
    finite: Sequence[str] | None = None,
    progress: bool | Report = False,
) -> SweepResult:
    """Run ``train`` with every seed in every configuration; ``result[output]`` has shape [configuration, seed, ...].

    Seed s runs with ``jax.random.key(s, impl=impl)`` in every configuration, so that comparisons are paired. Another
    program than that of a store is found before anything runs. That covers the whole program as JAX traced
    it, with every number in it, but not what JAX cannot see into: functions of the host (``jax.pure_callback``),
    foreign kernels, operations that are not JAX's own. With these a store needs a ``version``.

    Args:
        train: ``train(key, **hyperparameters)``, or ``train(key, shared, **hyperparameters)`` where ``shared`` is
            given: pure, and returns a dictionary of arrays. One with a function ``train.check(shared,
            **hyperparameters)``, as those of `jnorm.train.loop.trainer`, has it look at the data first.
        seeds: a count n, for 0, ..., n - 1, or a sequence of whole numbers from 0 to 2^31 - 1; 2^24 at most.
            With ``until`` they may be left out: as many as at its last look.
        until: which configurations need more seeds, such as `jnorm.statistics.sequential`: at first every configuration
            gets the first ``until.looks[0]`` seeds, and after the k-th look those for which ``until(result)`` is true,
            booleans [configuration], get what is missing to ``until.looks[k]``, until none needs more. ``result.done``
            says which runs were done, and ``until.judge(result)`` what they decide. A store belongs to one rule and its
            looks.
        grid: sequences of values by name, of which the product is run, or a sequence of configurations. Sets, which
            have no order, are refused.
        static: names whose values are known when the program is compiled: all that are not numbers, and all that
            change shapes. The others are traced scalars: booleans where all values are, otherwise floating numbers,
            so that ``(1, 10)`` is ``(1.0, 10.0)``.
        integers: names of traced values that are whole numbers, such as an index or a number of steps.
        shared: arrays that every run reads (data), on every device once, and passed as an argument. NumPy's get the
            dtypes that JAX gives them; whole numbers that would wrap around, and others that would be infinite, are
            refused.
        impl: the implementation of the random keys, whatever JAX's default is. Draws of ``"rbg"`` and
            ``"unsafe_rbg"`` would depend on the runs beside them: programs that hold any go through their runs one
            after another on each device, and ``chunk`` only says how many are saved together.
        mesh: the devices, by default all, of one kind. Its axes do not matter.
        chunk: how many runs a device does side by side, by ``vmap``, until they are saved. ``"auto"`` tries one and
            more, as long as more are faster and as the time for trying comes back, and saves after about two seconds of
            work. Where memory does not suffice, the next smaller number is taken, with a warning; the results of two
            chunks are on a device at a time, if there is room.
        store: a folder, for what is finished. What it holds is not run again, and its plan takes precedence over
            ``chunk``. With more seeds or other values in the grid the store grows by the runs that are new.
        version: a name for what ``train`` does, to be changed whenever code changes that JAX cannot see. It also
            vouches for ``train`` where a store is continued with another version of JAX.
        finite: names of the outputs in which anything that is not finite means that the run diverged; all by default.
        progress: ``True`` for a live bar on the standard error, or a function that is called with a `Progress` whenever
            a chunk is finished, or a segment of one.

    Returns:
        Outputs, configurations and seeds, and which runs diverged. A warning tells these with their settings, another
        one a key or a hyperparameter that changes no output.

    Raises:
        ValueError: the grid is empty or repeats itself; a value is no number and not static, beyond its type or a
            subnormal number, which XLA takes for 0; programs return arrays of unequal shapes; the devices are of two
            kinds; the looks of ``until`` do not increase, the grid lacks what it compares, or ``seeds`` are not as many
            as at its last look; the store is damaged, begun on another platform, or holds another program, with what
            differs, or ``version`` is lacking; ``train.check`` refuses the data; runs hold eigenvalues or singular
            values, and the CPU has several devices and too few threads for them.
        TypeError: an argument is of another kind; ``train`` does not accept the names, or returns something else than a
            dictionary of arrays.
        MemoryError: one run alone, or ``shared``, does not fit into the memory of a device, with the sizes.
        OSError: the store cannot be written or is in use. Where a disk gets full later, what is finished stays.

    Source: the form of ``train`` is that of PureJaxRL (Lu et al. 2022).

    >>> import jax
    >>> def train(key, learning_rate):  # gradient descent on (w - 1)^2 / 2 from a random start
    ...     w = jax.random.normal(key)
    ...     for _ in range(10):
    ...         w = w - learning_rate * (w - 1)
    ...     return {"loss": (w - 1) ** 2 / 2}
    >>> result = sweep(train, seeds=3, grid={"learning_rate": (0.1, 0.5)})
    >>> result["loss"].shape, bool((result.select(learning_rate=0.5)["loss"] < 1e-4).all())
    ((2, 3), True)
    """
    configurations, numbers = expand(grid), seed_numbers(stages.seeds_of(seeds, until))
    static, integers = names_of("static", static), names_of("integers", integers)
    finite = None if finite is None else names_of("finite", finite)
    groups = grouped(configurations, static, integers)
    check_types(train, mesh, progress, version)
    stages.check(until, configurations, numbers)
    chunk, store = as_chunk(chunk), None if store is None else folder_of("store", store)
    check_names(train, configurations[0], shared)
    devices, shared = one_axis(mesh), arrays_of(shared)
    keys = key_data(tuple(sorted(numbers)), impl)
    lanes = [_lanes(keys, group.traced, integers) for group in groups]
    check_data(train, groups[0], lanes[0], shared)
    traced = [programs.trace(train, g.static, lane, shared, impl) for g, lane in zip(groups, lanes, strict=True)]
    check_outputs(groups, traced)
    check_finite(finite, traced[0])
    for program in traced:
        require_threads(devices, program.jaxpr)
    warn_of_float64(devices, [traced[0].outputs, *(lane.traced for lane in lanes)])
    manifest = lambda: {
        **manifest_of(
            train, configurations, numbers, keys, shared, groups, traced, version, impl, platform_of(devices)
        ),
        "finite": None if finite is None else list(finite),
        "until": stages.entry(until),
    }
    places = [place for group in groups for place in group.places]
    by_static = {sort_key(g.static): (p, _lanes_of(g, integers)) for g, p in zip(groups, traced, strict=True)}
    size = len(configurations) * len(numbers) * traced[0].size
    with opened(store, manifest, mesh=devices, size=size) as opened_store:
        unprinted = whole_block(configurations, numbers, keys, groups, [""] * len(groups))
        whole = blocks_of(opened_store.wanted)[0] if store else unprinted
        collected = Collected(opened_store, Layout(whole), traced[0].outputs, finite)
        data = programs.replicated(devices, shared)
        so_far = lambda: arranged(collected.outputs, configurations, numbers, places, finite, collected.filled)
        compiled: dict[Shape, Compiled] = {}
        for wanted in stages.wanted(until, so_far, np.argsort(places).tolist(), numbers):
            run_all(collected, wanted, by_static, data, devices, chunk, progress, compiled, fit=until is not None)
        opened_store.end()
    result = replace(so_far(), origin=origin(opened_store.manifest or {"until": stages.entry(until)}))
    if processes.leading():
        warn(result)
    return result


def _lanes(keys: np.ndarray, configurations: Sequence[Configuration], integers: Sequence[str]) -> Lanes:
    """Key data and traced values of the runs of a program, by configuration and then by seed."""
    traced = {}
    for name in configurations[0]:
        values = [configuration[name] for configuration in configurations]
        traced[name] = np.repeat(as_traced(name, values, whole=name in integers), len(keys))
    return Lanes(np.tile(keys, (len(configurations), *[1] * (keys.ndim - 1))), traced)


def _lanes_of(group: Group, integers: Sequence[str]) -> Callable[[Block, Part], Lanes]:
    """Makes the lanes of some configurations of a block, as they are written down, for the program of a group."""

    def lanes(block: Block, part: Part) -> Lanes:
        configurations = block.configurations[slice(*part)]
        return _lanes(block.keys, [{name: c[name] for name in group.traced[0]} for c in configurations], integers)

    return lanes
