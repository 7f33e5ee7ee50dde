"""Which runs are wanted: all at once, or in stages, for a rule that says which configurations need more seeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from jnorm.sweeps import _processes as processes
from jnorm.sweeps._configurations import Configuration
from jnorm.sweeps._numbers import index
from jnorm.sweeps._results import SweepResult


class Until(Protocol):
    """A stopping rule, such as `jnorm.statistics.sequential` returns.

    It may have ``check(configurations)``, which raises where it names what the grid lacks. Its text, ``str(until)``,
    says what it is, in a store.
    """

    @property
    def looks(self) -> Sequence[int]:
        """The numbers of seeds after which it is asked, in increasing order; the last is the limit."""

    def __call__(self, result: SweepResult, /) -> Any:
        """Booleans ``[configuration]``: which need the seeds of the next look, from the first seeds of all."""


def seeds_of(seeds: int | Iterable[int] | None, until: Until | None) -> int | Iterable[int]:
    """The seeds that are given, or as many as the last look of a stopping rule."""
    if until is not None:
        _check_looks(until)
    if seeds is None and until is None:
        raise TypeError("`seeds` must be given: a count, or a sequence of whole numbers")
    return _limit(until) if seeds is None else seeds


def check(until: Until | None, configurations: Sequence[Configuration], seeds: Sequence[int]) -> None:
    """That a stopping rule fits the sweep."""
    if until is None:
        return
    if len(seeds) != _limit(until):
        must = f"as many as the last look of `until`, {_limit(until)}, or be left out"
        raise ValueError(f"`seeds` must be {must}; got {len(seeds)}")
    if callable(look := getattr(until, "check", None)):
        look(configurations)


def entry(until: Until | None) -> dict[str, Any] | None:
    """A stopping rule as a manifest has it, and whether it needs no more seeds."""
    if until is None:
        return None
    name = getattr(until, "__qualname__", None)  # of a function, whose text is an address
    return {"rule": name or str(until), "looks": [int(n) for n in until.looks], "over": False}


def wanted(
    until: Until | None, so_far: Callable[[], SweepResult], places: Sequence[int], seeds: Sequence[int]
) -> Iterator[np.ndarray]:
    """The runs that are to be done, in stages: booleans for all runs in canonical order.

    ``so_far()`` is what there is when a stage is done. ``places`` says for every configuration, in the caller's order,
    which it is in the canonical order; canonical seeds are sorted.
    """
    table = np.zeros((len(places), len(seeds)), bool)
    if until is None:
        yield ~table.ravel()
        return
    needed, columns = np.ones(len(places), bool), np.argsort(np.argsort(seeds))
    for look, n in enumerate(until.looks, 1):
        table[np.ix_(np.asarray(places)[needed], columns[:n])] = True
        yield table.ravel()
        if look < len(until.looks):
            needed = _asked(until, _first(so_far(), n), look)
        if not needed.any():
            return


def _asked(until: Until, result: SweepResult, look: int) -> np.ndarray:
    """What a stopping rule says, of the leading process."""
    said = processes.decide(lambda: np.asarray(until(result)).tolist())
    if np.shape(said) != (len(result.configurations),) or not all(isinstance(one, bool) for one in said):
        must = f"booleans, one for each of the {len(result.configurations)} configurations"
        raise ValueError(f"`until` must return {must}; after look {look} got {said!r}")
    return np.array(said)


def _first(result: SweepResult, seeds: int) -> SweepResult:
    """The first seeds of all configurations."""
    outputs = {name: array[:, :seeds] for name, array in result.outputs.items()}
    flags = result.failed[:, :seeds], result.finite, result.done[:, :seeds]
    return SweepResult(outputs, result.configurations, result.seeds[:seeds], *flags)


def _check_looks(until: Any) -> None:
    looks = getattr(until, "looks", None)
    if not callable(until) or not isinstance(looks, Sequence | np.ndarray):
        raise TypeError(f"`until` must be a function of a result with `looks`, numbers of seeds; got {until!r}")
    whole = [index(n) for n in looks]
    rising = all(n is not None and n > 0 for n in whole) and all(n < m for n, m in pairwise(map(int, looks)))
    if not len(whole) or not rising:
        raise ValueError(f"`until.looks` must be whole numbers of seeds that increase, from 1 on; got {looks!r}")


def _limit(until: Until | None) -> int:
    assert until is not None
    return int(until.looks[-1])
