"""Drawing: functions that put arrays onto a matplotlib ``Axes``, and a `save` that leaves whole, repeatable files.

Nothing here computes theory and nothing touches ``pyplot`` or the user's settings: `figure` makes a free-standing
``matplotlib.figure.Figure``, and everything is to be drawn and saved inside ``with style():``. Colours are those of
Okabe and Ito, which stay apart for colour-blind readers and beside each other in grey; planes use perceptually
uniform maps. Widths are in inches: 7 fits two columns of a page, 3.4 one.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from jnorm._ground import atomic

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""The colours of Okabe and Ito, those that carry lines best first."""

_STYLE: dict[str, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.4,
    "savefig.dpi": 200.0,
    "figure.dpi": 200.0,
    # Text as outlines and fixed identifiers: the SVG looks like the PNG on every machine, and repeats byte for byte.
    "svg.fonttype": "path",
    "svg.hashsalt": "jnorm",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure: matplotlib's defaults with small sizes, whatever the user has set; undone afterwards.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style():
    ...     matplotlib.rcParams["font.size"]
    8.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    with matplotlib.style.context(["default", _STYLE]):
        yield


def figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure of ``size`` inches with ``rows x columns`` axes (an array of them where there are several).

    ``options`` are those of ``Figure.subplots``. The layout keeps labels apart by itself.

    >>> with style():
    ...     fig, axes = figure(1, 2, size=(7.0, 3.0))
    >>> axes.shape
    (2,)
    """
    fig = Figure(figsize=size, layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def vector_field(
    axes: Axes,
    mean: ArrayLike,
    var: ArrayLike,
    dmean: ArrayLike,
    dvar: ArrayLike,
    *,
    label: str | None = None,
    limits: tuple[float, float] = (0.01, 1.0),
) -> None:
    r"""Arrows of one length along ``(dmean, dvar)``, over its length in grey on a log scale cut at ``limits``.

    ``mean`` and ``var`` are the two axes of an even grid, the shifts have shape ``[len(var), len(mean)]``. ``label``
    names the shade and draws its scale. Arrows that are not finite, or zero, are left out.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     vector_field(axes, [0.0, 1.0], [1.0, 2.0], np.ones((2, 2)), np.eye(2), label="shift a layer")
    >>> axes.get_xlabel()
    'mean $\\mu$'
    """
    mean, var, u, v = (np.asarray(a, np.float64) for a in (mean, var, dmean, dvar))
    speed = np.hypot(u, v)
    usable = np.isfinite(speed) & (speed > 0)
    shade = np.where(usable, speed, np.nan)
    # The light end of the ramp: the lines drawn over it must stay the darkest thing in the picture.
    ramp = matplotlib.colormaps["Greys"](np.linspace(0.0, 0.3, 256))
    image = axes.imshow(
        shade,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        extent=_extent(mean, var),
        cmap=matplotlib.colors.ListedColormap(ramp),
        norm=LogNorm(*limits, clip=True),
        zorder=0,
    )
    # Directions as they appear in the picture, in units of a grid cell.
    step = np.stack([u / np.ptp(mean) * (len(mean) - 1), v / np.ptp(var) * (len(var) - 1)])
    length = np.where(usable, np.hypot(*step), 1)
    x, y = np.meshgrid(mean, var)
    axes.quiver(
        x[usable],
        y[usable],
        (step[0] / length * np.ptp(mean) / (len(mean) - 1))[usable],
        (step[1] / length * np.ptp(var) / (len(var) - 1))[usable],
        angles="xy",
        scale_units="xy",
        scale=1.6,
        pivot="mid",
        width=0.0022,
        headwidth=4,
        headlength=4,
        headaxislength=3.6,
        color="0.45",
        zorder=1,
    )
    axes.set(xlabel=r"mean $\mu$", ylabel=r"variance $\nu$", xlim=_extent(mean, var)[:2], ylim=_extent(mean, var)[2:])
    if label is not None:
        _colorbar(axes, image, label)


def trajectory(axes: Axes, mean: ArrayLike, var: ArrayLike, *, color: str, label: str | None = None) -> None:
    """A path over the plane of mean and variance, with a ring at its start.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     trajectory(axes, [1.0, 0.5, 0.2], [2.0, 1.4, 1.1], color=PALETTE[0])
    >>> len(axes.lines)
    2
    """
    mean, var = np.asarray(mean), np.asarray(var)
    axes.plot(mean, var, color=color, linewidth=1.1, label=label, zorder=3, solid_joinstyle="round")
    axes.plot(
        mean[:1], var[:1], "o", color=color, markerfacecolor="white", markersize=5.5, markeredgewidth=1.3, zorder=5
    )


def cloud(axes: Axes, mean: ArrayLike, var: ArrayLike, *, color: str, cover: float = 0.95) -> None:
    """Dots at the averages of samples ``[sample, step]`` over the plane, in the union of the ellipses of their steps.

    Every ellipse has the samples' covariance and the size that holds the share ``cover`` of a normal law.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     cloud(axes, np.eye(3), 1 + np.eye(3), color=PALETTE[0])
    >>> len(axes.patches)
    1
    """
    points = np.stack([np.asarray(mean, np.float64), np.asarray(var, np.float64)])
    center = points.mean(1)
    turn = np.linspace(0, 2 * np.pi, 49)
    circle = np.sqrt(-2 * np.log1p(-cover)) * np.stack([np.cos(turn), np.sin(turn)])
    outlines = []
    for step in range(points.shape[2]):
        values, vectors = np.linalg.eigh(np.cov(points[:, :, step]))
        # A reflection would turn the outline round, and overlaps of opposite turns would come out as holes.
        vectors[:, 0] *= np.sign(np.linalg.det(vectors))
        ellipse = center[:, step, None] + vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * circle)
        outlines.append(Outline(ellipse.T, closed=True))
    band = PathPatch(Outline.make_compound_path(*outlines), facecolor=color, alpha=0.2, linewidth=0, zorder=2)
    axes.add_patch(band)
    axes.plot(*center, "o", color=color, markersize=2.4, markeredgewidth=0, zorder=4)


def band(
    axes: Axes, x: ArrayLike, samples: ArrayLike, *, color: str, cover: float = 0.95, label: str | None = None
) -> None:
    """The average of samples ``[sample, step]`` along ``x`` in the band that holds the middle share ``cover`` of them.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     band(axes, [0, 1], [[1.0, 2.0], [3.0, 2.0]], color=PALETTE[0])
    >>> axes.lines[0].get_ydata().tolist()
    [2.0, 2.0]
    """
    samples = np.asarray(samples)
    low, high = np.quantile(samples, [(1 - cover) / 2, (1 + cover) / 2], axis=0)
    axes.fill_between(np.asarray(x), low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, np.mean(samples, 0), "o", color=color, markersize=2.2, markeredgewidth=0, label=label)


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
    """Values ``[len(y), len(x)]`` over an even grid as colours, with their scale named ``label``.

    NaN is drawn as a hatched grey region with the text ``missing`` in it. ``levels`` makes steps of the colours,
    ``log`` a logarithmic scale, ``limits`` cut it; where values lie beyond, the scale ends in an arrow.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     plane(axes, [0.0, 1.0], [0.0, 1.0], [[1.0, 2.0], [3.0, np.nan]], label="value", missing="none")
    >>> [text.get_text() for text in axes.texts]
    ['none']
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
        _colorbar(axes, image, label, extend=extend, ticks=levels or None)


def contour(axes: Axes, x: ArrayLike, y: ArrayLike, values: ArrayLike, level: float, *, text: str, color: str) -> None:
    """The line where values ``[len(y), len(x)]`` pass ``level``, with ``text`` on it; nothing where they never do.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     contour(axes, [0.0, 1.0], [0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], 0.5, text="half", color="black")
    >>> len(axes.collections)
    1
    """
    values = np.asarray(values, np.float64)
    if np.nanmin(values) < level < np.nanmax(values):
        lines = axes.contour(x, y, values, [level], colors=[color], linewidths=1.2, zorder=3)
        axes.clabel(lines, fmt=lambda _: text, fontsize=7, inline=True, inline_spacing=3)


def point(
    axes: Axes, x: float, y: float, text: str = "", *, offset: tuple[float, float] = (5, 4), align: str = "left"
) -> None:
    """A marked point with a text at an ``offset`` in points.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     point(axes, 0.0, 1.0, "(0, 1)")
    >>> axes.texts[0].get_text()
    '(0, 1)'
    """
    axes.plot([x], [y], "o", color="white", markeredgecolor="black", markersize=4.5, markeredgewidth=1.0, zorder=5)
    if text:
        label = axes.annotate(text, (x, y), offset, textcoords="offset points", ha=align, fontsize=7, zorder=6)
        label.set_path_effects([withStroke(linewidth=2, foreground="white")])


def region(axes: Axes, low: float, high: float, text: str = "", *, height: float = 0.5, turned: bool = True) -> None:
    """A grey stretch of the horizontal axis with a text in it at a ``height`` from 0 to 1, ``turned`` upright.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     region(axes, 0.0, 1.0, "nothing here")
    >>> len(axes.patches)
    1
    """
    axes.axvspan(low, high, facecolor="0.92", edgecolor="none", zorder=0)
    middle, across = (low + high) / 2, axes.get_xaxis_transform()
    turn = 90 if turned else 0
    axes.text(middle, height, text, fontsize=7, ha="center", va="center", rotation=turn, transform=across)


def branch(
    axes: Axes, x: ArrayLike, y: ArrayLike, attracts: ArrayLike, *, color: str, label: str | None = None
) -> None:
    """A curve of fixed points along a parameter: solid where they attract, dashed where they repel.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     branch(axes, [0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [True, True, False], color=PALETTE[0])
    >>> [line.get_linestyle() for line in axes.lines]
    ['-', '--']
    """
    x, y, attracts = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(attracts, bool)
    change = np.flatnonzero(np.diff(attracts)) + 1
    for first, last in zip([0, *change], [*change, len(x)], strict=True):
        piece = slice(max(first - 1, 0), last)  # from the last point of the piece before: no gap where the kind changes
        dash = "-" if attracts[first] else "--"
        axes.plot(x[piece], y[piece], dash, color=color, linewidth=1.5)
    if label:
        axes.plot([], [], color=color, linewidth=1.5, label=label)


def legend(figure: Figure, axes: Axes, *, title: str | None = None) -> None:
    """The labelled things of ``axes`` in one row under the figure.

    >>> with style():
    ...     fig, axes = figure(size=(3.4, 3.0))
    ...     branch(axes, [0.0, 1.0], [0.0, 0.0], [True, True], color=PALETTE[0], label="points")
    ...     legend(fig, axes)
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['points']
    """
    handles, labels = axes.get_legend_handles_labels()
    options: dict[str, Any] = {"ncols": len(labels), "columnspacing": 1.4, "handlelength": 1.8, "title_fontsize": 7.5}
    figure.legend(handles, labels, loc="outside lower center", title=title, **options)


def save(figure: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Save a figure as ``path`` with the endings ``.png`` and ``.svg``, the same picture and the same bytes every time.

    Both are drawn before either is written, and each is written whole or not at all. Returns the two paths.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, style():
    ...     [file.name for file in save(figure(size=(1.0, 1.0))[0], Path(folder, "empty"))]
    ['empty.png', 'empty.svg']
    """
    endings: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    drawn = {}
    for ending, metadata in endings.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context({key: _STYLE[key] for key in ("svg.fonttype", "svg.hashsalt")}):
            figure.savefig(buffer, format=ending[1:], dpi=_STYLE["savefig.dpi"], metadata=metadata)
        figure.set_layout_engine("none")  # the second drawing keeps the places that the first one found
        drawn[Path(f"{os.fspath(path)}{ending}")] = buffer.getvalue()
    for file, data in drawn.items():
        atomic.write(file, data)
    return list(drawn)


def _extent(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """The borders of the cells whose centres are the points of an even grid."""
    half = [np.ptp(a) / (len(a) - 1) / 2 for a in (x, y)]
    return (
        float(x.min() - half[0]),
        float(x.max() + half[0]),
        float(y.min() - half[1]),
        float(y.max() + half[1]),
    )


def _colorbar(axes: Axes, image: Any, label: str, **options: Any) -> None:
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.06, aspect=28, **options)
    bar.outline.set_linewidth(0.6)


def _in_largest_gap(axes: Axes, x: np.ndarray, y: np.ndarray, gap: np.ndarray, text: str) -> None:
    """Put a text where the gap is widest: at the middle of its longest horizontal run, smoothed over rows."""
    depth = np.zeros(gap.shape)
    run: Callable[[np.ndarray], np.ndarray] = lambda row: np.minimum(_reach(row), _reach(row[::-1])[::-1])
    across, along = np.apply_along_axis(run, 1, gap), np.apply_along_axis(run, 0, gap)
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


def _reach(row: np.ndarray) -> np.ndarray:
    """For every place, how many places in a row up to it are true."""
    count = np.cumsum(row)
    return count - np.maximum.accumulate(np.where(row, 0, count))
