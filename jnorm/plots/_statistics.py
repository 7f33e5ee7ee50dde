"""Drawing many runs: their average and spread along an axis."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike


def band(
    axes: Axes, x: ArrayLike, samples: ArrayLike, *, color: str, cover: float = 0.95, label: str | None = None
) -> None:
    """Dots at the average of samples along ``x``, in the band that holds the middle of them.

    Args:
        axes: The axes to draw on.
        x: Where along the horizontal axis, ``[steps]``.
        samples: What is drawn, ``[samples, steps]``.
        color: The colour of dots and band.
        cover: The share of the samples that the band holds at every step.
        label: The name of the dots in a legend.

    >>> from jnorm import plots
    >>> losses = np.linspace(0.0, 1.0, 101)[:, None] + np.array([2.0, 1.0])
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 3.0))
    ...     plots.band(axes, [1, 2], losses, color=plots.PALETTE[0], cover=0.9)
    >>> axes.lines[0].get_ydata().round(2).tolist()
    [2.5, 1.5]
    >>> low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    >>> f"{low:.2f} {high:.2f}"
    '1.05 2.95'
    """
    samples = np.asarray(samples)
    low, high = np.quantile(samples, [(1 - cover) / 2, (1 + cover) / 2], axis=0)
    axes.fill_between(np.asarray(x), low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, np.mean(samples, 0), "o", color=color, markersize=2.2, markeredgewidth=0, label=label)
