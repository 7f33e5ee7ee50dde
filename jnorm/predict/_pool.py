"""Joint samples of units, drawn so that second moments are not those of a sample by chance."""

from collections import defaultdict
from typing import Any

import numpy as np

from jnorm.predict._values import Random

COUNT, LIMIT = 2**12, 2**13  # units that are sampled: as many, more where all take fewer numbers than FEWEST,
FEWEST, MOST = 2**17, 2**22  # and fewer where they take more than MOST
HELD = 2**24  # numbers that a pool keeps for the next value


class Pool:
    """Joint samples of units, ``[count, size]`` for each atom."""

    def __init__(self, count: int | None = None, rng: np.random.Generator | None = None) -> None:
        self.count, self.rng = count, rng or np.random.default_rng(0)
        self.known: dict[Any, np.ndarray] = {}
        self.roots = defaultdict[Any, list[Any]](list)  # those that are known, by their weight
        self.held = 0
        self.drawn: dict[int, list[np.ndarray]] = {}  # normal numbers, by how many units

    def rows(self, v: Random) -> np.ndarray:
        """Samples of a value, as many as there are of all of its atoms."""
        parts = [(a, self.atom(atom)) for atom, a in v.terms.items()]
        count = min([len(rows) for _, rows in parts], default=1)
        total: Any = None
        for a, rows in parts:
            part = rows[:count] if a is None else rows[:count] * a if a.ndim == 1 else rows[:count] @ a.T
            total = part if total is None else total + part
        if total is None:
            return np.broadcast_to(v.offset, (count, v.size)).astype(np.float64)
        return total + v.offset if np.any(v.offset) else total

    def atom(self, atom: Any) -> np.ndarray:
        if atom not in self.known:
            self.known[atom] = atom.rows(self)
            self.held += self.known[atom].size
        return self.known[atom]

    def forgotten(self) -> "Pool":
        """Itself for another value: what the ones before have in common with it is known, unless that is too much."""
        if self.held > HELD:
            self.known.clear()
            self.roots.clear()
            self.held = 0
        return self

    def share(self, size: int) -> int:
        """How many units are sampled of which one takes so many numbers."""
        size = max(size, 1)
        wanted = self.count or min(max(COUNT, FEWEST // size), LIMIT)
        return max(min(wanted, MOST // size), min(wanted, 64))

    def normal(self, count: int, size: int) -> np.ndarray:
        """Standard normal numbers ``[count, size]`` whose means and covariances are 0 and 1 of these units themselves.

        The second half is the first with opposite signs, and those that were drawn before are not correlated with
        them, as far as these are not too many: so that second moments are not those of this sample by chance.
        """
        if self.count or count % 2 or 4 * size > count:
            return self.rng.standard_normal((count, size))
        half = self.rng.standard_normal((count // 2, size))
        before = self.drawn.setdefault(count, [])
        while before and count * (sum(z.shape[1] for z in before) + size) > HELD // 16:
            before.pop(0)
        for z in before:
            half -= z @ (z.T @ half) / len(half)
        half = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
        before.append(half)
        return np.concatenate([half, -half])
