"""Long runs in lanes: each row of the same arrays is at its own place in its own run, and may be given to another."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _reuse as reuse
from jnorm.sweeps._devices import AXIS
from jnorm.sweeps._programs import Lanes, Program

Arrays = dict[str, np.ndarray]


class Rows:
    """Runs side by side on the devices of a mesh, compiled once for all that will be in them.

    Attributes:
        count: how many rows there are, a multiple of the devices.
    """

    def __init__(self, program: Program, lanes: Lanes, shared: Any, mesh: Mesh) -> None:
        """Rows for a program in segments; ``lanes`` hold the keys of all rows, and first hyperparameters."""
        self.count = len(lanes.key_data)
        shape = {"width": self.count // mesh.size, "groups": 1}
        begin, advance, finish = (part.compile() for part in reuse.lower(program, mesh, lanes, shared, **shape))
        self._begin, self._advance, self._finish = begin, advance, finish
        self._spread = NamedSharding(mesh, P(AXIS))
        self._merge = jax.jit(_merged, out_shardings=self._spread)
        self._shared, self._counts = programs.replicated(mesh, shared), self._placed(np.ones(mesh.size, np.int32))
        self._host, self._lanes = lanes, self._placed(lanes)
        assert program.pieces is not None
        blank = lambda a: np.zeros((self.count, *a.shape), a.dtype)
        self._carried = self._placed({name: blank(a) for name, a in program.pieces.carried.items()})

    def start(self, rows: np.ndarray, traced: Arrays) -> None:
        """Begin new runs in some rows, with these hyperparameters."""
        self._take(rows, traced)
        new = self._begin(self._counts, self._lanes, self._shared)
        self._carried = self._merge(self._chosen(rows), new, self._carried)

    def put(self, rows: np.ndarray, traced: Arrays, carried: Arrays) -> None:
        """Go on in some rows with runs that were taken out: their hyperparameters, and what they carried."""
        self._take(rows, traced)
        new = {name: np.zeros(a.shape, a.dtype) for name, a in self._carried.items()}
        for name, array in carried.items():
            new[name][rows] = array
        self._carried = self._merge(self._chosen(rows), self._placed(new), self._carried)

    def advance(self) -> None:
        """One more segment of all rows."""
        self._carried = self._advance(self._counts, (self._lanes, self._carried), self._shared)

    def finish(self) -> dict[str, jax.Array]:
        """What the runs would return now, by name, the rows first."""
        return self._finish(self._counts, (self._lanes, self._carried), self._shared)

    def carried(self) -> Arrays:
        """What all rows carry."""
        return {name: np.asarray(array) for name, array in self._carried.items()}

    def _take(self, rows: np.ndarray, traced: Arrays) -> None:
        values = {name: a.copy() for name, a in self._host.traced.items()}  # the old ones may still be read
        for name, array in traced.items():
            values[name][rows] = array
        self._host = self._host._replace(traced=values)
        self._lanes = self._placed(self._host)

    def _chosen(self, rows: np.ndarray) -> jax.Array:
        return self._placed(np.isin(np.arange(self.count), rows))

    def _placed(self, tree: Any) -> Any:
        return jax.device_put(tree, self._spread)


def _merged(chosen: jax.Array, new: Mapping[str, jax.Array], old: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The new arrays in the rows that are chosen, the old ones in others."""
    pick = lambda a, b: jnp.where(chosen.reshape(-1, *(1 for _ in a.shape[1:])), a, b)
    return {name: pick(new[name], array) for name, array in old.items()}
