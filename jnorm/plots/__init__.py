"""Drawing: functions that put arrays onto a matplotlib ``Axes``, and a `save` that leaves whole, repeatable files.

What draws runs (`curves`, `heat_map`, `critical_difference`, `performance_profile`, `tuning_curve`) takes the result of
a sweep, or anything of its form. Nothing here computes theory and nothing touches ``pyplot`` or the user's settings:
`figure` makes a free-standing ``matplotlib.figure.Figure``, and everything is to be drawn and saved inside ``with
style():``; `signal` makes a whole figure of a prediction by itself. Colours are those of Okabe and Ito, which stay
apart for colour-blind readers and beside each other in grey; planes use perceptually uniform maps. Widths are in
inches: 7 fits two columns of a page, 3.4 one. Arrays are anything that NumPy reads, JAX's included.

Needs the extra ``plot``: without matplotlib, importing this room raises an ``ImportError`` that says so.
"""

try:
    import matplotlib  # noqa: F401 (before the modules that use it, to name the extra)
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ModuleNotFoundError('jnorm.plots needs matplotlib: pip install "jnorm[plot]"', name=error.name) from None

from jnorm.plots._audits import audit
from jnorm.plots._canvas import PALETTE, figure, legend, save, style
from jnorm.plots._comparisons import critical_difference, performance_profile
from jnorm.plots._curves import curves
from jnorm.plots._heat_maps import heat_map
from jnorm.plots._planes import contour, plane, point, region
from jnorm.plots._signal import signal
from jnorm.plots._statistics import band
from jnorm.plots._theory import branch, cloud, trajectory, vector_field
from jnorm.plots._tuning import tuning_curve

__all__ = [
    "PALETTE",
    "audit",
    "band",
    "branch",
    "cloud",
    "contour",
    "critical_difference",
    "curves",
    "figure",
    "heat_map",
    "legend",
    "performance_profile",
    "plane",
    "point",
    "region",
    "save",
    "signal",
    "style",
    "trajectory",
    "tuning_curve",
    "vector_field",
]
