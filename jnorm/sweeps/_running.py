"""The work of a sweep: programs are compiled side by side, plans chosen, chunks run and saved one after another.

The next chunk is started before one is fetched and written, so that devices need not wait for the disk: the results of
two chunks are on a device at most. Where memory does not suffice for both, a chunk waits for the one before it; where
it does not suffice for one, the next smaller plan is taken, in all processes. A program in segments is a chunk that
goes on from one to the next; the first segment of the next chunk is what is started beforehand.
"""

import functools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _carried as carried
from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _plans as plans
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _reuse as reuse
from jnorm.sweeps import _segments as segments
from jnorm.sweeps._collected import Collected
from jnorm.sweeps._devices import tell_of_idle_cores
from jnorm.sweeps._jobs import Job, Part, Programs, jobs_of
from jnorm.sweeps._plans import Plan
from jnorm.sweeps._programs import Compiled
from jnorm.sweeps._progress import Report, reporter

Outputs = tuple[dict[str, jax.Array], np.ndarray]
Started = Outputs | segments.Course
Shape = tuple[int, int, int]
"""What tells compiled programs apart: the program, and runs side by side and one after another."""


@dataclass
class Work:
    """The jobs of a sweep on its devices.

    Attributes:
        collected: what is finished.
        wanted: which runs of the sweep are to be done.
        shared: the data, on every device.
        mesh: the devices.
        compiled: programs by what they are compiled from, for other blocks and stages.
        update: called whenever a chunk is finished.
        moved: called within a chunk, with how many of its runs that amounts to.
    """

    collected: Collected
    wanted: np.ndarray
    shared: Any
    mesh: Mesh
    compiled: dict[Shape, Compiled]
    update: Callable[[], object] = lambda: None
    moved: Callable[[float], object] = lambda runs: None

    def left(self, job: Job) -> list[Part]:
        """The chunks of a job that are to do."""
        rows = self.collected.rows[job.block]
        return job.left(self.collected.finished[job.block], (rows >= 0) & self.wanted[rows])

    def lowered(self, job: Job, plan: Plan) -> Callable[[], Compiled]:
        """The program of a job for a plan: a function that compiles it, in any thread."""
        key, shape = _shape(job, plan), {"width": plan.width, "groups": plan.groups}
        if key in self.compiled:
            return lambda: self.compiled[key]
        text = reuse.lower(job.program, self.mesh, job.lanes, self.shared, **shape)
        return lambda: self.compiled.setdefault(key, programs.compiled(text, self.mesh, **shape))

    def start(self, job: Job, program: Compiled, chunk: Part) -> Started:
        """Start the runs of a chunk."""
        lanes = jax.tree.map(lambda a: a[slice(*chunk)], job.lanes)
        if job.program.pieces is None:
            return programs.execute(program, lanes, self.shared)
        folder = None if job.plan is None else self.collected.store.folder  # while plans are tried nothing is kept
        return segments.begun(program, job.program.pieces, lanes, self.shared, folder, job.chunk(chunk))

    def run(self, job: Job) -> None:
        """Choose a plan if there is none, and run what is left of a program, chunk by chunk."""
        assert job.ready is not None
        running: Future[Started] | None = None
        if job.plan is None:
            program, running = self._chosen(job, job.ready)
        else:
            compiled, lack = memory.attempt(job.ready.result)
            program = compiled or self._with_less(job, lack)
        job.ready = None
        left, alone = deque(self.left(job)), False
        while left:
            beside, call = running is not None, running or self._started(job, program, left[0])
            running = None
            done, lack = memory.attempt(functools.partial(self._finished, job, left[0], call))
            del call
            if done is None and beside:  # the results of the chunk before were on the devices still
                alone = True
            elif done is None:
                program = self._with_less(job, lack)
                left = deque(self.left(job))
            else:
                chunk = left.popleft()
                whole = processes.everywhere(done[0]) if processes.count() > 1 else None
                if left and not alone:
                    running = self._started(job, program, left[0])
                self._keep(job, chunk, done, whole)
                del done, whole

    def _started(self, job: Job, program: Compiled, chunk: Part) -> Future[Started]:
        """A chunk that is started; what goes wrong with it is kept for when the one before it is saved."""
        call: Future[Started] = Future()
        try:
            call.set_result(self.start(job, program, chunk))
        except Exception as error:
            call.set_exception(error)
        return call

    def _finished(self, job: Job, chunk: Part, call: Future[Started]) -> Outputs:
        """Wait for a chunk that was started, through all of its segments if it has some."""
        at = call.result()
        if isinstance(at, segments.Course):
            runs = chunk[1] - chunk[0]
            at = at.finished(self.collected.store.folder, job.chunk(chunk), lambda share: self.moved(share * runs))
        return jax.block_until_ready(at)

    def _chosen(self, job: Job, ready: Future[Compiled]) -> tuple[Compiled, Future[Started]]:
        """The program for the plan that is best, and the first chunk, done."""

        def build(plan: Plan) -> Compiled:
            return ready.result() if plan == job.trials[0] else self.lowered(job, plan)()

        def call(program: Compiled, runs: int) -> Started:
            return self.start(job, program, (0, runs))

        calls = 1 if job.program.pieces is None else job.program.pieces.segments
        best = plans.choose(job.trials, job.runs, build, call, functools.partial(self._tell, job), calls=calls)
        job.plan, first = best.plan, Future[Started]()
        first.set_result(best.outputs)
        self._keep_plan(job, best.plan)
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
                self._keep_plan(job, plan)
                return program

    def _keep_plan(self, job: Job, plan: Plan) -> None:
        """Record the decision, before any result that depends on it."""
        self.collected.store.blocks[job.block].plans[job.number] = list(plan)
        self.collected.store.write()

    def _tell(self, job: Job, plan: Plan, lack: str, following: Plan | None) -> None:
        """Record and say that memory did not suffice for a plan, and what is done instead.

        Raises ``MemoryError`` where nothing is.
        """
        self.collected.store.note(
            {"did_not_fit": list(plan), "block": job.block, "program": job.number, "error": lack, "then": following}
        )
        if following is None:
            data = sum(leaf.nbytes for leaf in jax.tree.leaves(self.shared))
            what = f"one run, with {job.program.size:,} bytes of outputs beside {data:,} bytes of `shared`,"
            raise memory.beyond(what, self.mesh, lack)
        if processes.leading():
            before = int(self.collected.finished[job.block][job.base : job.base + job.runs].sum())
            other = f"; the {before} runs before were {plan.width} side by side: their rounding may differ"
            warnings.warn(
                f"memory did not suffice for {_shown(plan)} ({lack}); next: {_shown(following)}"
                f"{other if before and following.width != plan.width else ''}",
                stacklevel=2,
            )

    def _keep(self, job: Job, chunk: Part, done: Outputs, whole: dict[str, jax.Array] | None) -> None:
        """Save what this process did of a chunk, and fill in all of it."""
        (outputs, rows), offset = done, job.base + chunk[0]
        runs, arrays = programs.local_rows(outputs, rows)
        self.collected.store.keep(job.chunk(chunk), offset + runs, arrays)
        if whole is not None:
            runs, arrays = rows[rows >= 0], {n: a[rows >= 0] for n, a in processes.fetched(whole).items()}
        self.collected.fill(job.block, offset + runs, arrays)
        self.update()
        if job.program.pieces is not None and self.collected.store.folder is not None:
            processes.exchange("kept")  # what a chunk carried goes when all have written what it returned
            self.clear()

    def clear(self) -> None:
        """Remove what finished runs have carried."""
        if processes.leading():
            carried.clear(self.collected.store.folder, dict(enumerate(self.collected.finished)))


def _shape(job: Job, plan: Plan) -> Shape:
    return id(job.program), plan.width, plan.groups


def _shown(plan: Plan) -> str:
    """What a device does in a call, one after another and side by side."""
    turns = f"{plan.groups} times " if plan.groups > 1 else ""
    return turns + (f"{plan.width} runs side by side" if plan.width > 1 else "1 run")


def run_all(
    collected: Collected,
    wanted: np.ndarray,
    programs: Programs,
    shared: Any,
    mesh: Mesh,
    chunk: int | str,
    progress: bool | Report,
    compiled: dict[Shape, Compiled],
    *,
    fit: bool,
) -> None:
    """Fill in those of the ``wanted`` runs that are not finished, by the plans that the store has, else by ``chunk``.

    ``compiled`` holds what earlier calls have compiled; ``fit`` is as in `jobs_of`.
    """
    collected.want(wanted)
    work = Work(collected, wanted, shared, mesh, compiled)
    total, done = int(wanted.sum()), lambda: int((collected.filled & wanted).sum())
    collected.store.check_platform(total - done())
    jobs = jobs_of(collected.store.blocks, collected.left(wanted), programs, mesh, chunk, fit=fit)
    if jobs:
        collected.store.write()  # of plans that are new
    workers = ThreadPoolExecutor(max_workers=max(1, min(len(jobs), os.cpu_count() or 1)))
    try:
        with reporter(progress, total, done()) as report:
            chunks: list[tuple[float, int]] = []  # when the last two were finished, and how many runs then

            def update() -> None:
                report(done(), collected.diverged)
                chunks[:] = [*chunks[-1:], (time.perf_counter(), done())]
                (start, before), (end, now) = chunks[0], chunks[-1]
                if now > before:
                    tell_of_idle_cores(mesh, (end - start) / (now - before) * (total - now))

            report(done(), collected.diverged)
            work.update, work.moved = update, lambda runs: report(done(), collected.diverged, runs)
            work.clear()
            ready: dict[Shape, Future[Compiled]] = {}
            for job in jobs:
                if job.plan is None or work.left(job):
                    plan = job.plan or job.trials[0]
                    if (shape := _shape(job, plan)) not in ready:
                        ready[shape] = workers.submit(work.lowered(job, plan))
                    job.ready = ready[shape]
            if any(job.plan is None for job in jobs):  # nothing else may run while programs are timed
                wait([job.ready for job in jobs if job.ready])
            for job in jobs:
                if job.ready is not None:
                    work.run(job)
    finally:
        workers.shutdown(cancel_futures=True)
