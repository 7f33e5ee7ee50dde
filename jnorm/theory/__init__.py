"""What will happen: moments through layers, fixed points, stability and portraits, and how networks scale with width.

**Which digits are promised where.** Errors that functions here and in `jnorm.gaussian` state are those of their method;
rounding comes on top, and it is as large as the machine's elementary functions make it. With ``e`` the relative error
of ``exp`` and ``expm1``, at least ``eps``, and ``d`` that of the activation itself,

- a quadrature is off by ``2 e + d`` times ``max |f|``, and a variance by it by ``d max |phi| / sqrt(var)``, relative;
- a closed form is off by 4 e of the variance, of the slope, and of ``sqrt(E[phi^2])`` for the mean, beyond what it
  states, and a fixed point by what its map is, times the condition number of ``I - jacobian``.

``exp`` and ``expm1`` are asked for at the highest accuracy that there is. In units of ``eps`` they are then off by 2 in
float32 on GPUs and TPUs, and by 2 and 7 on CPUs (in float64 by 2 and 5). Activations have the machine's own functions:
in float32 erf, tanh and log are off by up to 7 on CPUs and GPUs; on TPUs erf by 9, and exp, log and tanh by 65, 3 and
2 (v6e), 110, 62 and 92 (v5p), 116, 4031 and 1366 (v5e and before). Source: JAX documentation, Numerical accuracy,
September 2026. TPUs have no float64: programs run, but on pairs of float32, with the range of float32 and some 14
digits at best, for which nothing is promised. Theory is cheap: compute it on the host, under
``jax.default_device(jax.devices("cpu")[0])``.
"""

from jnorm.theory import (
    closed_forms,
    finite_width,
    fixed_points,
    meanfield,
    mills,
    moments,
    parametrization,
    portraits,
    spectra,
    transforms,
)

__all__ = [
    "closed_forms",
    "finite_width",
    "fixed_points",
    "meanfield",
    "mills",
    "moments",
    "parametrization",
    "portraits",
    "spectra",
    "transforms",
]
