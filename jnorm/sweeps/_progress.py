"""How far a sweep is: a live bar, plain lines, or the caller's own function."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jnorm.sweeps import _processes as processes


class Progress(NamedTuple):
    """Runs ``done`` of ``total``, those that ``diverged``, runs a second since the start, and seconds left."""

    done: int
    total: int
    diverged: int
    rate: float
    left: float

    def __str__(self) -> str:
        return (
            f"{self.done}/{self.total} runs, {self.rate:.3g} runs/s, {_clock(self.left)} left, {self.diverged} diverged"
        )


def _clock(seconds: float) -> str:
    if not seconds < 360_000:
        return "-:--:--"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


Report = Callable[[Progress], object]
Update = Callable[[int, int], object]


@contextmanager
def reporter(progress: bool | Report, total: int, resumed: int) -> Iterator[Update]:
    """A function ``update(done, diverged)`` that reports as asked, in the leading process alone.

    ``True`` draws a bar on the standard error, or prints lines there where rich is not installed. ``resumed`` runs were
    done before and do not count for the rate.
    """
    start = time.perf_counter()

    def seen(done: int, diverged: int) -> Progress:
        rate = (done - resumed) / max(time.perf_counter() - start, 1e-9)
        return Progress(done, total, diverged, rate, (total - done) / rate if rate else float("inf"))

    if progress is False or not processes.leading():
        yield lambda done, diverged: None
    elif callable(progress):
        yield lambda done, diverged: progress(seen(done, diverged))
    else:
        with _bar(total) as show:
            yield lambda done, diverged: show(seen(done, diverged))


@contextmanager
def _bar(total: int) -> Iterator[Callable[[Progress], None]]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield lambda now: print(f"sweep: {now}", file=sys.stderr)
        return
    with Bar(TextColumn("sweep"), BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("compiling", total=total)
        yield lambda now: bar.update(task, completed=now.done, description=str(now))
