"""Which runs there are: those to choose hyperparameters by, and those that judge what was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.uci.data import Problem
from experiments.uci.networks import DROPPED
from experiments.uci.training import WINDOW
from jnorm.sweeps import SweepResult

PROGRAMS = 100
"""The most programs that are compiled."""
FEWEST = 4
"""Sets in a bucket, if there are as many: compiling takes longer than to fill up small ones."""
STATIC = ("bucket", "kind", "units", "cap")
"""What makes a program of its own."""
INTEGERS = ("number", "split", "depth", "conic")
DROPOUT = {"snn": 0.05, "msrainit": 0.5, "highway": 0.5}
"""The paper's rates beside 0."""


class Grid(NamedTuple):
    """What is tried for each set and network.

    Attributes:
        kinds: The networks.
        units: Widths of the first hidden layer.
        depths: Numbers of hidden layers.
        rates: Learning rates.
        forms: Whether conic networks are tried beside rectangular ones.
        dropout: Whether the paper's rates of dropout are tried beside none.
    """

    kinds: tuple[str, ...]
    units: tuple[int, ...]
    depths: tuple[int, ...]
    rates: tuple[float, ...]
    forms: bool = False
    dropout: bool = False


class Programs(NamedTuple):
    """How runs share programs.

    Attributes:
        buckets: How many buckets of sets there are.
        caps: The depth at which the networks of each depth are built, by depth.
    """

    buckets: int
    caps: dict[int, int]

    @property
    def exact(self) -> bool:
        """Whether each depth has programs of its own."""
        return all(depth == cap for depth, cap in self.caps.items())


def programs(grid: Grid, sets: int) -> Programs:
    """At most `PROGRAMS`: three buckets with a program for each depth where there is room, else depths share some.

    >>> programs(Grid(("snn",) * 7, (256,), (2, 4, 8, 16), (0.1,)), 24)
    Programs(buckets=3, caps={2: 2, 4: 4, 8: 8, 16: 16})
    >>> programs(Grid(("snn",) * 7, (256, 512, 1024), (2, 3, 4, 8, 16, 32), (0.1,)), 58)
    Programs(buckets=2, caps={2: 4, 3: 4, 4: 4, 8: 32, 16: 32, 32: 32})
    """
    room = max(1, PROGRAMS // (len(grid.kinds) * len(grid.units)))
    few = max(1, sets // FEWEST)
    buckets = min(few, 3 if 3 * len(grid.depths) <= room else min(2, room))
    parts = np.array_split(sorted(grid.depths), min(len(grid.depths), max(1, room // buckets)))
    return Programs(buckets, {int(depth): int(part[-1]) for part in parts for depth in part})


def to_choose(grid: Grid, shared: Programs, buckets: Mapping[str, Sequence[Problem]]) -> list[dict[str, Any]]:
    """A configuration for each set, network and point of the grid, on the split to choose by."""
    found = []
    for bucket, problems in buckets.items():
        for kind in grid.kinds:
            for units in grid.units:
                for depth in grid.depths:
                    fixed = {"bucket": bucket, "kind": kind, "units": units, "cap": shared.caps[depth]}
                    traced = {} if shared.exact else {"depth": depth}
                    for point in _points(grid, kind):
                        found += [fixed | traced | point | {"number": i, "split": 0} for i in range(len(problems))]
    return found


def _points(grid: Grid, kind: str) -> list[dict[str, Any]]:
    """Rates, forms and rates of dropout."""
    forms = [{"conic": conic} for conic in (0, 1)] if grid.forms else [{}]
    drops: list[dict[str, Any]] = [{}]
    if grid.dropout:
        drops = [{"dropout": rate} for rate in ((0.0, DROPOUT[kind]) if kind in DROPPED else (0.0,))]
    return [{"rate": rate} | form | drop for rate in grid.rates for form in forms for drop in drops]


def scores(curves: np.ndarray) -> np.ndarray:
    """The best moving average of dev accuracy over the checkpoints (the last axis), what is NaN left out; else -1."""
    means = np.lib.stride_tricks.sliding_window_view(curves, WINDOW, -1).mean(-1)
    return np.max(np.where(np.isfinite(means), means, -1), -1)


def best(result: SweepResult) -> dict[tuple[str, int, str], dict[str, Any]]:
    """What is chosen, by bucket, number of set and network: the best dev accuracy, the first of equals."""
    values = scores(result["curve_dev_accuracy"]).mean(1)
    found: dict[tuple[str, int, str], tuple[float, dict[str, Any]]] = {}
    for one, value in zip(result.configurations, values.tolist(), strict=True):
        place = one["bucket"], one["number"], one["kind"]
        if one["split"] == 0 and (place not in found or value > found[place][0]):
            found[place] = value, dict(one)
    return {place: one for place, (_, one) in found.items()}


def to_judge(
    chosen: Mapping[tuple[str, int, str], Mapping[str, Any]], buckets: Mapping[str, Sequence[Problem]]
) -> list[dict[str, Any]]:
    """The chosen configurations, on each split to judge by."""
    return [
        {**one, "split": split}
        for (bucket, number, _), one in chosen.items()
        for split in range(1, len(buckets[bucket][number].splits))
    ]


def accuracies(
    result: SweepResult, kinds: Sequence[str], buckets: Mapping[str, Sequence[Problem]]
) -> dict[str, np.ndarray]:
    """Test accuracies of the networks by name of the set: means over splits and seeds; NaN counts as none right."""
    test = np.nan_to_num(result["test_accuracy"], nan=0.0)
    cells: dict[tuple[str, str], list[float]] = {}
    for one, values in zip(result.configurations, test, strict=True):
        if one["split"] > 0:
            name = buckets[one["bucket"]][one["number"]].name
            cells.setdefault((name, one["kind"]), []).extend(values.tolist())
    names = [problem.name for problems in buckets.values() for problem in problems]
    return {name: np.array([np.mean(cells[name, kind]) for kind in kinds]) for name in sorted(names)}
