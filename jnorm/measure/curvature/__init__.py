"""Curvature."""

from jnorm.measure.curvature._derived import block, preconditioned, scaled
from jnorm.measure.curvature._eigenpairs import Eigenpairs, eigenpairs
from jnorm.measure.curvature._losses import empirical_fisher, fisher, gauss_newton, hessian
from jnorm.measure.curvature._operators import Operator, operator

__all__ = [
    "Eigenpairs",
    "Operator",
    "block",
    "eigenpairs",
    "empirical_fisher",
    "fisher",
    "gauss_newton",
    "hessian",
    "operator",
    "preconditioned",
    "scaled",
]
