"""Every seed under every configuration, on all devices of all processes, resumable.

>>> import jax.numpy as jnp
>>> def train(key, learning_rate):  # gradient descent on (w - 1)^2 / 2 from a random start
...     w = jax.random.normal(key)
...     for _ in range(10):
...         w = w - learning_rate * (w - 1)
...     return {"loss": (w - 1) ** 2 / 2}
>>> result = sweep(train, seeds=3, grid={"learning_rate": (0.1, 0.5)})
>>> result["loss"].shape, bool((result.select(learning_rate=0.5)["loss"] < 1e-4).all())
((2, 3), True)

- **Programs.** Names in ``static`` (depth, activation) make a program each; all other hyperparameters are traced, so
  that a whole grid of learning rates is one compilation. Programs are compiled in parallel threads, and the persistent
  compilation cache is used where it is on.
- **Order.** Runs are arranged by the contents of their configuration and by seed: in whatever order a grid is written,
  the results are the same, bit for bit. Another chunk or number of devices may change rounding.
- **Devices.** The runs of a chunk are split over all devices of the mesh. On a CPU, XLA does small matrix products on
  one core: set ``jax.config.update("jax_num_cpu_devices", cores)`` before JAX starts.
- **Processes.** After ``jax.distributed.initialize()`` every process makes the same call. Each saves the runs of its
  own devices, and all return the whole result. Where one dies, the others end with an error; the same call resumes.
- **Stores.** With ``store`` every finished chunk is on the disk before the next one starts: see `load`. A
  sweep that was killed goes on where it was, by the plan that it had, and ends as if it had not been killed, bit for
  bit on the same machine.
- **Failures.** A run that diverges is NaN in its own lane and the rest go on: `jnorm.sweeps._results.failed_runs`.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jnorm._ground import checks
from jnorm.sweeps import _plans as plans
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps._configurations import Configuration, Grid, Group, describe, expand, grouped, numbered
from jnorm.sweeps._plans import Plan
from jnorm.sweeps._programs import Compiled, Lanes, Program, Train
from jnorm.sweeps._progress import Report, reporter
from jnorm.sweeps._results import SweepResult, arranged, failed_runs
from jnorm.sweeps._store import Store, opened


def sweep(
    train: Train,
    *,
    seeds: int | Iterable[int],
    grid: Grid = None,
    static: Sequence[str] = (),
    shared: Any = None,
    mesh: Mesh | None = None,
    chunk: int | Literal["auto"] = "auto",
    store: str | os.PathLike[str] | None = None,
    progress: bool | Report = False,
) -> SweepResult:
    """Run ``train`` with every seed in every configuration; ``result[output]`` has shape [configuration, seed, ...].

    ``train(key, **hyperparameters)``, or ``train(key, shared, **hyperparameters)`` where ``shared`` is given, is pure
    and returns a dictionary of arrays. Seed s runs with ``jax.random.key(s)`` in every configuration, so that
    comparisons are paired.

    - ``seeds``: a count n, for 0, ..., n - 1, or a sequence of whole numbers.
    - ``grid``: sequences of values by name, of which the product is run, or a sequence of configurations.
    - ``static``: names whose values are known when the program is compiled: all that are not numbers, and all that
      change shapes. The others are traced scalars.
    - ``shared``: arrays that every run reads (data), on every device once, and passed as an argument.
    - ``mesh``: the devices, by default all. Its axes do not matter.
    - ``chunk``: how many runs a device does side by side, by ``vmap``, until they are saved. ``"auto"`` tries one and
      more, as long as more are faster and as the time for trying comes back, and saves after about two seconds of work.
    - ``store``: a folder, for what is finished. What it holds is not run again, and its plan takes precedence over
      ``chunk``.
    - ``progress``: ``True`` for a live bar on the standard error, or a function that is called with a
      `jnorm.sweeps._progress.Progress` whenever a chunk is finished.

    Raises ``ValueError`` or ``TypeError`` before anything runs for an empty or repeating grid, names that ``train``
    does not accept or that it lacks, values that are no numbers and not static, a ``train`` that returns something else
    than a dictionary of arrays, outputs of unequal shapes between programs, and the store of another sweep, with what
    differs; ``OSError`` for a store that cannot be written or is in use. Where a disk gets full later, what is finished
    stays.

    Source: the form of ``train`` is that of PureJaxRL (Lu et al. 2022).
    """
    configurations, numbers = expand(grid), numbered(seeds)
    groups = grouped(configurations, static)
    if chunk != "auto":
        if isinstance(chunk, str):
            raise ValueError(f'`chunk` must be "auto" or a whole number >= 1; got {chunk!r}')
        checks.whole(1, chunk=chunk)
    _check_names(train, configurations[0], shared)
    line, shared = programs.line(mesh), jax.tree.map(_array, shared)
    keys = np.asarray(jax.random.key_data(jax.vmap(jax.random.key)(np.sort(np.array(numbers, np.int32)))))
    lanes = [_lanes(keys, group) for group in groups]
    traced = [programs.trace(train, g.static, some, shared) for g, some in zip(groups, lanes, strict=True)]
    _check_outputs(groups, traced)
    where = [place for group in groups for place in group.where]
    manifest = {
        "train": describe(train) if hasattr(train, "__qualname__") else type(train).__qualname__,
        "configurations": [describe(configurations[place]) for place in where],
        "seeds": sorted(numbers),
        "keys": {"implementation": str(jax.random.key_impl(jax.random.key(0))), "data": keys.tolist()},
        "shared": _fingerprint(shared),
        "outputs": {name: [list(a.shape), a.dtype.name] for name, a in traced[0].outputs.items()},
        "programs": [
            {"static": describe(g.static), "fingerprint": p.fingerprint} for g, p in zip(groups, traced, strict=True)
        ],
        "plans": [None] * len(groups),
        "order": [where, list(numbers)],
    }
    runs = len(configurations) * len(numbers)
    with opened(store, json.loads(json.dumps(manifest)), size=runs * traced[0].size) as book:
        state = _State(book, {n: np.empty((runs, *a.shape), a.dtype) for n, a in traced[0].outputs.items()})
        _run(state, traced, lanes, programs.placed(line, shared), line, chunk, progress)
    return arranged(state.outputs, configurations, numbers, where)


@dataclass
class _State:
    """Where the results of all runs go, in canonical order, and how many there are."""

    book: Store
    outputs: dict[str, np.ndarray]
    done: int = 0
    diverged: int = 0

    def fill(self, runs: np.ndarray, some: Mapping[str, np.ndarray]) -> None:
        for name, array in some.items():
            self.outputs[name][runs] = array
        self.done += len(runs)
        self.diverged += int(failed_runs(some, len(runs)).sum())


@dataclass
class _Task:
    """What is to be done for one program: from run ``base`` on, by a plan, or by the best of several."""

    program: Program
    lanes: Lanes
    base: int
    plan: Plan | None
    trials: list[Plan]
    ready: Future[Compiled] | None = None

    def left(self, book: Store) -> list[tuple[int, int]]:
        """The cuts that are not finished."""
        assert self.plan is not None
        cuts = self.plan.cuts(len(self.lanes.key_data))
        return [(a, b) for a, b in cuts if (self.base + a, self.base + b) not in book.finished]


def _run(
    state: _State,
    traced: Sequence[Program],
    lanes: Sequence[Lanes],
    shared: Any,
    mesh: Mesh,
    chunk: int | str,
    progress: bool | Report,
) -> None:
    book, tasks, base = state.book, [], 0
    for (first, end), arrays in book.finished.items():
        state.fill(np.arange(first, end), arrays)
    for number, (program, some) in enumerate(zip(traced, lanes, strict=True)):
        runs = len(some.key_data)
        kept = book.plan(number)
        plan = Plan(*kept).on(mesh.size) if kept else None
        if plan is None and not isinstance(chunk, str):
            plan = plans.fixed(chunk, runs, mesh.size)
            book.keep_plan(number, list(plan))
        trials = [plans.trial(width, runs, mesh.size, program.size) for width in plans.widths(runs, mesh.size)]
        tasks.append(_Task(program, some, base, plan, trials))
        base += runs

    def lowered(task: _Task, plan: Plan) -> Callable[[], Compiled]:
        shape = {"width": plan.width, "groups": plan.groups}
        text = programs.lower(task.program, mesh, task.lanes, shared, **shape)
        return lambda: programs.compiled(text, mesh, **shape)

    total = len(next(iter(state.outputs.values())))
    workers = ThreadPoolExecutor(max_workers=max(1, min(len(tasks), os.cpu_count() or 1)))
    try:
        with reporter(progress, total, state.done) as update:
            update(state.done, state.diverged)
            for task in tasks:
                if task.plan is None or task.left(book):
                    task.ready = workers.submit(lowered(task, task.plan or task.trials[0]))
            if any(task.plan is None for task in tasks):  # nothing else may run while programs are timed
                wait([task.ready for task in tasks if task.ready])
            for number, task in enumerate(tasks):
                if task.ready is None:
                    continue
                _work(state, task, number, shared, lowered, lambda: update(state.done, state.diverged))
    finally:
        workers.shutdown(cancel_futures=True)


def _work(
    state: _State,
    task: _Task,
    number: int,
    shared: Any,
    lowered: Callable[[_Task, Plan], Callable[[], Compiled]],
    update: Callable[[], object],
) -> None:
    """Choose a plan if there is none, and run what is left of a program, chunk by chunk."""
    assert task.ready is not None
    program = task.ready.result()

    def start(program: Compiled, first: int, end: int) -> tuple[dict[str, jax.Array], np.ndarray]:
        return programs.execute(program, jax.tree.map(lambda a: a[first:end], task.lanes), shared)

    early = None
    if task.plan is None:
        build = lambda plan: program if plan == task.trials[0] else lowered(task, plan)()
        best = plans.choose(task.trials, len(task.lanes.key_data), build, lambda p, runs: start(p, 0, runs))
        program, task.plan, early = best.program, best.plan, best.outputs
        state.book.keep_plan(number, list(best.plan))
    for first, end in task.left(state.book):
        outputs, rows = early if early and first == 0 else start(program, first, end)
        early = None
        offset = task.base + first
        mine, arrays = programs.local_rows(outputs, rows)
        state.book.keep(offset, task.base + end, offset + mine, arrays)
        if processes.count() > 1:
            mine, arrays = rows[rows >= 0], {n: a[rows >= 0] for n, a in processes.gather(outputs).items()}
        state.fill(offset + mine, arrays)
        update()


def _lanes(keys: np.ndarray, group: Group) -> Lanes:
    """Key data and traced values of the runs of a program, by configuration and then by seed."""
    traced = {}
    for name in group.traced[0]:
        values = np.asarray([one[name] for one in group.traced])
        kind = {"b": bool, "i": int, "f": float}.get(values.dtype.kind, float)
        traced[name] = np.repeat(values.astype(jnp.result_type(kind)), len(keys))
        if kind is int and (traced[name].reshape(len(values), -1)[:, 0] != values).any():
            raise ValueError(f"`{name}` must hold whole numbers of {traced[name].dtype}; got {values.max()}")
    return Lanes(np.tile(keys, (len(group.traced), *[1] * (keys.ndim - 1))), traced)


def _check_names(train: Train, configuration: Configuration, shared: Any) -> None:
    """That ``train`` can be called with these names."""
    try:
        signature = inspect.signature(train)
    except (TypeError, ValueError):  # some callables have none
        return
    given = ("key",) if shared is None else ("key", "shared")
    try:
        signature.bind(*given, **configuration)
    except TypeError as error:
        call = ", ".join([*given, *(f"{name}=..." for name in configuration)])
        raise TypeError(f"`train` must accept train({call}); its signature is {signature}: {error}") from None


def _check_outputs(groups: Sequence[Group], traced: Sequence[Program]) -> None:
    first = traced[0].outputs
    for group, program in zip(groups[1:], traced[1:], strict=True):
        for name in sorted(set(first) | set(program.outputs)):
            a, b = first.get(name), program.outputs.get(name)
            if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
                one, other = (f"{x.dtype}{list(x.shape)}" if x else "nothing" for x in (a, b))
                raise ValueError(
                    f"`train` must return the same arrays whatever is static; `{name}` is {one} with "
                    f"{describe(groups[0].static)} and {other} with {describe(group.static)}"
                )


def _array(leaf: Any) -> Any:
    """A leaf of the data in the dtype that JAX gives it, NumPy's left on the host."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind in "OSUMm":
        raise TypeError(f"`shared` must hold arrays; got {leaf!r}")
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def _fingerprint(shared: Any) -> str | None:
    """What tells other data: a sum of structure, types and contents."""
    if shared is None:
        return None
    leaves, structure = jax.tree.flatten(shared)
    total = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
