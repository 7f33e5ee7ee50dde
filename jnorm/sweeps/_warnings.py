"""What a finished sweep says of itself: runs that diverged, and what had no effect."""

import warnings
from collections.abc import Iterable

from jnorm.sweeps._configurations import sort_key
from jnorm.sweeps._results import SweepResult

_SHOWN = 3  # settings that are named one by one


def warn(result: SweepResult) -> None:
    """One warning of the runs that diverged, and one of a key or a hyperparameter without effect."""
    if result.failed.any():
        warnings.warn(_diverged(result), stacklevel=3)
    idle = without_effect(result)
    if idle:
        warnings.warn(f"every output is the same whatever {' and '.join(idle)}: does `train` use it?", stacklevel=3)


def _diverged(result: SweepResult) -> str:
    steps: dict[str, dict[str, int | None]] = {}
    counts: dict[str, int] = {}
    for (configuration, _), cause in zip(result.failures, result.causes, strict=True):
        setting = ", ".join(f"{name}={getattr(v, '__name__', v)}" for name, v in configuration.items()) or "the seeds"
        counts[setting] = counts.get(setting, 0) + 1
        known = steps.setdefault(setting, {})
        for name, step in cause.items():
            before = known.get(name)
            known[name] = step if before is None or step is None else min(before, step)
    since = lambda step: "" if step is None else f" from step {step}"
    listed = lambda known: ", ".join(f"`{name}`{since(step)}" for name, step in known.items())
    settings = [f"{count} with {setting} ({listed(steps[setting])})" for setting, count in counts.items()]
    more = f"; and {len(settings) - _SHOWN} more settings" if len(settings) > _SHOWN else ""
    total = f"{int(result.failed.sum())} of {int(result.done.sum())} runs diverged, as outputs are not finite"
    return f"{total}: {'; '.join(settings[:_SHOWN])}{more}. `failed` marks them; `finite` names outputs that decide"


def without_effect(result: SweepResult) -> list[str]:
    """The key, if seeds change nothing at all, and the hyperparameters of which all values give the same.

    Runs that diverged are not compared with each other, and none with those that were not done.
    """
    rows, seeds = len(result.configurations), range(len(result.seeds))
    idle = []
    if _all_equal(result, (((c, 0), (c, s)) for c in range(rows) for s in seeds[1:])):
        idle.append("the `key`")
    for name in result.configurations[0]:
        groups: dict[str, list[int]] = {}
        for c, configuration in enumerate(result.configurations):
            groups.setdefault(sort_key({n: v for n, v in configuration.items() if n != name}), []).append(c)
        if _all_equal(result, (((g[0], s), (c, s)) for g in groups.values() for c in g[1:] for s in seeds)):
            idle.append(f"`{name}`")
    return idle


def _all_equal(result: SweepResult, pairs: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    """Whether there are pairs of runs, and both of each return the same bits."""
    compared = False
    for one, other in pairs:
        both_failed = result.failed[one] and result.failed[other]
        if both_failed or not (result.done[one] and result.done[other]):
            continue
        if any(array[one].tobytes() != array[other].tobytes() for array in result.outputs.values()):
            return False
        compared = True
    return compared
