"""Runs from arrays whose axes have roles, so that only what was trained anew counts as a run.

>>> returns = np.random.default_rng(0).normal(size=(2, 5, 100))  # 100 episodes of each of 5 trained networks
>>> grid = [{"phi": "relu"}, {"phi": "selu"}]
>>> runs_of({"return": returns}, ["configuration", "seed", "repeat"], grid)["return"].shape
(2, 5)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jnorm.statistics._runs import Runs
from jnorm.statistics._samples import as_array

ROLES = ("configuration", "task", "seed", "repeat")
MEANT = (
    'what was trained anew from another key is a "seed", what was done again with one trained network (episodes, '
    'epochs, batches) a "repeat"'
)


def runs_of(
    arrays: Mapping[str, Any],
    roles: Sequence[str],
    configurations: Sequence[Mapping[str, Any]] = ({},),
    *,
    tasks: Sequence[Any] | None = None,
    failed: Any = None,
) -> Runs:
    """Runs from arrays whose every axis says what it repeats.

    Only seeds are replications: a claim about training holds for the next seed as far as seeds vary. Repeats of one
    trained network (episodes, test batches, epochs of its end) are averaged, NaN where one is, in at least float32:
    taken for runs they would make any difference significant (pseudo-replication; Hurlbert 1984). Tasks become a
    hyperparameter ``task``: settings of a rule, each judged by itself, or to be reduced by `averaged`.

    Args:
        arrays: By the name of a metric, with one axis for each role.
        roles: What each axis is, in order: "seed" and, each once at most, "configuration", "task" and "repeat"; several
            axes may be "repeat".
        configurations: Hyperparameter values of each configuration.
        tasks: Names of the tasks, by default 0, 1, ...
        failed: Booleans with the axes of ``arrays`` other than repeats: runs that diverged.

    Returns:
        Runs ``[configuration and task, seed]``.

    Raises:
        TypeError: For ``arrays`` that are not named, roles that are no names, and values that are no real numbers.
        ValueError: Without an axis of seeds, for unknown roles, roles and tasks named twice, a hyperparameter that is
            called "task" already, and arrays whose axes do not match or hold nothing.

    >>> runs = runs_of({"score": np.zeros((3, 4))}, ["task", "seed"], tasks=["a", "b", "c"])
    >>> runs.configurations
    [{'task': 'a'}, {'task': 'b'}, {'task': 'c'}]
    """
    if isinstance(roles, str) or not isinstance(roles, Sequence) or not all(isinstance(role, str) for role in roles):
        raise TypeError(f'`roles` must name the role of each axis, as in ["configuration", "seed"]; got {roles!r}')
    if not isinstance(arrays, Mapping):
        raise TypeError(f'`arrays` must be arrays by name, as in {{"return": x}}; got {type(arrays).__name__}')
    roles = list(roles)
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise ValueError(f"`roles` must be among {', '.join(ROLES)}; got {unknown[0]!r}: {MEANT}")
    if "seed" not in roles:
        raise ValueError(
            f"`roles` must name an axis of seeds; got {', '.join(roles) or 'none'}: repeats and tasks of one trained "
            "network do not say how far another seed would differ. Train with several seeds, or, where an axis is "
            'of seeds, call it "seed"'
        )
    twice = [role for role in ROLES[:3] if roles.count(role) > 1]
    if twice:
        raise ValueError(f"`roles` must name {twice[0]!r} once; got {', '.join(roles)}: {MEANT}")
    if tasks is not None and "task" not in roles:
        raise ValueError(f"`tasks` need an axis of tasks; got {', '.join(roles)}")
    if "task" in roles and any("task" in c for c in configurations):
        raise ValueError("`configurations` must not have a hyperparameter 'task' where `roles` name an axis of tasks")
    if tasks is not None and len(set(map(str, tasks))) < len(tasks):
        raise ValueError(f"`tasks` must be different; got {', '.join(map(str, tasks))}")
    kept = [role for role in ROLES if role in roles and role != "repeat"]

    def arranged(name: str, x: Any, roles: list[str]) -> np.ndarray:
        array = np.asarray(as_array(name, x))
        if array.ndim != len(roles):
            raise ValueError(f"`{name}` must have the axes {', '.join(roles)}; got shape {array.shape}")
        repeats = tuple(i for i, role in enumerate(roles) if role == "repeat")
        if array.size == 0:
            raise ValueError(f"`{name}` must hold at least one run; got shape {array.shape}")
        if repeats:
            array = array.mean(repeats, dtype=np.float64).astype(np.result_type(array.dtype, np.float32))
        roles = [role for role in roles if role != "repeat"]
        array = array.transpose([roles.index(role) for role in kept])
        array = array if "configuration" in roles else array[None]
        array = array if "task" in roles else array[:, None]
        if array.shape[0] != len(configurations) or (tasks is not None and array.shape[1] != len(tasks)):
            expected = f"{len(configurations)} configurations" + ("" if tasks is None else f" and {len(tasks)} tasks")
            raise ValueError(f"`{name}` must have {expected}; got shape {np.shape(x)} for {', '.join(roles)}")
        return array

    parts = {name: arranged(name, x, roles) for name, x in arrays.items()}
    flags = None if failed is None else arranged("failed", failed, [role for role in roles if role != "repeat"])
    count = next(iter(parts.values())).shape[1] if parts else 1
    flat = lambda array: array.reshape(-1, array.shape[2])
    names = range(count) if tasks is None else tasks
    each = [{**c, "task": task} if "task" in roles else {**c} for c in configurations for task in names]
    return Runs(each, {n: flat(x) for n, x in parts.items()}, None if flags is None else flat(flags))
