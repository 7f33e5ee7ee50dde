"""What a weight is multiplied with."""

from typing import Any

import numpy as np

from jnorm.predict._values import second


class Use:
    """A contraction with a weight of variance one: over ``count`` units at ``index[f, c]``, for every output ``f``."""

    def __init__(
        self, value: Any, index: np.ndarray, count: int, block: np.ndarray | None = None, shared: int = 0
    ) -> None:
        self.value, self.index, self.count, self.block, self.shared = value, index, count, block, shared

    def selected(self, at: np.ndarray) -> "Use":
        """That of some of the outputs."""
        return Use(self.value, self.index[at], self.count, None if self.block is None else self.block[at], self.shared)

    def gram(self, other: "Use") -> np.ndarray:
        """The second moments of the outputs, ``[f, f']``."""
        known = [isinstance(use.value, np.ndarray) for use in (self, other)]
        if all(known):
            first, then = (use.arranged() for use in (self, other))
            total = first @ then.T
        elif any(known):
            total = sum(np.outer(first, then) for first, then in zip(self.sums().T, other.sums().T, strict=True))
            total = np.asarray(total)
        else:
            moments = second(self.value, other.value)
            total = 0.0
            for i, j in zip(self.index.T, other.index.T, strict=True):
                total = total + np.where((i[:, None] >= 0) & (j >= 0), moments[np.ix_(i, j)], 0.0)
            total = np.asarray(total) * self.count
        if self.block is not None and other.block is not None:
            total = total * (self.block[:, None] == other.block)
        return total

    def arranged(self) -> np.ndarray:
        """Known data ``[f, c * count]``."""
        rows = np.where(self.index[..., None] >= 0, self.value[self.index], 0.0)
        return rows.reshape(len(self.index), -1)

    def sums(self) -> np.ndarray:
        """Known data summed over units, or the mean of a unit, ``[f, c]``."""
        flat = self.value.sum(-1) if isinstance(self.value, np.ndarray) else self.value.mean
        return np.where(self.index >= 0, flat[self.index], 0.0)
