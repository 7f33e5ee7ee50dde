"""Curvature."""

from jnorm.measure.curvature._critical import KINDS, CriticalPoint, classify_critical_point
from jnorm.measure.curvature._density import Band, Density, spectral_density
from jnorm.measure.curvature._derived import block, preconditioned, scaled
from jnorm.measure.curvature._eigenpairs import Eigenpairs, eigenpairs
from jnorm.measure.curvature._escape import Escape, Found, find_critical_point, saddle_escape
from jnorm.measure.curvature._losses import empirical_fisher, fisher, gauss_newton, hessian
from jnorm.measure.curvature._operators import Operator, operator
from jnorm.measure.curvature._trace import Trace, trace

__all__ = [
    "KINDS",
    "Band",
    "CriticalPoint",
    "Density",
    "Eigenpairs",
    "Escape",
    "Found",
    "Operator",
    "Trace",
    "block",
    "classify_critical_point",
    "eigenpairs",
    "empirical_fisher",
    "find_critical_point",
    "fisher",
    "gauss_newton",
    "hessian",
    "operator",
    "preconditioned",
    "saddle_escape",
    "scaled",
    "spectral_density",
    "trace",
]
