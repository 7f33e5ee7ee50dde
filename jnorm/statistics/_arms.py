"""The two arms of a claim in a result: rows that differ in what the claim names, and agree in all else."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnorm.statistics._keys import Places, same, same_setting
from jnorm.statistics._runs import Result, Runs, describe  # noqa: F401 (Runs: the example)


class Matched(NamedTuple):
    """Rows of two arms that agree in all other hyperparameters.

    Attributes:
        settings: The other hyperparameters, of each pair of rows.
        a: Rows of arm a.
        b: Rows of arm b.
    """

    settings: tuple[dict[str, Any], ...]
    a: list[int]
    b: list[int]


def matched(result: Result, a: Mapping[str, Any], b: Mapping[str, Any] | float, own: Sequence[str] = ()) -> Matched:
    """The rows that two arms select, in pairs that agree in every hyperparameter that neither names.

    Args:
        result: The result.
        a: Hyperparameter values of arm a.
        b: Hyperparameter values of arm b; of a number, which has no rows, those of a stand for it.
        own: Hyperparameters that make no settings.

    Returns:
        Settings and rows.

    Raises:
        ValueError: For an arm that selects nothing, for two rows of an arm in one setting, and for a setting that only
            one arm has.

    >>> grid = [{"phi": phi, "depth": depth} for depth in (2, 8) for phi in ("relu", "selu")]
    >>> matched(Runs(grid, {}), {"phi": "selu"}, {"phi": "relu"})
    Matched(settings=({'depth': 2}, {'depth': 8}), a=[1, 3], b=[0, 2])
    """
    arms = {"a": a, "b": b} if isinstance(b, Mapping) else {"a": a}
    named = {*own}.union(*arms.values())
    if len(arms) > 1 and same_setting(arms["a"], arms["b"]):
        raise ValueError(f"`a` and `b` must differ; got {describe(a)} for both: both arms are the same runs")
    rows: dict[str, dict[int, int]] = {}
    settings: list[dict[str, Any]] = []
    places = Places(settings)
    for label, arm in arms.items():
        rows[label] = {}
        for i, configuration in enumerate(result.configurations):
            if not all(name in configuration and same(configuration[name], v) for name, v in arm.items()):
                continue
            setting = {name: value for name, value in configuration.items() if name not in named}
            place = places.of(setting)
            if place in rows[label]:
                free = sorted(name for name in named - {*arm} if name in configuration)
                raise ValueError(
                    f"`{label}` must select one configuration in each setting; got two at {describe(setting)}: "
                    f"name {', '.join(free) or 'what tells them apart'} too, or reduce by `tuned` or `averaged`"
                )
            rows[label][place] = i
        if not rows[label]:
            known = {name: [c[name] for c in result.configurations if name in c] for name in arm}
            seen = "; ".join(f"{name}: {', '.join(dict.fromkeys(map(repr, v))) or 'none'}" for name, v in known.items())
            raise ValueError(f"`{label}` must select a configuration; got {describe(arm)}, there are {seen}")
    for key, setting in enumerate(settings):
        for label in arms:
            if key not in rows[label]:
                raise ValueError(f"both arms must have every setting; `{label}` lacks {describe(setting)}")
    chosen = [[rows[label][key] for key in range(len(settings))] for label in arms]
    matches = Matched(tuple(settings), chosen[0], chosen[-1])
    if len(arms) > 1 and any(i == j for i, j in zip(matches.a, matches.b, strict=True)):
        raise ValueError(
            f"`a` and `b` must select different configurations; got {' and '.join(map(describe, arms.values()))}"
        )
    return matches
