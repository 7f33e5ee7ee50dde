"""What figures of claims share: the runs of arms side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from experiments.claims.claim import Decided


def row(result: Any, arm: Mapping[str, Any]) -> int:
    """The place of the configuration that has these values."""
    return next(i for i, c in enumerate(result.configurations) if all(c[name] == v for name, v in arm.items()))


def values(decided: Decided, metric: str, arm: Mapping[str, Any]) -> np.ndarray:
    """A metric of the runs of an arm that were done and are finite, ``[runs, ...]``."""
    result = decided.result
    place = row(result, arm)
    found = np.asarray(result[metric][place], float)[np.asarray(result.done[place], bool)]
    return found[np.all(np.isfinite(found.reshape(len(found), -1)), 1)]


def foreseen(axes: Any, x: Any, y: Any, *, label: str | None = None, marks: bool = False) -> None:
    """What theory foresees, over what was measured: a thin black line with dashes, or crosses."""
    look: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 4} if marks else {"linestyle": "--"}
    axes.plot(x, y, color="black", linewidth=0.8, zorder=4, label=label, **look)


def half_width(runs: np.ndarray) -> Any:
    """Half the width of the 95 % interval of the mean over the first axis, Student's."""
    return special.stdtrit(len(runs) - 1, 0.975) * np.std(runs, 0, ddof=1) / len(runs) ** 0.5


def dots(axes: Any, samples: Mapping[str, np.ndarray], *, color: str | Mapping[str, str] | None = None) -> None:
    """A row for each arm: its runs as dots, and their mean with its 95 % interval.

    ``color`` is one for all, or by arm.
    """
    from jnorm import plots

    rng = np.random.default_rng(0)
    for place, (name, runs) in enumerate(samples.items()):
        own = color.get(name, plots.PALETTE[0]) if isinstance(color, Mapping) else color or plots.PALETTE[0]
        axes.plot(runs, place + rng.uniform(-0.22, 0.22, len(runs)), ".", color=own, alpha=0.35, markersize=4, mew=0)
        if len(runs) > 1:
            look: dict[str, Any] = {"fmt": "o", "color": "black", "markersize": 3.5, "capsize": 2.5, "lw": 1.1}
            axes.errorbar(np.mean(runs), place, xerr=half_width(runs), **look)
    axes.set_yticks(range(len(samples)), list(samples))
    axes.set_ylim(len(samples) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=8)
