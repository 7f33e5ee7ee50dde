"""A chunk of long runs goes from segment to segment, and what it carries is saved while the next one is computed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jnorm.sweeps import _carried as carried_files
from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps._files import Chunk
from jnorm.sweeps._pace import Pace
from jnorm.sweeps._pieces import Pieces
from jnorm.sweeps._programs import Compiled, Lanes


@dataclass
class Course:
    """A chunk on its way.

    Attributes:
        program: what is run.
        segments: how many there are.
        counts: how many groups each device has to do.
        lanes: key and hyperparameters of the runs, on the devices.
        rows: the run of the chunk that each row of arrays holds, -1 for none.
        carried: what the runs carry.
        segment: after so many segments.
        shared: the data.
        kept: after so many segments it was found saved.
    """

    program: Compiled
    segments: int
    counts: jax.Array
    lanes: Lanes
    rows: np.ndarray
    carried: dict[str, jax.Array]
    segment: int
    shared: Any
    kept: int = 0

    def block_until_ready(self) -> "Course":
        """Wait for the segment that is computed."""
        jax.block_until_ready(self.carried)
        return self

    def finished(
        self, folder: Path | None, chunk: Chunk, moved: Callable[[float], object]
    ) -> tuple[dict[str, jax.Array], np.ndarray]:
        """Go through all segments that are left, and start the outputs; ``moved`` hears which part is done.

        With a ``folder`` all that a ``chunk`` carries is saved.
        """
        advance, finish = self.program.advance, self.program.finish
        assert advance is not None
        assert finish is not None
        saving = Saving(folder, chunk)
        self.block_until_ready()
        while self.segment < self.segments:
            moved(self.segment / self.segments)
            due = self.segment > self.kept and saving.is_due()

            def further(due: bool = due) -> dict[str, jax.Array]:
                following = advance(self.counts, (self.lanes, self.carried), self.shared)
                if due:
                    saving.save(self, following)
                return jax.block_until_ready(following)

            after, lack = memory.attempt(further)
            if after is None:
                raise jax.errors.JaxRuntimeError(lack)
            self.carried, self.segment = after, self.segment + 1
        return finish(self.counts, (self.lanes, self.carried), self.shared), self.rows


def begun(program: Compiled, pieces: Pieces, lanes: Lanes, shared: Any, folder: Path | None, chunk: Chunk) -> Course:
    """Start a chunk: its first segment, or where files in the folder say that it was."""
    kept, state = carried_files.found(folder, chunk, pieces.carried) or (0, None)
    counts, (placed, carried), rows = programs.placed(program, (lanes, state))
    if carried is None:
        carried = program.call(counts, placed, shared)
    return Course(program, pieces.segments, counts, placed, rows, carried, kept or 1, shared, kept)


@dataclass
class Saving:
    """When what a chunk carries is saved; segments that are too short for the pace are not all saved.

    Attributes:
        folder: where; without one nothing is.
        chunk: of which runs.
        pace: from when the last save began, or the chunk, and what it cost: seconds of the processor, and of the clock
            where the next segment was over before it.
    """

    folder: Path | None
    chunk: Chunk
    pace: Pace = field(default_factory=Pace)

    def is_due(self) -> bool:
        """Whether saving as before takes no more than its share."""
        return self.folder is not None and bool(processes.decide(lambda: self.pace.due))

    def save(self, course: Course, following: dict[str, jax.Array]) -> None:
        """Write what this process's runs carry, while the segment that follows is computed."""
        assert self.folder is not None
        start, processor = time.perf_counter(), time.thread_time()
        runs, arrays = programs.local_rows(course.carried, course.rows)
        carried_files.write(self.folder, self.chunk, course.segment, self.chunk[1] + runs, arrays)
        waited = all(array.is_ready() for array in following.values())  # type: ignore[attr-defined]
        self.pace = Pace(start, time.thread_time() - processor + (time.perf_counter() - start if waited else 0.0))
