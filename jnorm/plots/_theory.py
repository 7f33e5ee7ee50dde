"""Drawing `jnorm.theory`: the plane of mean and variance with its field and paths, and branches of fixed points."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import ArrayLike

from jnorm.plots._canvas import colorbar


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
    r"""Arrows of one length along ``(dmean, dvar)``, over its length in grey on a log scale.

    Arrows that are not finite, or zero, are left out.

    Args:
        axes: The axes to draw on.
        mean: The means of an even grid, ``[columns]``.
        var: Its variances, ``[rows]``.
        dmean: The shift of the mean at each point, ``[rows, columns]``; see `jnorm.theory.portraits.vector_field`.
        dvar: The shift of the variance, ``[rows, columns]``.
        label: The name of the grey's scale, which is drawn where there is one.
        limits: The shifts at which the grey ends.

    >>> from jnorm import plots
    >>> mean, var = np.linspace(-1, 1, 9), np.linspace(0.5, 2, 7)
    >>> dmean, dvar = np.tile(-mean, (7, 1)), np.tile(1 - var[:, None], 9)
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.vector_field(axes, mean, var, dmean, dvar, label="shift by a layer")
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('mean $\\mu$', 'variance $\\nu$')
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
        cmap=ListedColormap(ramp),
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
        colorbar(axes, image, label)


def trajectory(axes: Axes, mean: ArrayLike, var: ArrayLike, *, color: str, label: str | None = None) -> None:
    """A path over the plane of mean and variance, with a ring at its start.

    Args:
        axes: The axes to draw on.
        mean: The means layer by layer, ``[layers]``.
        var: The variances, ``[layers]``.
        color: The colour of the path.
        label: Its name in a legend.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.trajectory(axes, [1.0, 0.5, 0.2], [2.0, 1.4, 1.1], color=plots.PALETTE[0])
    >>> path, ring = (line.get_xydata().tolist() for line in axes.lines)
    >>> path, ring
    ([[1.0, 2.0], [0.5, 1.4], [0.2, 1.1]], [[1.0, 2.0]])
    """
    mean, var = np.asarray(mean), np.asarray(var)
    axes.plot(mean, var, color=color, linewidth=1.1, label=label, zorder=3, solid_joinstyle="round")
    axes.plot(
        mean[:1], var[:1], "o", color=color, markerfacecolor="white", markersize=5.5, markeredgewidth=1.3, zorder=5
    )


def cloud(axes: Axes, mean: ArrayLike, var: ArrayLike, *, color: str, cover: float = 0.95) -> None:
    """Dots at the averages of samples over the plane of mean and variance, step by step, in the ellipses around them.

    Every step's ellipse has the samples' covariance and the size that holds a share of a normal law; where ellipses
    overlap they are one area.

    Args:
        axes: The axes to draw on.
        mean: The samples' means, ``[samples, steps]``.
        var: Their variances, ``[samples, steps]``.
        color: The colour of dots and area.
        cover: The share of a normal law that an ellipse holds.

    >>> from jnorm import plots
    >>> mean, var = np.random.default_rng(0).normal([0.0, 1.0], 0.1, (1000, 2)).T
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.cloud(axes, mean[:, None], var[:, None], color=plots.PALETTE[0])
    >>> inside = axes.patches[0].get_path().contains_points(np.stack([mean, var], 1))
    >>> bool(abs(inside.mean() - 0.95) < 0.02)
    True
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
        outlines.append(Path(ellipse.T, closed=True))
    area = PathPatch(Path.make_compound_path(*outlines), facecolor=color, alpha=0.2, linewidth=0, zorder=2)
    axes.add_patch(area)
    axes.plot(*center, "o", color=color, markersize=2.4, markeredgewidth=0, zorder=4)


def branch(
    axes: Axes, x: ArrayLike, y: ArrayLike, attracts: ArrayLike, *, color: str, label: str | None = None
) -> None:
    """A curve of fixed points along a parameter: solid where they attract, dashed where they repel.

    Args:
        axes: The axes to draw on.
        x: The parameter, ``[points]``.
        y: A coordinate of the fixed points, ``[points]``.
        attracts: Whether they attract, ``[points]``.
        color: The colour of the curve.
        label: Its name in a legend.

    >>> from jnorm import plots
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.branch(axes, [0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [True, True, False], color=plots.PALETTE[0])
    >>> [(line.get_linestyle(), line.get_xdata().tolist()) for line in axes.lines]
    [('-', [0.0, 1.0]), ('--', [1.0, 2.0])]
    """
    x, y, attracts = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(attracts, bool)
    change = np.flatnonzero(np.diff(attracts)) + 1
    for first, last in zip([0, *change], [*change, len(x)], strict=True):
        piece = slice(max(first - 1, 0), last)  # from the last point of the piece before: no gap where the kind changes
        dash = "-" if attracts[first] else "--"
        axes.plot(x[piece], y[piece], dash, color=color, linewidth=1.5)
    if label:
        axes.plot([], [], color=color, linewidth=1.5, label=label)


def _extent(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """The borders of the cells whose centres are the points of an even grid."""
    half = [np.ptp(a) / (len(a) - 1) / 2 for a in (x, y)]
    return (
        float(x.min() - half[0]),
        float(x.max() + half[0]),
        float(y.min() - half[1]),
        float(y.max() + half[1]),
    )
