"""What a sweep gives back: one array an output, with an axis of configurations and an axis of seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jnorm.sweeps._configurations import Configuration, describe


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep gives back. ``result[name]`` is an output, ``for name in result`` goes through their names.

    A run has diverged where its boolean output ``diverged`` says so. If it returns none: where a floating output
    without further axes is not finite; and if there is none of these either, where any floating number is not, for a
    learning curve may hold NaN from an early stop on. Arrays are not copied: treat them as read-only.

    Attributes:
        outputs: NumPy arrays of shape [configuration, seed, ...] by name.
        configurations: hyperparameters by name, in the order of the grid.
        seeds: whole numbers, in the order in which they were given.
        failed: [configuration, seed], true for the runs that diverged.

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
        """The output ``name``, [configuration, seed, ...].

        Raises:
            KeyError: it is unknown; the text lists those that there are.
        """
        if name not in self.outputs:
            raise KeyError(f"`{name}` is not an output; there are {', '.join(self.outputs)}")
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def failures(self) -> tuple[tuple[Configuration, int], ...]:
        """Configuration and seed of every run that diverged, one pair each."""
        return tuple((self.configurations[c], self.seeds[s]) for c, s in np.argwhere(self.failed))

    def select(self, **values: Any) -> "SweepResult":
        """The part whose configurations have all these values.

        Args:
            **values: a value by the name of a hyperparameter; functions are compared by their names.

        Returns:
            A result with fewer configurations and all seeds.

        Raises:
            ValueError: no configuration has this name, this value or all of these values; the text lists what there is.
        """
        chosen = np.ones(len(self.configurations), bool)
        for name, value in values.items():
            if name not in self.configurations[0]:
                known = ", ".join(self.configurations[0]) or "none"
                raise ValueError(f"`{name}` is not a hyperparameter of this sweep; there are: {known}")
            known_values = [describe(configuration[name]) for configuration in self.configurations]
            equal = np.array([known == describe(value) for known in known_values])
            if not equal.any():
                listed = ", ".join(dict.fromkeys(map(str, known_values)))
                raise ValueError(f"`{name}` has no value {value!r}; there are {listed}")
            chosen &= equal
        if not chosen.any():
            raise ValueError(f"no configuration has all of {values!r}")
        return SweepResult(
            {name: array[chosen] for name, array in self.outputs.items()},
            tuple(itertools.compress(self.configurations, chosen)),
            self.seeds,
            self.failed[chosen],
        )

    def to_xarray(self) -> Any:
        """The result for work with labelled axes; needs xarray (extra ``analysis``).

        Returns:
            An ``xarray.Dataset`` with the dimensions configuration and seed. Each hyperparameter is a coordinate along
            the configurations, and ``failed`` a variable of its own. Further axes of an output are called ``NAME_0``,
            ``NAME_1`` and so on.
        """
        import xarray

        variables: dict[str, Any] = {"failed": (("configuration", "seed"), self.failed)}
        for name, array in self.outputs.items():
            axes = ("configuration", "seed", *(f"{name}_{k}" for k in range(array.ndim - 2)))
            variables[name] = (axes, array)
        coordinates: dict[str, Any] = {"seed": list(self.seeds)}
        for name in self.configurations[0]:
            values = [describe(configuration[name]) for configuration in self.configurations]
            simple = all(isinstance(v, bool | int | float | str) for v in values)
            coordinates[name] = ("configuration", values if simple else [str(v) for v in values])
        return xarray.Dataset(variables, coordinates)


def failed_runs(outputs: Mapping[str, np.ndarray], runs: int) -> np.ndarray:
    """Which of ``runs`` runs, the first axis of every output, diverged.

    The rule is in `SweepResult`.

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
    places: Sequence[int],
) -> SweepResult:
    """Outputs of runs in canonical order as a result in the caller's.

    ``places[i]`` is the place of the i-th canonical configuration among ``configurations``; canonical seeds are sorted.
    """
    shape = len(configurations), len(seeds)
    targets = np.ix_(np.asarray(places), np.argsort(seeds))

    def placed(runs: np.ndarray) -> np.ndarray:
        array = np.empty((*shape, *runs.shape[1:]), runs.dtype)
        array[targets] = runs.reshape(array.shape)
        return array

    failed = failed_runs(outputs, shape[0] * shape[1])
    return SweepResult({n: placed(a) for n, a in outputs.items()}, configurations, seeds, placed(failed))
