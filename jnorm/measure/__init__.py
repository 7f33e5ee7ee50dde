"""Measuring one network: what its values and gradients are like, equation by equation, and where they go wrong."""

from jnorm.measure import probes, quantities

__all__ = ["probes", "quantities"]
