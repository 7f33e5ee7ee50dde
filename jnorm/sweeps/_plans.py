"""How many runs go side by side, and how many make a chunk: by measurement, within the memory there is.

``vmap`` and one run after the other differ by a factor of two either way: small networks gain from company,
convolutions whose kernels differ between runs lose by it. Which it is shows only in the compiled program.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _processes as processes
from jnorm.sweeps._programs import Compiled

CPU = (1, 2, 8, 64, 512)
ACCELERATOR = (4096, 256, 16)  # one run alone would leave most of the chip idle
GAIN = 0.98  # another program must take less than this part of the time
SECONDS = 2.0  # of work in a chunk: what a crash can cost
SHORT = 0.2  # seconds below which a measurement is repeated
GROUPS = 1024
OUTPUTS = 1 << 26  # bytes of the outputs of a chunk on a device
MEMORY_SHARE = 0.6  # of the free memory, for temporary arrays and outputs


class Plan(NamedTuple):
    """How the runs of a program are done and saved. With other devices the cuts remain.

    Attributes:
        width: runs side by side on a device.
        groups: how many times that, one after another, a device does in a call at most.
        first: the runs are saved after so many of them,
        chunk: and then after every so many.
        devices: for how many devices the plan was made.
    """

    width: int
    groups: int
    first: int
    chunk: int
    devices: int

    def cuts(self, runs: int) -> list[tuple[int, int]]:
        """First run and end of every chunk.

        >>> Plan(width=1, groups=2, first=2, chunk=4, devices=2).cuts(9)
        [(0, 2), (2, 6), (6, 9)]
        """
        starts = [0, *range(self.first, runs, self.chunk)]
        return list(zip(starts, [*starts[1:], runs], strict=True))

    def on(self, devices: int) -> "Plan":
        """The same cuts for another number of devices."""
        if devices == self.devices:
            return self
        groups = -(-max(self.first, self.chunk) // (devices * self.width))
        return self._replace(groups=groups, devices=devices)


class Timed(NamedTuple):
    """A program that was tried.

    Attributes:
        program: what was timed.
        plan: the plan that it was compiled for.
        seconds: that one device takes for a run.
        compiling: seconds that compiling took.
        outputs: of the first runs, and the run that each of their rows holds.
    """

    program: Compiled
    plan: Plan
    seconds: float
    compiling: float
    outputs: tuple[dict[str, jax.Array], np.ndarray]


def fixed(chunk: int, runs: int, devices: int, *, alone: bool = False) -> Plan:
    """``chunk`` runs side by side on every device, or one after another if each must be alone, saved together."""
    each = min(chunk, -(-runs // devices))
    width, groups = (1, each) if alone else (each, 1)
    return Plan(width, groups, each * devices, each * devices, devices)


def widths(runs: int, mesh: Mesh, *, alone: bool = False) -> list[int]:
    """What is tried, in order: no wider than the runs that a device has, and one if each run must be alone."""
    if alone:
        return [1]
    each = -(-runs // mesh.size)
    candidates = CPU if mesh.devices.flat[0].platform == "cpu" else ACCELERATOR
    return list(dict.fromkeys(min(width, each) for width in candidates))


def trial(width: int, runs: int, devices: int, size: int) -> Plan:
    """A plan for measuring: as many groups as a call may need, ``size`` bytes of output a run."""
    groups = min(-(-runs // (devices * width)), GROUPS, OUTPUTS // max(1, size * width))
    return Plan(width, max(1, groups), width * devices, width * devices, devices)


def choose(
    plans: Sequence[Plan],
    runs: int,
    build: Callable[[Plan], Compiled],
    call: Callable[[Compiled, int], tuple[dict[str, jax.Array], np.ndarray]],
) -> Timed:
    """The fastest of the plans, tried in order for as long as they get faster, fit, and trying can pay.

    ``call(program, n)`` starts the first n of the ``runs``. A further plan is tried only if half of the work that
    remains would take longer than compiling and timing it. The chunks of the plan that is returned take about
    `SECONDS`. What the leading process measures holds for all.
    """
    best: Timed | None = None
    for plan in plans:
        if best:
            remaining = -(-runs // plan.devices) - best.plan.width  # what was timed is done
            if remaining * best.seconds / 2 < best.compiling + plan.width * best.seconds:
                break
        program = build(plan)
        measured = [program.seconds, program.memory <= MEMORY_SHARE * free_memory(program.mesh)]
        compiling, fits = processes.decide(lambda measured=measured: measured)  # type: ignore[misc]
        if not fits and best:
            break
        if not fits and plan != plans[-1]:
            continue
        outputs, spent = _timed(functools.partial(call, program, min(runs, plan.first)))
        seconds = processes.decide(lambda spent=spent: spent) / plan.width  # type: ignore[misc]
        if best and seconds > GAIN * best.seconds:
            break
        best = Timed(program, plan, seconds, compiling, outputs)
    assert best is not None, "the last plan is always tried where none before it was"
    groups = math.ceil(SECONDS / (best.seconds * best.plan.width))
    chunk = best.plan.first * max(1, min(groups, best.plan.groups))
    return best._replace(plan=best.plan._replace(chunk=chunk))


def free_memory(mesh: Mesh) -> float:
    """Free memory of a device, in bytes; the devices of a CPU share the machine's."""
    devices = mesh.local_devices
    memory = devices[0].memory_stats() or {}
    if "bytes_limit" in memory:
        return memory["bytes_limit"] - memory.get("bytes_in_use", 0)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        free = 1 << 32
    return free / len(devices)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds: the least of several where it is short, as the first one warms up."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    least = total = time.perf_counter() - start
    while total < SHORT:
        start = time.perf_counter()
        jax.block_until_ready(call())
        spent = time.perf_counter() - start
        least, total = min(least, spent), total + spent
    return result, least
