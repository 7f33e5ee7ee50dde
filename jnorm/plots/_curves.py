"""Drawing the curves of many runs: a line for each configuration, in a band that its name in the legend explains."""

from functools import partial

import jax
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jnorm import statistics
from jnorm._ground import checks, naming
from jnorm.plots import _runs as runs
from jnorm.plots._canvas import PALETTE
from jnorm.statistics import Result

_COVER = {"runs": 0.8, "mean": 0.95, "median": 0.95}
_ESTIMATORS = {
    "mean": partial(statistics.mean, diverged="exclude"),
    "median": partial(statistics.median, diverged="exclude"),
}


def curves(
    axes: Axes,
    result: Result,
    name: str,
    *,
    band: str = "runs",
    cover: float | None = None,
    x: ArrayLike | None = None,
    single_runs: bool = False,
) -> None:
    """Curves of a sweep: for each configuration a line in a band over its seeds, told in the legend.

    With ``band="runs"`` the line is the median and the band holds the middle 80 % of the runs: how far runs differ.
    With "mean" or "median" the band is the 95 % interval of that, point by point: how well it is known, which is
    narrower the more runs there are. The intervals are those of `jnorm.statistics.bootstrap`.

    A run that diverged counts as long as it is finite, and the legend says how many did; its own line ends there. What
    an early stop leaves out, and runs that were not done, are not drawn.

    Args:
        axes: The axes to draw on.
        result: What `jnorm.sweeps.sweep` returns, or a part of it.
        name: An output [configuration, seed, points].
        band: "runs", "mean" or "median".
        cover: The share of the runs in the band, or the confidence of the interval.
        x: Where the points are, ``[points]``; by default 1, 2, ...
        single_runs: Whether every run is drawn too, as a thin line.

    Raises:
        ValueError: For an unknown band, a ``cover`` outside (0, 1), an output of another shape, ``x`` of another
            length, and for more configurations than there are colours.

    >>> from jnorm import plots, sweeps
    >>> loss = np.random.default_rng(0).uniform(size=(2, 8, 20)) / np.arange(1, 21)
    >>> grid = ({"activation": "relu"}, {"activation": "selu"})
    >>> result = sweeps.SweepResult({"curve_dev_loss": loss}, grid, tuple(range(8)), np.zeros((2, 8), bool))
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.curves(axes, result, "curve_dev_loss")
    ...     plots.legend(fig, axes)
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['relu', 'selu', 'median, and middle 80 % of 8 runs']
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('epoch', 'dev loss')
    """
    checks.choice("band", band, _COVER)
    cover = _COVER[band] if cover is None else cover
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", cover=cover)
    samples = runs.values(result, name, further=1)
    if len(samples) > len(PALETTE):
        raise ValueError(
            f"`result` must have {len(PALETTE)} configurations at most, as there are no more colours; got "
            f"{len(samples)}: draw a part, such as `result.select(...)` or what `statistics.tuned` chose"
        )
    points = np.arange(1, samples.shape[2] + 1) if x is None else np.asarray(x)
    if points.shape != samples.shape[2:]:
        raise ValueError(f"`x` must have the shape of the points of `{name}`, {samples.shape[2:]}; got {points.shape}")
    center, low, high = _summary(samples, band, cover)
    lost = runs.diverged(result, samples)
    for c, label in enumerate(naming.labels(result.configurations)):
        color = PALETTE[c]
        told = f"{lost[c]} diverged" if lost[c] else ""
        label = f"{label} ({told})" if label and told else label or told
        axes.fill_between(points, low[c], high[c], color=color, alpha=0.18, linewidth=0, zorder=1.5)
        if single_runs:
            axes.plot(points, samples[c].T, color=color, alpha=0.4, linewidth=0.4)
        axes.plot(points, center[c], color=color, label=label or None)
    _tell_of_band(axes, band, cover, runs.done(result, samples).sum(1))
    kind = "step" if name.startswith("step_") else "epoch" if name.startswith(("curve_", "probe_")) else "point"
    axes.set(xlabel=axes.get_xlabel() or kind, ylabel=axes.get_ylabel() or runs.words(name))


def _summary(samples: np.ndarray, band: str, cover: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The line, and both ends of the band, [configuration, points]; NaN where no run is left."""
    if band == "runs":
        # As in `nanquantile`, which warns where nothing is left, and is slow.
        order = np.sort(samples, 1)
        count = np.sum(~np.isnan(order), 1, keepdims=True)

        def quantile(share: float) -> np.ndarray:
            at = share * np.maximum(count - 1, 0)
            below = np.floor(at).astype(int)
            above = np.minimum(below + 1, np.maximum(count - 1, 0))
            left, right = (np.take_along_axis(order, place, 1) for place in (below, above))
            return (left + (at - below) * (right - left))[:, 0]

        return quantile(0.5), quantile((1 - cover) / 2), quantile((1 + cover) / 2)
    interval = statistics.bootstrap(jax.random.key(0), samples, _ESTIMATORS[band], axis=1, level=1 - cover)
    return tuple(np.asarray(part, np.float64) for part in (interval.value, interval.low, interval.high))  # type: ignore[return-value]


def _tell_of_band(axes: Axes, band: str, cover: float, counts: np.ndarray) -> None:
    """A grey patch that says what line and bands are, once on the axes."""
    least, most = counts.min(), counts.max()
    number = f"{most} runs" if least == most else f"{least} to {most} runs"
    share = f"{100 * cover:.4g} %"
    shown = f"median, and middle {share}" if band == "runs" else f"{band}, and its {share} interval,"
    label = f"{shown} of {number}"
    if label not in axes.get_legend_handles_labels()[1]:
        axes.fill_between([], [], [], color="0.4", alpha=0.35, linewidth=0, label=label)
