"""Drawing a prediction of a model: signal, gradients and correlation over its depth, and where formats end."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jnorm.plots._canvas import PALETTE, figure, legend, style

_PRODUCTS = ("dot_general", "conv_general_dilated")
_FORMATS = ("bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")
_SHARE = 0.001  # of the numbers of a value, that is left out on both sides


def signal(prediction: Any, *, deviations: float = 2.0, size: tuple[float, float] = (7.0, 5.0)) -> Figure:
    """A prediction of `jnorm.predict` over depth, in four pictures.

    Above the second moment of the values and of the gradients, a dot for each row and a line through those that a
    weight makes, in the band where a single draw of the parameters lies. Below the correlation of examples, and how
    large the numbers are: all but a thousandth on both sides, beside the ranges of formats, pale where numbers lose
    digits. Depth counts rows of the prediction.

    Args:
        prediction: What `jnorm.predict.predict` returns, or anything with its ``rows``.
        deviations: How many standard deviations of the logarithm a band has on both sides.
        size: Width and height in inches.

    Returns:
        The figure; a notebook shows it, and `save` saves it.

    Raises:
        ValueError: A prediction without rows.

    >>> import jax.numpy as jnp
    >>> from jnorm import plots
    >>> from jnorm.predict import Law, predict
    >>> weights = [jnp.zeros((64, 64))] * 4
    >>> laws = [Law("normal", 1 / 64)] * 4
    >>> def model(weights, x):
    ...     for w in weights:
    ...         x = jnp.tanh(x @ w)
    ...     return x
    >>> fig = plots.signal(predict(model, weights, jnp.ones((2, 64)), laws=laws))
    >>> [axes.get_ylabel() for axes in fig.axes]
    ['second moment', 'squared gradient', 'correlation', 'size of numbers']
    """
    rows = list(prediction.rows)
    if not rows:
        raise ValueError("`prediction` must have rows; this one has none")
    with style():
        fig, ((forward, backward), (alike, formats)) = figure(2, 2, size=size, sharex=False)
        made = np.array([row.name.rpartition("/")[2] in _PRODUCTS for row in rows])
        values = [(row.second, row.spread) for row in rows]
        _sizes(forward, made, values, deviations, PALETTE[0])
        forward.set(ylabel="second moment", title="forward")
        laws = [getattr(row, "gradient_law", None) for row in rows]
        slopes = [(law.second, law.spread) if law else (np.nan, np.nan) for law in laws]
        _sizes(backward, made, slopes, deviations, PALETTE[1])
        backward.set(ylabel="squared gradient", title="backward")
        _correlation(alike, made, np.array([row.correlation for row in rows]))
        _formats(formats, rows, laws)
        legend(fig, formats)
    return fig


def _depth(axes: Axes, count: int) -> None:
    axes.set(xlabel="row", xlim=(-0.02 * count - 0.5, 1.02 * count - 0.5))


def _sizes(axes: Axes, made: np.ndarray, values: Sequence[tuple[float, float]], deviations: float, color: str) -> None:
    size, spread = np.array(values, np.float64).T
    x = np.arange(len(size))
    usable = np.isfinite(size) & (size > 0)
    _depth(axes, len(size))
    if not usable.any():
        axes.text(0.5, 0.5, "not predicted", transform=axes.transAxes, ha="center", va="center", color="0.5")
        axes.set(yticks=[])
        return
    line = usable & made if np.sum(usable & made) > 1 else usable
    known = line & np.isfinite(spread)
    center = size * np.exp(-(spread**2) / 2)
    reach = np.exp(deviations * spread)
    axes.fill_between(x[known], (center / reach)[known], (center * reach)[known], color=color, alpha=0.2, linewidth=0)
    axes.plot(x[line], size[line], color=color)
    axes.plot(x[usable], size[usable], "o", color=color, markersize=2.2, markeredgewidth=0)
    axes.axhline(1.0, color="0.7", linewidth=0.6, zorder=0)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.3), max(high, 3.0))


def _correlation(axes: Axes, made: np.ndarray, values: np.ndarray) -> None:
    x, usable = np.arange(len(values)), np.isfinite(values)
    _depth(axes, len(values))
    line = usable & made if np.sum(usable & made) > 1 else usable
    axes.plot(x[line], values[line], color=PALETTE[2])
    axes.plot(x[usable], values[usable], "o", color=PALETTE[2], markersize=2.2, markeredgewidth=0)
    low = min(0.0, float(values[usable].min())) if usable.any() else 0.0
    axes.set(ylabel="correlation", ylim=(low - 0.05, 1.05), title="two examples")


def _formats(axes: Axes, rows: Sequence[Any], laws: Sequence[Any]) -> None:
    count = len(rows)
    for found, color, label in (
        ([row.sizes for row in rows], PALETTE[0], "values"),
        ([law.sizes if law else None for law in laws], PALETTE[1], "gradients"),
    ):
        usable = [(i, sizes) for i, sizes in enumerate(found) if sizes is not None and sizes.mass.sum() > 0]
        if usable:
            at = [i for i, _ in usable]
            least, middle, most = (
                [sizes.quantile(share) for _, sizes in usable] for share in (_SHARE, 0.5, 1 - _SHARE)
            )
            axes.fill_between(at, least, most, color=color, alpha=0.25, linewidth=0)
            axes.plot(at, middle, color=color, label=label)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    low, high = min(low, 1e-9), max(high, 1e6)
    width = 0.07 * max(count, 4)
    for i, name in enumerate(_FORMATS):
        info = jnp.finfo(name)
        x = count - 0.5 + (i + 0.7) * width
        ends = (float(info.smallest_subnormal), float(info.smallest_normal), float(info.max))
        for bottom, top, alpha in ((ends[0], ends[1], 0.2), (ends[1], ends[2], 0.6)):
            bottom, top = np.clip([bottom, top], low, high)
            if top > bottom:
                axes.bar(x, top - bottom, 0.6 * width, bottom, color="0.45", alpha=alpha, linewidth=0)
        axes.text(
            x, 1.3, name.removeprefix("float8_"), rotation=90, ha="center", va="center", fontsize=5.5, color="black"
        )
    axes.set(ylabel="size of numbers", xlabel="row", title="beside ranges of formats")
    axes.set(xlim=(-0.02 * count - 0.5, count - 0.5 + 4.4 * width), ylim=(low, high))
