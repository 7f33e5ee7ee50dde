"""Drawing: functions that put arrays onto a matplotlib ``Axes``, and a `save` that leaves whole, repeatable files.

Nothing here computes theory and nothing touches ``pyplot`` or the user's settings: `figure` makes a free-standing
``matplotlib.figure.Figure``, and everything is to be drawn and saved inside ``with style():``. Colours are those of
Okabe and Ito, which stay apart for colour-blind readers and beside each other in grey; planes use perceptually
uniform maps. Widths are in inches: 7 fits two columns of a page, 3.4 one.
"""

from jnorm.plots._all import (
    PALETTE,
    band,
    branch,
    cloud,
    contour,
    figure,
    legend,
    plane,
    point,
    region,
    save,
    style,
    trajectory,
    vector_field,
)

__all__ = [
    "PALETTE",
    "band",
    "branch",
    "cloud",
    "contour",
    "figure",
    "legend",
    "plane",
    "point",
    "region",
    "save",
    "style",
    "trajectory",
    "vector_field",
]
