"""What will happen: moments through layers, fixed points, stability and portraits, for fixed and random weights."""

from jnorm.theory import closed_forms, fixed_points, meanfield, mills, moments, portraits

__all__ = ["closed_forms", "fixed_points", "meanfield", "mills", "moments", "portraits"]
