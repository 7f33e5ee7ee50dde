"""Drawing over any plane: values as colours, lines of one value, marked points and stretches."""

from collections.abc import Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from jnorm.plots._canvas import colorbar


def plane(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    *,
    label: str | None = None,
    missing: str | None = None,
    levels: Sequence[float] = (),
    log: bool = False,
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
) -> None:
    """Values over an even grid as colours.

    NaN is drawn as a hatched grey region. Where values lie beyond the scale, it ends in an arrow.

    Args:
        axes: The axes to draw on.
        x: The grid's places along the horizontal axis, ``[columns]``.
        y: Its places along the vertical axis, ``[rows]``.
        values: What is drawn, ``[rows, columns]``.
        label: The name of the scale, which is drawn where there is one.
        missing: A text in the middle of the largest region of NaN.
        levels: Borders between steps of the colours; none: the colours run evenly.
        log: Whether the scale is logarithmic.
        limits: Where the scale ends; ``None`` is at the smallest and largest value.
        colormap: A name that matplotlib knows.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     values = [[1.0, 2.0], [9.0, np.nan]]
    ...     plots.plane(axes, [0.0, 1.0], [0.0, 1.0], values, label="value", missing="none", limits=(1.0, 5.0))
    >>> axes.texts[0].get_text(), axes.texts[0].get_position()  # where the NaN is
    ('none', (np.float64(1.0), np.float64(1.0)))
    >>> axes.collections[0].colorbar.extend  # 9 is beyond the scale
    'max'
    """
    x, y, values = (np.asarray(a, np.float64) for a in (x, y, values))
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        finite = np.ones(1)
    low, high = (min(levels), max(levels)) if levels else limits or (finite.min(), finite.max())
    ends: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]]
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = ends[bool(finite.min() < low), bool(finite.max() > high)]
    colors = matplotlib.colormaps[colormap]
    norm: Normalize = LogNorm(low, high) if log else Normalize(low, high)
    if levels:
        norm = BoundaryNorm(levels, colors.N, extend=extend)
    # As pixels in the SVG too: forty thousand outlined cells would take megabytes and show seams.
    image = axes.pcolormesh(x, y, values, cmap=colors, norm=norm, shading="nearest", rasterized=True, zorder=1)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if np.isnan(values).any():
        axes.patch.set(facecolor="0.93", edgecolor="0.7", hatch="////")
        if missing:
            _in_largest_gap(axes, x, y, np.isnan(values), missing)
    if label is not None:
        colorbar(axes, image, label, extend=extend, ticks=levels or None)


def contour(axes: Axes, x: ArrayLike, y: ArrayLike, values: ArrayLike, level: float, *, text: str, color: str) -> None:
    """The line where values pass a level, with a text on it; nothing where they never do.

    Args:
        axes: The axes to draw on.
        x: The grid's places along the horizontal axis, ``[columns]``.
        y: Its places along the vertical axis, ``[rows]``.
        values: What is followed, ``[rows, columns]``.
        level: The value along the line.
        text: What stands on the line.
        color: The colour of line and text.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.contour(axes, [0.0, 1.0], [0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], 0.25, text="a quarter", color="black")
    >>> axes.collections[0].get_paths()[0].vertices[:, 0].tolist()  # x along the line
    [0.25, 0.25]
    """
    values = np.asarray(values, np.float64)
    if np.nanmin(values) < level < np.nanmax(values):
        lines = axes.contour(x, y, values, [level], colors=[color], linewidths=1.2, zorder=3)
        axes.clabel(lines, fmt=lambda _: text, fontsize=7, inline=True, inline_spacing=3)


def point(
    axes: Axes, x: float, y: float, text: str = "", *, offset: tuple[float, float] = (5, 4), align: str = "left"
) -> None:
    """A marked point with a text beside it.

    Args:
        axes: The axes to draw on.
        x: Its place along the horizontal axis.
        y: Its place along the vertical axis.
        text: What stands beside it.
        offset: How far off, in points to the right and up.
        align: The side of the text that the offset leads to: ``left``, ``center`` or ``right``.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.point(axes, 0.0, 1.0, "(0, 1)")
    >>> axes.texts[0].get_text(), axes.texts[0].xy
    ('(0, 1)', (0.0, 1.0))
    """
    axes.plot([x], [y], "o", color="white", markeredgecolor="black", markersize=4.5, markeredgewidth=1.0, zorder=5)
    if text:
        label = axes.annotate(text, (x, y), offset, textcoords="offset points", ha=align, fontsize=7, zorder=6)
        label.set_path_effects([withStroke(linewidth=2, foreground="white")])


def region(axes: Axes, low: float, high: float, text: str = "", *, height: float = 0.5, turned: bool = True) -> None:
    """A grey stretch of the horizontal axis with a text in it.

    Args:
        axes: The axes to draw on.
        low: Where the stretch begins.
        high: Where it ends.
        text: What stands in it.
        height: Where the text stands, from 0 at the bottom to 1 at the top.
        turned: Whether it stands upright.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.region(axes, 1.0, 3.0, "runs away")
    >>> axes.patches[0].get_x(), axes.patches[0].get_width(), axes.texts[0].get_position()
    (1.0, 2.0, (2.0, 0.5))
    """
    axes.axvspan(low, high, facecolor="0.92", edgecolor="none", zorder=0)
    middle, across = (low + high) / 2, axes.get_xaxis_transform()
    turn = 90 if turned else 0
    axes.text(middle, height, text, fontsize=7, ha="center", va="center", rotation=turn, transform=across)


def _in_largest_gap(axes: Axes, x: np.ndarray, y: np.ndarray, gap: np.ndarray, text: str) -> None:
    """Put a text where a gap reaches furthest to all four sides, in shares of the picture."""
    across, along = np.apply_along_axis(_depth, 1, gap), np.apply_along_axis(_depth, 0, gap)
    depth = np.minimum(across / gap.shape[1], along / gap.shape[0])
    row, column = np.unravel_index(np.argmax(depth), depth.shape)
    axes.text(
        x[column],
        y[row],
        text,
        ha="center",
        va="center",
        fontsize=7,
        zorder=4,
        path_effects=[withStroke(linewidth=3, foreground="0.93")],
    )


def _depth(row: np.ndarray) -> np.ndarray:
    """For every place, how far the nearer end of the run of true places around it is."""
    return np.minimum(_reach(row), _reach(row[::-1])[::-1])


def _reach(row: np.ndarray) -> np.ndarray:
    """For every place, how many places in a row up to it are true."""
    count = np.cumsum(row)
    return count - np.maximum.accumulate(np.where(row, 0, count))
