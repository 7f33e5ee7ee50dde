"""What is going on, on the standard error: live lines on a terminal, plain ones elsewhere; and seconds by phase."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

EVERY = 10.0  # seconds between plain lines
_display: Any = None  # the live lines of all tasks that run: a terminal has room for one display


@dataclass
class Task:
    """Work that is shown while it is done.

    Attributes:
        name: What it is.
        total: How many units it has; None where nobody counts.
        unit: What is counted, in the plural.
        draw: Called with the task whenever it moves.
        done: How many units are done.
        text: What is written beside the name.
        start: When it began, in seconds of `time.perf_counter`.
    """

    name: str
    total: int | None
    unit: str
    draw: Callable[["Task"], object]
    done: int = 0
    text: str = ""
    start: float = field(default_factory=lambda: time.perf_counter())

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.perf_counter() - self.start

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        self.reach(self.done + count)

    def reach(self, done: int, text: str = "") -> None:
        """So many units are done in all, which ``text`` says in other words."""
        self.done, self.text = done, text or f"{done}/{self.total} {self.unit}"
        self.draw(self)


@contextmanager
def task(name: str, total: int | None = None, unit: str = "") -> Iterator[Task]:
    """Show a task while the work inside is done: a live line with a clock on a terminal, else a line now and then."""
    live = _display is not None or sys.stderr.isatty()  # a display hides the terminal from whoever asks
    with (_live if live else _plain)(name, total, unit) as shown:
        yield shown


@contextmanager
def _plain(name: str, total: int | None, unit: str) -> Iterator[Task]:
    latest = time.perf_counter()

    def draw(shown: Task) -> None:
        nonlocal latest
        if shown.done == shown.total or time.perf_counter() - latest >= EVERY:
            latest = time.perf_counter()
            print(f"{name}: {shown.text}, {shown.seconds:.0f} s", file=sys.stderr, flush=True)

    print(f"{name} ...", file=sys.stderr, flush=True)
    yield Task(name, total, unit, draw)


@contextmanager
def _live(name: str, total: int | None, unit: str) -> Iterator[Task]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    global _display
    with ExitStack() as ended:
        if _display is None:
            ended.callback(_forget_display)
            columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
            console = Console(stderr=True)
            display = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, redirect_stdout=False)
            _display = ended.enter_context(display)
        display = _display
        number = display.add_task(name, total=total, text="")
        ended.callback(display.remove_task, number)

        def draw(shown: Task) -> None:
            display.update(number, total=shown.total, completed=shown.done, text=shown.text)

        yield Task(name, total, unit, draw)


def _forget_display() -> None:
    global _display
    _display = None


@dataclass
class Clock:
    """Seconds by phase; each phase is a `task` while it lasts, and its seconds are printed as it ends."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str, total: int | None = None, unit: str = "") -> Iterator[Task]:
        """Show and time what happens inside."""
        with task(phase, total, unit) as shown:
            yield shown
        self.seconds[phase] = shown.seconds
        print(f"{phase}: {shown.seconds:.1f} s", file=sys.stderr)
