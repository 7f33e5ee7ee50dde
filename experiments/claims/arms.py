"""What claims about runs share: rules, arms that were measured or trained, and the tuning that goes before.

Rules of claims test at `LEVEL`, which five hundred of them share, so that seeds are added until a verdict
stands beside all others; intervals are the 95 % ones. Seeds of tuning are none of those that decide.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import classification
from experiments.checks import Refused
from experiments.claims.claim import Comparison, Decided, Settling, Setup, Skipped
from jnorm import statistics, sweeps
from jnorm.data import splits
from jnorm.statistics import Rule, Runs

LEVEL = 0.05 / 500
TUNING = 2**30
"""The first seed of tuning, far from those that decide."""


def compared(
    what: str,
    quantity: str,
    claim: str,
    effect: float,
    *,
    metric: str = "value",
    a: Mapping[str, Any] | None = None,
    b: Mapping[str, Any] | float = 0.0,
    diverged: str | float = "exclude",
    **options: Any,
) -> Comparison:
    """A part that compares arm ``a`` of a quantity with arm ``b``, another arm or a number.

    ``effect`` is the smallest that matters: "greater" asks for a - b > effect, "less" for a - b < -effect, "equal" for
    a difference within +-effect. Of runs without arms (`runs`) ``a`` is left out.
    """
    options = {"level": LEVEL, "confidence": 0.95, "family": f"{quantity}: {what}"} | options
    arms = {"a": {"arm": "measured"} if a is None else a, "b": b}
    rule = Rule(claim=claim, effect=effect, metric=metric, diverged=diverged, name=what, **arms, **options)
    return Comparison(what, quantity, rule)


def runs(values: Any) -> Runs:
    """One measured number a seed, without another arm."""
    return Runs.of_arms({"measured": np.asarray(values, float)})


def timed(calls: Mapping[str, Callable[[], Any]], turns: int) -> Runs:
    """Logarithms ("value") of the seconds of each call, an arm a call and a run a turn.

    All are called in every turn, so that what slows the machine down slows all of them; two turns before warm up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-2, turns):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return Runs.of_arms({name: np.log(values) for name, values in seconds.items()})


def sets(setup: Setup, name: str | None = None, **options: Any) -> classification.Sets:
    """The data set of this run, or the one that a claim is about; a claim whose data are absent is skipped."""
    try:
        return classification.load(name or setup.data, setup.folder, **options)
    except Refused as reason:
        raise Skipped(str(reason)) from None


def pixels() -> np.ndarray:
    """The digits ``[image, 64]``, standardized by all their pixels together, in float32."""
    from sklearn.datasets import load_digits

    x = load_digits().data.astype(np.float32)
    return (x - x.mean()) / x.std()


def few(data: classification.Sets, count: int, *, spared: int = 0) -> classification.Sets:
    """The data with a training set of ``count`` examples, of all classes alike: a task that is not saturated.

    Of the examples left out ``spared``, or as many as there are, join the dev set and the test set, half of them each,
    so that choices and scores spread less.
    """
    x, y = data.parts["train"]
    left = len(y) - count
    if left <= 0:
        return data
    more = min(spared, left) // 2
    kept, tested, rest = splits.stratified(jax.random.key(1), y, dev=more, test=left - more)
    tried = rest[:more]
    if 0 < more < len(rest):
        tried = rest[splits.stratified(jax.random.key(2), y[rest], dev=more, test=0).dev]
    parts = {"train": (x[kept], y[kept])}
    for part, joined in (("dev", tried), ("test", tested)):
        parts[part] = tuple(
            np.concatenate([old, new[joined]]) for old, new in zip(data.parts[part], (x, y), strict=True)
        )
    return data._replace(parts=data.parts | parts)


def swept(
    train: Any, setup: Setup, name: str, parts: Sequence[Any], *, looks: Sequence[int] | None = None, **options: Any
) -> Decided:
    """Train until the comparisons among ``parts`` that are about the quantity ``name`` are settled, or seeds run out.

    The result has the seeds that any arm needed. ``options`` are those of `jnorm.sweeps.sweep`: ``grid``, ``static``,
    ``shared``. Finished runs are in a store; runs of another program, of other data or by other rules have another one.
    """
    rules = [part.rule for part in parts if isinstance(part, Comparison) and part.quantity == name]
    until = statistics.sequential(rules, looks=looks or setup.looks, boundary="pocock")
    numbers = range(setup.seeds.start, setup.seeds.start + until.looks[-1])
    result = _stored(train, setup, name, seeds=numbers, until=Settling(until), **options)
    return Decided(_taken(result), until)


def _taken(result: sweeps.SweepResult) -> sweeps.SweepResult:
    """A result without the seeds that no configuration needed."""
    taken = slice(int(np.sum(np.any(result.done, 0))))
    outputs = {name: array[:, taken] for name, array in result.outputs.items()}
    cut = {"failed": result.failed[:, taken], "done": result.done[:, taken], "seeds": result.seeds[taken]}
    return replace(result, outputs=outputs, **cut)


class Chosen(NamedTuple):
    """Arms with the hyperparameters that tuning chose for them.

    Attributes:
        arms: Configurations, one an arm.
        budget: What tuning cost each arm and what it chose, for the page.
        result: The runs of tuning.
    """

    arms: list[dict[str, Any]]
    budget: str
    result: Any


def tuned(
    train: Any,
    setup: Setup,
    name: str,
    arms: Sequence[Mapping[str, Any]],
    values: Mapping[str, Sequence[float]],
    *,
    on: str = "dev_accuracy",
    best: str = "highest",
    seeds: int | None = None,
    names: Sequence[str] | None = None,
    data: str = "dev data",
    **options: Any,
) -> Chosen:
    """The best of ``values`` for each arm by the mean score of a few seeds: the same budget for all arms.

    ``seeds`` is how many, by default those of the setup; ``names`` are the arms in words, where their values do not say
    what they are; ``data`` says what ``on`` is measured on.
    A rule about the arms names in ``own`` what was chosen, which makes no setting.
    """
    count = setup.tuning if seeds is None else max(seeds, 1)
    numbers = range(TUNING + setup.seeds.start, TUNING + setup.seeds.start + count)
    grid: list[dict[str, Any]] = [dict(arm) for arm in arms]
    for key, some in values.items():
        grid = [{**one, key: value} for one in grid for value in some]
    result = _stored(train, setup, f"tuning of {name}", seeds=numbers, grid=grid, **options)
    chosen = [dict(won[0]) for won in statistics.tuned(result, list(values), on=on, best=best).winners]
    tried = ", ".join(f"{len(some)} of {key}" for key, some in values.items())
    words = "; ".join(
        f"{name}: {', '.join(f'{key} {one[key]:.3g}' for key in values)}"
        for name, one in zip(names or map(_words, arms), chosen, strict=True)
    )
    return Chosen(chosen, f"Tuned on {data} with {count} seeds of their own, for each arm {tried}. {words}.", result)


def _words(arm: Mapping[str, Any]) -> str:
    words = [value if isinstance(value, str) else f"{key} {value}" for key, value in arm.items()]
    return ", ".join(words) or "the arm"


def _stored(train: Any, setup: Setup, name: str, **options: Any) -> Any:
    """A sweep with a store, which another program, or other data, do not continue but leave alone."""
    told = (name, getattr(train, "__module__", ""), str(options.get("until", "")))
    stem = hashlib.sha256(repr(told).encode()).hexdigest()[:8]
    for attempt in range(100):
        store = setup.store / f"{_safe(name)}-{stem}{f'-{attempt}' if attempt else ''}"
        try:
            with warnings.catch_warnings():  # both are for the rules to judge
                warnings.filterwarnings("ignore", r"\d+ of \d+ runs diverged")
                warnings.filterwarnings("ignore", "every output is the same")
                return sweeps.sweep(train, store=_made(store), **options)
        except ValueError as error:
            if str(store) not in str(error):
                raise
    raise Refused(f"{setup.store} holds a hundred stores of {name!r} that do not fit: remove them")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)[:60]


def _made(store: Path) -> Path:
    store.parent.mkdir(parents=True, exist_ok=True)
    return store
