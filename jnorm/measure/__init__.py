"""Measuring one network: its values, gradients and curvature, equation by equation, and where they go wrong."""

from jnorm.measure import curvature, diagnosis, gradcheck, probes, quantities
from jnorm.measure._origins import Origin, first_nonfinite
from jnorm.measure.diagnosis._doctor import doctor

__all__ = ["Origin", "curvature", "diagnosis", "doctor", "first_nonfinite", "gradcheck", "probes", "quantities"]
