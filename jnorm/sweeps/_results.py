"""What a sweep gives back: one array an output, with an axis of configurations and an axis of seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jnorm.sweeps._configurations import Configuration, describe


@dataclass(frozen=True, eq=False)
class SweepResult:
    """Outputs by name, NumPy arrays of shape [configuration, seed, ...], and what was run.

    ``configurations`` and ``seeds`` are in the order they were given in. ``failed`` [configuration, seed] marks the
    runs that diverged: see `failed_runs`. Attributes are not copied: treat arrays as read-only.

    >>> result = SweepResult(
    ...     {"loss": np.array([[0.5, 0.4], [0.2, np.nan]])}, ({"rate": 0.1}, {"rate": 1.0}), (0, 1),
    ...     np.array([[False, False], [False, True]]),
    ... )
    >>> result.select(rate=0.1)["loss"]
    array([[0.5, 0.4]])
    >>> result.failures
    (({'rate': 1.0}, 1),)
    """

    outputs: Mapping[str, np.ndarray]
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    failed: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """The output, [configuration, seed, ...]. Raises ``KeyError``, which lists the outputs, for an unknown name."""
        if name not in self.outputs:
            raise KeyError(f"`{name}` is not an output; there are {', '.join(self.outputs)}")
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def failures(self) -> tuple[tuple[Configuration, int], ...]:
        """Configuration and seed of every run that diverged."""
        return tuple((self.configurations[c], self.seeds[s]) for c, s in np.argwhere(self.failed))

    def select(self, **values: Any) -> "SweepResult":
        """The part whose configurations have all these values.

        Raises ``ValueError`` for a name that no configuration has, and for a value that none of them has, listing those
        that there are.
        """
        chosen = np.ones(len(self.configurations), bool)
        for name, value in values.items():
            if name not in self.configurations[0]:
                known = ", ".join(self.configurations[0]) or "none"
                raise ValueError(f"`{name}` is not a hyperparameter of this sweep; there are: {known}")
            there = [describe(one[name]) for one in self.configurations]
            mine = np.array([other == describe(value) for other in there])
            if not mine.any():
                listed = ", ".join(map(str, dict.fromkeys(map(str, there))))
                raise ValueError(f"`{name}` has no value {value!r}; there are {listed}")
            chosen &= mine
        if not chosen.any():
            raise ValueError(f"no configuration has all of {values!r}")
        return SweepResult(
            {name: array[chosen] for name, array in self.outputs.items()},
            tuple(one for one, keep in zip(self.configurations, chosen, strict=True) if keep),
            self.seeds,
            self.failed[chosen],
        )

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` with the dimensions configuration and seed (extra ``analysis``).

        Each hyperparameter is a coordinate along the configurations, and ``failed`` a variable of its own. Further axes
        of an output are called ``NAME_0``, ``NAME_1`` and so on.
        """
        import xarray

        variables: dict[str, Any] = {"failed": (("configuration", "seed"), self.failed)}
        for name, array in self.outputs.items():
            axes = ("configuration", "seed", *(f"{name}_{k}" for k in range(array.ndim - 2)))
            variables[name] = (axes, array)
        coordinates: dict[str, Any] = {"seed": list(self.seeds)}
        for name in self.configurations[0]:
            values = [describe(one[name]) for one in self.configurations]
            simple = all(isinstance(v, bool | int | float | str) for v in values)
            coordinates[name] = ("configuration", values if simple else [str(v) for v in values])
        return xarray.Dataset(variables, coordinates)


def failed_runs(outputs: Mapping[str, np.ndarray], runs: int) -> np.ndarray:
    """Which of ``runs`` runs, the first axis of every output, diverged.

    A boolean output ``diverged`` without further axes says so itself. Else a run has diverged where a floating output
    without further axes is not finite, or, if there is no such output, where any floating number is not: a learning
    curve may hold NaN from an early stop on.

    >>> failed_runs({"loss": np.array([0.1, np.nan]), "curve": np.array([[1.0, np.nan], [np.nan, np.nan]])}, 2)
    array([False,  True])
    """
    explicit = outputs.get("diverged")
    if explicit is not None and explicit.dtype == bool and explicit.ndim == 1:
        return explicit.copy()
    floating = [a for a in outputs.values() if not np.issubdtype(a.dtype, np.integer) and a.dtype != bool]
    judged = [a for a in floating if a.ndim == 1] or floating
    failed = np.zeros(runs, bool)
    for array in judged:
        finite = np.isfinite(array)  # works for bfloat16 too
        failed |= ~finite.reshape(runs, -1).all(1)
    return failed


def arranged(
    outputs: Mapping[str, np.ndarray],
    configurations: tuple[Configuration, ...],
    seeds: tuple[int, ...],
    where: Sequence[int],
) -> SweepResult:
    """Outputs of runs in canonical order as a result in the caller's.

    ``where[i]`` is the place of the i-th canonical configuration among ``configurations``; canonical seeds are sorted.
    """
    shape = len(configurations), len(seeds)
    places = np.ix_(np.asarray(where), np.argsort(seeds))

    def placed(runs: np.ndarray) -> np.ndarray:
        array = np.empty((*shape, *runs.shape[1:]), runs.dtype)
        array[places] = runs.reshape(array.shape)
        return array

    failed = failed_runs(outputs, shape[0] * shape[1])
    return SweepResult({n: placed(a) for n, a in outputs.items()}, configurations, seeds, placed(failed))
