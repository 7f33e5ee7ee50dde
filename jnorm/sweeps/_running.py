"""The work of a sweep: programs are compiled side by side, plans chosen, chunks run and saved one after another."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps import _plans as plans
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps._divergence import failed_runs
from jnorm.sweeps._plans import Plan
from jnorm.sweeps._programs import Compiled, Lanes, Program
from jnorm.sweeps._progress import Report, reporter
from jnorm.sweeps._store import Store


class Collected:
    """The outputs of all runs, in canonical order, as they come in.

    Attributes:
        store: what keeps them; what it holds already is filled in.
        outputs: arrays by name, the runs first.
        finite: names of the outputs that must be finite, None for all.
        done: how many runs are filled in.
        diverged: how many of them diverged.
    """

    def __init__(
        self, store: Store, outputs: Mapping[str, jax.ShapeDtypeStruct], runs: int, finite: Sequence[str] | None
    ) -> None:
        self.finite = finite
        self.store, self.done, self.diverged = store, 0, 0
        self.outputs = {name: np.empty((runs, *a.shape), a.dtype) for name, a in outputs.items()}
        for first, end in store.finished:  # read one by one, so that they are in memory once
            self.fill(np.arange(first, end), store.read((first, end)))

    def fill(self, runs: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Put in the outputs of ``runs``."""
        for name, array in arrays.items():
            self.outputs[name][runs] = array
        self.done += len(runs)
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

    def left(self, store: Store) -> list[tuple[int, int]]:
        """The chunks that are not finished: first run and end of each."""
        assert self.plan is not None
        cuts = self.plan.cuts(self.runs)
        return [(a, b) for a, b in cuts if (self.base + a, self.base + b) not in store.finished]


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

    def lowered(job: Job, plan: Plan) -> Callable[[], Compiled]:
        shape = {"width": plan.width, "groups": plan.groups}
        text = programs.lower(job.program, mesh, job.lanes, shared, **shape)
        return lambda: programs.compiled(text, mesh, **shape)

    workers = ThreadPoolExecutor(max_workers=max(1, min(len(jobs), os.cpu_count() or 1)))
    try:
        with reporter(progress, total, collected.done) as report:
            update = lambda: report(collected.done, collected.diverged)
            update()
            for job in jobs:
                if job.plan is None or job.left(store):
                    job.ready = workers.submit(lowered(job, job.plan or job.trials[0]))
            if any(job.plan is None for job in jobs):  # nothing else may run while programs are timed
                wait([job.ready for job in jobs if job.ready])
            for job in jobs:
                if job.ready is not None:
                    _run(collected, job, job.ready.result(), shared, lowered, update)
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


def _run(
    collected: Collected,
    job: Job,
    program: Compiled,
    shared: Any,
    lowered: Callable[[Job, Plan], Callable[[], Compiled]],
    update: Callable[[], object],
) -> None:
    """Choose a plan if there is none, and run what is left of a program, chunk by chunk."""
    store = collected.store

    def start(program: Compiled, first: int, end: int) -> tuple[dict[str, jax.Array], np.ndarray]:
        return programs.execute(program, jax.tree.map(lambda a: a[first:end], job.lanes), shared)

    first_outputs = None  # those of the trial that was best
    if job.plan is None:
        build = lambda plan: program if plan == job.trials[0] else lowered(job, plan)()
        best = plans.choose(job.trials, job.runs, build, lambda p, runs: start(p, 0, runs))
        program, job.plan, first_outputs = best.program, best.plan, best.outputs
        store.keep_plan(job.number, list(best.plan))
    for first, end in job.left(store):
        outputs, rows = first_outputs if first_outputs and first == 0 else start(program, first, end)
        first_outputs = None
        offset = job.base + first
        runs, arrays = programs.local_rows(outputs, rows)
        store.keep(offset, job.base + end, offset + runs, arrays)
        if processes.count() > 1:
            runs, arrays = rows[rows >= 0], {n: a[rows >= 0] for n, a in processes.gather(outputs).items()}
        collected.fill(offset + runs, arrays)
        update()
