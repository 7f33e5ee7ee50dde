"""Curvature of a loss: operators, their eigenvalues with what each leaves open, and what these say of a training.

>>> import jax
>>> import jax.numpy as jnp
>>> toy = lambda w: (1 - w[0] * w[1]) ** 2
>>> classify_critical_point(toy, jnp.zeros(2)).kind
'saddle'
>>> hessian_spectrum(toy, jnp.zeros(2)).pairs.values
Array([ 2., -2.], dtype=float32)

- **Operators.** `hessian`, `gauss_newton`, `fisher` and `empirical_fisher` of a loss, `scaled`, `preconditioned` (by
  the state of an optimizer), `rescaled` and `block` (of some parameters) of another one, `operator` of anybody's
  product. All are an `Operator`: ``matvec``, ``size``, ``like``, ``dense()``, ``to_scipy()``, and pytrees. With
  ``microbatch`` a mean over all of a data set takes the memory of a few examples.
- **Errors.** Every eigenvalue comes with a residual: within so much of it there is one. The distribution of all of them
  has a band, the trace a standard error, and what did not converge says so.
- **Numbers.** Parameters in half precision are computed in float32. In float32 an eigenvalue is known to some ``1e-6``
  of the largest modulus, whatever its own; for small ones call inside ``jax.enable_x64(True)``, with parameters and
  data in float64. Under ``jit`` and ``vmap`` everything works. Eigenvalues are not differentiated.
- **Along training.** `track` follows the largest eigenvalues from step to step inside a scan; `tracking` does so as a
  part of an optimizer of Optax, and `stability_threshold` is what to hold them against.
- **What is not finite** gives NaN, in its own lane. A function that draws random numbers which no key fixes is refused;
  a loss with dropout needs one key for all products.
"""

from jnorm.measure.curvature._critical import KINDS, CriticalPoint, classify_critical_point
from jnorm.measure.curvature._density import Band, Density, spectral_density
from jnorm.measure.curvature._derived import block, preconditioned, scaled
from jnorm.measure.curvature._eigenpairs import Eigenpairs, eigenpairs
from jnorm.measure.curvature._escape import Escape, Found, find_critical_point, saddle_escape
from jnorm.measure.curvature._losses import empirical_fisher, fisher, gauss_newton, hessian
from jnorm.measure.curvature._operators import Operator, operator
from jnorm.measure.curvature._summary import Spectrum, condition_number, hessian_spectrum, rescaled
from jnorm.measure.curvature._trace import Trace, trace
from jnorm.measure.curvature._tracking import (
    Tracked,
    TrackingState,
    stability_threshold,
    start_tracking,
    track,
    tracked,
    tracked_sharpness,
    tracking,
)

__all__ = [
    "KINDS",
    "Band",
    "CriticalPoint",
    "Density",
    "Eigenpairs",
    "Escape",
    "Found",
    "Operator",
    "Spectrum",
    "Trace",
    "Tracked",
    "TrackingState",
    "block",
    "classify_critical_point",
    "condition_number",
    "eigenpairs",
    "empirical_fisher",
    "find_critical_point",
    "fisher",
    "gauss_newton",
    "hessian",
    "hessian_spectrum",
    "operator",
    "preconditioned",
    "rescaled",
    "saddle_escape",
    "scaled",
    "spectral_density",
    "stability_threshold",
    "start_tracking",
    "trace",
    "track",
    "tracked",
    "tracked_sharpness",
    "tracking",
]
