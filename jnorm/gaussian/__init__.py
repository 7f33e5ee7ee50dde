"""Expectations under one Gaussian, or two correlated ones, by quadrature that is split at the kinks.

An integrand that is analytic between its kinks is integrated to rounding by Gauss-Legendre panels that end there: their
nodes crowd toward both ends, where a kink, or the pole of a tanh seen from ten standard deviations, has its features.
Gauss-Hermite nodes straddle the kink and are off by tenths of a unit in ``E[phi'(z)^2]``.

Common to the functions:

- **Integrands** act elementwise and are made of `jax.numpy` operations. Arrays that they close over broadcast against
  the points from the right. Each function is one program for an integrand, shape and dtype, under ``jit`` or not: a
  lambda written anew is the same integrand, with other captured values it is another one.
- **Memory** does not grow with the nodes, which are visited block by block, in derivatives too.
- **Kinks** are the points at which the integrand or a derivative of it jumps, or where a smooth one has its features.
- **Shapes and types.** Arguments broadcast; the dtype is kept, and half precision is computed in float32.
- **Singular points.** A negative or NaN variance gives NaN in its own lane; a negative one among Python numbers and
  NumPy arrays raises ``ValueError``.
"""

from jnorm.gaussian._pair import expectation2
from jnorm.gaussian._single import expectation, moments

__all__ = ["expectation", "expectation2", "moments"]
