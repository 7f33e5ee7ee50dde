"""Drawing a metric over two hyperparameters."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from jnorm._ground import checks, naming
from jnorm.plots import _runs as runs
from jnorm.plots._planes import plane
from jnorm.statistics import Result

_CENTERS: dict[str, Callable[[np.ndarray], np.floating]] = {"median": np.median, "mean": np.mean}


def heat_map(
    axes: Axes,
    result: Result,
    name: str,
    x: str,
    y: str,
    *,
    center: str = "median",
    log: bool = False,
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
    numbers: bool = True,
) -> None:
    r"""A metric over two hyperparameters: the middle of the runs in each cell, and how many diverged.

    The values of a hyperparameter stand side by side at equal distances, numbers in their order. A cell without any
    number is hatched.

    Args:
        axes: The axes to draw on.
        result: What `jnorm.sweeps.sweep` returns, with one configuration a cell.
        name: The metric, one number a run.
        x: The hyperparameter along the horizontal axis.
        y: The one along the vertical axis.
        center: "median" or "mean", of the runs that did not diverge.
        log: Whether the scale is logarithmic.
        limits: Where the scale ends; ``None`` is at the smallest and largest value.
        colormap: A name that matplotlib knows.
        numbers: Whether the cells show their numbers.

    Raises:
        ValueError: For an unknown center or hyperparameter, one that has one value only, two configurations for a cell,
            and a metric of another shape.

    >>> from jnorm import plots, statistics
    >>> grid = [{"rate": rate, "depth": depth} for rate in (0.1, 0.01) for depth in (2, 8)]
    >>> result = statistics.Runs(grid, {"accuracy": [[0.9, 0.8], [0.6, np.nan], [0.7, 0.7], [0.5, 0.7]]})
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.heat_map(axes, result, "accuracy", "rate", "depth")
    >>> [tick.get_text() for tick in axes.get_xticklabels()], axes.get_xlabel()
    (['0.01', '0.1'], 'rate')
    >>> [text.get_text() for text in axes.texts]
    ['0.7', '0.85', '0.6', '0.6\n1 diverged']
    """
    checks.choice("center", center, _CENTERS)
    scores = runs.scores(result, name)
    (columns, across), (rows, up) = (
        runs.places(runs.column(result, hyperparameter, argument)) for argument, hyperparameter in (("x", x), ("y", y))
    )
    for argument, hyperparameter, listed in (("x", x, columns), ("y", y, rows)):
        if len(listed) < 2:
            raise ValueError(f"`{argument}` must have two values and more; `{hyperparameter}` is {listed[0]!r} alone")
    cells = list(zip(up, across, strict=True))
    if len(set(cells)) < len(cells):
        one = next(cell for cell in cells if cells.count(cell) > 1)
        where = f"{x}={naming.text(columns[one[1]])}, {y}={naming.text(rows[one[0]])}"
        raise ValueError(
            f"`result` must have one configuration a cell; got {cells.count(one)} with {where}: draw a part, such as "
            "`result.select(...)`, or what `statistics.tuned` or `statistics.averaged` leave"
        )
    values = np.full((len(rows), len(columns)), np.nan)
    for cell, sample in zip(cells, scores, strict=True):
        finite = sample[~np.isnan(sample)]
        values[cell] = _CENTERS[center](finite) if finite.size else np.nan
    at = np.arange(len(columns)), np.arange(len(rows))
    plane(axes, *at, values, label=f"{center} {runs.words(name)}", log=log, limits=limits, colormap=colormap)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5), xlabel=x, ylabel=y)
    axes.set_xticks(at[0], [naming.text(value) for value in columns])
    axes.set_yticks(at[1], [naming.text(value) for value in rows])
    axes.tick_params(length=0)
    if numbers:
        for cell, lost in sorted(zip(cells, runs.diverged(result, runs.values(result, name, further=0)), strict=True)):
            _number(axes, cell, values[cell], int(lost))


def _number(axes: Axes, cell: tuple[int, int], value: float, lost: int) -> None:
    """What a cell shows, in black or white, whichever is told from its colour."""
    lines = [f"{value:.3g}"] if np.isfinite(value) else []
    lines += [f"{lost} diverged"] if lost else []
    image = axes.collections[0]
    red, green, blue, _ = image.to_rgba(np.array(value)) if np.isfinite(value) else (0.93, 0.93, 0.93, 1.0)
    color = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
    axes.text(cell[1], cell[0], "\n".join(lines), ha="center", va="center", fontsize=6.5, color=color, zorder=4)
