"""How far a sweep is: a live bar, plain lines, or the caller's own function."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jnorm.sweeps import _processes as processes


class Progress(NamedTuple):
    """How far a sweep is; what the function that is given as ``progress`` is called with.

    Attributes:
        done: finished runs, those that a store held among them.
        total: runs of the sweep.
        diverged: finished runs that diverged.
        rate: runs a second since the start.
        left: seconds left at this rate; inf before the first run is finished.

    >>> print(Progress(done=30, total=90, diverged=1, rate=0.5, left=120.0))
    30/90 runs, 0.5 runs/s, 0:02:00 left, 1 diverged
    """

    done: int
    total: int
    diverged: int
    rate: float
    left: float

    def __str__(self) -> str:
        return f"{counted(self, 'runs')}, {self.diverged} diverged"


def measured(start: float, done: int, total: int, resumed: int = 0, diverged: int = 0) -> Progress:
    """The progress since the second ``start`` of `time.perf_counter`; ``resumed`` of those done were done before it."""
    rate = (done - resumed) / max(time.perf_counter() - start, 1e-9)
    return Progress(done, total, diverged, rate, (total - done) / rate if rate else float("inf"))


def counted(progress: Progress, unit: str) -> str:
    """How many are done, the rate and the time left, in words."""
    shown = f"{progress.done}/{progress.total} {unit}, {progress.rate:.3g} {unit}/s"
    return f"{shown}, {_clock(progress.left)} left"


def _clock(seconds: float) -> str:
    if not seconds < 360_000:
        return "-:--:--"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


Report = Callable[[Progress], object]
Update = Callable[[int, int], object]


@contextmanager
def reporter(progress: bool | Report, total: int, resumed: int) -> Iterator[Update]:
    """A function ``update(done, diverged)`` that reports as asked, in the leading process alone.

    ``True`` draws a `bar`. ``resumed`` runs were done before and do not count for the rate.
    """
    start = time.perf_counter()
    now = lambda done, diverged: measured(start, done, total, resumed, diverged)
    if progress is False or not processes.leading():
        yield lambda done, diverged: None
    elif callable(progress):
        yield lambda done, diverged: progress(now(done, diverged))
    else:
        with bar("sweep", total) as show:
            yield lambda done, diverged: show(done, str(now(done, diverged)))


@contextmanager
def bar(name: str, total: int) -> Iterator[Callable[[int, str], None]]:
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
