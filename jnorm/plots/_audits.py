"""Drawing an audit: measured over predicted, layer by layer, and where it goes wrong."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from jnorm._ground import checks
from jnorm.plots._canvas import PALETTE

_SMALLEST = 1e-6  # what is zero is drawn here


def audit(axes: Axes, found: Any, *, of: str = "value", color: str = PALETTE[0]) -> None:
    """Mean squares over the predicted ones in the order of computation, with a ring at each row that is off by itself.

    The line is what was measured as the program runs, so that it stays off after a fault; grey is the same of draws of
    the model as it is meant, which shows how far the theory of wide layers holds. Values below 1e-6 are drawn there.

    Args:
        axes: The axes to draw on.
        found: What `jnorm.measure.audit` returns, or anything with ``rows`` of its attributes.
        of: ``"value"`` or ``"gradient"``; of gradients each is measured given those behind it.
        color: The colour of what was measured.

    Raises:
        ValueError: An unknown ``of``, or no such rows.

    >>> from types import SimpleNamespace as Some
    >>> from jnorm import plots
    >>> row = dict(of="value", name="mul", predicted=2.0, sound=2.0)
    >>> rows = [Some(**row, equation=0, measured=2.0, verdict="as predicted"),
    ...         Some(**row, equation=1, measured=4.0, verdict="off")]
    >>> with plots.style():
    ...     fig, axes = plots.figure(size=(3.4, 2.4))
    ...     plots.audit(axes, Some(rows=rows))
    >>> axes.lines[-1].get_xydata().tolist(), axes.texts[0].get_text()  # the ring, and its number
    ([[1.0, 2.0]], '1')
    """
    checks.choice("of", of, ("value", "gradient"))
    rows = [row for row in found.rows if row.of == of]
    if not rows:
        raise ValueError(f"`found` must have rows of `of` = {of!r}; got none")
    places = np.array([row.equation for row in rows])
    predicted, sound, measured = (
        np.array([getattr(row, name) for row in rows], np.float64) for name in ("predicted", "sound", "measured")
    )
    over = lambda numbers: np.maximum(numbers / predicted, _SMALLEST)
    axes.axhline(1.0, color="0.8", linewidth=0.8, zorder=1)
    axes.plot(places, over(sound), color="0.55", linewidth=1.0, label="as it is meant", zorder=2)
    axes.plot(places, over(measured), color=color, linewidth=1.2, label="measured", zorder=3)
    off = np.array([row.verdict == "off" for row in rows])
    if off.any():
        ring: dict[str, Any] = {"markerfacecolor": "none", "markersize": 6.0, "markeredgewidth": 1.2}
        axes.plot(places[off], over(measured)[off], "o", color=PALETTE[1], label="off by itself", zorder=4, **ring)
        for x, y in zip(places[off], over(measured)[off], strict=True):
            axes.annotate(str(x), (x, y), (4, 4), textcoords="offset points", fontsize=7)
    what = "mean square" if of == "value" else "mean squared gradient"
    axes.set(yscale="log", xlabel="equation", ylabel=f"{what} over predicted")
    low, high = axes.get_ylim()
    if high < 10 * low:  # within a decade powers of ten are no labels
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(ScalarFormatter())
