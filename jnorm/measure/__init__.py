"""Measuring one network: its values, gradients and curvature, equation by equation, and where they go wrong."""

from jnorm.measure import curvature, gradcheck, landscapes, probes, quantities
from jnorm.measure._audit import audit
from jnorm.measure._audited import Audit, AuditedRow
from jnorm.measure._origins import Origin, first_nonfinite

__all__ = [
    "Audit",
    "AuditedRow",
    "Origin",
    "audit",
    "curvature",
    "first_nonfinite",
    "gradcheck",
    "landscapes",
    "probes",
    "quantities",
]
