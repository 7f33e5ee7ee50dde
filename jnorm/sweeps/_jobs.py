"""What is to be done: the runs of a program in a block, and the plan by which they are cut into chunks."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _plans as plans
from jnorm.sweeps._blocks import Block, following
from jnorm.sweeps._configurations import sort_key
from jnorm.sweeps._files import Chunk
from jnorm.sweeps._plans import Plan
from jnorm.sweeps._programs import Compiled, Lanes, Program

Part = tuple[int, int]
"""First and end of some runs, or of some configurations."""
Programs = Mapping[str, tuple[Program, Callable[[Block, Part], Lanes]]]
"""The programs of a sweep by `sort_key` of their static values, with what makes lanes of configurations of a block."""


@dataclass
class Job:
    """The runs of one program in one block.

    Attributes:
        block: number of the block.
        number: of the program in the block.
        program: what is run.
        lanes: key and hyperparameters of each run.
        base: the first of these runs, counted among all of the block.
        plan: how they are done, None as long as one of ``trials`` is to be chosen.
        trials: plans to be tried.
        ready: the program, compiled for the plan or for the first trial; None where nothing is left to do.
    """

    block: int
    number: int
    program: Program
    lanes: Lanes
    base: int
    plan: Plan | None
    trials: list[Plan]
    ready: Future[Compiled] | None = None

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self.lanes.key_data)

    def chunk(self, part: Part) -> Chunk:
        """Some of the runs as a chunk of the block."""
        first, end = part
        return self.block, self.base + first, self.base + end

    def left(self, finished: np.ndarray, wanted: np.ndarray) -> list[Part]:
        """First run and end of each chunk to do: the cuts of the plan, less what is finished and what nobody wants.

        ``finished`` and ``wanted`` are booleans for the runs of the block; a chunk is wanted if any of its runs is.
        """
        assert self.plan is not None
        done, asked = (flags[self.base : self.base + self.runs] for flags in (finished, wanted))
        edges = {*np.flatnonzero(np.diff(done)) + 1, *(first for first, _ in self.plan.cuts(self.runs)), self.runs}
        ends = sorted(int(edge) for edge in edges)
        return [(first, end) for first, end in pairwise(ends) if not done[first] and asked[first:end].any()]


def jobs_of(
    blocks: Sequence[Block],
    left: Sequence[np.ndarray],
    programs: Programs,
    mesh: Mesh,
    chunk: int | str,
    *,
    fit: bool,
) -> list[Job]:
    """The jobs for the runs of the blocks that are ``left`` to do, a boolean for each.

    A block that has no plan for a program yet gets the one that the program had before, or the one that ``chunk``
    says. With ``fit`` one that is too wide for it is made narrower, where the same bits are not asked for.
    """
    jobs: list[Job] = []
    for number, block in enumerate(blocks):
        base = 0
        for p, (text, part) in enumerate(zip(block.programs, block.parts, strict=True)):
            runs = block.runs_of(p)
            base, first = base + runs, base
            program, lanes = programs.get(sort_key(text["static"]), (None, None))
            if program is None or lanes is None or not left[number][first:base].any():
                continue
            plan = _plan(blocks, number, p, mesh, fit=fit)
            if plan is None and not isinstance(chunk, str):
                plan = plans.fixed(chunk, runs, mesh.size, alone=program.alone)
            block.plans[p] = block.plans[p] or (list(plan) if plan else None)
            trials = [
                plans.trial(width, runs, mesh.size, program.held)
                for width in plans.widths(runs, mesh, alone=program.alone)
            ]
            jobs.append(Job(number, p, program, lanes(block, part), first, plan, trials))
    return jobs


def _plan(blocks: Sequence[Block], number: int, program: int, mesh: Mesh, *, fit: bool) -> Plan | None:
    """The plan that a block has for a program, or gets from an earlier block, so that its results have the same bits.

    Not the plan of fewer runs than are now to be done, which was as wide as there were runs.
    """
    block = blocks[number]
    if stored := block.plans[program]:
        return Plan(*stored).on(mesh.size)
    earlier, before = following(blocks[:number], block.programs[program])
    if earlier is None:
        return None
    plan, runs = Plan(*earlier).on(mesh.size), block.runs_of(program)
    if plan.width * plan.devices >= before and runs > before:
        return None
    return plans.fitted(plan, runs) if fit else plan
