"""Claims are measured one after another, or by several processes that take a topic each."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
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
    left = [entry for entry in entries if not records.current(output.folder, entry, entry.config(quick=quick), setup)]
    topics: dict[str, list[str]] = {}
    for entry in left:
        topics.setdefault(entry.topic, []).append(entry.claim.id)
    clock = Clock()
    with _compiling(quickly=quick), clock("claims", len(entries), "claims") as shown:
        shown.advance(len(entries) - len(left))
        if processes is None:
            shares = quick and len(topics) > 1 and jax.default_backend() == "cpu"
            processes = min(jax.local_device_count(), MOST) if shares else 1  # a device a core
        if min(processes, len(topics)) > 1:
            ids = sorted(topics.values(), key=len, reverse=True)  # the long ones first
            _share(ids, setup, output.folder, quick=quick, processes=processes, shown=shown)
            return
        for entry in left:
            with clock(entry.claim.id):
                records.measured(entry, entry.config(quick=quick), setup, output)
            shown.advance()


def _share(
    shares: Sequence[Sequence[str]], setup: Setup, folder: Path, *, quick: bool, processes: int, shown: Task
) -> None:
    """Have the claims of a topic measured by a process: what they have in common is computed once."""
    started = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, started, _begin, (jax.config.jax_compilation_cache_dir,)) as pool:
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
    """Set a process up as the first one is, with one device; an interruption ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    jax.config.update("jax_num_cpu_devices", 1)
    if cache is not None:
        common.use_cache(Path(cache))


def _measured(ids: Sequence[str], setup: Setup, folder: Path, *, quick: bool) -> dict[str, float]:
    """The seconds that each claim took."""
    known, output = registry.declared(), Output.open(folder)
    entries = [known[name] for name in ids]
    found = [records.measured(entry, entry.config(quick=quick), setup, output) for entry in entries]
    return {record["id"]: record["seconds"] for record in found}


@contextmanager
def _compiling(*, quickly: bool) -> Iterator[None]:
    """Leave out optimizations of programs that run for a moment, here and in processes that begin; works if nothing has
    been compiled yet.
    """
    before = os.environ.get("XLA_FLAGS")
    if quickly:
        os.environ["XLA_FLAGS"] = f"{before or ''} --xla_backend_optimization_level=0"
    try:
        yield
    finally:
        if quickly:
            del os.environ["XLA_FLAGS"]
        if before is not None:
            os.environ["XLA_FLAGS"] = before
