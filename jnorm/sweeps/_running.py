"""The work of a sweep: programs are compiled side by side, plans chosen, chunks run and saved one after another.

The next chunk is started before one is fetched and written, so that devices need not wait for the disk: the results of
two chunks are on a device at most. Where memory does not suffice for both, a chunk waits for the one before it; where
it does not suffice for one, the next smaller plan is taken, in all processes.
"""

import functools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _plans as plans
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps._devices import tell_of_idle_cores
from jnorm.sweeps._divergence import failed_runs
from jnorm.sweeps._plans import Plan
from jnorm.sweeps._programs import Compiled, Lanes, Program
from jnorm.sweeps._progress import Report, reporter
from jnorm.sweeps._store import Store

Chunk = tuple[int, int]
Outputs = tuple[dict[str, jax.Array], np.ndarray]


class Collected:
    """The outputs of all runs, in canonical order, as they come in.

    Attributes:
        store: what keeps them; what it holds already is filled in.
        outputs: arrays by name, the runs first.
        finite: names of the outputs that must be finite, None for all.
        filled: which runs are filled in.
        diverged: how many of them diverged.
    """

    def __init__(
        self, store: Store, outputs: Mapping[str, jax.ShapeDtypeStruct], runs: int, finite: Sequence[str] | None
    ) -> None:
        self.finite = finite
        self.store, self.filled, self.diverged = store, np.zeros(runs, bool), 0
        self.outputs = {name: np.empty((runs, *a.shape), a.dtype) for name, a in outputs.items()}
        for first, end in store.finished:  # read one by one, so that they are in memory once
            self.fill(np.arange(first, end), store.read((first, end)))

    @property
    def done(self) -> int:
        """How many runs are filled in."""
        return int(self.filled.sum())

    def fill(self, runs: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Put in the outputs of ``runs``."""
        for name, array in arrays.items():
            self.outputs[name][runs] = array
        self.filled[runs] = True
        self.diverged += int(failed_runs(arrays, len(runs), self.finite).sum())


@dataclass
class Job:
    """The runs of one program.

    Attributes:
        number: of the program.
        program: what is run.
        lanes: key and hyperparameters of each run.
        base: the first of these runs, counted among all of the sweep.
        plan: how they are done, None as long as one of ``trials`` is to be chosen.
        trials: plans to be tried.
        ready: the program, compiled for the plan or for the first trial; None where nothing is left to do.
    """

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

    def left(self, filled: np.ndarray) -> list[Chunk]:
        """First run and end of each chunk to do: the cuts of the plan, less what an earlier plan has ``filled``."""
        assert self.plan is not None
        done = filled[self.base : self.base + self.runs]
        edges = {*np.flatnonzero(np.diff(done)) + 1, *(first for first, _ in self.plan.cuts(self.runs)), self.runs}
        ends = sorted(int(edge) for edge in edges)
        return [(first, end) for first, end in pairwise(ends) if not done[first]]


@dataclass
class Work:
    """The jobs of a sweep on its devices.

    Attributes:
        collected: what is finished.
        shared: the data, on every device.
        mesh: the devices.
        update: called whenever a chunk is finished.
    """

    collected: Collected
    shared: Any
    mesh: Mesh
    update: Callable[[], object]

    def lowered(self, job: Job, plan: Plan) -> Callable[[], Compiled]:
        """The program of a job for a plan: a function that compiles it, in any thread."""
        shape = {"width": plan.width, "groups": plan.groups}
        text = programs.lower(job.program, self.mesh, job.lanes, self.shared, **shape)
        return lambda: programs.compiled(text, self.mesh, **shape)

    def start(self, job: Job, program: Compiled, chunk: Chunk) -> Outputs:
        """Start the runs of a chunk."""
        return programs.execute(program, jax.tree.map(lambda a: a[slice(*chunk)], job.lanes), self.shared)

    def run(self, job: Job) -> None:
        """Choose a plan if there is none, and run what is left of a program, chunk by chunk."""
        assert job.ready is not None
        running: Future[Outputs] | None = None
        if job.plan is None:
            program, running = self._chosen(job, job.ready)
        else:
            compiled, lack = memory.attempt(job.ready.result)
            program = compiled or self._with_less(job, lack)
        job.ready = None
        left, alone = deque(job.left(self.collected.filled)), False
        while left:
            beside, call = running is not None, running or self._started(job, program, left[0])
            running = None
            done, lack = memory.attempt(functools.partial(_finished, call))
            del call
            if done is None and beside:  # the results of the chunk before were on the devices still
                alone = True
            elif done is None:
                program = self._with_less(job, lack)
                left = deque(job.left(self.collected.filled))
            else:
                chunk = left.popleft()
                whole = processes.everywhere(done[0]) if processes.count() > 1 else None
                if left and not alone:
                    running = self._started(job, program, left[0])
                self._keep(job, chunk, done, whole)
                del done, whole

    def _started(self, job: Job, program: Compiled, chunk: Chunk) -> Future[Outputs]:
        """A chunk that is started; what goes wrong with it is kept for when the one before it is saved."""
        call: Future[Outputs] = Future()
        try:
            call.set_result(self.start(job, program, chunk))
        except Exception as error:
            call.set_exception(error)
        return call

    def _chosen(self, job: Job, ready: Future[Compiled]) -> tuple[Compiled, Future[Outputs]]:
        """The program for the plan that is best, and the first chunk, done."""

        def build(plan: Plan) -> Compiled:
            return ready.result() if plan == job.trials[0] else self.lowered(job, plan)()

        def call(program: Compiled, runs: int) -> Outputs:
            return self.start(job, program, (0, runs))

        best = plans.choose(job.trials, job.runs, build, call, functools.partial(self._tell, job))
        job.plan, first = best.plan, Future[Outputs]()
        first.set_result(best.outputs)
        self.collected.store.keep_plan(job.number, list(best.plan))
        return best.program, first

    def _with_less(self, job: Job, lack: str) -> Compiled:
        """The program for the next smaller plan that compiles, where memory did not suffice for the present one."""
        while True:
            assert job.plan is not None
            plan = plans.smaller(job.plan)
            self._tell(job, job.plan, lack, plan)
            assert plan is not None, "`_tell` raises"
            job.plan = plan
            program, lack = memory.attempt(self.lowered(job, plan))
            if program is not None:
                self.collected.store.keep_plan(job.number, list(plan))
                return program

    def _tell(self, job: Job, plan: Plan, lack: str, following: Plan | None) -> None:
        """Record and say that memory did not suffice for a plan, and what is done instead.

        Raises ``MemoryError`` where nothing is.
        """
        self.collected.store.note({"did_not_fit": list(plan), "program": job.number, "error": lack, "then": following})
        if following is None:
            data = sum(leaf.nbytes for leaf in jax.tree.leaves(self.shared))
            what = f"one run, with {job.program.size:,} bytes of outputs beside {data:,} bytes of `shared`,"
            raise memory.beyond(what, self.mesh, lack)
        if processes.leading():
            before = int(self.collected.filled[job.base : job.base + job.runs].sum())
            other = f"; the {before} runs before were {plan.width} side by side: their rounding may differ"
            warnings.warn(
                f"memory did not suffice for {_shown(plan)} ({lack}); next: {_shown(following)}"
                f"{other if before and following.width != plan.width else ''}",
                stacklevel=2,
            )

    def _keep(self, job: Job, chunk: Chunk, done: Outputs, whole: dict[str, jax.Array] | None) -> None:
        """Save what this process did of a chunk, and fill in all of it."""
        (outputs, rows), (first, end) = done, chunk
        offset = job.base + first
        runs, arrays = programs.local_rows(outputs, rows)
        self.collected.store.keep(offset, job.base + end, offset + runs, arrays)
        if whole is not None:
            runs, arrays = rows[rows >= 0], {n: a[rows >= 0] for n, a in processes.fetched(whole).items()}
        self.collected.fill(offset + runs, arrays)
        self.update()


def _finished(call: Future[Outputs]) -> Outputs:
    return jax.block_until_ready(call.result())


def _shown(plan: Plan) -> str:
    """What a device does in a call, one after another and side by side."""
    turns = f"{plan.groups} times " if plan.groups > 1 else ""
    return turns + (f"{plan.width} runs side by side" if plan.width > 1 else "1 run")


def run_all(
    collected: Collected,
    traced: Sequence[Program],
    lanes: Sequence[Lanes],
    shared: Any,
    mesh: Mesh,
    chunk: int | str,
    progress: bool | Report,
) -> None:
    """Fill in what is not finished, by the plan that the store has, else by ``chunk``."""
    store, total = collected.store, sum(len(lane.key_data) for lane in lanes)
    jobs = _jobs(store, traced, lanes, mesh, chunk)
    workers = ThreadPoolExecutor(max_workers=max(1, min(len(jobs), os.cpu_count() or 1)))
    try:
        with reporter(progress, total, collected.done) as report:
            chunks: list[tuple[float, int]] = []  # when the last two were finished, and how many runs then

            def update() -> None:
                report(collected.done, collected.diverged)
                chunks[:] = [*chunks[-1:], (time.perf_counter(), collected.done)]
                (start, before), (end, done) = chunks[0], chunks[-1]
                if done > before:
                    tell_of_idle_cores(mesh, (end - start) / (done - before) * (total - done))

            report(collected.done, collected.diverged)
            work = Work(collected, shared, mesh, update)
            for job in jobs:
                if job.plan is None or job.left(collected.filled):
                    job.ready = workers.submit(work.lowered(job, job.plan or job.trials[0]))
            if any(job.plan is None for job in jobs):  # nothing else may run while programs are timed
                wait([job.ready for job in jobs if job.ready])
            for job in jobs:
                if job.ready is not None:
                    work.run(job)
    finally:
        workers.shutdown(cancel_futures=True)


def _jobs(store: Store, traced: Sequence[Program], lanes: Sequence[Lanes], mesh: Mesh, chunk: int | str) -> list[Job]:
    jobs: list[Job] = []
    base = 0
    for number, (program, runs_of_it) in enumerate(zip(traced, lanes, strict=True)):
        runs = len(runs_of_it.key_data)
        stored = store.plans[number]
        plan = Plan(*stored).on(mesh.size) if stored else None
        if plan is None and not isinstance(chunk, str):
            plan = plans.fixed(chunk, runs, mesh.size, alone=program.alone)
            store.keep_plan(number, list(plan))
        trials = [
            plans.trial(width, runs, mesh.size, program.size) for width in plans.widths(runs, mesh, alone=program.alone)
        ]
        jobs.append(Job(number, program, runs_of_it, base, plan, trials))
        base += runs
    return jobs
