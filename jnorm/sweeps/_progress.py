"""How far a sweep is: a live bar, plain lines, or the caller's own function."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from jnorm.sweeps import _processes as processes


class Progress(NamedTuple):
    """How far a sweep is; what the function that is given as ``progress`` is called with.

    Attributes:
        done: finished runs, those that a store held among them.
        total: runs of the sweep.
        diverged: finished runs that diverged.
        rate: runs a second since the start, parts of runs included.
        left: seconds left at this rate; inf before anything is done.
        begun: what the segments of runs that are on their way amount to, in runs.

    >>> print(Progress(done=30, total=90, diverged=1, rate=0.5, left=120.0))
    30/90 runs, 0.5 runs/s, 0:02:00 left, 1 diverged
    """

    done: int
    total: int
    diverged: int
    rate: float
    left: float
    begun: float = 0.0

    def __str__(self) -> str:
        return f"{counted(self, 'runs')}, {self.diverged} diverged"


def measured(
    start: float, done: int, total: int, resumed: float = 0, diverged: int = 0, begun: float = 0.0
) -> Progress:
    """The progress since the second ``start`` of `time.perf_counter`; ``resumed`` of those done were done before it."""
    rate = max(0.0, done + begun - resumed) / max(time.perf_counter() - start, 1e-9)
    return Progress(done, total, diverged, rate, (total - done - begun) / rate if rate else float("inf"), begun)


def counted(progress: Progress, unit: str) -> str:
    """How many are done, the rate and the time left, in words."""
    so_far = f"{progress.done + progress.begun:.1f}" if progress.begun else progress.done
    shown = f"{so_far}/{progress.total} {unit}, {progress.rate:.3g} {unit}/s"
    return f"{shown}, {_clock(progress.left)} left"


def _clock(seconds: float) -> str:
    if not seconds < 360_000:
        return "-:--:--"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


Report = Callable[[Progress], object]


class Update(Protocol):
    """``update(done, diverged, begun)`` reports finished runs, and what those that are on their way amount to."""

    def __call__(self, done: int, diverged: int, begun: float = 0.0) -> object: ...


@contextmanager
def reporter(progress: bool | Report, total: int, resumed: int) -> Iterator[Update]:
    """A function ``update(done, diverged, begun)`` that reports as asked, in the leading process alone.

    ``True`` draws a `bar`. ``resumed`` runs were done before and do not count for the rate.
    """
    start = time.perf_counter()
    now = lambda done, diverged, begun: measured(start, done, total, resumed, diverged, begun)
    if progress is False or not processes.leading():
        yield lambda done, diverged, begun=0.0: None
    elif callable(progress):
        yield lambda done, diverged, begun=0.0: progress(now(done, diverged, begun))
    else:
        with bar("sweep", total) as show:
            yield lambda done, diverged, begun=0.0: show(done + begun, str(now(done, diverged, begun)))


@contextmanager
def bar(name: str, total: int) -> Iterator[Callable[[float, str], None]]:
    """A live bar on the standard error, or lines there where rich is not installed.

    Yields ``show(done, text)``, which moves it to ``done`` of ``total`` and writes ``text`` beside it.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield lambda done, text: print(f"{name}: {text}", file=sys.stderr)
        return
    with Bar(TextColumn(name), BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as drawn:
        task = drawn.add_task("compiling", total=total)
        yield lambda done, text: drawn.update(task, completed=done, description=text)
