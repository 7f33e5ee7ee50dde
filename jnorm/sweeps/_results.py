"""What a sweep gives back: one array an output, with an axis of configurations and an axis of seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.sweeps._configurations import Configuration, describe
from jnorm.sweeps._divergence import failed_runs, not_finite


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep gives back. ``result[name]`` is an output, ``for name in result`` goes through their names.

    A run has diverged where its boolean output ``diverged`` says so; if it returns none, where a number in any floating
    output is not finite, or in one of those that ``finite`` names. Where a run says in an integer output ``epochs`` how
    many it trained, as those of `jnorm.train.loop.trainer` with a stopping rule do, NaN in the rest of outputs that are
    called ``curve_...``, ``probe_...`` and ``step_...`` does not count. Arrays are not copied: treat them as read-only.

    Attributes:
        outputs: NumPy arrays of shape [configuration, seed, ...] by name.
        configurations: hyperparameters by name, in the order of the grid.
        seeds: whole numbers, in the order in which they were given.
        failed: [configuration, seed], true for the runs that diverged.
        finite: names of the outputs that decide it; None for all.
        done: [configuration, seed], true for the runs that were done: all, but where a sweep took seeds as they were
            needed (``until``). Other runs are NaN, or 0 in whole numbers, and have not diverged. None means all.

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
    finite: tuple[str, ...] | None = None
    done: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.done is None:
            object.__setattr__(self, "done", np.ones(self.failed.shape, bool))

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

    @property
    def causes(self) -> tuple[dict[str, int | None], ...]:
        """For each of the `failures` the outputs that are not finite, with the first step of those that have axes."""
        outputs = {name: array[self.failed] for name, array in self.outputs.items()}
        found = not_finite(outputs, int(self.failed.sum()), self.finite)
        step = lambda name, i: int(found[name][i]) if outputs[name].ndim > 1 else None
        return tuple(
            {name: step(name, i) for name in found if found[name][i] >= 0} for i in range(int(self.failed.sum()))
        )

    def masked(self, name: str) -> np.ndarray:
        """The output ``name`` with NaN for the runs that diverged, for `jnorm.statistics`.

        Args:
            name: a floating output.

        Returns:
            The array, or a copy, [configuration, seed, ...].

        Raises:
            KeyError: it is unknown.
            TypeError: it holds no floating numbers.
        """
        array = self[name]
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            raise TypeError(f"`{name}` must hold floating numbers to be masked; got {array.dtype}")
        flags = self.failed.reshape(*self.failed.shape, *[1] * (array.ndim - 2))
        return np.where(flags, np.asarray(np.nan, array.dtype), array) if self.failed.any() else array

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
            self.finite,
            self.done[chosen],
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


def arranged(
    outputs: Mapping[str, np.ndarray],
    configurations: tuple[Configuration, ...],
    seeds: tuple[int, ...],
    places: Sequence[int],
    finite: Sequence[str] | None = None,
    done: np.ndarray | None = None,
) -> SweepResult:
    """Outputs of runs in canonical order as a result in the caller's.

    ``places[i]`` is the place of the i-th canonical configuration among ``configurations``; canonical seeds are sorted.
    ``done`` says which runs were done, None for all.
    """
    shape = len(configurations), len(seeds)
    targets = np.ix_(np.asarray(places), np.argsort(seeds))

    def placed(runs: np.ndarray) -> np.ndarray:
        array = np.empty((*shape, *runs.shape[1:]), runs.dtype)
        array[targets] = runs.reshape(array.shape)
        return array

    done = np.ones(shape[0] * shape[1], bool) if done is None else done
    failed = placed(failed_runs(outputs, len(done), finite) & done)
    arrays = {n: placed(a) for n, a in outputs.items()}
    return SweepResult(arrays, configurations, seeds, failed, None if finite is None else tuple(finite), placed(done))
