"""Measuring one network: what its values and gradients are like, equation by equation, and where they go wrong."""

from jnorm.measure import gradcheck, probes, quantities
from jnorm.measure._origins import Origin, first_nonfinite

__all__ = ["Origin", "first_nonfinite", "gradcheck", "probes", "quantities"]
