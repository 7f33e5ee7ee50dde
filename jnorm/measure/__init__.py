"""Measuring one network: its curvature, and where that leads training."""

from jnorm.measure import curvature

__all__ = ["curvature"]
