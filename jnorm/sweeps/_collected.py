"""The outputs of a sweep as they come in: from the chunks of a store, and from the devices."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jnorm.sweeps._blocks import Block, Layout
from jnorm.sweeps._divergence import failed_runs
from jnorm.sweeps._store import Store


class Collected:
    """The outputs of all runs, in canonical order, as they come in.

    Attributes:
        store: what keeps them; what it holds already is filled in.
        layout: the runs.
        outputs: arrays by name, the runs first.
        finite: names of the outputs that must be finite, None for all.
        filled: which runs are filled in.
        diverged: how many of them diverged.
        rows: for every block of the store, the number of each of its runs among those of the sweep, -1 for none.
        finished: for every block, which of its runs are finished.
    """

    def __init__(
        self, store: Store, layout: Layout, outputs: Mapping[str, jax.ShapeDtypeStruct], finite: Sequence[str] | None
    ) -> None:
        self.store, self.layout, self.finite, self.diverged = store, layout, finite, 0
        self.outputs = layout.blank({name: (a.shape, a.dtype) for name, a in outputs.items()})
        self.filled = np.zeros(layout.shape[0] * layout.shape[1], bool)
        self.rows: list[np.ndarray] = []
        self.finished: list[np.ndarray] = []
        self._take(store.blocks)
        for block, first, end in store.finished:  # read one by one, so that they are in memory once
            self.fill(block, np.arange(first, end), store.read((block, first, end)))

    def want(self, wanted: np.ndarray) -> None:
        """Let the store have blocks for those of the ``wanted`` runs that it does not hold yet."""
        held = np.zeros(len(wanted) + 1, bool)  # the last one is for -1
        for rows in self.rows:
            held[rows] = True
        blocks = self.layout.blocks(wanted & ~held[:-1])
        self.store.extend(blocks)
        self._take(blocks)

    def left(self, wanted: np.ndarray) -> list[np.ndarray]:
        """For every block, which of its runs are ``wanted`` and not filled in."""
        missing = np.append(wanted & ~self.filled, False)  # the last one is for -1
        return [missing[rows] for rows in self.rows]

    def fill(self, block: int, runs: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Put in the outputs of ``runs`` of a block."""
        self.finished[block][runs] = True
        rows = self.rows[block][runs]
        kept = rows >= 0
        rows, arrays = rows[kept], {name: array[kept] for name, array in arrays.items()}
        for name, array in arrays.items():
            self.outputs[name][rows] = array
        self.filled[rows] = True
        self.diverged += int(failed_runs(arrays, len(rows), self.finite).sum())

    def _take(self, blocks: Sequence[Block]) -> None:
        self.rows += [self.layout.rows(block) for block in blocks]
        self.finished += [np.zeros(block.runs, bool) for block in blocks]
