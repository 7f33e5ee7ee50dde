"""What every figure starts and ends with: a style, the figure itself, a legend under it, and files."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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

_SCREEN = 130
"""Pixels of a screen to an inch of a figure in a notebook."""


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure: matplotlib's defaults with small sizes, whatever the user has set; undone afterwards.

    Returns:
        A context manager.

    >>> from jnorm import plots
    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with plots.style():
    ...     matplotlib.rcParams["font.size"]
    8.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    with matplotlib.style.context(["default", _STYLE]):
        yield


class _Shown(Figure):
    """A figure that a notebook shows as the value of a cell, for which matplotlib's own needs ``pyplot``."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_STYLE["savefig.dpi"])
        return buffer.getvalue(), {"width": round(_SCREEN * self.get_figwidth())}


def figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure with a grid of axes, whose layout keeps labels apart by itself; as the value of a cell it is shown.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        size: Width and height in inches.
        **options: Those of ``Figure.subplots``, such as ``sharey``.

    Returns:
        The figure and its axes: one ``Axes``, or an array of them where there are several.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, (left, right) = plots.figure(1, 2, size=(7.0, 3.0), sharey=True)
    >>> _ = left.set_ylim(0, 2)
    >>> [float(end) for end in right.get_ylim()]
    [0.0, 2.0]
    """
    fig = _Shown(figsize=size, layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def legend(figure: Figure, axes: Axes, *, title: str | None = None) -> None:
    """The labelled things of ``axes`` under the figure, in one row, or in as many as its width asks for.

    Args:
        figure: The figure.
        axes: The axes whose labels are shown.
        title: A line above them.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     _ = axes.plot([0, 1], [1, 1], color=plots.PALETTE[0], label="theory")
    ...     _ = axes.plot([0, 1], [1, 2], color="0.5")
    ...     plots.legend(fig, axes)
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['theory']
    """
    handles, labels = axes.get_legend_handles_labels()
    options: dict[str, Any] = {"columnspacing": 1.4, "handlelength": 1.8, "title_fontsize": 7.5}
    canvas = figure.canvas
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.set_canvas(canvas)
    for columns in range(max(len(labels), 1), 0, -1):
        drawn = figure.legend(handles, labels, loc="outside lower center", title=title, ncols=columns, **options)
        if columns == 1 or drawn.get_window_extent(renderer).width <= figure.bbox.width:
            break
        drawn.remove()


def save(figure: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Save a figure as PNG and as SVG, the same picture and the same bytes every time.

    Both are drawn before either is written, and each is written whole or not at all.

    Args:
        figure: The figure.
        path: Where to, without the endings ``.png`` and ``.svg``.

    Returns:
        The two paths.

    Raises:
        OSError: Where a file cannot be written; it says which.

    >>> from jnorm import plots
    >>> import tempfile
    >>> def written(folder):
    ...     fig, axes = plots.figure(size=(1.0, 1.0))
    ...     return {path.name: path.read_bytes() for path in plots.save(fig, Path(folder, "empty"))}
    >>> with tempfile.TemporaryDirectory() as folder, plots.style():
    ...     first, second = written(folder), written(folder)
    >>> list(first), first == second
    (['empty.png', 'empty.svg'], True)
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


def colorbar(axes: Axes, image: Any, label: str, **options: Any) -> None:
    """The scale of an image's colours beside its axes."""
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.06, aspect=28, **options)
    bar.outline.set_linewidth(0.6)
