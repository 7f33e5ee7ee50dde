"""Drawing what tuning is worth: the best of so many random configurations, with its band."""

import math

import numpy as np
from matplotlib.axes import Axes

from jnorm import statistics
from jnorm._ground import naming
from jnorm.plots import _runs as runs
from jnorm.plots._canvas import PALETTE
from jnorm.statistics import Result
from jnorm.statistics._runs import failed_as_nan


def tuning_curve(
    axes: Axes,
    result: Result,
    name: str,
    *,
    by: str | None = None,
    best: str = "highest",
    level: float = 0.05,
    support: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """The median of the best of n random configurations over n, in a band that holds the whole curve.

    The configurations have to be drawn independently, as `jnorm.sweeps.search.random` does, with one curve for each
    value of ``by``. The score of a configuration is the mean of its seeds; a run that diverged counts as the worst one
    of all. Where the scores say nothing of how good the best may be, the band reaches to the end of the support, or of
    the picture, and is paler: see `jnorm.statistics.tuning_curve`.

    Args:
        axes: The axes to draw on.
        result: What `jnorm.sweeps.sweep` returns, of a random search.
        name: The metric, one number a run.
        by: A hyperparameter that was not drawn, such as the method that was tuned.
        best: "highest" or "lowest".
        level: The confidence of the band is ``1 - level``.
        support: The lowest and the highest score that there can be, such as (0, 1) of accuracies.

    Raises:
        ValueError: For an unknown hyperparameter, more than eight values of it, a metric of another shape, and as
            `jnorm.statistics.tuning_curve`.

    >>> from jnorm import plots
    >>> rates = np.random.default_rng(0).uniform(size=40)
    >>> result = statistics.Runs([{"rate": rate} for rate in rates], {"accuracy": 0.9 - (rates[:, None] - 0.3) ** 2})
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.tuning_curve(axes, result, "accuracy", support=(0.0, 1.0))
    >>> axes.lines[0].get_xdata()[[0, -1]].tolist(), axes.get_ylabel()
    ([1, 40], 'median of the best accuracy')
    """
    scores = np.asarray(failed_as_nan(result, runs.values(result, name, further=0)), np.float64)
    worst = (np.nanmin if best == "highest" else np.nanmax)(scores)
    scores = np.where(np.isnan(scores), worst, scores).mean(1)
    values, places = ([None], [0] * len(scores)) if by is None else runs.places(runs.column(result, by))
    if len(values) > len(PALETTE):
        raise ValueError(f"`by` must have {len(PALETTE)} values at most, as there are no more colours; {len(values)}")
    found = [
        statistics.tuning_curve(scores[np.array(places) == i], axis=0, best=best, level=level, support=support)
        for i in range(len(values))
    ]
    shown = np.concatenate([part[np.isfinite(part)] for curve in found for part in curve[1:]])
    margin = 0.08 * float(np.ptp(shown))
    bottom, top = float(shown.min()) - margin, float(shown.max()) + margin
    for value, curve, color in zip(values, found, PALETTE, strict=False):
        middle = np.clip(curve.value, bottom, top)
        for end, known in ((curve.low, curve.low > support[0]), (curve.high, curve.high < support[1])):
            unknown = ~known | np.append(~known[1:], False)  # from the last point that is known
            for where, alpha in ((known, 0.2), (unknown, 0.07)):
                edge = np.clip(end, bottom, top)
                axes.fill_between(curve.draws, middle, edge, where=where, color=color, alpha=alpha, linewidth=0)
        label = None if value is None else naming.text(value)
        axes.plot(curve.draws, np.where(np.isfinite(curve.value), curve.value, np.nan), color=color, label=label)
    label = f"{100 * (1 - level):.4g} % band of the whole curve"
    axes.fill_between([], [], [], color="0.4", alpha=0.35, linewidth=0, label=label)
    axes.set(xlabel="random configurations", ylabel=f"median of the best {runs.words(name)}", ylim=(bottom, top))
