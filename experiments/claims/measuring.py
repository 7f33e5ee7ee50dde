"""Claims are measured one after another, or by several processes that take a topic each."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import jax

from experiments import common
from experiments.claims import records, registry
from experiments.claims.claim import Setup
from experiments.claims.registry import Entry
from experiments.common import Output
from experiments.showing import Clock, Task

MOST = 4  # processes that are taken unasked: each holds a gigabyte


def measure(entries: Sequence[Entry], setup: Setup, output: Output, *, quick: bool, processes: int | None) -> None:
    """Measure the claims that are not recorded yet.

    Quick ones mostly compile, which one core does: by default up to `MOST` processes share them on a CPU. Full ones run
    in this process by default, as each sweep has all cores.
    """
    options = lambda entry: entry.quick if quick else entry.full
    left = [entry for entry in entries if not records.current(output.folder, entry, options(entry), setup)]
    topics: dict[str, list[str]] = {}
    for entry in left:
        topics.setdefault(entry.topic, []).append(entry.claim.id)
    clock = Clock()
    with _compiling(quickly=quick), clock("claims", len(entries), "claims") as shown:
        shown.advance(len(entries) - len(left))
        if processes is None:
            processes = min(_cores(), MOST) if quick and len(topics) > 1 and jax.default_backend() == "cpu" else 1
        if min(processes, len(topics)) > 1:
            shares = sorted(topics.values(), key=len, reverse=True)  # the long ones first
            _share(shares, setup, output.folder, quick=quick, processes=processes, shown=shown)
            return
        for entry in left:
            with clock(entry.claim.id):
                records.measured(entry, options(entry), setup, output)
            shown.advance()


def _share(
    shares: Sequence[Sequence[str]], setup: Setup, folder: Path, *, quick: bool, processes: int, shown: Task
) -> None:
    """Have the claims of a topic measured by a process: what they have in common is computed once."""
    started = multiprocessing.get_context("spawn")
    with (
        _set("JAX_NUM_CPU_DEVICES", "1"),
        ProcessPoolExecutor(processes, started, _begin, (jax.config.jax_compilation_cache_dir,)) as pool,
    ):
        try:
            for done in as_completed([pool.submit(_measured, ids, setup, folder, quick=quick) for ids in shares]):
                for name, seconds in done.result().items():
                    print(f"{name}: {seconds:.1f} s", file=sys.stderr)
                    shown.advance()
        except BaseException:  # what is written already is whole
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(cache: str | None) -> None:
    """Set a process up as the first one is; an interruption ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if cache is not None:
        common.use_cache(Path(cache))


def _measured(ids: Sequence[str], setup: Setup, folder: Path, *, quick: bool) -> dict[str, float]:
    """The seconds that each claim took."""
    known, output = registry.declared(), Output.open(folder)
    entries = [known[name] for name in ids]
    found = [records.measured(entry, entry.quick if quick else entry.full, setup, output) for entry in entries]
    return {record["id"]: record["seconds"] for record in found}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compiling(*, quickly: bool) -> AbstractContextManager[None]:
    """Leave out optimizations of programs that run for a moment; works if nothing has been compiled yet."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    return _set("XLA_FLAGS", flags) if quickly else nullcontext()


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    """An environment variable with another value."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
