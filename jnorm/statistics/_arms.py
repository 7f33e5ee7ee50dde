"""The two arms of a claim in a result: rows that differ in what the claim names, and agree in all else."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

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


def matched(result: Result, a: Mapping[str, Any], b: Mapping[str, Any]) -> Matched:
    """The rows that two arms select, in pairs that agree in every hyperparameter that neither names.

    Args:
        result: The result.
        a: Hyperparameter values of arm a.
        b: Hyperparameter values of arm b.

    Returns:
        Settings and rows.

    Raises:
        ValueError: For an arm that selects nothing, for two rows of an arm in one setting, and for a setting that only
            one arm has.

    >>> grid = [{"phi": phi, "depth": depth} for depth in (2, 8) for phi in ("relu", "selu")]
    >>> matched(Runs(grid, {}), {"phi": "selu"}, {"phi": "relu"})
    Matched(settings=({'depth': 2}, {'depth': 8}), a=[1, 3], b=[0, 2])
    """
    named = {*a, *b}
    rows: dict[str, dict[str, int]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for label, arm in (("a", a), ("b", b)):
        rows[label] = {}
        for i, configuration in enumerate(result.configurations):
            if not all(name in configuration and _same(configuration[name], v) for name, v in arm.items()):
                continue
            setting = {name: value for name, value in configuration.items() if name not in named}
            if repr(setting) in rows[label]:
                free = sorted(name for name in named - {*arm} if name in configuration)
                raise ValueError(
                    f"`{label}` must select one configuration in each setting; got two at {describe(setting)}: "
                    f"name {', '.join(free) or 'what tells them apart'} too, or reduce by `tuned` or `averaged`"
                )
            rows[label][repr(setting)] = i
            settings[repr(setting)] = setting
        if not rows[label]:
            known = {name: [c[name] for c in result.configurations if name in c] for name in arm}
            seen = "; ".join(f"{name}: {', '.join(dict.fromkeys(map(repr, v))) or 'none'}" for name, v in known.items())
            raise ValueError(f"`{label}` must select a configuration; got {describe(arm)}, there are {seen}")
    for key, setting in settings.items():
        for label in ("a", "b"):
            if key not in rows[label]:
                raise ValueError(f"both arms must have every setting; `{label}` lacks {describe(setting)}")
    return Matched(tuple(settings.values()), [rows["a"][k] for k in settings], [rows["b"][k] for k in settings])


def _same(left: Any, right: Any) -> bool:
    return bool(np.all(left == right))
