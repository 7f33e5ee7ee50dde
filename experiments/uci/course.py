"""The course of the experiment: which sets, the sweep that chooses, and the sweep that judges."""

import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.checks import Refused
from experiments.showing import Clock
from experiments.sweeping import stored
from experiments.uci import Config, data
from experiments.uci.choosing import (
    INTEGERS,
    STATIC,
    accuracies,
    best,
    programs,
    to_choose,
    to_judge,
)
from experiments.uci.ranks import published
from experiments.uci.training import fixed, train_of

LEAST, MOST = 100, 6000
"""Examples of the sets that are chosen by size."""


class Done(NamedTuple):
    """What the sweeps found.

    Attributes:
        accuracy: Test accuracies of the networks, by name of the set.
        chosen: The chosen hyperparameters, by name of the set and then of the network.
        examples: Numbers of examples by name of the set.
        tests: How many splits the sets are judged by, likewise.
        runs: How many runs there were.
        diverged: How many of these ended without a finite result.
        programs: How many programs they shared.
    """

    accuracy: dict[str, np.ndarray]
    chosen: dict[str, dict[str, dict[str, Any]]]
    examples: dict[str, int]
    tests: dict[str, int]
    runs: int
    diverged: int
    programs: int


def chosen(config: Config, count: int | None) -> tuple[list[data.Problem], dict[str, str]]:
    """The sets, and those that are broken with the reason. Raises `Refused` where too few are left."""
    known = data.names(config.data_dir)
    for name in config.sets:
        if name not in known:
            raise Refused(f"`sets` must be among those in the folder, {', '.join(known)}; got {name!r}")
    problems, broken = data.read(config.sets or known, config.data_dir)
    for name, why in broken.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    if not config.sets and count is not None:
        problems = _spread(problems, count)
    if len(problems) < 2:
        raise Refused(f"at least two sets must be readable; got {', '.join(p.name for p in problems) or 'none'}")
    return problems, broken


def _spread(problems: list[data.Problem], count: int) -> list[data.Problem]:
    """So many sets at equal distances in order of size, of those that are published and neither small nor large."""
    table = published().accuracy
    able = [p for p in problems if LEAST <= len(p.x) <= MOST and p.name in table] or problems
    able.sort(key=lambda p: (len(p.x), p.name))
    places = np.linspace(0, len(able) - 1, min(count, len(able))).round().astype(int)
    return [able[i] for i in places]


def train(config: Config, problems: list[data.Problem], clock: Clock) -> Done:
    """Both sweeps, in one store: the second begins with the configurations of the first."""
    assert config.steps is not None
    grid = config.grid
    shared = programs(grid, len(problems))
    buckets = data.bucketed(problems, shared.buckets)
    stacks = {name: data.stacked(members) for name, members in buckets.items()}
    first = to_choose(grid, shared, buckets)
    count = len({tuple(one[name] for name in STATIC) for one in first})
    run = train_of(config.batch, {name: fixed(stack, config.batch, config.steps) for name, stack in stacks.items()})
    options: dict[str, Any] = {
        "out": config.out,
        "seeds": config.seeds,
        "static": STATIC,
        "integers": [name for name in INTEGERS if name in first[0]],
        "shared": stacks,
        "finite": ["test_accuracy"],
        "chunk": config.chunk or (1 if jax.default_backend() == "cpu" else "auto"),
    }
    print(
        f"{len(problems)} sets in {len(buckets)} buckets, {len(first)} configurations to choose from, {count} programs"
    )
    with clock("choosing") as shown:
        result = stored(run, grid=first, resume=config.resume, shown=shown, **options)
    picked = best(result)
    second = to_judge(picked, buckets)
    with clock("judging") as shown:
        result = stored(run, grid=[*first, *second], resume=True, shown=shown, **options)
    named: dict[str, dict[str, dict[str, Any]]] = {}
    for (bucket, number, kind), one in picked.items():
        named.setdefault(buckets[bucket][number].name, {})[kind] = {
            name: value for name, value in one.items() if name not in ("bucket", "kind", "number", "split")
        }
    return Done(
        accuracies(result, config.kinds, buckets),
        named,
        {p.name: len(p.x) for p in problems},
        {p.name: len(p.splits) - 1 for p in problems},
        result.failed.size,
        int(result.failed.sum()),
        count,
    )
