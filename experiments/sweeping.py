"""A sweep of an experiment: finished runs are in a store in its output folder, which ``--resume`` continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.checks import Refused
from experiments.common import agreed
from experiments.showing import Task
from jnorm.sweeps import Progress, SweepResult, sweep

STORE = "store"


class Interrupted(KeyboardInterrupt):
    """A sweep that was stopped by hand; says what its store holds."""


def refuse_begun(out: Path, resume: bool) -> None:
    """Raise `Refused` where there is a store in ``out`` that ``resume`` does not ask for."""
    store = out / STORE
    if agreed((store / "manifest.json").exists() and not resume):
        raise Refused(f"'{store}' holds a sweep: --resume continues it, another --out starts anew")


def stored(train: Callable[..., Any], *, out: Path, resume: bool, shown: Task, **options: Any) -> SweepResult:
    """`jnorm.sweeps.sweep` with a store in ``out``, whose progress is ``shown``.

    Raises `Refused` where there is a store that ``resume`` does not ask for, where it cannot be written, and where it
    belongs to another sweep; `Interrupted` on Ctrl-C.
    """
    refuse_begun(out, resume)
    store = out / STORE
    latest: list[Progress] = []

    def report(progress: Progress) -> None:
        latest[:] = [progress]
        shown.total = progress.total
        shown.reach(progress.done, str(progress))

    try:
        return sweep(train, store=store, progress=report, **options)
    except KeyboardInterrupt:
        done = f"{latest[0].done} of {latest[0].total}" if latest else "none of the"
        raise Interrupted(f"{done} runs are saved in {store}") from None
    except OSError as error:
        raise Refused(f"the store: {error}") from None
    except ValueError as error:
        if not resume:
            raise
        raise Refused(str(error)) from None
