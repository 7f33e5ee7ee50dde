"""Measuring one network: its values, gradients and curvature, equation by equation, and where they go wrong."""

from jnorm.measure import curvature, gradcheck, probes, quantities
from jnorm.measure._origins import Origin, first_nonfinite

__all__ = ["Origin", "curvature", "first_nonfinite", "gradcheck", "probes", "quantities"]
