"""Successive halving: many configurations begin, few are trained to the end, in lanes that are compiled once."""

import bisect
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jnorm._ground import checks
from jnorm.sweeps import _calls as calls
from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps import _halving_store as stores
from jnorm.sweeps import _identity as identity
from jnorm.sweeps import _pieces as pieces
from jnorm.sweeps import _processes as processes
from jnorm.sweeps import _programs as programs
from jnorm.sweeps import _rungs as rungs
from jnorm.sweeps._configurations import Configuration, describe, expand, grouped, seed_numbers
from jnorm.sweeps._devices import one_axis, platform_of, require_threads
from jnorm.sweeps._files import folder_of
from jnorm.sweeps._halving_course import NO_PLATEAU, Course, Known, Plateau, Rules
from jnorm.sweeps._halving_result import HalvingResult, result_of
from jnorm.sweeps._lanes import Rows
from jnorm.sweeps._numbers import as_traced, is_number, whole_number
from jnorm.sweeps._programs import Lanes, Program
from jnorm.sweeps._progress import Report, reporter
from jnorm.sweeps._randomness import key_data

_IMPL = "threefry2x32"
_TRAININGS = 2  # full ones, in whose time the lanes do the whole


def halving(
    train: Any,
    configurations: Sequence[Configuration] | Mapping[str, Iterable[Any]],
    *,
    score: str,
    maximize: bool = False,
    seeds: int | Iterable[int] = 1,
    eta: int = 4,
    first: int = 1,
    budget: int | None = None,
    plateau: Plateau | None = None,
    integers: Sequence[str] = (),
    shared: Any = None,
    lanes: int | None = None,
    mesh: Mesh | None = None,
    store: str | os.PathLike[str] | None = None,
    version: str | None = None,
    progress: bool | Report = False,
) -> HalvingResult:
    """Train many configurations a little, one in ``eta`` of them ``eta`` times as long, and so on to the end.

    All N begin. After ``first`` segments the best N/eta go on to ``first * eta`` segments in all, the best N/eta^2 of
    those to ``first * eta**2``, and the last ones to the end of their training. Each rung costs about as much as the
    first, so that N full trainings cost N * segments, and halving at most N * first * rungs.

    Who goes on is what the synchronous rule says, in which a rung waits for all of its runs; so it depends neither on
    the lanes nor on the devices, but for rounding. It is acted upon as soon as it is certain: a run that enough others
    have beaten gives its lane to the next configuration, or to one that goes on. Programs are compiled once, for the
    first of them. (The asynchronous rule of Li et al. (2020) lets runs go on by what has been seen so far; it serves
    machines that finish at different times, and depends on the order.)

    Args:
        train: a training in segments, such as that of ``jnorm.train.loop.trainer(..., segment=1)``, or anything with
            ``segments``, ``begin(key, shared, **hyperparameters)``, ``advance(key, shared, carried=...,
            **hyperparameters)`` and ``finish`` of the same arguments, without ``shared`` where none is given. What is
            carried is a pytree of arrays.
        configurations: those to try, of numbers, for instance of `jnorm.sweeps.search.quasi_random`; of two that are
            equal at a rung the first goes on. A mapping is a grid.
        score: the name of the output that decides, a floating number for each run, such as ``"dev_loss"``.
        maximize: whether the largest scores are best.
        seeds: as for `jnorm.sweeps.sweep`; the score of a configuration is the mean over them, and one of which a seed
            is not a number does not go on.
        eta: of how many configurations one goes on.
        first: segments before the first rung.
        budget: the most segments that all configurations together may train; only as many of them are begun as that
            pays for.
        plateau: what counts as one: such a configuration trains no more, and its score is compared as it is. None: all
            are trained as long as they go on.
        integers: names of values that are whole numbers, as for `jnorm.sweeps.sweep`.
        shared: arrays that every run reads (data).
        lanes: configurations side by side, rounded up to a multiple of the devices. None: as many as do the whole in
            about the time of two full trainings. In the late rungs few are left, and the other lanes are idle.
        mesh: the devices, by default all, of one kind.
        store: a folder. The same call goes on where one that was killed was, and ends as if it had not been.
        version: a name for what ``train`` does, where it holds what JAX cannot see into.
        progress: ``True`` for a bar, or a function that is called with a `jnorm.sweeps.Progress` after each segment;
            done is a configuration that is at its end.

    Returns:
        Scores at each rung, what was spent, and the outputs of those that came to the end.

    Raises:
        ValueError: an argument out of range; values that are no numbers, which would be programs of their own; a
            ``score`` that is no output or no number; a ``budget`` that does not pay for one configuration; several
            processes; a store of another search.
        TypeError: a ``train`` that has no segments, or an argument of another kind.
        OSError: the store cannot be written or is in use; what was written before stays.

    Source: Jamieson and Talwalkar (2016), arXiv:1502.07943; Li et al. (2020), arXiv:1810.05934.

    >>> from types import SimpleNamespace
    >>> descent = SimpleNamespace(  # on (w - 1)^2 / 2
    ...     segments=16,
    ...     begin=lambda key, rate: jax.random.normal(key),
    ...     advance=lambda key, carried, rate: carried - rate * (carried - 1),
    ...     finish=lambda key, carried, rate: {"loss": (carried - 1) ** 2 / 2},
    ... )
    >>> rates = [{"rate": 0.01 * 2**i} for i in range(16)]
    >>> result = halving(descent, rates, score="loss", seeds=3)
    >>> result.best, result.share
    ({'rate': 1.28}, 0.15625)
    """
    functions = pieces.functions_of(train)
    if functions is None:
        missing = [name for name in ("segments", "begin", "advance", "finish") if not hasattr(train, name)]
        must = "`train` must be a training in segments, such as jnorm.train.loop.trainer(..., segment=1)"
        raise TypeError(f"{must}; {train!r} has no `{'`, `'.join(missing)}`")
    if processes.count() > 1:
        raise ValueError(
            f"`halving` must run in one process; there are {processes.count()}: give each a part of a sweep"
        )
    segments = functions[0]
    calls.check_types(functions[1], mesh, progress, version)
    checks.boolean(maximize=maximize)
    at = rungs.budgets(segments, _first(first, segments), _eta(eta))
    listed, numbers, integers = expand(configurations), seed_numbers(seeds), calls.names_of("integers", integers)
    _refuse_static(listed)
    group = grouped(listed, (), integers)[0]
    calls.check_names(train if callable(train) else functions[1], listed[0], shared)
    count = len(listed) if budget is None else _affordable(budget, len(listed), at, eta)
    listed = listed[:count]
    ending = _plateau(plateau)
    folder = None if store is None else folder_of("store", store)
    devices, shared = one_axis(mesh), calls.arrays_of(shared)
    side = _lanes(lanes, rungs.cost(count, at, eta), segments, count, devices.size)
    keys = key_data(numbers, _IMPL)
    traced = {name: as_traced(name, [c[name] for c in listed], whole=name in integers) for name in listed[0]}
    each = {name: np.repeat(array[0], side * len(numbers)) for name, array in traced.items()}
    rows = Lanes(np.tile(keys, (side, 1)), each)
    calls.check_data(train, group, rows, shared)
    program = programs.trace(train, {}, rows, shared, _IMPL)
    _check(program, score)
    require_threads(devices, program.jaxpr)
    rules = Rules(at, rungs.sizes(count, len(at), eta), score, maximize, ending.segments, ending.delta)
    entry = {} if folder is None else _identity(train, version, listed, numbers, keys, shared, program, rules, devices)
    with stores.opened(folder, entry):
        known = Known.nothing(count, at, side)
        course = Course(rules, Rows(program, rows, shared, devices), traced, len(numbers), known)
        stores.resume(folder, course, program)
        keeper = stores.Keeper(folder, course)
        with reporter(progress, count * len(numbers), course.decided[0] * len(numbers)) as report:

            def stepped() -> None:
                keeper.step()
                report(*(len(numbers) * n for n in course.decided))

            course.run(stepped)
        keeper.write()
    blank = {name: np.empty((0, len(numbers), *a.shape), a.dtype) for name, a in program.outputs.items()}
    return result_of(course, listed, numbers, blank)


def _eta(eta: Any) -> int:
    number = whole_number("eta", eta, "a whole number >= 2")
    if number < 2:
        raise ValueError(f"`eta` must be a whole number >= 2; got {eta}")
    return number


def _first(first: Any, segments: int) -> int:
    number = whole_number("first", first)
    if number > segments:
        raise ValueError(f"`first` must satisfy first <= {segments}, the segments of `train`; got {first}")
    return number


def _plateau(plateau: Plateau | None) -> Plateau:
    if plateau is None:
        return NO_PLATEAU
    if not isinstance(plateau, Plateau):
        raise TypeError(
            f"`plateau` must be a Plateau, such as Plateau(segments=4, delta=0.001), or None; got {plateau!r}"
        )
    whole_number("plateau.segments", plateau.segments)
    if not (is_number(plateau.delta) and plateau.delta >= 0):
        raise ValueError(f"`plateau.delta` must satisfy delta >= 0; got {plateau.delta!r}")
    return plateau


def _refuse_static(configurations: Sequence[Configuration]) -> None:
    for name, value in itertools.chain.from_iterable(c.items() for c in configurations):
        if not is_number(value):
            text = "all configurations share one program: search once for each choice, and compare the finalists"
            raise ValueError(f"`{name}` must hold numbers; got {value!r}: {text}")


def _affordable(budget: Any, count: int, at: tuple[int, ...], eta: int) -> int:
    """The most configurations, of ``count``, whose halving takes no more segments than the budget."""
    budget = whole_number("budget", budget)
    paid = bisect.bisect_right(range(1, count + 1), budget, key=lambda n: rungs.cost(n, at, eta))
    if not paid:
        raise ValueError(f"`budget` must satisfy budget >= {at[-1]}, the segments of one training; got {budget}")
    return paid


def _lanes(lanes: Any, cost: int, segments: int, count: int, devices: int) -> int:
    wanted = -(-cost // (_TRAININGS * segments)) if lanes is None else whole_number("lanes", lanes)
    return -(-min(wanted, count) // devices) * devices


def _check(program: Program, score: Any) -> None:
    """That lanes do not depend on each other, and that the score is a number for each run."""
    if program.alone:
        raise ValueError("`train` must draw with keys of threefry2x32: other draws depend on the runs beside them")
    known = [n for n, a in program.outputs.items() if a.shape == () and jnp.issubdtype(a.dtype, jnp.floating)]
    if score not in known:
        listed = ", ".join(known) or "of which there are none"
        raise ValueError(f"`score` must name an output that is one floating number a run ({listed}); got {score!r}")


def _identity(
    train: Any,
    version: str | None,
    configurations: Sequence[Configuration],
    seeds: Sequence[int],
    keys: np.ndarray,
    shared: Any,
    program: Program,
    rules: Rules,
    devices: Mesh,
) -> dict[str, Any]:
    """All that decides what comes out."""
    known = fingerprints.of_program(program.jaxpr)
    if version is None and known.opaque:
        must = "`version` must be given with `store` where `train` holds what JAX cannot see into"
        raise ValueError(f"{must}: {'; '.join(known.opaque)}. Any text will do that you change whenever that changes")
    return {
        "train": describe(train) if hasattr(train, "__qualname__") else type(train).__qualname__,
        "version": version,
        "rules": asdict(rules),
        "configurations": [describe(one) for one in configurations],
        "seeds": list(seeds),
        "keys": keys.tolist(),
        "shared": fingerprints.of_data(shared),
        "settings": identity.settings(),
        "platform": platform_of(devices),
        "jax": jax.__version__ if version is None else None,
        "program": known.digest if version is None else None,
    }
