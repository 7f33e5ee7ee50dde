"""How many runs go side by side, and how many make a chunk: by measurement, within the memory there is.

``vmap`` and one run after the other differ by a factor of two either way: small networks gain from company,
convolutions whose kernels differ between runs lose by it. Which it is shows only in the compiled program.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._devices import platform_of
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


Build = Callable[[Plan], Compiled]
Call = Callable[[Compiled, int], Any]
Lacks = Callable[[Plan, str, Plan | None], None]


class Timed(NamedTuple):
    """A program that was tried.

    Attributes:
        program: what was timed.
        plan: the plan that it was compiled for.
        seconds: that one device takes for a run.
        compiling: seconds that compiling took.
        outputs: what the call for the first runs returned.
    """

    program: Compiled
    plan: Plan
    seconds: float
    compiling: float
    outputs: Any


def fixed(chunk: int, runs: int, devices: int, *, alone: bool = False) -> Plan:
    """``chunk`` runs side by side on every device, or one after another if each must be alone, saved together."""
    each = min(chunk, -(-runs // devices))
    width, groups = (1, each) if alone else (each, 1)
    return Plan(width, groups, each * devices, each * devices, devices)


def widths(runs: int, mesh: Mesh, *, alone: bool = False) -> list[int]:
    """What is tried, in order: no wider than the runs that a device has, and one if each run must be alone.

    Accelerators begin with the widest, or, where one of them does not tell how much memory is free, with the narrowest,
    as a CPU does: then what does not fit is met last.
    """
    if alone:
        return [1]
    each = -(-runs // mesh.size)
    candidates: tuple[int, ...] = CPU
    if platform_of(mesh) != "cpu":
        told = all(processes.exchange(memory.free(mesh) is not None))
        candidates = ACCELERATOR if told else ACCELERATOR[::-1]
    return list(dict.fromkeys(min(width, each) for width in candidates))


def trial(width: int, runs: int, devices: int, size: int) -> Plan:
    """A plan for measuring: as many groups as a call may need, ``size`` bytes of output a run."""
    groups = min(-(-runs // (devices * width)), GROUPS, OUTPUTS // max(1, size * width))
    return Plan(width, max(1, groups), width * devices, width * devices, devices)


def smaller(plan: Plan) -> Plan | None:
    """The next plan that takes less memory, None below one run.

    Fewer groups at first, which changes no bit, then half as many runs side by side, which may change rounding.

    >>> smaller(Plan(width=8, groups=4, first=16, chunk=64, devices=2))
    Plan(width=8, groups=1, first=16, chunk=16, devices=2)
    >>> smaller(Plan(width=8, groups=1, first=16, chunk=16, devices=2))
    Plan(width=4, groups=1, first=8, chunk=8, devices=2)
    """
    if plan.groups > 1:
        width, groups = plan.width, max(1, plan.groups // 8)
    elif plan.width > 1:
        width, groups = plan.width // 2, 1
    else:
        return None
    most = width * groups * plan.devices
    return Plan(width, groups, min(plan.first, most), min(plan.chunk, most), plan.devices)


def fitted(plan: Plan, runs: int) -> Plan:
    """The plan for so few runs that more than half of what goes side by side would be idle: a narrower one.

    >>> fitted(Plan(width=64, groups=4, first=64, chunk=256, devices=1), 12)
    Plan(width=16, groups=1, first=16, chunk=16, devices=1)
    """
    each = -(-runs // plan.devices)
    if 2 * each > plan.width:
        return plan
    width = 1 << (each - 1).bit_length()
    return Plan(width, 1, width * plan.devices, width * plan.devices, plan.devices)


def choose(plans: Sequence[Plan], runs: int, build: Build, call: Call, lacks: Lacks, *, calls: int = 1) -> Timed:
    """The fastest of the plans, tried in order for as long as they get faster, fit, and trying can pay.

    ``build(plan)`` compiles, and ``call(program, n)`` starts the first n of the ``runs``, all or the first of as many
    ``calls``. A further plan is tried only if half of the work that remains would take longer than compiling and timing
    it. The chunks of the plan that is returned take about `SECONDS`. What the leading process measures holds for all.

    A plan fits where its program takes no more than `MEMORY_SHARE` of what is free; on a device that does not tell what
    is free, where it runs. A program that does not tell what it takes is tried only if there is none narrower. Where
    memory does not suffice after all, ``lacks(plan, words, next)`` hears of it, and of what comes next, if anything.
    """
    best: Timed | None = None
    left = list(plans)
    while left:
        plan = left.pop(0)
        if best:
            remaining = -(-runs // plan.devices) - best.plan.width  # what was timed is done
            if remaining * best.seconds / 2 < best.compiling + plan.width * best.seconds:
                break
        narrower = [other for other in left if other.width < plan.width]
        timed, words = _tried(plan, runs, build, call, calls, anyway=not best and not narrower)
        if timed and not (best and timed.seconds > GAIN * best.seconds):
            best = timed
            continue
        if not best:
            less = smaller(plan)
            left = narrower or ([less] if less else [])
        if words:
            lacks(plan, words, best.plan if best else left[0] if left else None)
        if best:
            break
    assert best is not None, "the narrowest plan is tried, and what is smaller if it does not fit, until `lacks` raises"
    groups = math.ceil(SECONDS / (best.seconds * best.plan.width))
    chunk = best.plan.first * max(1, min(groups, best.plan.groups))
    return best._replace(plan=best.plan._replace(chunk=chunk))


def _tried(plan: Plan, runs: int, build: Build, call: Call, calls: int, *, anyway: bool) -> tuple[Timed | None, str]:
    """A plan that was timed, or None; then in words how memory did not suffice, unless that was seen beforehand."""
    program, words = memory.attempt(lambda: build(plan))
    if program is None:
        return None, words
    compiling = processes.decide(lambda: program.seconds)
    if not _fits(program) and not anyway:
        return None, ""
    done, words = memory.attempt(lambda: _timed(lambda: call(program, min(runs, plan.first))))
    if done is None:
        return None, words
    outputs, spent = done
    return Timed(program, plan, processes.decide(lambda: spent) * calls / plan.width, compiling, outputs), ""


def _fits(program: Compiled) -> bool:
    """Whether a program takes no more memory than there is, as far as it is told, in every process."""
    room = memory.free(program.mesh)
    fits = room is None or (program.memory is not None and program.memory <= MEMORY_SHARE * room)
    return all(processes.exchange(fits))


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
