"""The runs of a sweep in blocks: rectangles of configurations by seeds, whose runs belong together in a store.

A store that grows gets blocks for what is new. In each of them runs are counted from 0, by configuration in canonical
order and then by seed, and cut into chunks by plans of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.sweeps._configurations import Configuration, sort_key

Stored = list[int] | None


def identity(configuration: Mapping[str, Any]) -> str:
    """A text that is the same for configurations of equal values, 1 and 1.0 among them.

    >>> identity({"rate": 1, "phi": "relu"}) == identity({"phi": "relu", "rate": 1.0})
    True
    """
    exact = lambda v: float(v) if type(v) is int and abs(v) <= 2**53 else v
    return sort_key({name: exact(value) for name, value in configuration.items()})


@dataclass
class Block:
    """Configurations by seeds.

    Attributes:
        configurations: as they are written down, in canonical order, those of a program one after another.
        seeds: in increasing order.
        keys: the data of their random keys.
        programs: ``static`` values, as they are written down, and ``fingerprint`` of every program.
        plans: how the runs of every program are cut into chunks, None where that is not decided.
        jax: the version that wrote the programs down.
    """

    configurations: list[Configuration]
    seeds: list[int]
    keys: np.ndarray
    programs: list[dict[str, Any]]
    plans: list[Stored]
    jax: str

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self.configurations) * len(self.seeds)

    @property
    def entry(self) -> dict[str, Any]:
        """The block for a manifest."""
        names = ("configurations", "seeds", "programs", "plans", "jax")
        return {name: getattr(self, name) for name in names} | {"keys": self.keys.tolist()}

    @cached_property
    def parts(self) -> list[tuple[int, int]]:
        """The first configuration and the end of every program."""
        names = list(self.programs[0]["static"])
        numbers = {sort_key(program["static"]): p for p, program in enumerate(self.programs)}
        of = [numbers[sort_key({name: c[name] for name in names})] for c in self.configurations]
        ends = np.cumsum([len(list(same)) for _, same in groupby(of)]).tolist()
        if list(dict.fromkeys(of)) != list(range(len(self.programs))) or len(ends) != len(self.programs):
            raise ValueError("configurations that are not in the order of their programs")
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def runs_of(self, program: int) -> int:
        """How many a program has."""
        first, end = self.parts[program]
        return (end - first) * len(self.seeds)


@dataclass(frozen=True)
class Layout:
    """All runs of a sweep as one block, and where the runs of other blocks are among them.

    Attributes:
        whole: the block that a new store would have if all runs were done at once.
    """

    whole: Block

    @property
    def shape(self) -> tuple[int, int]:
        """How many configurations and seeds."""
        return len(self.whole.configurations), len(self.whole.seeds)

    def rows(self, block: Block) -> np.ndarray:
        """For every run of a block its number among those of the sweep, -1 for none."""
        places = {identity(configuration): i for i, configuration in enumerate(self.whole.configurations)}
        c = np.array([places.get(identity(configuration), -1) for configuration in block.configurations])[:, None]
        seeds, wanted = np.array(block.seeds), np.array(self.whole.seeds)
        s = np.minimum(np.searchsorted(wanted, seeds), len(wanted) - 1)
        return np.where((c < 0) | (wanted[s] != seeds), -1, c * len(wanted) + s).ravel()

    def blank(self, outputs: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> dict[str, np.ndarray]:
        """Arrays for the outputs of all runs, by name, from shape and dtype of a run's: NaN, 0 in whole numbers."""
        runs = self.shape[0] * self.shape[1]
        value = lambda dtype: np.nan if jnp.issubdtype(dtype, jnp.inexact) else 0
        return {name: np.full((runs, *shape), value(dtype), dtype) for name, (shape, dtype) in outputs.items()}

    def blocks(self, runs: np.ndarray) -> list[Block]:
        """The fewest blocks that hold these runs, a boolean for each, without plans.

        >>> program = {"static": {}, "fingerprint": "f"}
        >>> whole = Block([{"rate": 0.1}, {"rate": 1.0}], [0, 1, 2], np.arange(3), [program], [None], "1")
        >>> more_seeds_and_a_rate = np.array([[False, False, True], [True, True, True]])
        >>> [(len(block.configurations), block.seeds) for block in Layout(whole).blocks(more_seeds_and_a_rate)]
        [(1, [2]), (1, [0, 1, 2])]
        """
        table = runs.reshape(self.shape)
        patterns: dict[bytes, list[int]] = {}
        for c in np.flatnonzero(table.any(1)):
            patterns.setdefault(table[c].tobytes(), []).append(int(c))
        return [self._block(rows, np.flatnonzero(table[rows[0]])) for rows in patterns.values()]

    def _block(self, rows: Sequence[int], columns: np.ndarray) -> Block:
        whole = self.whole
        used = [p for p, (first, end) in enumerate(whole.parts) if any(first <= c < end for c in rows)]
        return Block(
            [whole.configurations[c] for c in rows],
            whole.seeds if len(columns) == len(whole.seeds) else [whole.seeds[s] for s in columns],
            whole.keys[columns],
            [whole.programs[p] for p in used],
            [None] * len(used),
            whole.jax,
        )


def blocks_of(manifest: Mapping[str, Any]) -> list[Block]:
    """The blocks that a manifest holds."""
    return [Block(**entry | {"keys": np.asarray(entry["keys"], np.uint32)}) for entry in manifest["blocks"]]


def following(blocks: Sequence[Block], program: Mapping[str, Any]) -> tuple[Stored, int]:
    """The plan that the first of the blocks has for a program, and for how many runs it was made; None, 0 for none."""
    text = sort_key(program["static"])
    for block in blocks:
        for number, other in enumerate(block.programs):
            if block.plans[number] and sort_key(other["static"]) == text:
                return block.plans[number], block.runs_of(number)
    return None, 0
