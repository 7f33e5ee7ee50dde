"""What a sweep gives back: one array an output, with an axis of configurations and an axis of seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.sweeps import _display, _exports
from jnorm.sweeps._configurations import Configuration, describe
from jnorm.sweeps._divergence import failed_runs, not_finite
from jnorm.sweeps._environment import revision, versions


@dataclass(frozen=True, eq=False, repr=False)
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
        origin: what made the runs, as far as it is known: with a store versions, platform and source revision, and the
            stopping rule of ``until``.

    >>> result = SweepResult(
    ...     {"loss": np.array([[0.5, 0.4], [0.2, np.nan]])}, ({"rate": 0.1}, {"rate": 1.0}), (0, 1),
    ...     np.array([[False, False], [False, True]]),
    ... )
    >>> result.select(rate=0.1)["loss"]
    array([[0.5, 0.4]])
    >>> result.failures
    (({'rate': 1.0}, 1),)
    >>> result
    SweepResult: 2 configurations, 2 seeds, 4 runs
    configurations  rate 0.1, 1
    seeds           0, 1
    output          lowest median     highest median
    loss            0.45 at rate 0.1  0.45 at rate 0.1
    diverged        1 of 4 runs: 1 with rate 1
    """

    outputs: Mapping[str, np.ndarray]
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    failed: np.ndarray
    finite: tuple[str, ...] | None = None
    done: np.ndarray = None  # type: ignore[assignment]
    origin: Mapping[str, Any] | None = None

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

    def __repr__(self) -> str:
        return _display.text(self)

    def _repr_html_(self) -> str:
        return _display.markup(self)

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
            self.origin,
        )

    def to_pandas(self, along: str | Sequence[str] = (), *, every: int = 1) -> Any:
        """The result as a table for pandas and seaborn, a row for each run or for each point of its curves.

        Columns are hyperparameters, ``seed``, the axes in ``along``, outputs and ``failed``. A column is made of every
        output that has no other axes than these: numbers of a run stand in all its rows. The first axis of outputs
        called ``curve_...`` and ``probe_...`` is ``epoch``, that of ``step_...`` is ``step``, both counted from 1; axis
        k of other outputs, beyond configurations and seeds, is ``NAME_k``. Runs that were not done, and rows that an
        early stop left empty, are left out.

        Args:
            along: names of axes: none for a row a run, ``"epoch"`` or ``"step"`` for a row a point, or several, such as
                ``("epoch", "probe_var_1")``.
            every: what `jnorm.train.loop.Report` has, after how many epochs curves have a point.

        Returns:
            A ``pandas.DataFrame``. Hyperparameters are as a store has them, functions by their whole names, of which
            ``table["activation"].str.rpartition(".")[2]`` are the last parts; values of several kinds, and lists, are
            JSON. Where a name is taken by a column before it, ``_`` is added to it.

        Raises:
            ValueError: no output has these axes; the text names those that there are.
            ModuleNotFoundError: without pandas (extra ``analysis``).

        >>> outputs = {"loss": np.array([[0.5, 0.4]]), "curve_loss": np.array([[[0.9, 0.5], [0.8, 0.4]]])}
        >>> result = SweepResult(outputs, ({"rate": 0.1},), (0, 1), np.array([[False, False]]))
        >>> print(result.to_pandas("epoch").to_string(index=False))
         rate  seed  epoch  loss  curve_loss  failed
          0.1     0      1   0.5         0.9   False
          0.1     0      2   0.5         0.5   False
          0.1     1      1   0.4         0.8   False
          0.1     1      2   0.4         0.4   False
        """
        return _exports.frame(self, self._hyperparameters(), along, every)

    def to_xarray(self, *, every: int = 1) -> Any:
        """The result for work with labelled axes, and for netCDF files.

        ``data.set_index(configuration=["rate", "depth"]).unstack("configuration")`` makes axes of hyperparameters of
        which all combinations are there, ``data.to_netcdf(path)`` a file. SciPy's netCDF 3 has whole numbers of 32 bits
        with a sign alone, netCDF 4 (h5netcdf) has all.

        Args:
            every: what `jnorm.train.loop.Report` has, after how many epochs curves have a point.

        Returns:
            An ``xarray.Dataset`` with the dimensions configuration and seed, and further ones with the names that
            `to_pandas` has; ``epoch`` and ``step`` are shared. Each hyperparameter is a coordinate along the
            configurations, ``failed`` a variable of its own, and ``done`` where runs were left out. Types that netCDF
            lacks are stored as the next wider one, with the attribute ``computed_as``. Attributes are versions, source
            revision, platform, ``finite`` and the stopping rule, as far as they are known.

        Raises:
            ModuleNotFoundError: without xarray (extra ``analysis``).

        >>> outputs = {"loss": np.array([[0.5, 0.4]]), "curve_loss": np.array([[[0.9, 0.5], [0.8, 0.4]]])}
        >>> data = SweepResult(outputs, ({"rate": 0.1},), (0, 1), np.array([[False, False]])).to_xarray()
        >>> data["curve_loss"].dims, data["rate"].values.tolist(), data["epoch"].values.tolist()
        (('configuration', 'seed', 'epoch'), [0.1], [1, 2])
        """
        attributes = {"finite": self.finite, **(self.origin or {})}
        if "versions" not in attributes:
            attributes |= {"versions": versions(), "revision": revision()}
        return _exports.dataset(self, self._hyperparameters(), attributes, every)

    @classmethod
    def from_xarray(cls, dataset: Any) -> "SweepResult":
        """The result of which `to_xarray` made a data set, also after a netCDF file.

        Args:
            dataset: what `to_xarray` returned, or a part of it.

        Returns:
            The result. As in a store, functions are their names and tuples lists.

        Raises:
            ValueError: it has no configurations, seeds or flags.

        >>> result = SweepResult({"loss": np.array([[0.5]])}, ({"rate": 0.1},), (7,), np.array([[False]]))
        >>> SweepResult.from_xarray(result.to_xarray()).configurations
        ({'rate': 0.1},)
        """
        return cls(**_exports.parts(dataset))

    def _hyperparameters(self) -> dict[str, list[Any]]:
        return {name: [describe(one[name]) for one in self.configurations] for name in self.configurations[0]}


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
