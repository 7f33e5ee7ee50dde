"""Parametrizations: what must change with width and depth so that training stays the same, and whether it does.

`parametrize` turns the shapes of a user's own initialization into multipliers of initial values, uses and learning
rates; `coord_check` trains a few steps at several widths and judges each parameter by the slope of its effect.
"""

from jnorm.theory._coordinates import Trial, coord_check
from jnorm.theory._multipliers import Parametrization, parametrize
from jnorm.theory._slopes import CoordCheck, Row, Slope

__all__ = ["CoordCheck", "Parametrization", "Row", "Slope", "Trial", "coord_check", "parametrize"]
