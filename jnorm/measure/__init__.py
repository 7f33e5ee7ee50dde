"""Measuring one network: its values, gradients and curvature, equation by equation, and where they go wrong."""

from jnorm.measure import curvature, diagnosis, gradcheck, landscapes, probes, quantities
from jnorm.measure._audit import audit
from jnorm.measure._audited import Audit, AuditedRow
from jnorm.measure._origins import Origin, first_nonfinite
from jnorm.measure.diagnosis._doctor import doctor

__all__ = [
    "Audit",
    "AuditedRow",
    "Origin",
    "audit",
    "curvature",
    "diagnosis",
    "doctor",
    "first_nonfinite",
    "gradcheck",
    "landscapes",
    "probes",
    "quantities",
]
